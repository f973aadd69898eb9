from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal, sys
from trine.forks import share, split, workers

assert workers() == min(8, len(os.sched_getaffinity(0)))
assert [list(one) for one in split(range(5), 2)] == [[0, 1, 2], [3, 4]]
assert split([], 3) == []
here = os.getpid()

assert share(lambda part: (part, b"x" * 300_000), ["a", "b", "c"]) == [(one, b"x" * 300_000) for one in "abc"]
places = share(lambda part: os.getpid(), [1, 2, 3])
assert places[0] == here and len(set(places)) == 3
done = []
assert here not in share(lambda part: os.getpid(), [1, 2], meanwhile=lambda: done.append(1)) and done

def dies(part):
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return part

def fails(part):
    raise ValueError(part)

assert share(dies, [1, 2, 3]) == [1, 2, 3]  # done again here
for parts in ([1], [1, 2]):
    try:
        share(fails, parts)
    except ValueError as error:
        assert error.args == (1,)
    else:
        raise AssertionError

begun, begin = os.pipe()

def tidies(part):
    if part:
        try:
            os.write(begin, b"1")
            signal.pause()
        finally:
            open(sys.argv[1], "w").close()
    else:
        os.read(begun, 1)
        raise ValueError

try:
    share(tidies, [0, 1])
except ValueError:
    assert os.path.exists(sys.argv[1])
else:
    raise AssertionError
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("sound")
"""


def test_work_is_shared_out_and_comes_back_in_order(tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path / "tidied")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("sound\n", "")
