from __future__ import annotations

import multiprocessing
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import trine
from trine import tracking
from trine.errors import NoSpace, Unavailable
from trine.storage import segments
from trine.tracking import operations as door
from trine.tracking import outbox, spool
from trine.tracking.runs import RunInfo
from trine.workspace import Workspace, connect

LOGGER = """
import sys, trine
ws = trine.connect(sys.argv[1], token=sys.argv[2] or None)
run = trine.run("e", capture=False)
print(run.id, flush=True)
at = 0
while True:
    run.log("loss", at)
    run.log({"a": -at, "b": 0.5}, step=at)
    at += 1
    sys.stdout.write(f"{at}\\n")
    sys.stdout.flush()
"""


def program(text: str, *arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def last_lines(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    with process.stdout:
        return process.stdout.read().splitlines()


def check_killed(info: RunInfo, told: int) -> None:
    """Every acknowledged point is there, each once, and of the one under way all or nothing."""
    assert info.state == "killed" and "ended without finishing the run" in info.reason
    loss = tracking.history(info, "loss")
    assert loss["value"].to_list() == loss["step"].to_list() == list(range(loss.height))
    assert told <= loss.height <= told + 2
    assert info.metrics["a"].count in (loss.height, loss.height - 1)
    assert info.ended_us is not None and info.started_us <= info.ended_us


@pytest.mark.parametrize("points", [1, 300, 9_000])
def test_kill_9_loses_no_acknowledged_point(folder: Path, points: int) -> None:
    process = program(LOGGER, folder, "")
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    for _ in range(points + random.randrange(50)):
        told = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = [told, *last_lines(process)][-1]
    process.wait()
    with connect(folder) as ws:
        (info,) = tracking.search("experiment = 'e'", ws=ws)
        assert info.id == run
        check_killed(info, int(told))
        assert not list(spool.spool_of(ws).iterdir())
        assert tracking.get_run(run, ws=ws) == info


def test_kill_9_against_a_server(
    folder: Path, serve: Callable[[Workspace], str], admin_token: Callable[[Workspace], str]
) -> None:
    with connect(folder) as local:
        url, token = serve(local), admin_token(local)
        process = program(LOGGER, url, token)
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        for _ in range(2_000):
            told = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = [told, *last_lines(process)][-1]
        process.wait()
        with connect(url, token=token) as ws:
            check_killed(tracking.get_run(run, ws=ws), int(told))


def test_points_of_a_living_process_are_seen(folder: Path) -> None:
    process = program(LOGGER, folder, "")
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    for _ in range(500):
        told = int(process.stdout.readline())
    with connect(folder) as ws:
        info = tracking.get_run(run, ws=ws)
        assert info.state == "running" and info.metrics["loss"].count >= told
        joined = trine.run(resume=run, ws=ws)
        joined.log("mine", 1)
        joined.finish()
        assert tracking.get_run(run, ws=ws).state == "running"
        process.send_signal(signal.SIGKILL)
        told = int([told, *last_lines(process)][-1])  # type: ignore[list-item]
        process.wait()
        info = tracking.get_run(run, ws=ws)
        check_killed(info, told)
        assert info.metrics["mine"].last == 1.0
        with trine.run(resume=run, ws=ws) as again:
            again.log("loss", 5)
        info = tracking.get_run(run, ws=ws)
        assert (info.state, info.metrics["loss"].last) == ("finished", 5.0)


def test_several_processes_log_to_one_run(folder: Path) -> None:
    worker = """
import sys, trine
trine.connect(sys.argv[1])
with trine.run(resume=sys.argv[2]) as run:
    for at in range(1000):
        run.log("loss", int(sys.argv[3]), step=at)
"""
    with connect(folder) as ws, trine.run(ws=ws) as run:
        processes = [program(worker, folder, run.id, number) for number in range(3)]
        for at in range(1000):
            run.log("loss", 9, step=at)
        for process in processes:
            assert process.wait() == 0 and last_lines(process) == []
        assert tracking.get_run(run, ws=ws).state == "running"
    rows = tracking.history(run, "loss", ws=ws)[["step", "value"]].rows()
    assert sorted(rows) == sorted((at, float(value)) for at in range(1000) for value in (0, 1, 2, 9))
    assert tracking.get_run(run, ws=ws).state == "finished"


def test_a_fork_goes_on_in_its_own_segment_and_never_ends_the_run(folder: Path) -> None:
    text = """
import os, sys, trine
trine.connect(sys.argv[1])
with trine.run() as run:
    for at in range(100):
        run.log("loss", 1)
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            for at in range(100):
                run.log("loss", 2)
            if number == 0:
                os._exit(0)
            if number == 1:
                run.finish()
                os._exit(0)
            break
        children.append(child)
    else:
        for child in children:
            os.waitpid(child, 0)
        for at in range(100):
            run.log("loss", 3)
        assert trine.tracking.get_run(run).state == "running"
print(run.id)
"""
    process = program("import trine.tracking\n" + text, folder)
    lines = last_lines(process)
    assert process.wait() == 0
    with connect(folder) as ws:
        values = tracking.history(lines[-1], "loss", ws=ws)["value"].to_list()
        assert [values.count(one) for one in (1, 2, 3)] == [100, 300, 100]
        assert tracking.get_run(lines[-1], ws=ws).state == "finished"


def _log_in_a_pool(number: int) -> int:
    run = tracking.active_run()
    assert run is not None
    for at in range(50):
        run.log("loss", number, step=at)
    return number


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pool_of_forked_workers_logs(local_ws: Workspace) -> None:
    with trine.run() as run:
        run.log("loss", -1)
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(_log_in_a_pool, range(6)) == list(range(6))
    values = tracking.history(run, "loss")["value"].to_list()
    assert [values.count(number) for number in range(-1, 6)] == [1, 50, 50, 50, 50, 50, 50]
    assert tracking.get_run(run).state == "finished"


@pytest.mark.parametrize(
    ("end", "state"), [("", "finished"), ("raise ValueError('bad')", "failed"), ("sys.exit(3)", "finished")]
)
def test_a_run_that_nobody_finished_ends_with_the_program(folder: Path, end: str, state: str) -> None:
    text = f"import sys, trine; trine.connect(sys.argv[1]); run = trine.run(); run.log('a', 1)\n{end}"
    process = program(text, folder, stderr=subprocess.DEVNULL)
    last_lines(process)
    process.wait()
    with connect(folder) as ws:
        (info,) = tracking.search(ws=ws)
        assert (info.state, info.metrics["a"].last) == (state, 1.0)
        assert info.reason == ("ValueError: bad" if state == "failed" else "")


def test_a_full_disk_stops_no_training(folder: Path) -> None:
    """The limit on file sizes stands in for a disk: what a process can write ends in the middle of its segment."""
    text = """
import logging, resource, sys, trine
from trine import tracking
from trine.tracking import outbox
outbox.PAUSE_S = 0
logging.basicConfig(format="%(message)s", stream=sys.stdout)
ws = trine.connect(sys.argv[1])
with trine.run() as run:
    run.log("loss", 0)
    run.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for at in range(1, 60_000):
        run.log("loss", at)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run.log("after", 1)
print(run.id)
"""
    process = program(text, folder)
    lines = last_lines(process)
    assert process.wait() == 0
    assert sum("no space left" in line for line in lines) == 1, lines
    with connect(folder) as ws:
        info = tracking.get_run(lines[-1], ws=ws)
        kept = tracking.history(info, "loss", ws=ws)["value"].to_list()
        assert info.is_lossy and info.lost + len(kept) == 60_000
        assert kept[:20_000] == [float(at) for at in range(20_000)]
        assert (info.state, info.metrics["after"].last) == ("finished", 1.0)


def test_a_spool_that_stays_full_still_ends_the_run(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_STEP", 4096)
    run = trine.run(capture=False)
    writer = run._outbox._writer  # pyright: ignore[reportPrivateUsage]
    assert writer is not None
    kept = 0

    def full(_: int) -> None:
        raise NoSpace("There is no space left.")

    monkeypatch.setattr(writer, "_grow", full)
    for at in range(100_000):
        run.log("loss", at)
    run.finish()
    info = tracking.get_run(run)
    kept = info.metrics["loss"].count
    assert (info.state, info.lost + kept) == ("finished", 100_000) and info.lost > 0


def test_a_server_that_is_away_costs_nothing_but_time(
    local_ws: Workspace,
    serve: Callable[[Workspace], str],
    admin_token: Callable[[Workspace], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with connect(serve(local_ws), token=admin_token(local_ws)) as ws:
        run = trine.run(ws=ws, capture=False)
        run.log("a", 1)

        def away(*_: object, **__: object) -> None:
            raise Unavailable("The server does not answer.")

        with monkeypatch.context() as patch:
            patch.setattr(type(ws.remote), "call", away)
            run.log("a", 2)
            with pytest.raises(Unavailable):
                run.flush()
            run.finish()
        assert "is sent when the workspace is next used" in caplog.text
        assert door.get_run(local_ws, id=run.id).state == "running"
        info = tracking.get_run(run, ws=ws)
        assert (info.state, info.metrics["a"].count) == ("finished", 2)
        assert not list(spool.spool_of(ws).glob(f"{run.id}*"))


def test_the_thread_brings_points_into_the_ledger(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flush, and through segments that change under four writing threads."""
    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(outbox, "LONGEST_WAIT_S", 0.001)
    monkeypatch.setattr(outbox, "LARGEST_SEGMENT", 2_000)
    run = trine.run(capture=False)
    enough = threading.Event()
    written = [0] * 4

    def work(number: int) -> None:
        while not enough.is_set():
            for at in range(written[number], written[number] + 50):
                run.log(f"key {at % 5}", number, step=at)
            written[number] += 50
            enough.wait(0.001)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    paths: set[Path | None] = set()
    while len(paths) < 5:
        paths.add(run._outbox.path)  # pyright: ignore[reportPrivateUsage]
    enough.set()
    for thread in threads:
        thread.join()
    while sum(one.count for one in door.get_run(local_ws, id=run.id).metrics.values()) < sum(written):
        assert run._outbox.path is not None  # pyright: ignore[reportPrivateUsage]
    run.finish()
    for key in range(5):
        rows = tracking.history(run, f"key {key}")[["step", "value"]].rows()
        assert sorted(rows) == sorted((at, float(n)) for n in range(4) for at in range(key, written[n], 5))
    assert not list(spool.spool_of(local_ws).iterdir())


def test_a_run_that_could_not_be_made_leaves_nothing(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = door.create_run

    def lost_answer(*args: object, **values: object) -> None:
        real(*args, **values)  # type: ignore[arg-type]
        raise Unavailable("The answer was lost.")

    monkeypatch.setattr(door, "create_run", lambda *_, **__: (_ for _ in ()).throw(Unavailable("away")))
    with pytest.raises(Unavailable):
        trine.run()
    monkeypatch.setattr(door, "create_run", lost_answer)
    with pytest.raises(Unavailable):
        trine.run()
    assert [one.state for one in tracking.search()] == ["killed"]
    assert not list(spool.spool_of(local_ws).iterdir())


def test_reading_inside_an_operation_sends_nothing(local_ws: Workspace) -> None:
    from trine.workspace import transaction

    with trine.run() as run:
        run.log("a", 1)
        with transaction(local_ws, write=False):
            assert tracking.get_run(run).metrics == {}
        assert tracking.get_run(run).metrics["a"].last == 1.0


def test_a_signal_handler_may_log_and_flush(folder: Path) -> None:
    text = """
import signal, sys, trine
ws = trine.connect(sys.argv[1])
with trine.run(capture=False) as run:
    handled = 0
    def handle(*_):
        global handled
        run.log("handled", handled)
        run.log(f"first {handled % 50}", 1.0)
        handled += 1
        if handled % 20 == 0:
            run.flush()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    at = 0
    while handled < 200:
        run.log("loss", at)
        at += 1
        if at % 5_000 == 0:
            run.flush()
    signal.setitimer(signal.ITIMER_REAL, 0)
print(run.id, handled, at)
"""
    process = program(text, folder)
    identity, handled, at = last_lines(process)[-1].split()
    assert process.wait() == 0
    with connect(folder) as ws:
        info = tracking.get_run(identity, ws=ws)
        assert (info.state, info.lost) == ("finished", 0)
        assert (info.metrics["handled"].count, info.metrics["loss"].count) == (int(handled), int(at))
        assert sum(one.count for key, one in info.metrics.items() if key.startswith("first")) == int(handled)


def test_a_backlog_that_nobody_takes_is_bounded(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from trine.errors import Unavailable
    from trine.tracking import outbox

    monkeypatch.setattr(outbox, "LARGEST_BACKLOG", 1 << 16)
    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 0.01)
    away = True
    real = outbox.send

    def send(*arguments: object, **named: object) -> None:
        if away:
            raise Unavailable("The server does not answer.")
        real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(outbox, "send", send)
    run = trine.run(capture=False)
    while not run._outbox.lost:  # pyright: ignore[reportPrivateUsage]
        run.log("loss", 1.0)
    away = False
    run.finish()
    info = tracking.get_run(run)
    assert info.is_lossy and info.metrics["loss"].count * 41 > 1 << 16


def test_a_server_takes_in_what_was_logged_on_its_machine(
    folder: Path, serve: Callable[[Workspace], str], admin_token: Callable[[Workspace], str]
) -> None:
    """Asked over HTTP, which reads no spool: the points of a process that was killed are there, and its run has ended."""
    text = """
import os, signal, sys, trine
ws = trine.connect(sys.argv[1])
run = trine.run("left", capture=False)
run.log("loss", 0.5)
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = program(text, folder)
    identity = last_lines(process)[-1]
    process.wait()
    with connect(folder) as ws:
        assert door.get_run(ws, id=identity).state == "running"
        url, token = serve(ws), admin_token(ws)
        with connect(url, token=token) as remote:
            while (info := door.get_run(remote, id=identity)).state == "running":
                pass
    assert (info.state, info.metrics["loss"].last) == ("killed", 0.5)


def test_a_run_of_a_machine_that_vanished_ends_and_comes_back(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from trine.tracking import liveness

    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 3600.0)  # its process is asleep
    run = trine.run("far", capture=False)
    assert door.end_silent_runs(ws) == []
    real = liveness.now_us
    later = real() + 1_000_000_000
    monkeypatch.setattr("trine.workspace.now_us", lambda: later)
    assert door.end_silent_runs(ws) == [run.id]
    info = door.get_run(ws, id=run.id)
    assert info.state == "killed" and info.reason.startswith("Nothing was heard of its process since")
    run.log("loss", 1.0)
    run.flush()
    assert door.get_run(ws, id=run.id).state == "running"
    run._outbox._say_alive()  # pyright: ignore[reportPrivateUsage]
    run.finish()
    info = door.get_run(ws, id=run.id)
    assert (info.state, info.reason, info.metrics["loss"].count) == ("finished", "", 1)
    assert not door.keep_open(ws, id=run.id, session="x").changed
