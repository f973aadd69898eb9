"""The lineage of any node: a graph up or down, kinds that are many put together, and the same as a list."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from starlette.responses import Response

from trine.access.graph import lineage as walk
from trine.errors import TrineError
from trine.ledger.lineage import Edge, Lineage
from trine.models import operations as models
from trine.server.ui.links import href, shown, with_query
from trine.server.ui.pages import Asked, page
from trine.serving import operations as serving

CAUSE_FIRST = frozenset({"produced", "triggered"})
MOST_DRAWN = 300
MANY = 6
"""Neighbours of one kind at one node that are put together, unless they are asked for."""


class Shape(msgspec.Struct, frozen=True):
    """What is drawn, and what was put together or left out."""

    nodes: list[dict[str, str]]
    edges: list[dict[str, str]]
    start: str
    left_out: int


@page("/lineage")
def lineage(asked: Asked) -> Response:
    """What a node came from, or what came from it."""
    node = asked.text("node").strip()
    if not node:
        return asked.show("lineage_start.html", starts=_starts(asked))
    direction = "down" if asked.text("direction") == "down" else "up"
    depth = asked.whole("depth", 4, 50)
    found = walk(asked.ws, node=node, direction=direction, depth=depth)
    opened = asked.texts("open")
    kinds = Counter(one.partition(":")[0] for one in found.nodes)
    return asked.show(
        "lineage.html",
        node=node,
        direction=direction,
        depth=depth,
        found=found,
        kinds=kinds.most_common(),
        opened=opened,
        graph=msgspec.to_builtins(_shape(found, asked, opened)),
        beginning=found.nodes[:400],
        edges=found.edges[:400],
    )


def _starts(asked: Asked) -> list[str]:
    """Nodes that people look at most: what is in production, and the routes."""
    found: list[str] = []
    for one in models.list_models(asked.ws, limit=10).items:
        found += [f"model:{one.name}@{version}" for version in one.aliases.values()] or [
            f"model:{one.name}@{one.newest}"
        ]
    for one in serving.list_endpoints(asked.ws, limit=10).items:
        if one.route:
            found.append(f"route:{one.name}@{one.route.number}")
    return list(dict.fromkeys(found))


def _shape(found: Lineage, asked: Asked, opened: list[str]) -> Shape:
    """The graph with causes on the left. Leaves of one kind at one node are one box when there are many of them."""
    pairs = _reached(found, asked.text("direction") == "down", "history" in opened)
    degree = Counter(end for cause, effect, _ in pairs for end in (cause, effect))
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for cause, effect, _ in pairs:
        for leaf, other, is_cause in ((cause, effect, True), (effect, cause, False)):
            kind = leaf.partition(":")[0]
            if degree[leaf] == 1 and leaf != found.start and kind not in opened:
                groups.setdefault((other, kind, is_cause), []).append(leaf)
    gathered = {leaf: key for key, leaves in groups.items() if len(leaves) >= MANY for leaf in leaves}
    nodes: dict[str, dict[str, str]] = {}
    edges: dict[tuple[str, str], str] = {}
    for cause, effect, kind in pairs:
        ends: list[str] = []
        for end in (cause, effect):
            key = gathered.get(end)
            name = f"{key[1]} {'of' if key[2] else 'from'} {key[0]}" if key else end
            if name not in nodes:
                if len(nodes) >= MOST_DRAWN:
                    break
                nodes[name] = _gathered(asked, key, len(groups[key])) if key else _node(end)
                nodes[name]["id"] = name
            ends.append(name)
        if len(ends) == 2 and ends[0] != ends[1]:
            edges[ends[0], ends[1]] = kind
    if not nodes:
        nodes[found.start] = _node(found.start) | {"id": found.start}
    reached = {end for cause, effect, _ in pairs for end in (cause, effect)}
    left_out = sum(1 for one in reached if one not in nodes and one not in gathered)
    drawn = [{"from": cause, "to": effect, "kind": kind} for (cause, effect), kind in edges.items()]
    return Shape(list(nodes.values()), drawn, found.start, max(0, left_out))


def _reached(found: Lineage, down: bool, history: bool) -> list[tuple[str, str, str]]:
    """The edges on the ways from the start. A dataset's earlier commits are not followed unless its history is asked for:
    they are in the later one."""
    ways: dict[str, list[tuple[str, str, str]]] = {}
    for one in found.edges:
        if history or not _is_parent(one):
            pair = _pair(one)
            ways.setdefault(pair[0] if down else pair[1], []).append(pair)
    seen, queue, kept = {found.start}, [found.start], list[tuple[str, str, str]]()
    for node in queue:
        for pair in ways.get(node, ()):
            other = pair[1] if down else pair[0]
            if other == found.start:
                continue
            kept.append(pair)
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return kept


def _is_parent(one: Edge) -> bool:
    """Whether an edge goes from a dataset commit to the one before it."""
    return one.source.startswith("dataset:") and one.source.rpartition("@")[0] == one.target.rpartition("@")[0]


def _pair(one: Edge) -> tuple[str, str, str]:
    """Cause, effect, kind."""
    cause, effect = (one.source, one.target) if one.kind in CAUSE_FIRST else (one.target, one.source)
    return cause, effect, one.kind


def _node(node: str) -> dict[str, str]:
    kind, name = shown(node)
    return {"id": node, "kind": kind, "name": name, "href": href(node)}


def _gathered(asked: Asked, key: tuple[str, str, bool], count: int) -> dict[str, str]:
    query: dict[str, Any] = {
        "node": asked.text("node"),
        "direction": asked.text("direction"),
        "depth": asked.text("depth"),
    }
    return {
        "kind": f"{count} of them",
        "name": f"{key[1].replace('_', ' ')}s",
        "href": with_query("/lineage", **query, open=[*asked.texts("open"), key[1]]),
    }


def known(asked: Asked, node: str) -> bool:
    """Whether the graph has a node."""
    try:
        walk(asked.ws, node=node, depth=1)
    except TrineError:
        return False
    return True
