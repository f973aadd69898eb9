"""Every room with operations: importing this module opens the whole door."""

import importlib
import importlib.util

ROOMS = (
    "access", "data", "tracking", "features", "models", "evaluation",
    "pipelines", "serving", "monitoring", "loop", "governance", "insights",
)  # fmt: skip


def load() -> None:
    """Import the operations of all rooms."""
    importlib.import_module("trine.access.audit")
    importlib.import_module("trine.access.graph")
    for room in ROOMS:
        if importlib.util.find_spec(f"trine.{room}") and importlib.util.find_spec(f"trine.{room}.operations"):
            importlib.import_module(f"trine.{room}.operations")
