"""The process executor: steps in processes of their own, that can be killed."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from trine import data, pipelines
from trine.errors import Failure, InvalidInput
from trine.pipelines import pipeline, step
from trine.workspace import Workspace

PROGRAM = """
    import os
    import signal
    import subprocess
    import sys
    import time
    from pathlib import Path

    import polars as pl

    from trine import data
    from trine.pipelines import pipeline, step


    @step
    def load(ref: str) -> tuple[pl.DataFrame, int]:
        print("loading", ref)
        subprocess.run(["echo", "a program speaks"])
        return data.load(ref).collect(), os.getpid()


    @step
    def total(rows: pl.DataFrame, pid: int, model: str = "") -> int:
        assert pid != os.getpid()
        data.commit(rows, name="copy")
        return rows["x"].sum()


    @step(timeout_s=3, cache=False)
    def endless(marks: str) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        Path(marks).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(1000)  # one long call


    @step(cache=False, retries=1, backoff_s=0.01)
    def dies(marks: str) -> int:
        if not Path(marks).exists():
            Path(marks).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 7


    @step
    def fails() -> int:
        raise LookupError("nothing there")


    @pipeline(executor="process")
    def sums(ref: str) -> int:
        rows, pid = load(ref)
        return total(rows, pid)


    @pipeline(executor="process")
    def stuck(marks: str) -> None:
        return endless(marks)


    @pipeline(executor="process")
    def dying(marks: str) -> int:
        return dies(marks)


    @pipeline(executor="process")
    def failing() -> int:
        return fails()
"""


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "process_flow.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("process_flow")
    sys.modules.pop("process_flow")


def test_steps_run_in_processes_with_inputs_uses_logs_and_producers(ws: Workspace, flow: ModuleType) -> None:
    import polars as pl

    source = data.commit(pl.DataFrame({"x": [1, 2, 3]}), name="source")
    made = flow.sums.run(ref="source")
    assert made.result == 6
    assert made.step("load").uses == [source.node]
    assert made.step("load").resolved == {"dataset:source@main": source.node}
    assert made.log("load").splitlines() == ["loading source", "a program speaks"]
    assert data.resolve("copy").rows == 3
    assert {one.state for one in flow.sums.run(ref="source").steps} == {"cached"}


def test_a_timeout_kills_the_process_and_what_it_started(local_ws: Workspace, flow: ModuleType, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with pytest.raises(Failure, match="TimeoutError: took longer than 3 s"):
        flow.stuck.run(marks=str(marks))
    found = [psutil.Process(pid) for pid in map(int, marks.read_text().split()) if psutil.pid_exists(pid)]
    psutil.wait_procs(found, timeout=30)
    assert not [one for one in found if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_dies_is_an_error_that_can_be_retried(
    local_ws: Workspace, flow: ModuleType, tmp_path: Path
) -> None:
    made = flow.dying.run(marks=str(tmp_path / "marks"))
    assert made.result == 7
    assert made.step("dies").attempt == 2


def test_an_error_in_a_process_is_told_like_any_other(local_ws: Workspace, flow: ModuleType) -> None:
    with pytest.raises(Failure, match="LookupError: nothing there"):
        flow.failing.run()
    run = pipelines.get_pipeline_run("failing")
    assert 'raise LookupError("nothing there")' in run.log("fails")
    assert "in fails" in (run.error.traceback if run.error else "")


def test_a_step_that_no_process_can_find_is_refused(local_ws: Workspace) -> None:
    @step
    def inside() -> int:
        return 1

    with pytest.raises(InvalidInput, match="not at the top level of a file"):
        pipelines.run(pipeline(name="p")(lambda: inside()), executor="process")
    assert pipelines.list_pipeline_runs() == []
