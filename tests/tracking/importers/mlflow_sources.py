"""What MLflow would have left behind, made without MLflow: a database in its schema, and an `mlruns` folder."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

PARENT, CHILD, GONE = (
    "265d5190ab7e47bc9291cb3ecfa926a9",
    "3f47e10a7b7b484b800f8e8b86f6969e",
    "31f25702d3fc4b6da9e673b79d2886f7",
)
MADE = "m-fb233cc7cbcd43be85ba54fbd65744d7"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
START = 1_795_590_083_584

SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256), artifact_location VARCHAR(256),
    lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT);
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), source_type VARCHAR(20), user_id VARCHAR(256),
    status VARCHAR(9), start_time BIGINT, end_time BIGINT, lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200),
    experiment_id INTEGER, deleted_time BIGINT);
CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32), PRIMARY KEY (key, run_uuid));
CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32), PRIMARY KEY (key, run_uuid));
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT, is_nan BOOLEAN,
    PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE TABLE datasets (dataset_uuid VARCHAR(36), experiment_id INTEGER, name VARCHAR(500), digest VARCHAR(36),
    dataset_source_type VARCHAR(36), dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT);
CREATE TABLE inputs (input_uuid VARCHAR(36), source_type VARCHAR(36), source_id VARCHAR(36), destination_type VARCHAR(36),
    destination_id VARCHAR(36), step BIGINT);
CREATE TABLE input_tags (input_uuid VARCHAR(36), name VARCHAR(255), value VARCHAR(500));
CREATE TABLE experiment_tags (key VARCHAR(250), value TEXT, experiment_id INTEGER);
CREATE TABLE logged_models (model_id VARCHAR(36) PRIMARY KEY, experiment_id INTEGER, name VARCHAR(500),
    artifact_location VARCHAR(1000), creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT, status INTEGER,
    lifecycle_stage VARCHAR(32), model_type VARCHAR(500), source_run_id VARCHAR(32), status_message VARCHAR(1000));
CREATE TABLE logged_model_params (model_id VARCHAR(36), experiment_id INTEGER, param_key VARCHAR(255), param_value TEXT);
CREATE TABLE registered_models (name VARCHAR(256) PRIMARY KEY, creation_time BIGINT, last_updated_time BIGINT,
    description VARCHAR(5000));
CREATE TABLE registered_model_tags (key VARCHAR(250), value VARCHAR(5000), name VARCHAR(256));
CREATE TABLE registered_model_aliases (alias VARCHAR(256), version INTEGER, name VARCHAR(256));
CREATE TABLE model_versions (name VARCHAR(256), version INTEGER, creation_time BIGINT, last_updated_time BIGINT,
    description VARCHAR(5000), user_id VARCHAR(256), current_stage VARCHAR(20), source VARCHAR(500), run_id VARCHAR(32),
    status VARCHAR(20), storage_location VARCHAR(500));
CREATE TABLE model_version_tags (key VARCHAR(250), value TEXT, name VARCHAR(256), version INTEGER);
"""

MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.xgboost, python_version: 3.11.7}
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


