"""Run search as SQL: an expression's tree becomes one WHERE that means the same on SQLite and PostgreSQL.

A condition on a metric, param or tag is membership in the set of runs that satisfy it, which is true or false and never
unknown, so `and`, `or` and `not` are plain set algebra. Texts compare by code point (C collation); LIKE is written as
GLOB on SQLite, whose own LIKE does not see case.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Double, FromClause, Select, and_, case, false, func, literal, not_, or_, select
from sqlalchemy.sql.elements import KeyedColumnElement

from trine.errors import InvalidInput
from trine.tracking.expression import (
    ATTRIBUTES,
    Comparison,
    Contained,
    Expression,
    Field,
    Group,
    Like,
    Missing,
    Negation,
    NotNumber,
    Order,
)
from trine.tracking.runs import is_loss
from trine.tracking.tables import experiment, run, run_metric, run_param, run_tag

_SIGNS: dict[str, Any] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TABLES = {"metric": run_metric, "param": run_param, "tag": run_tag}

ATTRIBUTE_COLUMNS: dict[str, ColumnElement[Any]] = {
    **{name: run.c[name] for name in ("id", "name", "state", "reason", "author", "parent", "code", "lost")},
    "experiment": experiment.c.name,
    "started": run.c.started_us,
    "ended": run.c.ended_us,
    "duration": (run.c.ended_us - run.c.started_us) / literal(1e6, Double),
}
_NULLABLE = frozenset({"parent", "code", "ended", "duration"})
assert set(ATTRIBUTE_COLUMNS) == set(ATTRIBUTES)


def condition(one: Expression, dialect: str) -> ColumnElement[bool]:
    """The WHERE of an expression over `run` joined with `experiment`."""
    if isinstance(one, Group):
        parts = [condition(part, dialect) for part in one.parts]
        return and_(*parts) if one.joined == "and" else or_(*parts)
    if isinstance(one, Negation):
        return not_(condition(one.part, dialect))
    field = one.field
    if isinstance(one, Missing):
        found = _there(field)
        return found if one.negated else not_(found)
    if field.kind == "attribute":
        column = ATTRIBUTE_COLUMNS[field.key]
        test = _test(one, column, column, dialect)
        return and_(column.is_not(None), test) if field.key in _NULLABLE else test
    table = _TABLES[field.kind]
    if field.kind == "metric":
        value = number = metric_column(table, field)
    else:
        value, number = table.c.value, table.c.number
    return _runs_where(table, field, _test(one, value, number, dialect))


def metric_column(table: FromClause, field: Field) -> KeyedColumnElement[Any]:
    """The column of a metric's part; the best is the least of a loss, else the greatest."""
    if field.part == "best":
        return table.c.min if is_loss(field.key) else table.c.max
    return table.c["points" if field.part == "count" else field.part]


def _there(field: Field) -> ColumnElement[bool]:
    if field.kind == "attribute":
        return ATTRIBUTE_COLUMNS[field.key].is_not(None)
    return _runs_where(_TABLES[field.kind], field)


def _runs_where(table: FromClause, field: Field, *tests: ColumnElement[bool]) -> ColumnElement[bool]:
    return run.c.id.in_(select(table.c.run).where(table.c.key == field.key, *tests))


def _test(
    one: Comparison | Contained | Like | NotNumber, text: ColumnElement[Any], number: ColumnElement[Any], dialect: str
) -> ColumnElement[bool]:
    """A condition on one row that is there: `text` and `number` are its value's two forms."""
    if isinstance(one, NotNumber):
        return number.is_not(None) if one.negated else number.is_(None)
    if isinstance(one, Comparison):
        column = text if isinstance(one.value, str) else number
        test: ColumnElement[bool] = _SIGNS[one.operator](column, one.value)
        if one.operator == "!=" and column is number and text is not number:
            return or_(number.is_(None), test)  # a text is unequal to every number
        return test
    if isinstance(one, Like):
        test = _like(text, one, dialect)
        return not_(test) if one.negated else test
    texts = [value for value in one.values if isinstance(value, str)]
    numbers = [value for value in one.values if not isinstance(value, str)]
    tests: list[ColumnElement[bool]] = [text.in_(texts)] if texts else []
    if numbers:
        # a text that is no number is in no list of numbers, and must not make the answer unknown
        tests.append(and_(number.is_not(None), number.in_(numbers)) if text is not number else number.in_(numbers))
    found = or_(false(), *tests)
    return not_(found) if one.negated else found


