"""Every room with operations. Rooms are imported when they are used; who has to know all of the door calls `load`."""

import importlib
import importlib.util

ROOMS = (
    "access", "data", "tracking", "features", "models", "evaluation",
    "pipelines", "serving", "monitoring", "loop", "governance", "insights",
)  # fmt: skip


def load() -> None:
    """Import the operations of all rooms. By name: the door knows that there are rooms, not what is in them."""
    importlib.import_module("trine.access.audit")
    importlib.import_module("trine.access.graph")
    importlib.import_module("trine.access.webhooks")
    importlib.import_module("trine.data.aliases")
    importlib.import_module("trine.data.describing")
    importlib.import_module("trine.data.pins")
    importlib.import_module("trine.data.records")
    importlib.import_module("trine.data.remotes")
    importlib.import_module("trine.tracking.importing")
    importlib.import_module("trine.models.importing")
    for room in ROOMS:
        if importlib.util.find_spec(f"trine.{room}") and importlib.util.find_spec(f"trine.{room}.operations"):
            importlib.import_module(f"trine.{room}.operations")
