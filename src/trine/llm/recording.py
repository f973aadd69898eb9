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
from trine.llm.ledger_traces import rows_of, spans_of
from trine.llm.spans import Span, Usage, pack
from trine.llm.tables import trace, trace_part, trace_run, trace_span, trace_text
from trine.llm.traces import Summary, clean, root_of, summary_of, total
from trine.workspace import Workspace

_ADD_TRACE, _ADD_PART = insert(trace), insert(trace_part)
_SET_SPAN, _SET_TEXT, _ADD_RUN = upsert(trace_span), upsert(trace_text), upsert(trace_run, keep=True)

INLINE = 16_384
"""Bytes of packed spans that stand in a row of the ledger; more of them are an object of the store."""
MOST_PARTS = 16
"""Parts of a trace that wait for its root; then they become one as well."""


def take_in(ws: Workspace, by_trace: dict[str, list[Span]], experiment: int) -> list[Any]:
    """Keep spans, by the id of their trace; a trace that is new is made, of that experiment. Gives the rows of the traces. Inside
    an operation; new traces together cost few statements, each that was there before a handful."""
    said = {id: summary_of(spans) for id, spans in by_trace.items()}
    rows_before = rows_of(ws, list(by_trace))
    fresh = [id for id in by_trace if id not in rows_before]
    packed = {id: pack(by_trace[id]) for id in by_trace}
    new = [_new_row(ws, id, experiment, said[id], by_trace[id], len(packed[id])) for id in fresh]
    _write(ws, _ADD_TRACE, new)
    rows = rows_before | rows_of(ws, fresh)
    _write(ws, _SET_SPAN, [one for id in by_trace for one in _span_rows(rows[id].row, by_trace[id])])
    _write(ws, _ADD_PART, [_part_row(ws, rows[id].row, 0, packed[id]) for id in fresh])
    tagged = [id for id in by_trace if id not in rows_before or root_of(by_trace[id]) is not None]
    _write(ws, _SET_TEXT, [one for id in tagged for one in text_rows(rows[id].row, "tag", said[id].tags)])
    for id, row in rows_before.items():
        _add_part(ws, row, packed[id], finished=root_of(by_trace[id]) is not None)
        _tell(ws, row, said[id])
    for id, summary in said.items():
        for node in summary.uses:
            ws.tx.link(f"trace:{id}", "used", node)
    return list(rows.values())


def _write(ws: Workspace, statement: Any, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 500):
        ws.tx.execute(statement, rows[start : start + 500])


def find(ws: Workspace, id: str) -> Any:
    return ws.tx.first(select(trace).where(trace.c.project == ws.project, trace.c.id == id))


_FACTS = ("duration_us", *Usage._fields)


def blank(ws: Workspace, id: str, experiment: int, started_us: int) -> dict[str, Any]:
    """The row of a trace of which nothing is known yet."""
    return {
        "project": ws.project, "id": id, "experiment": experiment, "name": "", "state": "running", "told": False,
        "started_us": started_us, "request": "", "response": "", "client_request": "", "session": "", "user": "",
        "spans": 0, "size_bytes": 0, "created_us": ws.tx.now_us, **dict.fromkeys(_FACTS),
    }  # fmt: skip


def _new_row(
    ws: Workspace, id: str, experiment: int, said: Summary, spans: Sequence[Span], size: int
) -> dict[str, Any]:
    known = {one.id: one for one in spans}.values()
    usage = total((one.id, one.parent, one.usage) for one in known)
    found = blank(ws, id, experiment, said.started_us)
    ended = None if said.ended_us is None else said.ended_us - said.started_us
    told = {name: getattr(said, name) or "" for name in ("name", "request", "response", "session", "user")}
    more = {"state": said.state or "running", "duration_us": ended, "spans": len(known), "size_bytes": size}
    return found | told | more | usage._asdict()


def _span_rows(row: int, spans: Sequence[Span]) -> list[dict[str, Any]]:
    return [
        {
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
        for one in {one.id: one for one in spans}.values()
    ]


def _part_row(ws: Workspace, row: int, number: int, data: bytes) -> dict[str, Any]:
    small = len(data) <= INLINE
    object = "" if small else ws.store.put(data)
    return {
        "trace": row, "number": number, "object": object, "data": data if small else None, "size_bytes": len(data),
    }  # fmt: skip


def _add_part(ws: Workspace, row: Any, data: bytes, *, finished: bool) -> None:
    """Add a part; several become one when the trace is finished, or they are many."""
    mine = trace_part.c.trace == row.row
    before = ws.tx.scalar(select(func.max(trace_part.c.number)).where(mine))
    number = 0 if before is None else before + 1
    ws.tx.execute(_ADD_PART, [_part_row(ws, row.row, number, data)])
    if number and (finished or row.state != "running" or number >= MOST_PARTS):
        whole = pack(spans_of(ws, row))
        ws.tx.execute(delete(trace_part).where(mine))
        ws.tx.execute(_ADD_PART, [_part_row(ws, row.row, 0, whole)])


_SUMMED = [trace_span.c[name] for name in ("id", "parent", "started_us", "duration_us", *Usage._fields)]


def _tell(ws: Workspace, row: Any, said: Summary) -> None:
    """Bring a trace's row up to what its spans say; what its client told of it stays."""
    known = ws.tx.all(select(*_SUMMED).where(trace_span.c.trace == row.row))
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
    if rows := text_rows(row, kind, texts):
        ws.tx.execute(_SET_TEXT, rows)


def text_rows(row: int, kind: str, texts: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of tags or metadata of a trace."""
    return [
        {"trace": row, "kind": kind, "key": key, "value": value, "number": number_in(value)}
        for key, value in texts.items()
    ]


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
        ws.tx.execute(_ADD_RUN, [{"trace": row.row, "run": run} for row in rows])
    for row in rows:
        ws.tx.link(f"run:{run}", "produced", f"trace:{row.id}")
