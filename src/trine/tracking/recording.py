"""What of a run is written to the ledger as it is made, by the door's operations on runs and on imports."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import insert, select

from trine.ledger import upsert
from trine.tracking.tables import experiment, run
from trine.workspace import Workspace


def experiment_of(ws: Workspace, name: str) -> int:
    """The experiment of a name; made when it is new."""
    tx = ws.tx
    query = select(experiment.c.id).where(experiment.c.project == ws.project, experiment.c.name == name)
    if (known := tx.scalar(query)) is None:
        tx.execute(insert(experiment).values(project=ws.project, name=name, created_us=tx.now_us))
        known = tx.scalar(query)
    return known


def add_run(ws: Workspace, **facts: Any) -> dict[str, Any]:
    """Make a run; gives its row."""
    values = run_row(ws, **facts)
    ws.tx.execute(insert(run).values(values))
    return values


def run_row(ws: Workspace, **facts: Any) -> dict[str, Any]:
    """The row of a run: what is not given is as in one that has just begun."""
    return {
        "project": ws.project,
        "state": "running",
        "reason": "",
        "parent": None,
        "session": "",
        "code": None,
        "environment": "",
        "context": "{}",
        "lost": 0,
        **facts,
    }


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def write_texts(ws: Workspace, table: Any, id: str, texts: dict[str, str]) -> None:
    """Set params or tags of a run."""
    if rows := text_rows(id, texts):
        ws.tx.execute(upsert(table), rows)


def text_rows(id: str, texts: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of a run's params or tags."""
    return [
        {"run": id, "key": key, "value": value, "number": float(value) if _NUMBER.fullmatch(value) else None}
        for key, value in texts.items()
    ]
