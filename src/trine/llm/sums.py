"""The door's part on sums over traces: by the name of the span, and by the conversation."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import case, func, select

from trine.llm.ledger_traces import experiment_number
from trine.llm.tables import trace, trace_span
from trine.operations import Limit, Page, operation, page_of, page_start
from trine.types import Micros
from trine.workspace import Workspace


class SpanTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What the spans of one name, type and model took together."""

    name: str
    type: str
    model: str
    calls: int
    errors: int
    mean_us: int | None
    most_us: int | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cost: float | None


@operation("GET /span-totals", allows="llm.read")
def span_totals(ws: Workspace, *, experiment_name: str = "", since_us: Micros | None = None) -> list[SpanTotal]:
    """Calls, errors, times, tokens and cost by name, type and model of the span; what took longest in all comes first."""
    its = trace_span.c
    by = (its.name, its.type, its.model)
    time = func.sum(its.duration_us)
    sums = [func.sum(its[name]).label(name) for name in ("input_tokens", "output_tokens", "total_tokens", "cost")]
    errors = func.sum(case((its.state == "error", 1), else_=0)).label("errors")
    timed = func.count(its.duration_us).label("timed")
    longest = func.max(its.duration_us).label("most_us")
    query = (
        select(*by, func.count().label("calls"), errors, time.label("time_us"), timed, longest, *sums)
        .select_from(trace_span.join(trace, trace.c.row == its.trace))
        .where(trace.c.project == ws.project)
        .group_by(*by)
        .order_by(func.coalesce(time, 0).desc(), *by)
        .limit(1_000)
    )
    if experiment_name:
        query = query.where(trace.c.experiment == experiment_number(ws, experiment_name))
    if since_us is not None:
        query = query.where(its.started_us >= since_us)
    return [
        SpanTotal(
            name=row.name,
            type=row.type,
            model=row.model,
            calls=row.calls,
            errors=row.errors,
            mean_us=int(row.time_us) // row.timed if row.timed else None,
            most_us=row.most_us,
            **{name: _whole(getattr(row, name)) for name in ("input_tokens", "output_tokens", "total_tokens")},
            cost=row.cost,
        )
        for row in ws.tx.all(query)
    ]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation: the traces that have one session, from the first to the last."""

    session: str
    user: str
    traces: int
    errors: int
    started_us: int
    last_us: int
    total_tokens: int | None
    cost: float | None


@operation("GET /sessions", allows="llm.read")
def list_sessions(ws: Workspace, *, experiment_name: str = "", limit: Limit = 100, page: str = "") -> Page[Session]:
    """Conversations, the one that went on last first; their traces: `list_traces(expression="session = '…'")`."""
    its = trace.c
    last = func.max(its.started_us)
    errors = func.sum(case((its.state == "error", 1), else_=0))
    query = (
        select(
            its.session,
            func.max(its.user).label("user"),
            func.count().label("traces"),
            errors.label("errors"),
            func.min(its.started_us).label("started_us"),
            last.label("last_us"),
            func.sum(its.total_tokens).label("total_tokens"),
            func.sum(its.cost).label("cost"),
        )
        .where(its.project == ws.project, its.session != "")
        .group_by(its.session)
        .order_by(last.desc(), its.session)
        .limit(limit + 1)
    )
    if experiment_name:
        query = query.where(its.experiment == experiment_number(ws, experiment_name))
    if start := page_start(page, fields=tuple[int, str]):
        query = query.having((last < start[0]) | ((last == start[0]) & (its.session > start[1])))
    found = [
        Session(
            session=row.session,
            user=row.user,
            traces=row.traces,
            errors=row.errors,
            started_us=row.started_us,
            last_us=row.last_us,
            total_tokens=_whole(row.total_tokens),
            cost=row.cost,
        )
        for row in ws.tx.all(query)
    ]
    return page_of(found, limit, lambda one: (one.last_us, one.session))


def _whole(value: Any) -> int | None:
    """A sum that PostgreSQL gives as a decimal."""
    return None if value is None else int(value)
