"""Which way a metric is better: as its project declared it, else by the words of its name."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from trine.tracking.runs import is_loss
from trine.tracking.tables import metric_direction
from trine.workspace import Workspace

Losses = Callable[[str], bool]
"""Whether less of a metric is better."""


def losses_of(ws: Workspace) -> Losses:
    """What a project's metrics are, inside an operation."""
    query = select(metric_direction.c.key, metric_direction.c.better).where(metric_direction.c.project == ws.project)
    declared = {row.key: row.better == "less" for row in ws.tx.all(query)}
    return lambda key: declared[key] if key in declared else is_loss(key)
