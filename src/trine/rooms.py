"""Every door of every room. Rooms are imported when they are used; who has to know all of the door calls `load`."""

import importlib

DOORS = (
    "access.operations", "access.audit", "access.graph", "access.webhooks",
    "data.operations", "data.aliases", "data.describing", "data.pins", "data.records", "data.remotes", "data.staging", "data.uploads",
    "tracking.operations", "tracking.importing", "tracking.removing",
    "features.operations", "models.operations", "models.importing", "models.receiving", "evaluation.operations",
    "pipelines.operations", "serving.operations", "serving.parts", "monitoring.operations",
    "llm.operations", "llm.eval_data", "loop.operations", "governance.operations", "insights.operations",
)  # fmt: skip
"""The modules with operations that no other of them imports. By name: the door knows that there are rooms, not what is in them."""


def load() -> None:
    """Import the operations of all rooms."""
    for door in DOORS:
        importlib.import_module(f"trine.{door}")
