"""Continuous training: triggers start a cycle of training, gate, approval, promotion and rollout."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.loop.cycles import Cycle
    from trine.loop.definition import Candidate, LoopInfo
    from trine.loop.handle import Loop
    from trine.loop.triggers import OnCommit, OnVerdict, Schedule

_HOMES = {
    "Candidate": "definition",
    "Cycle": "cycles",
    "Loop": "handle",
    "LoopInfo": "definition",
    "OnCommit": "triggers",
    "OnVerdict": "triggers",
    "Schedule": "triggers",
}

__all__ = ["Candidate", "Cycle", "Loop", "LoopInfo", "OnCommit", "OnVerdict", "Schedule"]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