def _like(column: ColumnElement[Any], one: Like, dialect: str) -> ColumnElement[bool]:
    if dialect != "sqlite":
        pattern = "".join({"%": "%", "_": "_"}.get(mark, _escaped(char)) for char, mark in _marks(one.pattern))
        return column.ilike(pattern, escape="\\") if one.ignore_case else column.like(pattern, escape="\\")
    if one.ignore_case:
        pattern = "".join({"%": "%", "_": "_"}.get(mark, _escaped(char)) for char, mark in _marks(one.pattern))
        return column.like(pattern, escape="\\")
    glob = "".join(
        {"%": "*", "_": "?"}.get(mark, f"[{char}]" if char in "*?[" else char) for char, mark in _marks(one.pattern)
    )
    return column.bool_op("GLOB")(glob)


def _marks(pattern: str) -> Iterator[tuple[str, str]]:
    """The characters of a LIKE pattern, each with the wildcard it is, or nothing."""
    escaped = False
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        yield char, "" if escaped or char not in "%_" else char
        escaped = False
    if escaped:
        yield "\\", ""


def _escaped(char: str) -> str:
    return f"\\{char}" if char in "%_\\" else char


class Sorting:
    """The sort keys of a search, and where a page begins in them.

    Every key is made of columns without nulls (is it missing? its value), so that a page can start after the last row of
    the one before, whatever came in between. What a run does not have, and NaN, comes last in both directions; ties are
    broken by the start of the run, newest first, then by id.
    """

    def __init__(self, order: list[Order]) -> None:
        self.keys: list[tuple[ColumnElement[Any], bool]] = []
        self._joins: list[tuple[FromClause, ColumnElement[bool]]] = []
        for index, one in enumerate(order):
            for column, empty in self._columns(one.field, index):
                self.keys.append((case((column.is_(None), 1), else_=0), False))
                self.keys.append((func.coalesce(column, empty), one.descending))
        self.keys += [(run.c.started_us, True), (run.c.id, True)]

    def _columns(self, field: Field, index: int) -> list[tuple[ColumnElement[Any], Any]]:
        if field.kind == "attribute":
            return [(ATTRIBUTE_COLUMNS[field.key], "" if ATTRIBUTES[field.key] == "text" else 0)]
        table = _TABLES[field.kind].alias(f"sort_{index}")
        self._joins.append((table, and_(table.c.run == run.c.id, table.c.key == field.key)))
        if field.kind == "metric":
            return [(metric_column(table, field), 0)]
        return [(table.c.number, 0), (table.c.value, "")]

    def page(self, limit: int, after: list[Any] | None) -> Select[Any]:
        """The ids of one page and the values of the keys; the caller adds its conditions."""
        source: Any = run.join(experiment, run.c.experiment == experiment.c.id)
        for table, on in self._joins:
            source = source.outerjoin(table, on)
        made = select(run.c.id.label("run"), *(key.label(f"key_{i}") for i, (key, _) in enumerate(self.keys)))
        made = made.select_from(source).limit(limit)
        if after is not None:
            made = made.where(self._after(after))
        return made.order_by(*(key.desc() if descending else key.asc() for key, descending in self.keys))

    def _after(self, values: list[Any]) -> ColumnElement[bool]:
        if len(values) != len(self.keys):
            raise InvalidInput("That page token belongs to another order. Start again without a page token.")
        found: list[ColumnElement[bool]] = []
        equal: list[ColumnElement[bool]] = []
        for (key, descending), value in zip(self.keys, values, strict=True):
            found.append(and_(*equal, key < value if descending else key > value))
            equal.append(key == value)
        return or_(*found)
