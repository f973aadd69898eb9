"""Finding the runs of a search: its expression, its order and its page as one or two queries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement

from trine.errors import InvalidInput
from trine.ledger.tables import among
from trine.tracking.directions import losses_of
from trine.tracking.expression import parse_order, parse_search
from trine.tracking.narrowing import few_runs
from trine.tracking.query import Setting, condition
from trine.tracking.resolving import resolve
from trine.tracking.sorting import Sorting
from trine.tracking.tables import run
from trine.workspace import Workspace

Keys = dict[str, list[str | int]]
"""Run ids in order, each with its sort keys as JSON keeps them exactly (floats as text)."""


def find_runs(
    ws: Workspace,
    expression: str,
    order_by: str,
    *,
    experiment: int | None,
    deleted: bool | None,
    limit: int,
    after: list[str | int] | None,
) -> Keys:
    """At most `limit` runs after the one whose keys are `after`, inside an operation; `deleted` None means either. Raises InvalidInput with the column."""
    tree, order = parse_search(expression)
    if order and order_by.strip():
        raise InvalidInput('The order is said twice: in the expression (after "order by") and in order_by.')
    order = order or parse_order(order_by)
    setting = Setting(ws.tx.connection.dialect.name, ws.project, losses_of(ws))
    sorting = Sorting(order, setting)
    tree = None if tree is None else resolve(ws, tree)
    start = _values(sorting, after)
    few = few_runs(ws, tree, setting, experiment)
    where: list[ColumnElement[bool]] = []
    if deleted is not None:
        where.append(run.c.deleted_us.is_not(None) if deleted else run.c.deleted_us.is_(None))
    where += [] if tree is None else [condition(tree, setting)]
    if few is not None:
        where.append(among(ws.tx.connection, run.c.id, few))
    # Where another index leads, SQLite, which knows no statistics, must not be tempted by that of the project.
    apart = setting.dialect == "sqlite" and (few is not None or sorting.follows_an_index)
    where.append((run.c.project.concat("") if apart else run.c.project) == ws.project)
    if experiment is not None:
        where.append((run.c.experiment + 0 if apart else run.c.experiment) == experiment)
    found: Keys = {}
    for query in sorting.parts(where, start, walks=few is None):
        for row in ws.tx.execute(query.limit(limit - len(found))):
            found[row[0]] = [repr(value) if isinstance(value, float) else value for value in tuple(row)[1:]]
        if len(found) >= limit:
            break
    return found


def _values(sorting: Sorting, after: list[str | int] | None) -> list[Any] | None:
    """The sort keys of a page token as the database compares them. Raises InvalidInput for a token of another search."""
    if after is None:
        return None
    try:
        found = [key.type.python_type(value) for value, (key, _) in zip(after, sorting.keys, strict=True)]
    except ValueError:
        found = []
    if not found or any(abs(one) >= 2**63 if isinstance(one, int) else "\0" in str(one) for one in found):
        raise InvalidInput("That page token belongs to another search. Start again without a page token.")
    return found
