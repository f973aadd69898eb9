"""Run search as SQL: an expression's tree becomes one WHERE that means the same on SQLite and PostgreSQL.

A condition on a metric, param or tag is the existence of a row that satisfies it, which is true or false and never
unknown, so `and`, `or` and `not` are plain set algebra. Texts compare by code point (C collation); LIKE is written as
GLOB on SQLite, whose own LIKE does not see case.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    and_,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import KeyedColumnElement

from trine.ledger.tables import edge, node
from trine.tracking.expression import (
    ATTRIBUTES,
    NOES,
    Between,
    Comparison,
    Contained,
    Expression,
    Field,
    Group,
    Like,
    Marked,
    Matches,
    Missing,
    Negation,
    NotNumber,
)
from trine.tracking.tables import experiment, run, run_metric, run_param, run_tag

_SIGNS: dict[str, Any] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
TABLES = {"metric": run_metric, "param": run_param, "tag": run_tag}

ATTRIBUTE_COLUMNS: dict[str, ColumnElement[Any]] = {
    **{name: run.c[name] for name in ("id", "name", "state", "reason", "author", "parent", "code", "lost")},
    "experiment": select(experiment.c.name).where(experiment.c.id == run.c.experiment).correlate(run).scalar_subquery(),
    "started": run.c.started_us,
    "ended": run.c.ended_us,
    "duration": (run.c.ended_us - run.c.started_us) / literal(1e6, Double),
}
NULLABLE = frozenset({"parent", "code", "ended", "duration"})
assert set(ATTRIBUTE_COLUMNS) == set(ATTRIBUTES)

Test = Comparison | Contained | Like | Between | Marked | NotNumber


class Setting(NamedTuple):
    """What a condition's meaning depends on: the database, the project, and which metrics are better when they are less."""

    dialect: str
    project: str
    is_loss: Callable[[str], bool]


def condition(one: Expression, setting: Setting) -> ColumnElement[bool]:
    """The WHERE of an expression over `run`."""
    if isinstance(one, Group):
        parts = [condition(part, setting) for part in one.parts]
        return and_(*parts) if one.joined == "and" else or_(*parts)
    if isinstance(one, Negation):
        return not_(condition(one.part, setting))
    field = one.field
    if field.kind == "link":
        return _linked(one, setting)
    if isinstance(one, Missing):
        found = there(field)
        return found if one.negated else not_(found)
    assert not isinstance(one, Matches), "patterns are resolved before"
    if field.kind == "attribute":
        test = attribute_test(one, setting)
        return and_(ATTRIBUTE_COLUMNS[field.key].is_not(None), test) if field.key in NULLABLE else test
    table = TABLES[field.kind]
    return _has(table, field, row_test(one, table, setting))


def attribute_test(one: Test, setting: Setting) -> ColumnElement[bool]:
    """A condition on an attribute that is there."""
    column = ATTRIBUTE_COLUMNS[one.field.key]
    return value_test(one, column, column, setting.dialect)


def row_test(one: Test, table: FromClause, setting: Setting) -> ColumnElement[bool]:
    """A condition on one row of a metric, param or tag that is there."""
    if one.field.kind == "metric":
        value = metric_column(table, one.field, setting)
        return value_test(one, value, value, setting.dialect)
    return value_test(one, table.c.value, table.c.number, setting.dialect, table.c.head)


def metric_column(table: FromClause, field: Field, setting: Setting) -> KeyedColumnElement[Any]:
    """The column of a metric's part; the best is the least of a loss, else the greatest."""
    if field.part == "best":
        return table.c.min if setting.is_loss(field.key) else table.c.max
    return table.c["points" if field.part == "count" else field.part]


def there(field: Field) -> ColumnElement[bool]:
    """Whether a run has it."""
    if field.kind == "attribute":
        return ATTRIBUTE_COLUMNS[field.key].is_not(None)
    return _has(TABLES[field.kind], field)


def _has(table: FromClause, field: Field, *tests: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(table.c.run == run.c.id, table.c.key == field.key, *tests).correlate(run)


def value_test(
    one: Test,
    text: ColumnElement[Any],
    number: ColumnElement[Any],
    dialect: str,
    head: ColumnElement[Any] | None = None,
) -> ColumnElement[bool]:
    """A condition on one row that is there: `text` and `number` are its value's two forms, `head` the beginning of the text,
    which is in the index."""
    if isinstance(one, Marked):
        return text.not_in(NOES)
    if isinstance(one, NotNumber):
        return number.is_not(None) if one.negated else number.is_(None)
    if isinstance(one, Between):
        column = text if isinstance(one.low, str) else number
        test: ColumnElement[bool] = and_(column >= one.low, column <= one.high)
        if not one.negated:
            return test
        return or_(number.is_(None), not_(test)) if column is number and text is not number else not_(test)
    if isinstance(one, Comparison):
        column = text if isinstance(one.value, str) else number
        test = _SIGNS[one.operator](column, one.value)
        if one.operator == "=" and isinstance(one.value, str) and head is not None:
            return and_(head == one.value[:100], test)
        if one.operator == "!=" and column is number and text is not number:
            return or_(number.is_(None), test)  # a text is unequal to every number
        return test
    if isinstance(one, Like):
        test = _like(text, one, dialect)
        return not_(test) if one.negated else test
    texts = [value for value in one.values if isinstance(value, str)]
    numbers = [value for value in one.values if not isinstance(value, str)]
    tests: list[ColumnElement[bool]] = []
    if texts:
        found = text.in_(texts)
        by_head = None if head is None or one.negated else head.in_([value[:100] for value in texts])
        tests.append(found if by_head is None else and_(by_head, found))
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


# -- the graph --------------------------------------------------------------------------------------------------


def _linked(one: Expression, setting: Setting) -> ColumnElement[bool]:
    """A condition on what a run used or made: its own runs, by the edges of the graph, are a set."""
    if isinstance(one, Missing):
        found = run.c.id.in_(linked_runs(one.field, true(), setting))
        return found if one.negated else not_(found)
    assert isinstance(one, (Comparison, Contained, Like)), one
    found = run.c.id.in_(linked_runs(one.field, link_names(one, setting.dialect), setting))
    if not (one.operator == "!=" if isinstance(one, Comparison) else one.negated):
        return found
    return and_(run.c.id.in_(linked_runs(one.field, true(), setting)), not_(found))


def link_names(one: Comparison | Contained | Like, dialect: str) -> ColumnElement[bool]:
    """A condition on the name of the node at the other end (for `linked_runs`)."""
    if isinstance(one, Like):
        return _like(_far.c.ref, one, dialect)
    return _far.c.ref.in_([one.value] if isinstance(one, Comparison) else one.values)


_near, _far = node.alias("near"), node.alias("far")


def linked_runs(field: Field, names: ColumnElement[bool], setting: Setting) -> Any:
    """The ids of runs with an edge to a node that `names` holds for."""
    used = field.key != "output"
    near, far, kind = (edge.c.down, edge.c.up, "used") if used else (edge.c.up, edge.c.down, "produced")
    apart = _far.c.ref.startswith("dataset:") if field.key == "data" else not_(_far.c.ref.startswith("run:"))
    return (
        select(func.substr(_near.c.ref, literal_column("5")).label("run"))
        .select_from(_far.join(edge, far == _far.c.id).join(_near, _near.c.id == near))
        .where(_far.c.project == setting.project, edge.c.kind == kind, names, apart, _near.c.ref.startswith("run:"))
    )
