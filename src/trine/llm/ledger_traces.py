"""Traces read from the ledger: by id, and a page of them at once with all that belongs to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select

from trine.errors import InvalidInput, NotFound, nearest
from trine.llm.assessment import Assessment
from trine.llm.spans import Span, read_back
from trine.llm.tables import assessment, trace, trace_part, trace_run, trace_text
from trine.llm.traces import TraceInfo, merged
from trine.tracking.tables import experiment
from trine.workspace import Workspace

AT_ONCE = 500


def row_of(ws: Workspace, id: str) -> Any:
    """The row of a trace by its id or the beginning of it (six digits or more). Raises NotFound."""
    mine = select(trace).where(trace.c.project == ws.project)
    if re.fullmatch(r"[0-9a-f]{6,31}", id):
        found = ws.tx.all(mine.where(trace.c.id >= id, trace.c.id < id + "g").limit(2))
        if len(found) > 1:
            raise InvalidInput(f'"{id}" means several traces, {found[0].id} among them. Give more digits.')
        if found:
            return found[0]
    row = ws.tx.first(mine.where(trace.c.id == id))
    if row is None:
        raise NotFound(f'No trace "{id}" in project "{ws.project}". See: trine traces ls')
    return row


def experiment_number(ws: Workspace, name: str) -> int:
    """The number of an experiment. Raises NotFound with the nearest name."""
    mine = select(experiment.c.id, experiment.c.name).where(experiment.c.project == ws.project)
    row = ws.tx.first(mine.where(experiment.c.name == name))
    if row is None:
        known = [one.name for one in ws.tx.all(mine.limit(500))]
        raise NotFound(f'No experiment "{name}" in project "{ws.project}".{nearest(name, known)}')
    return row.id


def rows_of(ws: Workspace, ids: Sequence[str]) -> dict[str, Any]:
    """The rows of those of some traces that are there, by id."""
    found: dict[str, Any] = {}
    for start in range(0, len(ids), AT_ONCE):
        some = select(trace).where(trace.c.project == ws.project, trace.c.id.in_(ids[start : start + AT_ONCE]))
        found |= {row.id: row for row in ws.tx.all(some)}
    return found


def load(ws: Workspace, rows: Sequence[Any]) -> list[TraceInfo]:
    """Traces with their tags, metadata, runs and assessments, in the order of their rows."""
    found: list[TraceInfo] = []
    for start in range(0, len(rows), AT_ONCE):
        found += _load(ws, rows[start : start + AT_ONCE])
    return found


def _load(ws: Workspace, rows: Sequence[Any]) -> list[TraceInfo]:
    numbers = [row.row for row in rows]
    texts: dict[tuple[int, str], dict[str, str]] = {}
    for one in ws.tx.all(select(trace_text).where(trace_text.c.trace.in_(numbers)).order_by(trace_text.c.key)):
        texts.setdefault((one.trace, one.kind), {})[one.key] = one.value
    runs: dict[int, list[str]] = {}
    for one in ws.tx.all(select(trace_run).where(trace_run.c.trace.in_(numbers)).order_by(trace_run.c.run)):
        runs.setdefault(one.trace, []).append(one.run)
    said: dict[int, list[Assessment]] = {}
    for one in ws.tx.all(select(assessment).where(assessment.c.trace.in_(numbers)).order_by(assessment.c.row)):
        said.setdefault(one.trace, []).append(assessment_of(one))
    groups = {row.experiment for row in rows}
    named = select(experiment.c.id, experiment.c.name).where(experiment.c.id.in_(groups))
    names = {one.id: one.name for one in ws.tx.all(named)} if groups else {}
    return [
        TraceInfo(
            experiment=names.get(row.experiment, ""),
            metadata=texts.get((row.row, "metadata"), {}),
            tags=texts.get((row.row, "tag"), {}),
            runs=runs.get(row.row, []),
            assessments=said.get(row.row, []),
            **{name: getattr(row, name) for name in _SAME},
        )
        for row in rows
    ]


_SAME = (
    "id", "name", "state", "started_us", "duration_us", "request", "response", "client_request", "session", "user",
    "spans", "size_bytes", "input_tokens", "output_tokens", "total_tokens", "cost",
)  # fmt: skip


def assessment_of(row: Any) -> Assessment:
    return msgspec.structs.replace(msgspec.json.decode(row.body, type=Assessment), valid=row.valid)


def spans_of(ws: Workspace, row: Any) -> list[Span]:
    """The spans of a trace, by the time they started. Raises Damaged."""
    return spans_of_all(ws, [row])[0]


def spans_of_all(ws: Workspace, rows: Sequence[Any]) -> list[list[Span]]:
    """The spans of some traces. Raises Damaged."""
    parts: dict[int, list[Any]] = {}
    for start in range(0, len(rows), AT_ONCE):
        some = [row.row for row in rows[start : start + AT_ONCE]]
        query = select(trace_part).where(trace_part.c.trace.in_(some))
        for one in ws.tx.all(query.order_by(trace_part.c.trace, trace_part.c.number)):
            parts.setdefault(one.trace, []).append(one)
    stored = list(dict.fromkeys(one.object for some in parts.values() for one in some if one.object))
    objects = dict(zip(stored, ws.store.get_many(stored), strict=True)) if stored else {}
    return [
        merged(
            read_back(objects[one.object] if one.object else one.data, f"trace {row.id}")
            for one in parts.get(row.row, ())
        )
        for row in rows
    ]
