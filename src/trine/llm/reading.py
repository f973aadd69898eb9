"""Traces as people ask for them in Python."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trine.ids import to_us
from trine.llm import operations as door
from trine.llm.assessment import Assessment, Problem, Source
from trine.llm.operations import Deleted
from trine.llm.traces import Trace, TraceInfo
from trine.operations import every
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl


def get_trace(id: str, *, ws: Workspace | None = None) -> Trace:
    """A trace with its spans, by its id or the beginning of it."""
    return door.get_trace(ws or current_workspace(), id=id)


def search_traces(
    expression: str = "",
    *,
    experiment: str = "",
    order_by: str = "",
    limit: int | None = 1_000,
    ws: Workspace | None = None,
) -> list[TraceInfo]:
    """Traces for which an expression is true, the newest first: `state = 'error' and span.name = 'retrieve'`."""
    found: list[TraceInfo] = []
    values: dict[str, Any] = {"expression": expression, "order_by": order_by}
    if experiment:
        values["experiments"] = [experiment]
    for one in every(door.list_traces, ws or current_workspace(), **values):
        if limit is not None and len(found) >= limit:
            break
        found.append(one)
    return found


def tag_trace(id: str, tags: dict[str, str | None], *, ws: Workspace | None = None) -> TraceInfo:
    """Set tags of a trace; None takes one away."""
    return door.set_trace_tags(ws or current_workspace(), id=id, tags=tags)


def delete_traces(
    ids: Iterable[str] | None = None,
    *,
    experiment: str = "",
    until: dt.datetime | None = None,
    ws: Workspace | None = None,
) -> Deleted:
    """Delete traces for good: those named, or those of an experiment (with `until`, those that started until then)."""
    ws = ws or current_workspace()
    named = None if ids is None else list(ids)
    until_us = None if until is None else to_us(until)
    gone = door.delete_traces(ws, ids=named, experiment_name=experiment, until_us=until_us)
    traces, size = gone.traces, gone.size_bytes
    while gone.more and named is None:
        gone = door.delete_traces(ws, experiment_name=experiment, until_us=until_us)
        traces, size = traces + gone.traces, size + gone.size_bytes
    return Deleted(traces, size)


def trace_table(traces: list[TraceInfo]) -> pl.DataFrame:
    """Traces as a table: a row for each, its tags as `tags.KEY`, what was said of it as `feedback.NAME` and `expectation.NAME`."""
    import polars as pl

    plain = (
        "id", "experiment", "name", "state", "started_us", "duration_us", "request", "response", "session", "user",
        "spans", "input_tokens", "output_tokens", "total_tokens", "cost",
    )  # fmt: skip
    rows = [
        {name: getattr(one, name) for name in plain}
        | {f"tags.{key}": value for key, value in one.tags.items()}
        | {f"{it.kind}.{it.name}": _cell(it.value) for it in one.assessments if it.valid}
        for one in traces
    ]
    return pl.DataFrame(rows, infer_schema_length=None, strict=False) if rows else pl.DataFrame(schema=list(plain))


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def log_feedback(
    trace: str,
    name: str,
    value: Any = None,
    *,
    error: Exception | str | None = None,
    rationale: str = "",
    source: Source = "human",
    source_id: str = "",
    span: str = "",
    metadata: dict[str, str] | None = None,
    overrides: str = "",
    ws: Workspace | None = None,
) -> Assessment:
    """Say how good an answer was: a truth value, number, text or list. `error` says why there is no value."""
    problem = None
    if error is not None:
        code = type(error).__name__ if isinstance(error, Exception) else "error"
        problem = Problem(code, str(error))
    return door.create_assessment(
        ws or current_workspace(),
        trace=trace,
        name=name,
        value=value,
        problem=problem,
        rationale=rationale,
        source=source,
        source_id=source_id,
        span=span,
        metadata=metadata or {},
        overrides=overrides,
    )


def log_expectation(
    trace: str,
    name: str,
    value: Any,
    *,
    source: Source = "human",
    source_id: str = "",
    span: str = "",
    metadata: dict[str, str] | None = None,
    ws: Workspace | None = None,
) -> Assessment:
    """Say what should have been answered."""
    return door.create_assessment(
        ws or current_workspace(),
        trace=trace,
        kind="expectation",
        name=name,
        value=value,
        source=source,
        source_id=source_id,
        span=span,
        metadata=metadata or {},
    )
