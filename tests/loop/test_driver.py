"""`trine loop` in processes of its own: killed, restarted, two at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trine import data, pipelines
from trine.access import audit
from trine.cli import main
from trine.evaluation import list_gates
from trine.loop import operations as door
from trine.workspace import connect, using

sys.path.insert(0, str(Path(__file__).parent))
import loop_project

TRAINING = """
import os
import signal
from pathlib import Path

from sklearn.linear_model import LogisticRegression

import trine
from trine import data
from trine.loop import Candidate, Loop, OnCommit
from trine.models import register


@trine.step
def prepare(flights: str) -> str:
    with trine.run("prepare"):
        return flights


@trine.step
def train(flights: str) -> str:
    if Path("die").exists():
        Path("die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    frame = data.load(flights).collect()
    model = LogisticRegression().fit(frame.select("x"), frame["late"])
    return register(model, "flights", inputs=frame.select("x")).ref


@trine.pipeline
def retrain(flights: str) -> Candidate:
    return Candidate(model=train(prepare(flights)), holdout="holdout", label="late")


loop = Loop("flights", model="flights", pipeline=retrain, triggers=[OnCommit("flights")], data={"flights": "flights"})
"""


def trine(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trine.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    with trine(folder, *arguments) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == code, output
    return output


@pytest.fixture
def project(folder: Path) -> Path:
    """A folder with retraining.py, a saved loop in its workspace, and a commit that has fired it."""
    (folder / "retraining.py").write_text(textwrap.dedent(TRAINING))
    with connect(folder) as ws, using(ws):
        data.commit(loop_project.rows(400, seed=1), name="flights")
        data.commit(loop_project.rows(400, seed=2), name="holdout")
    assert run(folder, "loop", "run", "retraining.py:loop", "--once") == "Nothing has fired.\n"
    with connect(folder) as ws, using(ws):
        data.commit(loop_project.rows(50, seed=3), name="flights")
    return folder


def ended(folder: Path) -> dict[str, Any]:
    with connect(folder) as ws, using(ws):
        return {
            "cycles": [one.outcome for one in door.list_cycles(ws, name="flights").items],
            "production": [
                one.body["version"] for one in audit.list_events(ws, operation="models.promote_model").items
            ],
            "pipeline runs": [one.state for one in pipelines.list_pipeline_runs()],
            "gates": len(list_gates(ws).items),
        }


ONCE = {"cycles": ["promoted"], "production": [1], "pipeline runs": ["succeeded"], "gates": 1}


def test_a_driver_that_was_killed_in_the_middle_of_training_is_followed_by_another(project: Path) -> None:
    (project / "die").touch()
    run(project, "loop", "run", "retraining.py:loop", "--once", code=-signal.SIGKILL)
    assert ended(project) == {"cycles": [""], "production": [], "pipeline runs": ["interrupted"], "gates": 0}
    assert "promoted" in run(project, "loop", "run", "retraining.py:loop", "--once")
    assert ended(project) == ONCE
    with connect(project) as ws, using(ws):
        (only,) = pipelines.list_pipeline_runs()
        assert next((one.key, one.attempt) for one in only.steps) == ("prepare", 1)


def test_drivers_that_are_killed_again_and_again_do_everything_once(project: Path) -> None:
    for delay_s in (1.2, 1.6, 2.0, 2.4, 2.8):
        with trine(project, "loop", "run", "retraining.py:loop", "--once") as process:
            try:
                process.wait(delay_s)
            except subprocess.TimeoutExpired:
                process.kill()
    run(project, "loop", "run", "retraining.py:loop", "--once")
    assert ended(project) == ONCE


def test_two_drivers_share_a_loop(project: Path) -> None:
    drivers = [trine(project, "loop", "run", "retraining.py:loop", "--once") for _ in range(2)]
    outputs = [one.communicate(timeout=120)[0] for one in drivers]
    assert [one.returncode for one in drivers] == [0, 0], outputs
    run(project, "loop", "run", "retraining.py:loop", "--once")
    found = ended(project)
    assert (found["cycles"], found["production"], found["pipeline runs"]) == (["promoted"], [1], ["succeeded"])


def test_a_driver_follows_its_triggers_until_it_is_interrupted(project: Path) -> None:
    with trine(project, "loop", "run", "retraining.py:loop") as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "promoted" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert process.poll() is None, lines
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    told = [line.split()[3] for line in lines if "retrained" in line or "started" in line]
    assert told == ["training", "gating", "promoting", "promoted"] or told == [
        "triggered",
        "training",
        "gating",
        "promoting",
        "promoted",
    ]


def test_the_commands_around_a_loop(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))

    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["loop", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    assert "idle" in said("ls")
    shown = said("show", "flights")
    for part in ("flights@production", "new data on flights@main", "flights=flights (pinned)", "roc_auc", "due  "):
        assert part in shown
    assert "No cycles yet" in said("cycles", "flights")
    said("pause", "flights")
    assert "Nothing" in said("run", "retraining.py:loop", "--once")
    assert "is paused" in said("trigger", "flights", code=5)
    said("resume", "flights")
    said("trigger", "flights", "-m", "new code")
    said("run", "retraining.py:loop", "--once")
    (cycle,) = json.loads(said("cycles", "flights", "--json"))["items"]
    assert (cycle["outcome"], cycle["trigger"]["kind"]) == ("promoted", "manual")
    assert 'no loop "lop". Did you mean "loop"' in said("run", "retraining.py:lop", code=3)
    assert "write file.py:name" in said("run", "retraining.py", code=2)
    assert "trine loop ls" in said("show", "flight", code=3)
