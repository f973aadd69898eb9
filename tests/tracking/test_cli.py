from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import trine
from trine import tracking
from trine.cli import main
from trine.workspace import Workspace, connect

Say = Callable[..., str]


@pytest.fixture
def say(local_ws: Workspace) -> Say:
    """Run a `trine runs` command and give what it printed."""

    def run(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, ["runs", *words, "--workspace", local_ws.location])
        assert answer.exit_code == code, answer.output
        return answer.output

    return run


def make_runs() -> None:
    for index in range(3):
        with trine.run("churn", params={"lr": 0.1 * (index + 1), "model": "forest"}, tags={"team": "risk"}) as run:
            for step in range(100):
                run.log({"loss": 1 / (1 + step * (index + 1)), "val auc": 0.5 + step / 250}, step=step)
            run.log_text("hello", "notes/a.txt")
            run.use("dataset:flights@123456789012")
            if index == 1:
                run.log("loss", math.nan)
                with trine.run(params={"fold": 1}) as child:
                    child.log("alone", 7)


def test_an_empty_workspace_teaches(say: Say) -> None:
    assert 'with trine.run("my experiment")' in say("ls")
    assert say("ls", "--json").strip() == "[]"
    make_runs()
    assert "No such runs" in say("ls", "state = 'failed'")


def test_lists_show_what_is_asked_for(say: Say) -> None:
    make_runs()
    listing = say("ls")
    assert [line.split()[1] for line in listing.splitlines()[2:]] == ["churn-4", "↳", "churn-2", "churn-1"]
    assert (
        "loss" in listing and "lr=0.3" in listing and "✓ finished" in listing and "model" not in listing.split("\n")[0]
    )
    found = say("search", "metrics.loss.best < 0.01 and params.lr >= 0.2", "-o", "metrics.loss.best desc")
    assert "loss.best" in found and [line.split()[1] for line in found.splitlines()[2:]] == ["churn-2", "churn-4"]
    assert "more" in say("ls", "-n", "1")
    rows = json.loads(say("search", "params.lr = 0.1", "--json"))
    assert rows[0]["name"] == "churn-1" and rows[0]["metrics"]["loss"]["count"] == 100
    error = say("search", "metrics.loss >", code=2)
    assert "Column 15" in error and error.splitlines()[-1].endswith("^")
    assert "No experiment" in say("ls", "-e", "x", code=3)


def test_a_run_is_shown_whole(say: Say) -> None:
    make_runs()
    shown = say("show", "churn-2")
    for part in (
        "churn-2",
        "✓ finished",
        "Python 3",
        "lr     0.2",
        "team  risk",
        "val auc",
        "flights@123456789012",
        "notes/a.txt",
    ):
        assert part in shown
    assert json.loads(say("show", "churn-2", "--json"))["params"]["lr"] == "0.2"
    assert "Did you mean" in say("show", "chrun-2", code=3)
    with pytest.raises(ValueError), trine.run("bad"):
        raise ValueError("boom")
    assert "✗ failed\n  ValueError: boom" in say("show", "bad-1")


def test_metrics_have_a_table_and_a_chart(say: Say) -> None:
    make_runs()
    table = say("metrics", "churn-1")
    assert re.search(r"val auc .* ▁▁.*█", table) and "100" in table
    chart = say("metrics", "churn-1", "val auc", "-n", "3")
    assert "0.896 ┤" in chart and "step 0 to 99" in chart
    assert [line.split()[0] for line in chart.splitlines()[-3:]] == ["0", "50", "99"]
    assert "nan" in say("metrics", "churn-2", "loss")
    assert len(json.loads(say("metrics", "churn-1", "loss", "--json"))) == 100
    assert set(json.loads(say("metrics", "churn-1", "--json"))) == {"loss", "val auc"}
    assert 'no metric "lost"' in say("metrics", "churn-1", "lost", code=3)
    with trine.run("flat") as run:
        run.log("same", 3)
        run.log("same", 3)
        run.log_batch("wild", [math.inf, math.nan, -math.inf])
    assert "┤" in say("metrics", "flat-1", "same") and "┤" in say("metrics", "flat-1", "wild")
    assert "···" in say("metrics", "flat-1")
    with trine.run("empty"):
        pass
    assert "no metrics yet" in say("metrics", "empty-1")


def test_comparison_shows_the_differences_first(say: Say) -> None:
    make_runs()
    shown = say("compare", "churn-1", "churn-2")
    assert re.search(r"lr +0\.1 +0\.2", shown) and "model" not in shown and "loss.best" in shown
    assert "model" in say("compare", "churn-1", "churn-2", "--all")
    assert json.loads(say("compare", "churn-1", "churn-2", "--json"))["params"]["lr"] == ["0.1", "0.2"]
    assert "two or more" in say("compare", "churn-1", code=2)


def test_files_are_listed_and_written(say: Say, tmp_path: Path) -> None:
    make_runs()
    assert "notes/a.txt  " in say("artifacts", "churn-1")
    assert "has 1 file" in say("artifacts", "churn-1", "notes", "--to", str(tmp_path / "out"))
    assert (tmp_path / "out" / "notes" / "a.txt").read_text() == "hello"
    assert "has no files" in say("artifacts", "churn-3")
    assert 'at or below "x"' in say("artifacts", "churn-1", "x", "--to", str(tmp_path), code=3)


def test_tail_prints_the_newest_points(say: Say) -> None:
    make_runs()
    lines = say("tail", "churn-1", "-n", "3").splitlines()
    assert len(lines) == 3 and lines[-1].endswith("step      99  val auc 0.896")
    assert json.loads(say("tail", "churn-1", "-n", "1", "--json"))["metric"] == "val auc"
    assert say("tail", "churn-1", "-n", "0", "-f").strip() == "churn-1 ✓ finished"


def test_tail_follows_until_the_run_ends(folder: Path) -> None:
    with connect(folder) as ws, trine.run("live", ws=ws) as run:
        run.log("loss", 1)
        command = [sys.executable, "-m", "trine.cli", "runs", "tail", run.id, "-f", "-w", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().endswith("loss 1\n")
        run.log("loss", 2)
        assert process.stdout.readline().endswith("loss 2\n")
        run.log("loss", 3)
    with process.stdout:
        assert process.stdout.read().splitlines()[-1] == "live-1 ✓ finished"
    assert process.wait() == 0


def test_runs_are_ended_removed_and_restored(say: Say) -> None:
    run = trine.run("lost")
    assert "is killed" in say("end", "lost-1", "--reason", "gone")
    assert tracking.get_run(run).reason == "gone"
    run.finish()
    assert tracking.get_run(run).state == "killed"
    assert "Removed lost-1" in say("rm", "lost-1", "--yes")
    assert "No runs yet" in say("ls")
    assert "is back" in say("restore", run.id)
    assert "lost-1" in say("ls")
