"""Language models: traces of what was asked and answered, what people say of the answers, and the datasets they are judged on.

@trine.trace
def answer(question): ...

search_traces("state = 'error' and duration > 2")
log_feedback(trace.id, "correct", False, rationale="the flight is on Monday")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.llm.assessment import Assessment, Problem
    from trine.llm.eval_data import EvalDataset, EvalRecord, Merged
    from trine.llm.eval_handle import EvalData, eval_dataset, eval_datasets
    from trine.llm.exporter import span_exporter
    from trine.llm.live import LiveSpan, active_span
    from trine.llm.reading import (
        delete_traces,
        get_trace,
        log_expectation,
        log_feedback,
        search_traces,
        tag_trace,
        trace_table,
    )
    from trine.llm.spans import Span, SpanEvent, SpanLink, Usage
    from trine.llm.spool import flush
    from trine.llm.traces import Trace, TraceInfo
    from trine.llm.tracing import trace

_PLACES = {
    "assessment": ("Assessment", "Problem"),
    "eval_data": ("EvalDataset", "EvalRecord", "Merged"),
    "eval_handle": ("EvalData", "eval_dataset", "eval_datasets"),
    "exporter": ("span_exporter",),
    "live": ("LiveSpan", "active_span"),
    "reading": (
        "delete_traces",
        "get_trace",
        "log_expectation",
        "log_feedback",
        "search_traces",
        "tag_trace",
        "trace_table",
    ),
    "spans": ("Span", "SpanEvent", "SpanLink", "Usage"),
    "spool": ("flush",),
    "traces": ("Trace", "TraceInfo"),
    "tracing": ("trace",),
}
_HOME_OF = {name: home for home, names in _PLACES.items() for name in names}

__all__ = [
    "Assessment",
    "EvalData",
    "EvalDataset",
    "EvalRecord",
    "LiveSpan",
    "Merged",
    "Problem",
    "Span",
    "SpanEvent",
    "SpanLink",
    "Trace",
    "TraceInfo",
    "Usage",
    "active_span",
    "delete_traces",
    "eval_dataset",
    "eval_datasets",
    "flush",
    "get_trace",
    "log_expectation",
    "log_feedback",
    "search_traces",
    "span_exporter",
    "tag_trace",
    "trace",
    "trace_table",
]


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"trine.llm.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'trine.llm' has no attribute {name!r}")
