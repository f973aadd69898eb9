"""Moving out, and in again: what was exported is what was here."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import trine
from trine import tracking
from trine.cli import main
from trine.errors import Conflict
from trine.tracking.exporting import export_runs
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace, connect, using


def make_runs() -> str:
    with trine.run("churn", name="parent", params={"lr": 0.1, "a/b": "x"}, tags={"a": "y"}, capture=False) as run:
        run.log_batch("loss", [3.0, math.nan, math.inf, -math.inf], steps=[0, 1, 2, -3])
        run.log("loss/val", 1.0)
        run.log_text("hello", "notes/a.txt")
        with trine.run(capture=False) as child:
            child.log("alone", 7)
    with trine.run("other", capture=False):
        pass
    return run.id


def test_a_folder_for_mlflow_comes_back_as_it_was(ws: Workspace, tmp_path: Path) -> None:
    id = make_runs()
    told = export_runs("mlflow", tmp_path / "mlruns", ws=ws)
    assert (told.runs, told.points, told.artifacts) == (3, 6, 1)
    with connect(tmp_path / "fresh") as fresh, using(fresh):
        report = move_in(open_source("mlflow", str(tmp_path / "mlruns")))
        assert (report.runs, report.points, report.nested, report.problems) == (3, 6, 1, [])
        one, was = tracking.get_run(id), tracking.get_run(id, ws=ws)
        assert (one.name, one.state, one.experiment, one.params) == (was.name, was.state, was.experiment, was.params)
        assert one.tags["a"] == "y" and one.started_us == was.started_us // 1_000 * 1_000
        for key in was.metrics.keys() - {"loss/val"}:
            here, there = tracking.history(one, key), tracking.history(was, key, ws=ws)
            assert repr(here["value"].to_list()) == repr(there["value"].to_list())
            assert here["step"].to_list() == there["step"].to_list()
        assert tracking.read_artifact(one, "notes/a.txt") == b"hello"


def test_parquet_tables_hold_everything(ws: Workspace, tmp_path: Path) -> None:
    id = make_runs()
    told = export_runs("parquet", tmp_path / "out", "experiment = 'churn'", ws=ws)
    assert (told.runs, told.points, told.artifacts) == (2, 6, 1)
    runs = pl.read_parquet(tmp_path / "out" / "runs.parquet")
    assert runs.filter(pl.col("parent") == id).height == 1 and runs["started"].dtype == pl.Datetime("us", "UTC")
    assert runs["started"].max() <= dt.datetime.now(dt.UTC)  # type: ignore[operator]
    points = pl.read_parquet(tmp_path / "out" / "points" / "*.parquet").filter(pl.col("key") == "loss")
    assert points["step"].to_list() == [0, 1, 2, -3] and math.isnan(points["value"][1])
    params = pl.read_parquet(tmp_path / "out" / "params.parquet")
    assert sorted(params["key"]) == ["a/b", "lr"]
    assert (tmp_path / "out" / "artifacts" / id / "notes" / "a.txt").read_text() == "hello"


def test_an_export_never_writes_among_other_files(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(Conflict, match="not empty"):
        export_runs("parquet", tmp_path / "out")
    words = ["export", "parquet", str(tmp_path / "new"), "--workspace", local_ws.location]
    told = CliRunner().invoke(main, [*words, "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout)["runs"] == 0
    assert pl.read_parquet(tmp_path / "new" / "metrics.parquet").height == 0
    assert CliRunner().invoke(main, words).exit_code == 5
