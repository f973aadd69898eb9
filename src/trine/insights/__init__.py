"""How well the machine-learning system is run: delivery metrics of models and code, and the ladder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.insights.measures import DEFINITIONS, Metric, Metrics
    from trine.insights.rungs import Ladder, Rung, Standing
    from trine.insights.survey import ladder, metrics

_HOMES = {
    "DEFINITIONS": "measures",
    "Ladder": "rungs",
    "Metric": "measures",
    "Metrics": "measures",
    "Rung": "rungs",
    "Standing": "rungs",
    "ladder": "survey",
    "metrics": "survey",
}

__all__ = ["DEFINITIONS", "Ladder", "Metric", "Metrics", "Rung", "Standing", "ladder", "metrics"]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
