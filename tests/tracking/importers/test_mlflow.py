"""Moving in from MLflow: databases and folders, runs and registry; twice, interrupted, and after changes on either side."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import mlflow_sources as made
import pytest
from click.testing import CliRunner
from mlflow_sources import CHILD, COMMIT, GONE, MADE, PARENT, START

import trine
from trine import models, tracking
from trine.cli import main
from trine.errors import InvalidInput, NotFound
from trine.models.importing import move_models_in
from trine.tracking import logged_models
from trine.tracking.experiment import find_experiment
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.tracking.importing import list_imports
from trine.workspace import Workspace, connect


def test_runs_of_a_database_are_here_as_they_were_there(ws: Workspace, tmp_path: Path) -> None:
    report = move_in(open_source("mlflow", f"sqlite:///{made.database(tmp_path)}"), ws=ws)
    assert (report.runs, report.added, report.nested, report.points, report.artifacts) == (3, 3, 1, 1_004, 4)
    assert report.checksum == report.source_checksum and not report.problems
    one = tracking.get_run(PARENT, ws=ws)
    assert (one.experiment, one.name, one.state, one.author) == ("churn", "parent", "finished", "ana")
    assert (one.started_us, one.ended_us) == (START * 1_000, (START + 5_000) * 1_000)
    assert one.params == {"depth": "3", "lr": "0.1"} and one.tags["team"] == "red"
    assert one.code == f"code:{COMMIT}" and one.inputs == ["dataset:iris@4fb5574f"]
    loss = tracking.history(one, "loss", ws=ws)
    assert loss["step"].to_list() == list(range(1_000))
    assert loss["value"].to_list() == [1 / (step + 1) for step in range(1_000)]
    odd = tracking.history(one, "odd", ws=ws)["value"].to_list()
    assert math.isnan(odd[0]) and odd[1:] == [math.inf, -math.inf]
    assert tracking.read_artifact(one, "notes.txt", ws=ws) == b"hello"
    model = logged_models.get_logged_model(ws, id=MADE)
    assert (model.name, model.run, model.params, model.created_us) == (
        "forest",
        PARENT,
        {"depth": "3"},
        (START + 9) * 1_000,
    )
    assert [file.path for file in logged_models.list_model_files(ws, id=MADE)] == ["MLmodel"]
    assert model.node in one.outputs
    links = logged_models.list_links(ws, runs=[PARENT])[0]
    assert links.inputs[0].tags == {"mlflow.data.context": "training"}
    about = find_experiment(ws, name="churn")
    assert about.tags == {"owner": "ana"} and about.created_us == START * 1_000
    child = tracking.get_run(CHILD, ws=ws)
    assert (child.parent, child.state, child.ended_us) == (PARENT, "running", None)
    assert child.metrics["val/auc"].last_step == -3
    gone = tracking.get_run(GONE, ws=ws)
    assert gone.deleted_us is not None and gone.state == "killed"
    assert [one.id for one in tracking.search("params.lr = '0.1'", ws=ws)] == [PARENT]


def test_a_second_import_writes_nothing(ws: Workspace, tmp_path: Path) -> None:
    source = open_source("mlflow", str(made.database(tmp_path)))
    first = move_in(source, ws=ws)
    models_first = move_models_in(source, ws=ws)
    seen = [(one.id, one.metrics) for one in tracking.search(ws=ws)]
    again = move_in(source, ws=ws)
    models_again = move_models_in(source, ws=ws)
    assert (again.added, again.updated, again.unchanged, again.points_moved) == (0, 0, 3, 0)
    assert again.checksum == first.checksum
    assert (models_again.added, models_again.unchanged, models_again.aliases_moved) == (0, 3, 0)
    assert models_again.checksum == models_first.checksum
    assert repr([(one.id, one.metrics) for one in tracking.search(ws=ws)]) == repr(seen)  # NaN is not equal to itself


def test_what_went_on_there_is_brought_up_to_date(ws: Workspace, tmp_path: Path) -> None:
    path = made.database(tmp_path)
    move_in(open_source("mlflow", str(path)), ws=ws)
    made.more_points(path)
    made.another_model_file(path)
    report = move_in(open_source("mlflow", str(path)), ws=ws)
    assert (report.added, report.updated, report.unchanged) == (0, 2, 1)
    assert len(logged_models.list_model_files(ws, id=MADE)) == 2
    child = tracking.get_run(CHILD, ws=ws)
    assert child.state == "finished" and child.metrics["val/auc"].count == 2 and child.metrics["val/auc"].last == 0.95


def test_what_was_changed_here_and_what_was_not_imported_is_left_alone(ws: Workspace, tmp_path: Path) -> None:
    from trine.tracking import operations as door

    path = made.database(tmp_path)
    door.create_run(ws, id=GONE, name="mine")
    report = move_in(open_source("mlflow", str(path)), ws=ws)
    assert report.kept == [GONE] and report.added == 2
    door.set_tags(ws, id=CHILD, tags={"mine": "yes"})
    made.more_points(path)
    again = move_in(open_source("mlflow", str(path)), ws=ws)
    assert (again.kept, again.changed, again.updated) == ([GONE], [CHILD], 0)
    assert again.checksum == again.source_checksum
    assert tracking.get_run(CHILD, ws=ws).metrics["val/auc"].count == 1
    assert tracking.get_run(GONE, ws=ws).name == "mine"


def test_the_registry_keeps_numbers_times_tags_aliases_and_stages(ws: Workspace, tmp_path: Path) -> None:
    from trine.models import operations as door

    source = open_source("mlflow", str(made.database(tmp_path)))
    move_in(source, ws=ws)
    report = move_models_in(source, ws=ws)
    assert (report.models, report.versions, report.aliases, report.stages, report.files) == (1, 3, 1, 2, 6)
    first = models.resolve("churn@champion", ws=ws)
    assert (first.version, first.run, first.created_us, first.author) == (1, PARENT, (START + 1) * 1_000, "ana")
    assert [one.name for one in first.signature.inputs] == ["a", "b"] and not first.signature.inputs[1].required
    assert first.flavor == "mlflow" and first.pickled
    assert [models.resolve(f"churn@{number}", ws=ws).stage for number in (1, 2, 4)] == ["Production", "", "Production"]
    assert models.resolve("churn@2", ws=ws).tags == {"checked": "yes"}
    assert first.node in tracking.get_run(PARENT, ws=ws).outputs
    door.delete_version(ws, name="churn", version=4)
    door.set_stage(ws, name="churn", version=1, stage="")
    models.promote("churn", 2, alias="champion", ws=ws)  # a move made here stays
    again = move_models_in(source, ws=ws)
    assert again.kept == ["churn@4", "churn@champion"] and models.resolve("churn@champion", ws=ws).version == 2
    assert models.resolve("churn@1", ws=ws).stage == ""


def test_an_mlruns_folder_gives_runs_files_and_models(local_ws: Workspace, tmp_path: Path) -> None:
    source = open_source("mlflow", str(made.folder_of_runs(tmp_path).parent))
    report = move_in(source)
    assert (report.runs, report.nested, report.points, report.artifacts, report.problems) == (2, 1, 102, 1, [])
    child = tracking.get_run(CHILD)
    assert child.state == "failed" and child.parent == PARENT
    values = tracking.history(child, "val/auc")
    assert values["step"].to_list() == [-1, 0] and values["value"].to_list()[0] == math.inf
    assert tracking.get_run(PARENT).metrics["loss"].count == 100
    move_models_in(source)
    version = models.resolve("churn@champion")
    assert version.run == PARENT and version.stage == "Staging" and version.size_bytes > 0
    assert move_in(source).unchanged == 2


def test_two_imports_at_once_are_one(folder: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = made.database(tmp_path)
    made.many_points(path, 10, 500)

    def work(_: int) -> tuple[str, int]:
        with connect(folder) as ws:
            report = move_in(open_source("mlflow", str(path)), ws=ws)
            return report.checksum, report.points

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(work, range(3)))) == 1
    with connect(folder) as ws:
        assert sum(one.taken for one in list_imports(ws).items) == 11_004


DIES = """
import os, signal, sys
from trine.tracking import importing
from trine.tracking.importers import open_source, writer
from trine.workspace import connect
writer.POINTS = 1_000
calls, real = 0, importing._Taking.take
def dying(*arguments):
    global calls
    calls += 1
    found = real(*arguments)
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
importing._Taking.take = dying
with connect(sys.argv[1]) as ws:
    writer.move_in(open_source("mlflow", sys.argv[2]), ws=ws)
