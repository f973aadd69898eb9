"""Moving in from Neptune: tables in the schema of its exporter, and the files beside them."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trine import tracking
from trine.errors import InvalidInput, NotFound
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

START = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
MOMENT = pl.Datetime("ms", "UTC")
SCHEMA: dict[str, Any] = {
    "project_id": pl.String,
    "run_id": pl.String,
    "attribute_path": pl.String,
    "attribute_type": pl.String,
    "step": pl.Decimal(18, 6),
    "timestamp": MOMENT,
    "int_value": pl.Int64,
    "float_value": pl.Float64,
    "string_value": pl.String,
    "bool_value": pl.Boolean,
    "datetime_value": MOMENT,
    "string_set_value": pl.List(pl.String),
    "file_value": pl.Struct({"path": pl.String}),
    "histogram_value": pl.Struct({"type": pl.String, "edges": pl.List(pl.Float64), "values": pl.List(pl.Float64)}),
}


def table(path: Path, id: str, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = [dict.fromkeys(SCHEMA) | {"project_id": "team/churn", "run_id": id} | row for row in rows]
    pl.DataFrame(whole, schema=SCHEMA).write_parquet(path)


def fact(path: str, kind: str, value: Any) -> dict[str, Any]:
    column = {"file": "file_value", "artifact": "file_value"}.get(kind, f"{kind}_value")
    return {"attribute_path": path, "attribute_type": kind, column: value}


def point(path: str, step: float, value: float, kind: str = "float") -> dict[str, Any]:
    where = {"step": Decimal(str(step)), "timestamp": START + dt.timedelta(seconds=step)}
    return {"attribute_path": path, "attribute_type": f"{kind}_series", f"{kind}_value": value} | where


def export(root: Path) -> Path:
    losses = [point("metrics/loss", step, 1 / (step + 1)) for step in range(50)]
    table(
        root / "data" / "churn" / "RUN-1_part_0.parquet",
        "RUN-1",
        fact("sys/name", "string", "first"),
        fact("sys/creation_time", "datetime", START),
        fact("sys/tags", "string_set", ["best"]),
        fact("sys/owner", "string", "ana"),
        fact("params/lr", "float", 0.1),
        fact("params/depth", "int", 3),
        fact("params/fast", "bool", True),
        fact("notes", "file", {"path": "churn/RUN-1/notes.txt"}),
        fact("gone", "file", {"path": "churn/RUN-1/gone.txt"}),
        fact("sly", "file", {"path": "../../../../etc/hostname"}),
        point("said", 3, "hello", "string"),  # type: ignore[arg-type]
        *losses[:30],
    )
    table(root / "data" / "churn" / "RUN-1_part_1.parquet", "RUN-1", *losses[30:], point("metrics/odd", 0, math.nan))
    broken = [point("loss", step / 4, step) for step in range(3)]
    forked = fact("sys/forking/parent", "string", "RUN-1")
    table(root / "data" / "churn" / "RUN-2_part_0.parquet", "RUN-2", fact("sys/failed", "bool", True), forked, *broken)
    notes = root / "files" / "churn" / "RUN-1" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("hello")
    return root


def test_attributes_series_files_and_forks(ws: Workspace, tmp_path: Path) -> None:
    source = open_source("neptune", str(export(tmp_path / "export")))
    report = move_in(source, ws=ws)
    assert (report.runs, report.nested, report.points, report.artifacts) == (2, 1, 54, 2)
    assert report.checksum == report.source_checksum
    assert [one.split(" is ")[0] for one in report.problems] == [
        "File churn/RUN-1/gone.txt",
        "File ../../../../etc/hostname",
    ]
    first, forked = sorted(tracking.search(ws=ws), key=lambda run: run.tags["neptune.id"])
    assert (first.name, first.author, first.state) == ("first", "ana", "finished")
    assert first.params == {"params/depth": "3", "params/fast": "true", "params/lr": "0.1"}
    assert "best" in first.tags and first.started_us == int(START.timestamp() * 1e6)
    loss = tracking.history(first, "metrics/loss", ws=ws)
    assert loss["step"].to_list() == list(range(50)) and loss["value"].to_list() == [
        1 / (step + 1) for step in range(50)
    ]
    assert tracking.read_artifact(first, "notes.txt", ws=ws) == b"hello"
    assert json.loads(tracking.read_artifact(first, "said.jsonl", ws=ws))["value"] == "hello"
    assert (forked.state, forked.parent, forked.tags["neptune.steps_times"]) == ("failed", first.id, "100")
    assert tracking.history(forked, "loss", ws=ws)["step"].to_list() == [0, 25, 50]
    assert move_in(source, ws=ws).unchanged == 2


def test_what_is_no_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no Parquet file"):
        open_source("neptune", str(tmp_path))
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(InvalidInput, match="no table of neptune-exporter"):
        open_source("neptune", str(tmp_path))
