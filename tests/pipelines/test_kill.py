"""kill -9 of a real process at several instants, and the command that goes on."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from trine import pipelines
from trine.errors import Conflict
from trine.workspace import connect

PROGRAM = """
    import os
    import time
    from pathlib import Path

    import polars as pl

    from trine.pipelines import pipeline, step


    def note(what):
        with open("marks", "a") as file:  # one write: whole or not at all
            file.write(what + "\\n")
        print(what)


    @step
    def load(n: int) -> pl.DataFrame:
        note("load")
        return pl.DataFrame({"x": range(n)})


    @step
    def part(rows: pl.DataFrame, k: int) -> int:
        note(f"part-{k}")
        time.sleep(0.02)
        return rows["x"].sum() * k


    @step
    def total(parts: list[int]) -> int:
        note("total")
        return sum(parts)


    @step(cache=False)
    def wait(x: int) -> int:
        note(f"wait {os.getpid()}")
        while not Path("go").exists():
            time.sleep(0.01)
        return x


    @pipeline(parallel=2)
    def sums(n: int) -> int:
        rows = load(n)
        parts = [part(rows, k) for k in range(1, 7)]
        return total([total(parts), part(rows, 7)])


    @pipeline
    def waiting(n: int) -> int:
        return total([wait(n)])
"""
EXPECTED = sum(range(100)) * 28


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(folder: Path) -> Path:
    (folder / "flow.py").write_text(textwrap.dedent(PROGRAM))
    return folder


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts `trine pipeline …`; none is left when the test ends."""
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-u", "-m", "trine.cli", "pipeline", *arguments]
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = stack.enter_context(subprocess.Popen(command, cwd=place, text=True, **pipes))
            stack.callback(process.kill)
            return process

        yield begin


def kill_after(process: subprocess.Popen[str], lines: int) -> None:
    """kill -9 when the process has printed that many lines."""
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline(), process.stderr.read() if process.stderr else ""
    process.kill()
    process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read what a process prints until words come."""
    assert process.stdout is not None
    while words not in (line := process.stdout.readline()):
        assert line, process.stderr.read() if process.stderr else ""


@pytest.mark.parametrize("lines", [1, 3, 6, 11, 19])
def test_a_killed_run_goes_on_and_no_finished_step_runs_twice(place: Path, start: Start, lines: int) -> None:
    kill_after(start("run", "flow.py:sums", "-p", "n=100"), lines)
    with connect(place) as ws:
        run = pipelines.get_pipeline_run("sums", ws=ws)
        assert run.state == "interrupted"
        finished = {one.key for one in run.steps if one.state == "succeeded"}
        kill_after(start("resume", run.id), 1)  # the way back is killed too, unless it is at its end by then
        finished |= {one.key for one in run.steps if one.state == "succeeded"}
        if pipelines.get_pipeline_run(run.id, ws=ws).state != "succeeded":
            done = start("resume", run.id)
            out, err = done.communicate(timeout=120)
            assert done.returncode == 0, out + err
        assert pipelines.get_pipeline_run(run.id, ws=ws).result == EXPECTED
        steps = {one.key: one.step for one in run.steps}
        marks = Counter((place / "marks").read_text().split("\n"))
        for key in finished:
            name = {"part": "part-1"}.get(key, key) if steps[key] == "part" else key
            if steps[key] != "total":  # the two calls of total share a mark
                assert marks[name] == 1, (key, marks)
        assert all(count <= 3 for name, count in marks.items() if name)
        assert marks["total"] <= 2 + 2 - len(finished & {"total", "total-2"})
        refused = start("resume", run.id)
        assert "nothing to resume" in refused.communicate(timeout=60)[1]
        assert refused.returncode == 5


def test_a_run_whose_process_lives_is_not_resumed_by_another(place: Path, start: Start) -> None:
    process = start("run", "flow.py:waiting", "-p", "n=3")
    read_until(process, "wait │ wait")
    with connect(place) as ws:
        run = pipelines.get_pipeline_run("waiting", ws=ws)
        assert run.state == "running"
        with pytest.raises(Conflict, match=f"is being run by process {process.pid} on "):
            pipelines.resume(run.id, ws=ws)
        (place / "go").touch()
        assert process.wait(60) == 0
        assert run.wait(60).result == 3
        process.communicate()


def test_ctrl_c_says_how_to_go_on(place: Path, start: Start) -> None:
    process = start("run", "flow.py:waiting", "-p", "n=3")
    read_until(process, "wait │ wait")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    with connect(place) as ws:
        run = pipelines.get_pipeline_run("waiting", ws=ws)
        assert run.state == "interrupted"
        assert f"trine pipeline resume {run.id}" in err


def test_the_process_of_a_step_ends_with_the_process_that_drives_the_run(place: Path, start: Start) -> None:
    process = start("run", "flow.py:waiting", "-p", "n=3", "--executor", "process")
    marks = place / "marks"
    while not (marks.exists() and marks.read_text().startswith("wait ") and marks.read_text().endswith("\n")):
        assert process.poll() is None
        psutil.wait_procs([psutil.Process(process.pid)], timeout=0.02)
    child = psutil.Process(int(marks.read_text().split()[1]))
    assert child.pid != process.pid
    process.kill()
    process.communicate()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    (place / "go").touch()
    done = start("resume", "waiting", "--executor", "process")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, out + err
    with connect(place) as ws:
        assert pipelines.get_pipeline_run("waiting", ws=ws).result == 3
