"""Finding traces: an expression's tree becomes one WHERE that means the same on SQLite and PostgreSQL.

A condition on a tag, an assessment or a span is the existence of a row that satisfies it, as with runs. What only the spans
themselves say is read from them, of the traces for which the rest is true, the newest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Double, and_, exists, func, literal, not_, or_, select
from sqlalchemy import false as never

from trine.errors import InvalidInput
from trine.llm.expression import READ, TraceBuilder
from trine.llm.ledger_traces import spans_of
from trine.llm.reading_spans import holds
from trine.llm.tables import assessment, trace, trace_run, trace_span, trace_text
from trine.tracking.expression import (
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
    Order,
    parse_order,
    parse_search,
)
from trine.tracking.query import value_test
from trine.tracking.tables import experiment
from trine.workspace import Workspace

MOST_READ = 2_000
"""Traces whose spans are read for one search."""

_GROUP = select(experiment.c.name).where(experiment.c.id == trace.c.experiment).correlate(trace).scalar_subquery()
_SECONDS = literal(1e6, Double)
COLUMNS: dict[str, ColumnElement[Any]] = {
    **{name: trace.c[name] for name in ("id", "name", "state", "session", "user", "request", "response")},
    **{name: trace.c[name] for name in ("client_request", "spans", "input_tokens", "output_tokens", "cost")},
    "experiment": _GROUP,
    "started": trace.c.started_us,
    "ended": trace.c.started_us + trace.c.duration_us,
    "duration": trace.c.duration_us / _SECONDS,
    "size": trace.c.size_bytes,
    "tokens": trace.c.total_tokens,
}
_SPAN_COLUMNS: dict[str, ColumnElement[Any]] = {
    **{name: trace_span.c[name] for name in ("id", "name", "type", "state", "model")},
    **{name: trace_span.c[name] for name in ("input_tokens", "output_tokens", "cost")},
    "started": trace_span.c.started_us,
    "duration": trace_span.c.duration_us / _SECONDS,
    "tokens": trace_span.c.total_tokens,
}
_NULLABLE = frozenset({"ended", "duration", "input_tokens", "output_tokens", "tokens", "cost"})
_EMPTY = frozenset({"name", "session", "user", "request", "response", "client_request", "model", "type"})
"""Texts that are not there when they are empty."""

Test = Comparison | Contained | Like | Between | Marked


def find_traces(
    ws: Workspace,
    expression: str,
    order_by: str,
    *,
    experiments: Sequence[str],
    limit: int,
    after: list[Any] | None,
) -> tuple[list[Any], list[list[Any]]]:
    """At most `limit` rows of traces after the one with those sort keys, and the sort keys of each. Inside an operation.

    Raises InvalidInput with the column.
    """
    tree, order = parse_search(expression, TraceBuilder)
    if order and order_by.strip():
        raise InvalidInput('The order is said twice: in the expression (after "order by") and in order_by.')
    order = order or parse_order(order_by, TraceBuilder)
    where = _where(ws, tree, experiments)
    keys = _sort_keys(order)
    query = select(trace, *(key.label(f"key_{at}") for at, (key, _) in enumerate(keys))).where(*where)
    if after is not None:
        query = query.where(_beyond(keys, after))
    query = query.order_by(*(key.desc() if down else key.asc() for key, down in keys)).limit(limit)
    rows = ws.tx.all(query)
    return rows, [[getattr(row, f"key_{at}") for at in range(len(keys))] for row in rows]


def count(ws: Workspace, expression: str, experiments: Sequence[str]) -> int:
    """For how many traces an expression is true. Inside an operation. Raises InvalidInput with the column."""
    tree, _ = parse_search(expression, TraceBuilder)
    return ws.tx.scalar(select(func.count()).select_from(trace).where(*_where(ws, tree, experiments)))


def _where(ws: Workspace, tree: Expression | None, experiments: Sequence[str]) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [trace.c.project == ws.project]
    if experiments:
        named = experiment.c.project == ws.project, experiment.c.name.in_(list(experiments))
        where.append(trace.c.experiment.in_(select(experiment.c.id).where(*named)))
    if tree is not None:
        dialect = ws.tx.connection.dialect.name
        where.append(_condition(_resolved(ws, tree, where, dialect), dialect))
    return where


# -- order ------------------------------------------------------------------------------------------------------------------


def _sort_keys(order: list[Order]) -> list[tuple[ColumnElement[Any], bool]]:
    """What rows are sorted by, none of it null: what is not there comes last; then the newest, then the id."""
    keys: list[tuple[ColumnElement[Any], bool]] = []
    for term in order:
        field = term.field
        if field.kind in ("tag", "metadata"):
            value = select(trace_text.c.value).where(
                trace_text.c.trace == trace.c.row, trace_text.c.kind == field.kind, trace_text.c.key == field.key
            )
            column: ColumnElement[Any] = value.correlate(trace).scalar_subquery()
        elif field.kind == "attribute" and field.key in COLUMNS:
            column = COLUMNS[field.key]
        else:
            raise InvalidInput(f'Traces cannot be ordered by "{field.kind} {field.key}": there may be several.')
        if field.kind != "attribute" or field.key in _NULLABLE or field.key == "experiment":
            text = field.kind != "attribute" or field.key == "experiment"
            keys.append((column.is_(None), False))
            column = func.coalesce(column, literal("" if text else 0))
        keys.append((column, term.descending))
    if not any(term.field == Field("attribute", "started") for term in order):
        keys.append((trace.c.started_us, True))
    return [*keys, (trace.c.row, True)]


def _beyond(keys: list[tuple[ColumnElement[Any], bool]], after: list[Any]) -> ColumnElement[bool]:
    """After the row with those keys, in their order. Raises InvalidInput for a token of another search."""
    if len(after) != len(keys) or not all(_fits(key, one) for (key, _), one in zip(keys, after, strict=True)):
        raise InvalidInput("That page token belongs to another search. Start again without a page token.")
    found: list[ColumnElement[bool]] = []
    for at, (key, down) in enumerate(keys):
        value = after[at]
        if isinstance(value, bool):
            further = and_(key, literal(not value)) if not value else never()
        else:
            further = key < value if down else key > value
        found.append(and_(*(_same(before, after[n]) for n, (before, _) in enumerate(keys[:at])), further))
    return or_(*found)


def _fits(key: ColumnElement[Any], value: Any) -> bool:
    """Whether a database can compare them."""
    if key.type.python_type is str:
        return isinstance(value, str)
    return isinstance(value, (int, float)) and value - value == 0


def _same(key: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    if isinstance(value, bool):
        return key if value else not_(key)
    return key == value


# -- conditions -------------------------------------------------------------------------------------------------------------


def _condition(one: Expression, dialect: str) -> ColumnElement[bool]:
    if isinstance(one, Group):
        if one.joined == "or":
            return or_(*(_condition(part, dialect) for part in one.parts))
        about, rest = _about_one_span(one)
        parts = [_condition(part, dialect) for part in rest]
        if about:
            parts.append(_has_span(*(_span_test(part, dialect) for part in about)))
        return and_(*parts)
    if isinstance(one, Negation):
        return not_(_condition(one.part, dialect))
    if isinstance(one, (Matches, NotNumber)):
        raise InvalidInput(
            f'"{one.field.key}": patterns and nan are for runs; traces are searched with like and ilike.'
        )
    field = one.field
    if isinstance(one, Missing):
        found = _there(field)
        return found if one.negated else not_(found)
    if field.kind == "span":
        return _has_span(_span_test(one, dialect))
    if field.kind == "attribute":
        if field.key == "run":
            mine = trace_run.c.trace == trace.c.row
            negated = isinstance(one, Comparison) and one.operator == "!="
            asked = Comparison(field, "=", one.value) if negated and isinstance(one, Comparison) else one
            test = value_test(asked, trace_run.c.run, trace_run.c.run, dialect)
            found = exists().where(mine, test).correlate(trace)
            return not_(found) if negated else found
        column = COLUMNS[field.key]
        test = value_test(one, column, column, dialect)
        return and_(column.is_not(None), test) if field.key in _NULLABLE else test
    if field.kind in ("feedback", "expectation"):
        return _assessed(field, value_test(one, assessment.c.value, assessment.c.number, dialect))
    return _texted(field, value_test(one, trace_text.c.value, trace_text.c.number, dialect, trace_text.c.head))


def _about_one_span(group: Group) -> tuple[list[Test], list[Expression]]:
    """The conditions on spans that `and` joins, which one span has to satisfy, and the rest."""
    about = [
        part for part in group.parts if not isinstance(part, (Group, Negation, Missing)) and part.field.kind == "span"
    ]
    return cast(list[Test], about), [part for part in group.parts if part not in about]


def _span_test(one: Test, dialect: str) -> ColumnElement[bool]:
    column = _SPAN_COLUMNS[one.field.key]
    test = value_test(one, column, column, dialect)
    return and_(column.is_not(None), test) if one.field.key in _NULLABLE else test


def _has_span(*tests: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(trace_span.c.trace == trace.c.row, *tests).correlate(trace)


def _assessed(field: Field, *tests: ColumnElement[bool]) -> ColumnElement[bool]:
    mine = assessment.c.trace == trace.c.row, assessment.c.kind == field.kind, assessment.c.name == field.key
    return exists().where(*mine, assessment.c.valid, *tests).correlate(trace)


def _texted(field: Field, *tests: ColumnElement[bool]) -> ColumnElement[bool]:
    mine = trace_text.c.trace == trace.c.row, trace_text.c.kind == field.kind, trace_text.c.key == field.key
    return exists().where(*mine, *tests).correlate(trace)


def _there(field: Field) -> ColumnElement[bool]:
    """Whether a trace has it."""
    if field.kind == "span":
        column = _SPAN_COLUMNS[field.key]
        return _has_span(column != "" if field.key in _EMPTY else column.is_not(None))
    if field.kind in ("feedback", "expectation"):
        return _assessed(field)
    if field.kind != "attribute":
        return _texted(field)
    if field.key == "run":
        return exists().where(trace_run.c.trace == trace.c.row).correlate(trace)
    column = COLUMNS[field.key]
    return column != "" if field.key in _EMPTY else column.is_not(None)


# -- what only the spans say --------------------------------------------------------------------------------------------------


def _resolved(ws: Workspace, one: Expression, where: list[ColumnElement[bool]], dialect: str) -> Expression:
    """The same expression, with the ids of the traces for which it is true instead of what has to be read from spans."""
    if isinstance(one, Negation):
        return Negation(_resolved(ws, one.part, where, dialect))
    if isinstance(one, Group) and one.joined == "or":
        return Group("or", tuple(_resolved(ws, part, where, dialect) for part in one.parts))
    parts = one.parts if isinstance(one, Group) else (one,)
    read = [part for part in parts if _is_read(part)]
    if not read:
        if isinstance(one, Group):
            return Group("and", tuple(_resolved(ws, part, where, dialect) for part in parts))
        return one
    about = [part for part in parts if not isinstance(part, (Group, Negation)) and part.field.kind == "span"]
    rest = tuple(_resolved(ws, part, where, dialect) for part in parts if part not in about)
    narrowed = [*where, *(_condition(part, dialect) for part in rest)]
    narrowed += [_condition(part, dialect) for part in about if not _is_read(part)]
    ids = tuple(_true_of_spans(ws, about, narrowed))
    return Group("and", (*rest, Contained(Field("attribute", "id"), ids, False)))


def _is_read(one: Expression) -> bool:
    if isinstance(one, (Group, Negation)):
        return False
    return one.field.kind == "span" and (one.field.key == "text" or one.field.key.startswith(READ))


def _true_of_spans(ws: Workspace, about: list[Any], where: list[ColumnElement[bool]]) -> Iterator[str]:
    """The ids of traces of which one span satisfies all conditions. Raises InvalidInput when there are too many to read."""
    query = select(trace).where(*where).order_by(trace.c.started_us.desc()).limit(MOST_READ + 1)
    rows = ws.tx.all(query)
    if len(rows) > MOST_READ:
        raise InvalidInput(
            f"span.text and span.attributes are read from the spans, of at most {MOST_READ:,} traces, and the rest of this "
            "search is true of more. Say more in it: a time (started > '2026-03-01'), a state, a tag."
        )
    for row in rows:
        if any(all(holds(one, span) for one in about) for span in spans_of(ws, row)):
            yield row.id
