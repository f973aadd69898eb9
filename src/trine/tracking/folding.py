"""Folding: points into the ledger, as one row of summary per metric and column chunks that grow together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, tuple_

from trine.ledger import upsert
from trine.tracking import series
from trine.tracking.tables import run_metric, run_points
from trine.workspace import Workspace

LARGEST_CHUNK = 4_096
"""Points at which a chunk is left as it is; smaller ones are merged with what comes after."""


def fold(ws: Workspace, id: str, points: dict[str, series.Points]) -> None:
    """Add points to a run: to the summary of each metric and to its chunks. Inside an operation."""
    keys = list(points)
    for first in range(0, len(keys), 500):
        some = keys[first : first + 500]
        query = select(run_metric).where(run_metric.c.run == id, run_metric.c.key.in_(some))
        known = {row["key"]: dict(row) for row in ws.tx.execute(query).mappings()}
        summaries: list[dict[str, Any]] = []
        for key in some:
            fresh = series.summarise(points[key])
            summaries.append({"run": id, "key": key, **(series.merge(known[key], fresh) if key in known else fresh)})
        _write_chunks(ws, id, {key: (known[key]["points"] if key in known else 0, points[key]) for key in some})
        ws.tx.execute(upsert(run_metric), summaries)


def _write_chunks(ws: Workspace, id: str, fresh: dict[str, tuple[int, series.Points]]) -> None:
    """Append points, merging them with the small chunks before them, so that a chunk holds at least as many points as all
    smaller ones after it: a series has O(log n) small chunks, and a point is rewritten O(log n) times."""
    tx = ws.tx
    mine = run_points.c.run == id
    query = select(run_points.c.key, run_points.c.start, run_points.c.points).where(
        mine, run_points.c.key.in_(list(fresh)), run_points.c.points < LARGEST_CHUNK
    )
    small: dict[str, list[tuple[int, int]]] = {}
    for row in tx.all(query.order_by(run_points.c.key, run_points.c.start)):
        small.setdefault(row.key, []).append((row.start, row.points))
    merged: list[tuple[str, int]] = []
    for key, (start, points) in fresh.items():
        size, tail = len(points.values), small.get(key, [])
        while tail and tail[-1][0] + tail[-1][1] == start and tail[-1][1] <= size and size < LARGEST_CHUNK:
            start, count = tail.pop()
            size += count
            merged.append((key, start))
    parts: dict[str, list[tuple[int, series.Points]]] = {}
    for first in range(0, len(merged), 500):
        which = mine & tuple_(run_points.c.key, run_points.c.start).in_(merged[first : first + 500])
        for row in tx.all(select(run_points).where(which)):
            parts.setdefault(row.key, []).append((row.start, series.decode(row.data)))
        tx.execute(delete(run_points).where(which))
    rows: list[dict[str, Any]] = []
    for key, (start, points) in fresh.items():
        pieces = sorted([*parts.get(key, []), (start, points)], key=lambda part: part[0])
        whole = series.join([part for _, part in pieces])
        row = {"run": id, "key": key, "start": pieces[0][0], "points": len(whole.values), "data": series.encode(whole)}
        rows.append(row)
    if rows:
        tx.execute(insert(run_points), rows)
