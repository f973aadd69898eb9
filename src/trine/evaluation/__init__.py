"""Metrics with confidence intervals, slices, and gates between a candidate and production."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.evaluation.comparison import compare
    from trine.evaluation.evaluations import evaluate
    from trine.evaluation.gate import Gate, GateReport, SliceReport
    from trine.evaluation.metrics import METRICS, Metric
    from trine.evaluation.operations import (
        get_evaluation,
        get_gate,
        judge_gate,
        list_evaluations,
        list_gates,
        record_evaluation,
        record_gate,
    )
    from trine.evaluation.reports import Evaluation, MetricValue, SliceEvaluation

_HOMES = {
    "comparison": ("compare",),
    "evaluations": ("evaluate",),
    "gate": ("Gate", "GateReport", "SliceReport"),
    "metrics": ("METRICS", "Metric"),
    "operations": (
        "get_evaluation", "get_gate", "judge_gate", "list_evaluations", "list_gates", "record_evaluation", "record_gate",
    ),
    "reports": ("Evaluation", "MetricValue", "SliceEvaluation"),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "METRICS",
    "Evaluation",
    "Gate",
    "GateReport",
    "Metric",
    "MetricValue",
    "SliceEvaluation",
    "SliceReport",
    "compare",
    "evaluate",
    "get_evaluation",
    "get_gate",
    "judge_gate",
    "list_evaluations",
    "list_gates",
    "record_evaluation",
    "record_gate",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