"""


def test_an_import_that_was_killed_goes_on(folder: Path, tmp_path: Path) -> None:
    path = made.database(tmp_path)
    made.many_points(path, 2, 1_500)
    dead = subprocess.run([sys.executable, "-c", DIES, str(folder), str(path), "4"])
    assert dead.returncode == -signal.SIGKILL
    with connect(folder) as ws:
        before = {one.run: one.taken for one in list_imports(ws).items}
        assert 0 < sum(before.values()) < 7_004
        report = move_in(open_source("mlflow", str(path)), ws=ws)
        assert report.points == 7_004 and report.points_moved == 7_004 - sum(before.values())
        assert report.checksum == report.source_checksum
        for one in tracking.search(ws=ws, limit=100):
            assert one.name.startswith("more") is (set(one.metrics) == {"a", "b"})
            assert all(line.count == 1_500 for key, line in one.metrics.items() if key in "ab")
        clean = folder / "clean"
    with connect(clean) as ws:
        assert move_in(open_source("mlflow", str(path)), ws=ws).checksum == report.checksum


def test_a_postgresql_database_is_read_like_one_of_sqlite(
    local_ws: Workspace, tmp_path: Path, postgres_url: str
) -> None:
    import sqlite3

    import psycopg

    path = made.database(tmp_path)
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as there, sqlite3.connect(path) as here:
        there.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        there.execute(made.SCHEMA.replace("FLOAT", "DOUBLE PRECISION"))  # type: ignore[arg-type]
        for (table,) in here.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = here.execute(f"SELECT * FROM {table}")
            names = [one[0] for one in cursor.description]
            rows = [
                [bool(value) if name == "is_nan" else value for name, value in zip(names, row, strict=True)]
                for row in cursor
            ]
            marks = ", ".join(["%s"] * len(names))
            with there.cursor() as writing:
                writing.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # type: ignore[arg-type]
    first = move_in(open_source("mlflow", str(path)))
    again = move_in(open_source("mlflow", postgres_url.replace("+psycopg", "")))
    assert again.unchanged == 3 and again.checksum == first.checksum
    assert "password" not in again.location


def test_long_texts_and_odd_names_are_kept_whole_in_a_file(local_ws: Workspace, tmp_path: Path) -> None:
    import sqlite3

    path = made.database(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO params VALUES ('prompt', ?, ?)", ("x" * 7_000, PARENT))
        db.execute("INSERT INTO tags VALUES (?, 'v', ?)", ("k" * 300, PARENT))
        db.execute("INSERT INTO metrics VALUES ('a\tb', 1, ?, ?, 0, 0)", (START, PARENT))
    report = move_in(open_source("mlflow", str(path)))
    assert report.cut == 3 and report.checksum == report.source_checksum
    one = tracking.get_run(PARENT)
    assert len(one.params["prompt"]) == 6_000 and any(key.startswith("a b~") for key in one.metrics)
    whole = json.loads(tracking.read_artifact(one, "imported/params.json"))
    assert whole == {"prompt": "x" * 7_000}
    assert json.loads(tracking.read_artifact(one, "imported/tags.json")) == {"k" * 300: "v"}


def test_files_that_are_gone_are_said_and_can_be_named(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = made.database(tmp_path / "a")
    (tmp_path / "a" / "mlruns").rename(tmp_path / "elsewhere")
    report = move_in(open_source("mlflow", str(path)))
    assert report.artifacts == 0 and "--artifacts" in report.problems[0]
    again = move_in(open_source("mlflow", str(path), {"artifacts": str(tmp_path / "elsewhere")}))
    assert (again.updated, again.artifacts, again.problems) == (1, 4, [])


@pytest.mark.parametrize(
    ("where", "error"),
    [("nothing-here", NotFound), ("sqlite:///nothing.db", NotFound), ("ftp://x/y", InvalidInput), (".", NotFound)],
)
def test_what_is_no_mlflow_is_said(
    where: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=r"mlruns|database|there|server"):
        open_source("mlflow", where)


def test_the_command_reports_counts_and_a_checksum(local_ws: Workspace, tmp_path: Path) -> None:
    path = str(made.database(tmp_path))
    words = ["import", "mlflow", path, "--workspace", local_ws.location]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.output
    assert (
        "3 in 1 experiment, 1 of them below another: 3 new" in told.output and "the same there and here" in told.output
    )
    answer = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert answer["runs"]["unchanged"] == 3 and answer["models"]["unchanged"] == 3
    assert answer["runs"]["checksum"] == answer["runs"]["source_checksum"]
    missing = CliRunner().invoke(main, ["import", "mlflow", "nowhere", "--workspace", local_ws.location])
    assert missing.exit_code == 3 and "nowhere is not there" in missing.output
    assert trine.tracking.get_run(PARENT).name == "parent"
