"""What others need to judge a model: its card, rendered from the graph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.governance.cards import card
    from trine.governance.document import Card, Section, Table, Value

_HOMES = {"Card": "document", "Section": "document", "Table": "document", "Value": "document", "card": "cards"}

__all__ = ["Card", "Section", "Table", "Value", "card"]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
