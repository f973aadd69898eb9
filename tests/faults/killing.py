"""Kill -9, many times: a process that has everything loaded forks children, kills each at a random instant of its work,
and has another child reopen the workspace and verify it.

    echo SCENARIO [KILLS] | python killing.py KILLS SEED FOLDER

Prints one JSON object for each scenario: the kills made, the writes acknowledged, and what was found wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from scenarios import SCENARIOS, Scenario

from trine import upkeep
from trine.access import audit
from trine.workspace import connect, using


def forked(task: Any) -> int:
    """Run something in a child; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        task()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class Killing:
    def __init__(self, scenario: Scenario, folder: Path, seed: int) -> None:
        self.scenario = scenario
        self.folder = folder
        self.random = random.Random(seed)
        self.acks = folder / "acknowledged.jsonl"

    def prepare(self) -> None:
        with connect(self.folder) as ws, using(ws):
            self.scenario.prepare(ws)

    def work(self) -> None:
        written = os.open(self.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with connect(self.folder) as ws, using(ws):
            self.scenario.work(ws, lambda what: os.write(written, json.dumps(what).encode() + b"\n"))

    def acknowledged(self) -> list[Any]:
        lines = self.acks.read_bytes().split(b"\n") if self.acks.exists() else [b""]
        return [json.loads(line) for line in lines[:-1]]  # what follows the last line's end was being written

    def verify(self) -> None:
        with connect(self.folder) as ws, using(ws):
            assert audit.verify_events(ws).intact
            assert (found := upkeep.verify(ws)).is_sound, found
            self.scenario.verify(ws, self.acknowledged())

    def time_of_one(self) -> float:
        """How long a child takes until its third acknowledgement: kills fall anywhere within twice that."""
        begun = time.monotonic()
        child = forked(self.work)
        while len(self.acknowledged()) < 3 and time.monotonic() - begun < 60:
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return time.monotonic() - begun

    def run(self, kills: int) -> dict[str, Any]:
        # what is prepared in a child leaves no threads or connections here, where the forks are made; what it imports
        # is imported here as well
        problems: list[str] = []
        if os.waitpid(forked(self.prepare), 0)[1]:
            return {"kills": 0, "acknowledged": 0, "problems": ["it could not be prepared"]}
        span = self.time_of_one()
        before = len(self.acknowledged())
        for number in range(kills):
            child = forked(self.work)
            time.sleep(self.random.uniform(0, 2 * span))
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if not os.WIFSIGNALED(status):
                problems.append(f"kill {number}: the work ended by itself with {status}")
                break
            if os.waitpid(forked(self.verify), 0)[1]:
                problems.append(f"kill {number}: what was found afterwards is wrong")
                break
        return {"kills": number + 1, "acknowledged": len(self.acknowledged()) - before, "problems": problems}


def main(kills: int, seed: int, folder: Path) -> None:
    import_all()
    for line in sys.stdin:
        name, _, fewer = line.strip().partition(" ")
        (folder / name).mkdir()
        print(json.dumps(Killing(SCENARIOS[name], folder / name, seed).run(int(fewer or kills))), flush=True)


def import_all() -> None:
    """Load what the children use, so that a fork has it: importing starts no threads."""
    import httpx  # noqa: F401
    import polars  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import skops.io  # noqa: F401

    from trine import rooms

    rooms.load()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