def database(folder: Path) -> Path:
    """A tracking database with a run, its child, a deleted run, and a registered model with two versions."""
    path = folder / "mlflow.db"
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        where = f"{folder}/mlruns/1"
        db.execute("INSERT INTO experiments VALUES (1, 'churn', ?, 'active', ?, ?)", (where, START, START))
        for id, name, status, stage, at in (
            (PARENT, "parent", "FINISHED", "active", 0),
            (CHILD, "child", "RUNNING", "active", 10),
            (GONE, "gone", "KILLED", "deleted", 20),
        ):
            end = None if status == "RUNNING" else START + 5_000
            row = (id, name, "LOCAL", "ana", status, START + at, end, stage, f"{where}/{id}/artifacts", 1, None)
            db.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
        db.executemany("INSERT INTO params VALUES (?,?,?)", [("lr", "0.1", PARENT), ("depth", "3", PARENT)])
        tags = [
            ("team", "red", PARENT),
            ("mlflow.parentRunId", PARENT, CHILD),
            ("mlflow.source.git.commit", COMMIT, PARENT),
        ]
        db.executemany("INSERT INTO tags VALUES (?,?,?)", tags)
        points = [("loss", 1 / (step + 1), START + step, PARENT, step, 0) for step in range(1_000)]
        points += [("odd", 0.0, START, PARENT, 0, 1), ("odd", 1.7976931348623157e308, START + 1, PARENT, 1, 0)]
        points += [("odd", -1.7976931348623157e308, START + 2, PARENT, 2, 0), ("val/auc", 0.9, START, CHILD, -3, 0)]
        db.executemany("INSERT INTO metrics VALUES (?,?,?,?,?,?)", points)
        db.execute("INSERT INTO datasets VALUES ('d1', 1, 'iris', '4fb5574f', 'local', '{}', '{}', '{}')")
        db.execute("INSERT INTO inputs VALUES ('i1', 'DATASET', 'd1', 'RUN', ?, 0)", (PARENT,))
        db.execute("INSERT INTO input_tags VALUES ('i1', 'mlflow.data.context', 'training')")
        db.execute("INSERT INTO experiment_tags VALUES ('owner', 'ana', 1)")
        place = f"{where}/models/{MADE}/artifacts"
        row = (MADE, 1, "forest", place, START + 9, START + 10, 2, "active", None, PARENT, None)
        db.execute("INSERT INTO logged_models VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
        db.execute("INSERT INTO logged_model_params VALUES (?, 1, 'depth', '3')", (MADE,))
        db.execute("INSERT INTO registered_models VALUES ('churn', ?, ?, 'who leaves')", (START, START))
        db.execute("INSERT INTO registered_model_tags VALUES ('owner', 'ana', 'churn')")
        db.execute("INSERT INTO registered_model_aliases VALUES ('champion', 1, 'churn')")
        for version, stage in ((1, "Production"), (2, "None"), (4, "Production")):
            row = (
                "churn",
                version,
                START + version,
                START,
                None,
                "ana",
                stage,
                f"runs:/{PARENT}/model",
                PARENT,
                "READY",
                None,
            )
            db.execute("INSERT INTO model_versions VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
        db.execute("INSERT INTO model_version_tags VALUES ('checked', 'yes', 'churn', 2)")
    files = folder / "mlruns" / "1" / PARENT / "artifacts"
    (files / "model").mkdir(parents=True)
    (files / "model" / "MLmodel").write_text(MLMODEL)
    (files / "model" / "model.ubj").write_bytes(b"\x00\x01\x02")
    (files / "notes.txt").write_text("hello")
    made = folder / "mlruns" / "1" / "models" / MADE / "artifacts"
    made.mkdir(parents=True)
    (made / "MLmodel").write_text(MLMODEL)
    return path


def more_points(path: Path) -> None:
    """The child goes on, and ends."""
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO metrics VALUES ('val/auc', 0.95, ?, ?, 4, 0)", (START + 100, CHILD))
        db.execute("UPDATE runs SET status = 'FINISHED', end_time = ? WHERE run_uuid = ?", (START + 9_000, CHILD))


def another_model_file(path: Path) -> None:
    """The parent's model gets one more file."""
    (path.parent / "mlruns" / "1" / "models" / MADE / "artifacts" / "more.bin").write_bytes(b"more")


def many_points(path: Path, runs: int, points: int) -> None:
    """More runs, each with two metrics of so many points."""
    with sqlite3.connect(path) as db:
        for number in range(runs):
            id = f"{number:032x}"
            db.execute(
                "INSERT INTO runs SELECT ?, ?, source_type, user_id, status, start_time + 1000 + ?, end_time, "
                "lifecycle_stage, ?, 1, NULL FROM runs WHERE run_uuid = ?",
                (id, f"more-{number}", number, f"{path.parent}/mlruns/1/{id}/artifacts", PARENT),
            )
            for key in ("a", "b"):
                rows = ((key, step / 7, START + step, id, step, 0) for step in range(points))
                db.executemany("INSERT INTO metrics VALUES (?,?,?,?,?,?)", rows)


def folder_of_runs(folder: Path) -> Path:
    """An `mlruns` folder with the same parent and child, and one version of a model."""
    root = folder / "mlruns"
    experiment = root / "842293277997576980"
    _yaml(experiment / "meta.yaml", experiment_id="842293277997576980", name="churn", lifecycle_stage="active")
    for id, name, status in ((PARENT, "parent", 3), (CHILD, "child", 4)):
        run = experiment / id
        about = {"run_id": id, "run_name": name, "status": status, "user_id": "ana", "lifecycle_stage": "active"}
        _yaml(
            run / "meta.yaml",
            **about,
            start_time=START,
            end_time=START + 5_000,
            artifact_uri=f"file:///gone/{id}/artifacts",
        )
    parent, child = experiment / PARENT, experiment / CHILD
    _text(parent / "params" / "lr", "0.1")
    _text(parent / "tags" / "team", "red")
    _text(child / "tags" / "mlflow.parentRunId", PARENT)
    _text(parent / "metrics" / "loss", "".join(f"{START + step} {1 / (step + 1)!r} {step}\n" for step in range(100)))
    _text(child / "metrics" / "val" / "auc", f"{START} nan 0\n{START + 1} inf -1\n")
    _text(parent / "artifacts" / "model" / "MLmodel", MLMODEL)
    _yaml(root / "models" / "churn" / "meta.yaml", name="churn", creation_timestamp=START, aliases={"champion": "1"})
    about = {"name": "churn", "version": 1, "creation_timestamp": START, "run_id": PARENT, "current_stage": "Staging"}
    _yaml(root / "models" / "churn" / "version-1" / "meta.yaml", **about, source=f"runs:/{PARENT}/model")
    return root


def _yaml(path: Path, **values: object) -> None:
    _text(path, "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items()))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
