"""The door's part on the lineage graph."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trine.ledger import lineage as graph
from trine.ledger.lineage import Lineage
from trine.operations import operation
from trine.workspace import Workspace


@operation("GET /lineage", allows="access.read")
def lineage(
    ws: Workspace,
    *,
    node: str,
    direction: Literal["up", "down"] = "up",
    depth: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0,
) -> Lineage:
    """What a node came from (up) or what came from it (down); `depth` 0 means all the way."""
    return graph.walk(ws.tx.connection, ws.project, node, direction=direction, depth=depth)
