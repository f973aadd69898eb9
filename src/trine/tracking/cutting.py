"""A run up to a step: what a fork begins with, and what a rewound run keeps. Inside operations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select

from trine.tracking import series
from trine.tracking.folding import fold
from trine.tracking.tables import run_metric, run_points
from trine.workspace import Workspace


def points_until(ws: Workspace, id: str, step: int | None) -> dict[str, series.Points]:
    """The points of a run at or before a step (None: all), by metric, in order of arrival."""
    parts: dict[str, list[series.Points]] = {}
    query = select(run_points.c.key, run_points.c.data).where(run_points.c.run == id)
    for row in ws.tx.all(query.order_by(run_points.c.key, run_points.c.start)):
        parts.setdefault(row.key, []).append(series.decode(row.data))
    found: dict[str, series.Points] = {}
    for key, some in parts.items():
        whole = series.join(some)
        kept = whole if step is None else whole.take(whole.steps <= step)
        if len(kept.values):
            found[key] = kept
    return found


def copy_points(ws: Workspace, source: str, target: str, step: int | None) -> int:
    """Give a new run the points of another up to a step; how many there were."""
    points = points_until(ws, source, step)
    fold(ws, target, points)
    return sum(len(one.values) for one in points.values())


def cut_points(ws: Workspace, id: str, step: int) -> int:
    """Forget the points of a run after a step; how many there were."""
    before: Any = select(run_metric.c.points).where(run_metric.c.run == id)
    had = sum(row.points for row in ws.tx.all(before))
    points = points_until(ws, id, step)
    for table in (run_points, run_metric):
        ws.tx.execute(delete(table).where(table.c.run == id))
    fold(ws, id, points)
    return had - sum(len(one.values) for one in points.values())
