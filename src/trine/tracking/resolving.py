"""What an expression names that has to be looked up before it is SQL: patterns, references of datasets, walks of the graph."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from trine.errors import InvalidInput, NotFound
from trine.ledger.lineage import walk
from trine.ledger.tables import node
from trine.operations import REGISTRY, perform
from trine.tracking.expression import (
    Comparison,
    Contained,
    Expression,
    Field,
    Group,
    Like,
    Matches,
    Missing,
    Negation,
    mistake,
)
from trine.tracking.query import ATTRIBUTE_COLUMNS, TABLES
from trine.tracking.tables import run
from trine.workspace import Workspace

MOST_VALUES = 30_000
"""Texts a pattern may match, and runs a walk may find: what a statement takes as bound values."""


def resolve(ws: Workspace, one: Expression) -> Expression:
    """The same expression in terms that are SQL. Inside an operation. Raises InvalidInput, and NotFound for a dataset."""
    if isinstance(one, Group):
        return Group(one.joined, tuple(resolve(ws, part) for part in one.parts))
    if isinstance(one, Negation):
        return Negation(resolve(ws, one.part))
    if isinstance(one, Matches):
        return Contained(one.field, _matching(ws, one), one.negated)
    if one.field.kind == "link" and not isinstance(one, Missing):
        assert isinstance(one, (Comparison, Contained, Like))
        return _walked(ws, one) if one.field.key in ("upstream", "downstream") else _named(ws, one)
    if one.field.kind == "link" and one.field.key in ("upstream", "downstream"):
        raise InvalidInput(f"\"{one.field.key}\" is compared with a node: {one.field.key} = 'dataset:flights@3a91c2…'.")
    return one


def _matching(ws: Workspace, one: Matches) -> tuple[str, ...]:
    """The values there are that a pattern is found in: each is looked at once, by an engine that takes linear time."""
    import polars as pl

    if one.field.kind == "attribute":
        column = ATTRIBUTE_COLUMNS[one.field.key]
        query = select(column.label("value")).select_from(run).where(run.c.project == ws.project, column.is_not(None))
    else:
        table = TABLES[one.field.kind]
        query = select(table.c.value).where(table.c.key == one.field.key)
    values = [row[0] for row in ws.tx.execute(query.distinct())]
    try:
        found = pl.Series(values, dtype=pl.String).str.contains(one.pattern)
    except pl.exceptions.ComputeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise mistake(one.text, one.column, f"the pattern cannot be read: {lines[-1]}.") from None
    kept = tuple(value for value, fits in zip(values, found, strict=True) if fits)
    if len(kept) > MOST_VALUES:
        raise mistake(one.text, one.column, f"the pattern fits {len(kept):,} different texts. Say more in it.")
    return kept


def _named(ws: Workspace, one: Comparison | Contained | Like) -> Expression:
    """With nodes instead of what a person writes for them."""
    if one.field.key != "data":
        return one
    if isinstance(one, Like):
        return Like(one.field, f"dataset:{one.pattern}", one.ignore_case, one.negated)
    values = [str(value) for value in ([one.value] if isinstance(one, Comparison) else one.values)]
    negated = one.operator == "!=" if isinstance(one, Comparison) else one.negated
    nodes: list[str] = []
    parts: list[Expression] = []
    for value in values:
        name, at, _ = value.removeprefix("dataset:").partition("@")
        if at:
            nodes.append(_dataset(ws, value))
        else:
            exact = "".join(f"\\{char}" if char in "%_\\" else char for char in name)
            parts.append(Like(one.field, f"dataset:{exact}@%", False, False))
    if nodes:
        parts.append(Contained(one.field, tuple(nodes), False))
    found = parts[0] if len(parts) == 1 else Group("or", tuple(parts))
    return Group("and", (Missing(one.field, True), Negation(found))) if negated else found


def _dataset(ws: Workspace, reference: str) -> str:
    """The node that `name@ref` means now; the door knows who can say it."""
    exact = f"dataset:{reference.removeprefix('dataset:')}"
    if ws.tx.scalar(select(node.c.id).where(node.c.project == ws.project, node.c.ref == exact)):
        return exact
    name, _, version = exact.removeprefix("dataset:").partition("@")
    import trine.rooms

    trine.rooms.load()
    commit: Any = perform(REGISTRY["data.get_commit"], ws, {"name": name, "ref": version})
    return commit.node


def _walked(ws: Workspace, one: Comparison | Contained | Like) -> Expression:
    """The runs that came of a node (`upstream = it`), or that it came from (`downstream = it`), by id."""
    if isinstance(one, Like):
        raise InvalidInput(f"\"{one.field.key}\" takes whole nodes: {one.field.key} = 'dataset:flights@3a91c2…'.")
    starts = [one.value] if isinstance(one, Comparison) else one.values
    negated = one.operator == "!=" if isinstance(one, Comparison) else one.negated
    found: dict[str, None] = {}
    for start in map(str, starts):
        try:
            way = walk(ws.tx.connection, ws.project, start, direction="down" if one.field.key == "upstream" else "up")
        except NotFound:
            continue  # what nothing ever used leads nowhere
        found |= dict.fromkeys(name.removeprefix("run:") for name in way.nodes[1:] if name.startswith("run:"))
    if len(found) > MOST_VALUES:
        raise InvalidInput(f"{len(found):,} runs are {one.field.key} of that. Say more in the expression.")
    return Contained(Field("attribute", "id"), tuple(found), negated)
