"""What a thing was made from, read from its lineage upwards: source data, code, pipeline steps, feature definitions."""

from __future__ import annotations

import msgspec
from sqlalchemy.engine import Connection

from trine.errors import NotFound
from trine.ledger.lineage import Edge, Lineage, walk


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was made from, as nodes, the maker's own first, then the nearest. `sources` are the dataset commits that no run or step made;
    `code` is the state of the code of its maker, or the nearest."""

    sources: list[str] = []
    code: str = ""
    runs: list[str] = []
    steps: list[str] = []
    pipeline_runs: list[str] = []
    features: list[str] = []

    @property
    def commit(self) -> str:
        """The git commit of the code."""
        return self.code.removeprefix("code:").partition("+")[0]

    @property
    def is_dirty(self) -> bool:
        """Whether the code had changes that are in no commit."""
        return "+" in self.code


def find_origin(connection: Connection, project: str, node: str) -> Origin:
    """The origin of a node; an empty one when the graph does not know it."""
    try:
        return origin_of(walk(connection, project, node, direction="up"))
    except NotFound:
        return Origin()


def origin_of(lineage: Lineage) -> Origin:
    """The origin of the node a walk upwards started from. What only triggered its making (a verdict, a loop) is left out."""
    produced = [one for one in lineage.edges if one.kind == "produced"]
    made = {one.target for one in produced}
    found: dict[str, list[str]] = {}
    for name in _reached(lineage):
        found.setdefault(name.partition(":")[0], []).append(name)
    makers = {one.source for one in produced if one.target == lineage.start}
    makers |= {one.source for one in produced if one.target in makers}  # the step in which the run was made
    codes = [one.target for one in lineage.edges if one.source in makers and one.target.startswith("code:")]
    return Origin(
        sources=[name for name in found.get("dataset", []) if name not in made],
        code=next(iter([*codes, *found.get("code", [])]), ""),
        runs=found.get("run", []),
        steps=sorted(found.get("step_run", []), key=lambda name: name not in makers),
        pipeline_runs=found.get("pipeline_run", []),
        features=[*found.get("feature_service", []), *found.get("feature_view", [])],
    )


def _reached(lineage: Lineage) -> list[str]:
    """The start and its causes; a dataset's earlier commits are not followed: they are in the later one."""
    causes: dict[str, list[str]] = {}
    for one in lineage.edges:
        if one.kind == "produced" or (one.kind == "triggered" and one.source.startswith("pipeline_run:")):
            causes.setdefault(one.target, []).append(one.source)
        elif one.kind in ("used", "derived") and not _is_parent(one):
            causes.setdefault(one.source, []).append(one.target)
    seen = {lineage.start: None}
    queue = [lineage.start]
    for name in queue:
        fresh = [one for one in causes.get(name, ()) if one not in seen]
        seen |= dict.fromkeys(fresh)
        queue += dict.fromkeys(fresh)
    return queue


def _is_parent(one: Edge) -> bool:
    """Whether an edge goes from a dataset commit to the one before it."""
    return one.source.startswith("dataset:") and one.source.rpartition("@")[0] == one.target.rpartition("@")[0]
