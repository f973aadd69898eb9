"""Moving in from trackio: a database in its schema."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path

import pytest

from trine import tracking
from trine.errors import NotFound
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

ID = "88a509bcf5ce48b784d1587463435e79"
DIGEST = "91e9240f415223982edc345532630710e94a7f52cd5f48f5ee1afc555078f0ab"


def project(folder: Path) -> Path:
    with sqlite3.connect(folder / "churn.db") as db:
        db.executescript("""
            CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id TEXT, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT);
            CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, run_id TEXT, timestamp TEXT, run_name TEXT, metrics TEXT);
            CREATE TABLE configs (id INTEGER PRIMARY KEY, run_id TEXT, run_name TEXT, config TEXT, created_at TEXT);
            CREATE TABLE artifacts (id INTEGER PRIMARY KEY, name TEXT);
            CREATE TABLE artifact_versions (artifact_id INTEGER, version INTEGER, manifest TEXT, producer_run_id TEXT);
        """)
        at = "2026-11-25T07:04:2{}.5+00:00"
        rows = [(step, {"loss": 1 / (step + 1), "text": "hi", "nest": {"a": step}}) for step in range(5)]
        rows.append((9, {"bad": "NaN", "inf": "-Infinity", "im": {"_type": "trackio.image", "width": 3}}))
        for step, values in rows:
            row = (ID, at.format(step), "run-0", step, json.dumps(values).encode())
            db.execute("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?,?,?,?,?)", row)
        row = (ID, at.format(0), "run-0", b'{"cpu": 7.5}')
        db.execute("INSERT INTO system_metrics (run_id, timestamp, run_name, metrics) VALUES (?,?,?,?)", row)
        config = {"lr": 0.1, "opt": {"name": "adam"}, "_Username": "ana", "_Group": "g", "_Created": at.format(0)}
        db.execute("INSERT INTO configs VALUES (1, ?, 'run-0', ?, '')", (ID, json.dumps(config).encode()))
        db.execute("INSERT INTO artifacts VALUES (1, 'mymodel')")
        manifest = json.dumps([{"path": "a.txt", "digest": DIGEST, "size": 5}])
        db.execute("INSERT INTO artifact_versions VALUES (1, 0, ?, ?)", (manifest, ID))
    blob = folder / "artifacts" / "churn" / "blobs" / "sha256" / DIGEST[:2] / DIGEST
    blob.parent.mkdir(parents=True)
    blob.write_text("hello")
    media = folder / "media" / "churn" / "run-0" / "9" / "im.png"
    media.parent.mkdir(parents=True)
    media.write_bytes(b"PNG")
    return folder


def test_a_project_is_an_experiment_and_its_runs_keep_their_ids(ws: Workspace, tmp_path: Path) -> None:
    report = move_in(open_source("trackio", str(project(tmp_path))), ws=ws)
    assert (report.runs, report.points, report.problems) == (1, 13, [])
    one = tracking.get_run(ID, ws=ws)
    assert (one.experiment, one.name, one.author, one.params) == (
        "churn",
        "run-0",
        "ana",
        {"lr": "0.1", "opt.name": "adam"},
    )
    assert one.duration_s == 9.0
    assert tracking.history(one, "nest.a", ws=ws)["value"].to_list() == [0, 1, 2, 3, 4]
    last = {key: line.last for key, line in one.metrics.items()}
    assert math.isnan(last["bad"]) and last["inf"] == -math.inf and last["system/cpu"] == 7.5 and "im.width" not in last
    assert tracking.read_artifact(one, "artifacts/mymodel/v0/a.txt", ws=ws) == b"hello"
    assert tracking.read_artifact(one, "media/9/im.png", ws=ws) == b"PNG"
    assert b'"hi"' in tracking.read_artifact(one, "imported/history.jsonl", ws=ws)
    assert move_in(open_source("trackio", str(tmp_path / "churn.db")), ws=ws).unchanged == 1


def test_what_is_no_project_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("no database at all, but long enough to look at")
    for where in (tmp_path, tmp_path / "other.db", tmp_path / "nowhere"):
        with pytest.raises(NotFound, match="no database of trackio"):
            open_source("trackio", str(where))
