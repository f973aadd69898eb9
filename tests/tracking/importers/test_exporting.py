"""Moving out, and in again: what was exported is what was here."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import mlflow_sources
import polars as pl
import pytest
from click.testing import CliRunner

import trine
from trine import models, tracking
from trine.cli import main
from trine.errors import Conflict
from trine.models.exporting import export_models
from trine.models.importing import move_models_in
from trine.tracking import logged_models
from trine.tracking.experiment import find_experiment
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


def test_what_came_from_mlflow_goes_out_whole(ws: Workspace, tmp_path: Path) -> None:
    source = open_source("mlflow", str(mlflow_sources.database(tmp_path)))
    move_in(source, ws=ws)
    move_models_in(source, ws=ws)
    export_runs("mlflow", tmp_path / "out", ws=ws)
    told = export_models(tmp_path / "out", ws=ws)
    assert (told.models, told.versions, told.files) == (1, 3, 6)
    with connect(tmp_path / "fresh") as fresh, using(fresh):
        back = open_source("mlflow", str(tmp_path / "out"))
        report = move_in(back)
        assert (report.runs, report.models, report.points, report.problems) == (2, 1, 1_004, [])
        registry = move_models_in(back)
        assert (registry.added, registry.stages, registry.problems) == (3, 2, [])
        for ref in ("churn@champion", "churn@2", "churn@4"):
            here, there = models.resolve(ref), models.resolve(ref, ws=ws)
            assert (here.artifact, here.stage, here.tags, here.run) == (
                there.artifact,
                there.stage,
                there.tags,
                there.run,
            )
        links = logged_models.list_links(fresh, runs=[mlflow_sources.PARENT])
        assert links == logged_models.list_links(ws, runs=[mlflow_sources.PARENT])
        assert find_experiment(fresh, name="churn").tags == {"owner": "ana"}


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
    assert told.exit_code == 0 and json.loads(told.stdout)["runs"]["runs"] == 0
    assert pl.read_parquet(tmp_path / "new" / "metrics.parquet").height == 0
    assert CliRunner().invoke(main, words).exit_code == 5
