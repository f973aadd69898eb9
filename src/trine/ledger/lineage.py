"""The lineage graph: every versioned thing is a node `kind:name@version`, every use an edge.

An edge reads `source --kind--> target` ("run:4f used dataset:flights@3a"). Causes are *up*, effects are *down*:
`produced` and `triggered` point from cause to effect, all other kinds from effect to cause. Edges are stored by
cause and effect, so both walks follow one index.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from itertools import compress
from typing import Any, Literal, NamedTuple, cast

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection, Engine

from trine.errors import InvalidInput, NotFound, nearest
from trine.ledger.tables import edge, node, upsert

EdgeKind = Literal["used", "produced", "derived", "deployed", "answered", "triggered", "approved"]
EDGE_KINDS: tuple[str, ...] = ("used", "produced", "derived", "deployed", "answered", "triggered", "approved")
_CAUSE_FIRST = frozenset({"produced", "triggered"})
_CAUSE_LAST = frozenset(EDGE_KINDS) - _CAUSE_FIRST
_BATCH = 10_000
FEW = 1_500
"""Nodes of a level whose edges are read node by node."""

MOST_NAMES = 250_000
"""Names of nodes that a process keeps, about 150 bytes each."""

_NAMES: weakref.WeakKeyDictionary[Engine, dict[int, str]] = weakref.WeakKeyDictionary()
_INTEGERS = msgspec.json.Decoder(list[int])
_STRINGS = msgspec.json.Decoder(list[str])


class Edge(msgspec.Struct, frozen=True, order=True, gc=False):
    """`source --kind--> target`, by node reference."""

    source: str
    kind: str
    target: str


class Lineage(msgspec.Struct, frozen=True):
    """A part of the graph: nodes in breadth-first order from the start, and the edges between them.

    `complete` is False when there were more edges than a walk gives at once.
    """

    start: str
    nodes: list[str]
    edges: list[Edge]
    complete: bool = True

    def dot(self) -> str:
        """Graphviz text."""
        quoted = {name: '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in self.nodes}
        lines = [f'  {quoted[e.source]} -> {quoted[e.target]} [label="{e.kind}"];' for e in self.edges]
        names = [f"  {name};" for name in quoted.values()]
        return "\n".join(["digraph lineage {", "  rankdir=LR;", *names, *lines, "}"])


_NODES = select(node.c.ref, node.c.id).where(
    node.c.project == bindparam("in_project"), node.c.ref.in_(bindparam("refs", expanding=True))
)
_ADD_NODE = node.insert()
_ADD_EDGE = upsert(edge, keep=True)


def add_edges(connection: Connection, project: str, edges: Iterable[Edge], time_us: int) -> None:
    """Write edges, and the nodes they name; what is there already stays as it is."""
    edges = list(dict.fromkeys(edges))
    for one in edges:
        if one.kind not in EDGE_KINDS:
            raise InvalidInput(f'"{one.kind}" is no kind of edge.{nearest(one.kind, EDGE_KINDS)}')
    ids = add_nodes(connection, project, [ref for one in edges for ref in (one.source, one.target)])
    rows: list[dict[str, object]] = []
    for place, one in enumerate(edges):  # a microsecond apart: what is told together is in the order it was told in
        source, target = ids[one.source], ids[one.target]
        up, down = (source, target) if one.kind in _CAUSE_FIRST else (target, source)
        rows.append({"up": up, "down": down, "kind": one.kind, "time_us": time_us + place})
    if rows:
        connection.execute(_ADD_EDGE, rows)


def add_nodes(connection: Connection, project: str, refs: Iterable[str]) -> dict[str, int]:
    """The row ids of node references, creating what is missing."""
    wanted = list(dict.fromkeys(refs))
    for ref in wanted:
        kind, colon, name = ref.partition(":")
        if not (kind and colon and name):
            raise InvalidInput(f'"{ref}" is no node: write kind:name@version, for instance model:delays@3.')
    found = _ids(connection, project, wanted)
    missing = [{"project": project, "ref": ref} for ref in wanted if ref not in found]
    if missing:
        connection.execute(_ADD_NODE, missing)
        found |= _ids(connection, project, [row["ref"] for row in missing])
    return found


def _ids(connection: Connection, project: str, refs: list[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for start in range(0, len(refs), _BATCH):
        batch = refs[start : start + _BATCH]
        ids.update(tuple(row) for row in connection.execute(_NODES, {"in_project": project, "refs": batch}))
    return ids


def walk(
    connection: Connection,
    project: str,
    start: str,
    *,
    direction: Literal["up", "down"],
    depth: int = 0,
    limit: int = 100_000,
) -> Lineage:
    """What `start` came from (up) or what came from it (down), breadth first; `depth` 0 means all the way.

    A `start` without @version is the newest version of that name. Raises NotFound for an unknown node. Costs one indexed query per level, O(edges walked).
    """
    start, first = _start(connection, project, start)
    seen = {first: None}
    frontier, levels, count = dict(seen), 0, 0
    found: list[_Level] = []
    while frontier and (not depth or levels < depth) and count < limit:
        level = _neighbours(connection, frontier, direction)
        frontier = dict.fromkeys(level.far)
        for one in frontier.keys() & seen.keys():
            del frontier[one]
        seen |= frontier
        found.append(level)
        count += len(level.far)
        levels += 1
    names = _names(connection, seen)
    forward = _CAUSE_FIRST if direction == "down" else _CAUSE_LAST
    edges: list[Edge] = []
    for level in found:
        near, far = map(names.__getitem__, level.near), map(names.__getitem__, level.far)
        kinds = set(level.kinds)
        if kinds <= forward:
            edges += map(Edge, near, level.kinds, far)
        elif kinds.isdisjoint(forward):
            edges += map(Edge, far, level.kinds, near)
        else:
            ends = zip(near, level.kinds, far, strict=True)
            edges += [
                Edge(one, kind, other) if kind in forward else Edge(other, kind, one) for one, kind, other in ends
            ]
    return Lineage(start, list(map(names.__getitem__, seen)), edges, not frontier or count < limit)


def _start(connection: Connection, project: str, ref: str) -> tuple[str, int]:
    """A node by its reference, or without @version the newest version of that name."""
    if known := _ids(connection, project, [ref]):
        return ref, known[ref]
    mine = select(node.c.ref, node.c.id).where(node.c.project == project)
    if "@" not in ref:
        newest = mine.where(node.c.ref.startswith(f"{ref}@", autoescape=True)).order_by(node.c.id.desc()).limit(1)
        if (row := connection.execute(newest).first()) is not None:
            return row.ref, row.id
    kind = ref.partition(":")[0] + ":"
    like = connection.execute(mine.where(node.c.ref.startswith(kind, autoescape=True)).limit(500)).scalars()
    raise NotFound(f'No node "{ref}" in the lineage graph.{nearest(ref, like)} Nodes are kind:name@version.')


class _Level(NamedTuple):
    """Edges that were walked together, as columns: node, kind, cause or effect."""

    near: list[int]
    kinds: list[str]
    far: list[int]


def _neighbours(connection: Connection, ids: dict[int, None], direction: str) -> _Level:
    """The edges of some nodes to their causes or effects; of each node once, so no edge comes twice.

    Of few nodes, which may have very many each, a row is a node and a kind; of many it is all their edges as three columns.
    """
    near, far = ("down", "up") if direction == "up" else ("up", "down")
    found = _Level([], [], [])
    if len(ids) <= FEW:
        others = _array(connection, far, by=far)
        for where in _ranges(near, ids):
            query = f"SELECT {near}, kind, {others} FROM edge WHERE {where} GROUP BY 1, 2"
            for one, kind, text in _fetch(connection, query):
                if one in ids:
                    some = _INTEGERS.decode(text)
                    _extend(found, [one] * len(some), [kind] * len(some), some)
        return found
    columns = ", ".join(_array(connection, name, by=f"{near}, kind, {far}") for name in (near, "kind", far))
    for where in _ranges(near, ids):
        [(nodes, kinds, others)] = _fetch(connection, f"SELECT {columns} FROM edge WHERE {where}")
        if nodes is not None:
            _extend(found, _INTEGERS.decode(nodes), _STRINGS.decode(kinds), _INTEGERS.decode(others))
    if not ids.keys() >= set(found.near):  # a range held nodes that were not asked for
        kept = [one in ids for one in found.near]
        return _Level(
            list(compress(found.near, kept)), list(compress(found.kinds, kept)), list(compress(found.far, kept))
        )
    return found


def _extend(level: _Level, near: list[int], kinds: list[str], far: list[int]) -> None:
    level.near.extend(near)
    level.kinds.extend(kinds)
    level.far.extend(far)


def _names(connection: Connection, ids: dict[int, None]) -> dict[int, str]:
    """The names of nodes. They never change, so those that were committed when they were read are kept for the next walk."""
    known = _NAMES.setdefault(connection.engine, {})
    unknown = {one: None for one in ids if one not in known}
    if not unknown:
        return known
    fresh: dict[int, str] = {}
    numbers, refs = _array(connection, "id", by="id"), _array(connection, "ref", by="id")
    for where in _ranges("id", unknown):
        [(keys, values)] = _fetch(connection, f"SELECT {numbers}, {refs} FROM node WHERE {where}")
        fresh.update(zip(_INTEGERS.decode(keys), _STRINGS.decode(values), strict=True))
    if connection.get_execution_options().get("trine_write", True) or len(known) + len(fresh) > MOST_NAMES:
        return known | fresh
    known.update(fresh)
    return known


def _ranges(column: str, ids: dict[int, None]) -> Iterable[str]:
    """Conditions that together hold for all of the ids, and perhaps for some others.

    Nodes made together have numbers together, so most are a range: cheaper to read than each to name. The ids are our
    own integers, so they are written into the statement: no limit on bound variables, one parse.
    """
    low, high = min(ids), max(ids)
    if high - low < 2 * len(ids):
        yield f"{column} BETWEEN {low} AND {high}"
        return
    wanted = list(ids)
    for start in range(0, len(wanted), _BATCH):
        yield f"{column} IN ({','.join(map(str, wanted[start : start + _BATCH]))})"


def _array(connection: Connection, column: str, *, by: str) -> str:
    """The aggregate that gives a column as one JSON text: of many rows, the handing over costs more than what is in them."""
    if connection.dialect.name == "sqlite":
        return f"json_group_array({column})"  # in the order of the index that the rows are read by
    return f"json_agg({column} ORDER BY {by})::text"


def _fetch(connection: Connection, text: str) -> list[Any]:
    """All rows, as the driver's own tuples."""
    cursor = cast(Any, connection.exec_driver_sql(text).cursor)
    return cursor.fetchall()


def path_between(lineage: Lineage, target_kind: str) -> list[Edge]:
    """The shortest chain of edges from the start to the first node of a kind (`dataset`, `code`), or an empty list."""
    around: dict[str, list[Edge]] = {}
    for one in lineage.edges:
        around.setdefault(one.source, []).append(one)
        around.setdefault(one.target, []).append(one)
    queue, came = deque([lineage.start]), {lineage.start: None}
    back: dict[str, tuple[str, Edge]] = {}
    while queue:
        here = queue.popleft()
        if here != lineage.start and here.startswith(target_kind + ":"):
            chain: list[Edge] = []
            while here != lineage.start:
                here, one = back[here]
                chain.append(one)
            return chain[::-1]
        for one in around.get(here, ()):
            other = one.target if one.source == here else one.source
            if other not in came:
                came[other] = None
                back[other] = (here, one)
                queue.append(other)
    return []
