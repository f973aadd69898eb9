"""`trine lineage`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trine.cli.shell import argument, command, option, show, single

if TYPE_CHECKING:
    from trine.ledger.lineage import Lineage
    from trine.workspace import Workspace


@single("lineage")
@argument("node")
@option("--up", "direction", flag_value="up", default="up", help="What it came from (default).")
@option("--down", "direction", flag_value="down", help="What came of it.")
@option("--depth", type=click.IntRange(min=0), default=0, help="How many steps; 0 means all the way.")
@option("--dot", is_flag=True, help="Print Graphviz text.")
@command(example="trine lineage model:delays@3 --up\ntrine lineage dataset:flights@3a91c2 --down --dot | dot -Tsvg")
def lineage(ws: Workspace, node: str, direction: str, depth: int, dot: bool) -> None:
    """What NODE (kind:name@version) came from, or what came of it."""
    from trine.access import graph

    found = graph.lineage(ws, node=node, direction="down" if direction == "down" else "up", depth=depth)
    show(found, text=found.dot() if dot else _tree(found, direction))


def _tree(found: Lineage, direction: str) -> str:
    """The graph as an indented tree; a node seen before is not opened again."""
    cause_first = {"produced", "triggered"}
    children: dict[str, list[tuple[str, str]]] = {}
    for one in found.edges:
        up, down = (one.source, one.target) if one.kind in cause_first else (one.target, one.source)
        parent, child = (down, up) if direction == "up" else (up, down)
        label = f"{one.kind} " if one.source == parent else f"← {one.kind} "
        children.setdefault(parent, []).append((label, child))
    lines = [found.start]
    seen = {found.start}
    stack = [(label, child, 1) for label, child in sorted(children.get(found.start, ()), reverse=True)]
    while stack:
        label, name, level = stack.pop()
        again = name in seen
        lines.append("  " * level + label + name + (" …" if again and name in children else ""))
        if not again:
            seen.add(name)
            stack += [(one, child, level + 1) for one, child in sorted(children.get(name, ()), reverse=True)]
    return "\n".join(lines)
