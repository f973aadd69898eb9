"""Narrowing: whether one condition of a search alone leaves so few runs that looking at each is the shortest way.

Databases guess that, and SQLite guesses badly. So the runs for which a condition holds that an index answers are counted, up to a
thousand, which takes well under a millisecond each.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Select, func, select

from trine.tracking.expression import Between, Comparison, Contained, Expression, Group, Like, Marked
from trine.tracking.query import TABLES, Setting, attribute_test, link_names, linked_runs, row_test
from trine.tracking.tables import run
from trine.workspace import Workspace

FEW = 1_000
_INDEXED = frozenset(("id", "name", "state", "parent"))


def few_runs(ws: Workspace, tree: Expression | None, setting: Setting, experiment: int | None) -> list[str] | None:
    """The ids of the runs that a search can only be about, when they are few; None when they are many."""
    best, least = None, FEW + 1
    for query in _queries(ws, tree, setting, experiment):
        count = ws.tx.scalar(select(func.count()).select_from(query.limit(FEW + 1).subquery()))
        if count < least:
            best, least = query, count
    return None if best is None else list(dict.fromkeys(row[0] for row in ws.tx.all(best)))


def _queries(
    ws: Workspace, tree: Expression | None, setting: Setting, experiment: int | None
) -> Iterator[Select[tuple[str]]]:
    if experiment is not None:
        yield select(run.c.id).where(run.c.experiment == experiment)
    parts = tree.parts if isinstance(tree, Group) and tree.joined == "and" else (tree,) if tree else ()
    for part in parts:
        if (query := _query(ws, part, setting)) is not None:
            yield query


def _query(ws: Workspace, one: Expression, setting: Setting) -> Select[tuple[str]] | None:
    """The runs that a condition can hold for, through an index; None where none helps."""
    if isinstance(one, (Like, Marked)) and one.field.kind in TABLES:
        table = TABLES[one.field.kind]
        return select(table.c.run).where(table.c.key == one.field.key)
    if not isinstance(one, (Comparison, Contained, Between)) or _is_negative(one):
        return None
    field = one.field
    if field.kind == "link":
        assert not isinstance(one, Between)
        return linked_runs(field, link_names(one, setting.dialect), setting)
    if field.kind == "attribute":
        if field.key not in _INDEXED or isinstance(one, Between):
            return None
        return select(run.c.id).where(run.c.project == ws.project, attribute_test(one, setting))
    if field.part in ("first", "count") or (field.kind != "metric" and _is_range_of_texts(one)):
        return None
    table = TABLES[field.kind]
    return select(table.c.run).where(table.c.key == field.key, row_test(one, table, setting))


def _is_negative(one: Comparison | Contained | Between) -> bool:
    return one.operator == "!=" if isinstance(one, Comparison) else one.negated


def _is_range_of_texts(one: Comparison | Contained | Between) -> bool:
    if isinstance(one, Between):
        return isinstance(one.low, str)
    return isinstance(one, Comparison) and isinstance(one.value, str) and one.operator != "="
