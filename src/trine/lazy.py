"""Public names that are loaded when they are first asked for, so that importing a room costs nothing.

A room's names and their homes are listed once, in the stub beside its `__init__.py`, where editors and type checkers look too,
each on a line of its own: `from trine.models.aliases import promote as promote`.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def names(room: str) -> None:
    """Give the module `room`, which is being imported, the names of its stub."""
    module = sys.modules[room]
    with open(str(module.__file__) + "i", encoding="utf-8") as stub:
        homes = {words[-1]: words[1] for line in stub if (words := line.split())[:1] == ["from"]}

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        if home == room:
            return importlib.import_module(f"{room}.{name}")
        return getattr(importlib.import_module(home), name)

    module.__dict__.update(__getattr__=load, __dir__=lambda: sorted(homes), __all__=sorted(homes))
