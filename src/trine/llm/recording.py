"""Spans taken into the ledger, as they arrive: of one trace in any number of parts, in any order, the same ones again.

Searches and sums read rows; the spans whole are packed: a small part in its row, a large one as an object. When the root of a
trace has arrived, its parts become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from trine.ledger import upsert
from trine.llm.ledger_traces import spans_of
from trine.llm.spans import Span, Usage, pack
from trine.llm.tables import trace, trace_part, trace_run, trace_span, trace_text
from trine.llm.traces import Summary, clean, root_of, summary_of, total
from trine.workspace import Workspace

INLINE = 16_384
"""Bytes of packed spans that stand in a row of the ledger; more of them are an object of the store."""
MOST_PARTS = 16
"""Parts of a trace that wait for its root; then they become one as well."""


def take_in(ws: Workspace, spans: Sequence[Span], experiment: int, id: str) -> Any:
    """Keep spans of one trace, which is made when it is new; gives its row. Inside an operation."""
    row = find(ws, id)
    said = summary_of(spans)
    if row is None:
        row = _make(ws, id, experiment, said)
    rows = [_span_row(row.row, one) for one in {one.id: one for one in spans}.values()]
    for start in range(0, len(rows), 500):
        ws.tx.execute(upsert(trace_span), rows[start : start + 500])
    _keep(ws, row, spans, finished=root_of(spans) is not None)
    _tell(ws, row, said)
    write_texts(ws, row.row, "tag", said.tags)
    for node in said.uses:
        ws.tx.link(f"trace:{id}", "used", node)
    return find(ws, id)


def find(ws: Workspace, id: str) -> Any:
    return ws.tx.first(select(trace).where(trace.c.project == ws.project, trace.c.id == id))


def _make(ws: Workspace, id: str, experiment: int, said: Summary) -> Any:
    values = blank(ws, id, experiment, said.started_us)
    ws.tx.execute(insert(trace).values(**values))
    return find(ws, id)


def blank(ws: Workspace, id: str, experiment: int, started_us: int) -> dict[str, Any]:
    """The row of a trace of which nothing is known yet."""
    return {
        "project": ws.project, "id": id, "experiment": experiment, "name": "", "state": "running", "told": False,
        "started_us": started_us, "request": "", "response": "", "client_request": "", "session": "", "user": "",
        "spans": 0, "size_bytes": 0, "created_us": ws.tx.now_us,
    }  # fmt: skip


def _span_row(row: int, one: Span) -> dict[str, Any]:
    return {
        "trace": row,
        "id": one.id,
        "parent": one.parent,
        "name": clean(one.name),
        "type": clean(one.type),
        "state": one.state,
        "model": clean(one.model),
        "started_us": one.start_ns // 1_000,
        "duration_us": one.duration_us,
        **one.usage._asdict(),
    }


def _keep(ws: Workspace, row: Any, spans: Sequence[Span], *, finished: bool) -> None:
    """Add a part; several become one when the trace is finished, or they are many."""
    mine = trace_part.c.trace == row.row
    before = ws.tx.scalar(select(func.max(trace_part.c.number)).where(mine))
    number = 0 if before is None else before + 1
    _write(ws, row.row, number, pack(spans))
    if number and (finished or row.state != "running" or number >= MOST_PARTS):
        whole = pack(spans_of(ws, row))
        ws.tx.execute(delete(trace_part).where(mine))
        _write(ws, row.row, 0, whole)


def _write(ws: Workspace, row: int, number: int, data: bytes) -> None:
    small = len(data) <= INLINE
    object = "" if small else ws.store.put(data)
    values = {"trace": row, "number": number, "object": object, "data": data if small else None}
    ws.tx.execute(insert(trace_part).values(**values, size_bytes=len(data)))


def _tell(ws: Workspace, row: Any, said: Summary) -> None:
    """Bring a trace's row up to what its spans say; what its client told of it stays."""
    known = ws.tx.all(select(trace_span).where(trace_span.c.trace == row.row))
    size = ws.tx.scalar(select(func.sum(trace_part.c.size_bytes)).where(trace_part.c.trace == row.row))
    usage = total((one.id, one.parent, Usage(*(getattr(one, name) for name in Usage._fields))) for one in known)
    counted = {name: value for name, value in usage._asdict().items() if value is not None}
    values: dict[str, Any] = {"spans": len(known), "size_bytes": size}
    if not (row.told and row.total_tokens is not None):
        values |= counted
    if not row.told:
        values["started_us"] = started = min(one.started_us for one in known)
        ends = [one.started_us + one.duration_us for one in known if one.duration_us is not None]
        values["duration_us"] = max(ends) - started if ends else None
        if said.state:
            values["state"] = said.state
        if said.name:
            values["name"] = said.name
    elif row.state in ("running", "unknown") and said.state:
        values["state"] = said.state
    for name in ("request", "response", "session", "user", "name"):
        if not values.get(name, getattr(row, name)) and (found := getattr(said, name)):
            values[name] = found
    ws.tx.execute(update(trace).where(trace.c.row == row.row).values(**values))


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def write_texts(ws: Workspace, row: int, kind: str, texts: dict[str, str]) -> None:
    """Set tags or metadata of a trace."""
    rows = [
        {"trace": row, "kind": kind, "key": key, "value": value, "number": number_in(value)}
        for key, value in texts.items()
    ]
    if rows:
        ws.tx.execute(upsert(trace_text), rows)


def number_in(text: str) -> float | None:
    """The number that a text says, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if value - value == 0 else None


def link_run(ws: Workspace, rows: Iterable[Any], run: str) -> None:
    """Say that traces belong to a run."""
    rows = list(rows)
    if rows:
        ws.tx.execute(upsert(trace_run, keep=True), [{"trace": row.row, "run": run} for row in rows])
    for row in rows:
        ws.tx.link(f"run:{run}", "produced", f"trace:{row.id}")
