"""Rules about rows, compiled to Polars: which rows are asked, and which of them fail."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from trine.data.expectations import Expectation, Limit
from trine.data.frames import first_line
from trine.data.polars_expressions import expression_of, is_by_row, is_scalar
from trine.errors import InvalidInput, nearest

LookUp = Callable[[str], pl.LazyFrame]
"""Another dataset's rows, by reference."""

_BY_ROW = frozenset(
    {
        "not_null",
        "is_null",
        "between",
        "one_of",
        "none_of",
        "matches",
        "no_match",
        "length_between",
        "parses",
        "compare",
    }
)
_TEXT = (pl.String, pl.Categorical, pl.Enum)
_PARSED = {"integer": pl.Int64, "number": pl.Float64, "date": pl.Date, "datetime": pl.Datetime}


class RowTest(NamedTuple):
    """`fails` is true where a row fails (None: the question has one answer for all rows); `failing` and `asked` count.

    `by_row` says that each row is judged alone, so rows that were judged once need not be asked again. `repeated` says that
    `failing` is 0 exactly when no row fails, and else another number: counting which rows fail is left for then.
    """

    fails: pl.Expr | None
    failing: pl.Expr
    asked: pl.Expr
    by_row: bool
    repeated: bool = False


def compile_rows(rule: Expectation, schema: pl.Schema, frame: pl.LazyFrame, look_up: LookUp) -> RowTest:
    """A rule about rows. Raises InvalidInput when it cannot be asked of such columns."""
    check_shape(rule, schema)
    if not 0 <= rule.mostly <= 1:
        raise InvalidInput(f"{rule.name}: mostly is a share from 0 to 1.")
    try:
        return _compile(rule, schema, frame, look_up)
    except pl.exceptions.PolarsError as error:
        raise unfit(rule, error) from error


def check_shape(rule: Expectation, schema: pl.Schema) -> None:
    """Raises InvalidInput for a column that is not there, and for limits that nothing fits."""
    for column in rule.columns if rule.kind != "has_schema" else ():
        if column not in schema:
            raise InvalidInput(f'{rule.name}: there is no column "{column}".{nearest(column, schema.names())}')
    if not rule.columns and rule.kind not in ("expression", "row_count", "row_growth"):
        raise InvalidInput(f"{rule.name} needs a column.")
    if rule.low is None or rule.high is None:
        return
    if isinstance(rule.low, str) != isinstance(rule.high, str):
        raise InvalidInput(f"{rule.name} needs limits of one type.")
    if not rule.low <= rule.high:  # type: ignore[operator]
        raise InvalidInput(f"{rule.name} can never hold: low is above high.")


def where_of(rule: Expectation, frame: pl.LazyFrame) -> pl.Expr | None:
    """What is true for the rows a rule is about; None for all. Raises InvalidInput."""
    if not rule.where:
        return None
    try:
        chosen = expression_of(rule.where)
        kind = frame.select(chosen).collect_schema().dtypes()[0]
    except pl.exceptions.PolarsError as error:
        raise unfit(rule, error) from error
    if kind != pl.Boolean:
        raise InvalidInput(f'{rule.name}: where="{rule.where}" is no yes-or-no question: it gives {kind}.')
    return chosen.fill_null(False)


def unfit(rule: Expectation, error: pl.exceptions.PolarsError) -> InvalidInput:
    return InvalidInput(f"{rule.name} cannot be evaluated: {first_line(error)}")


def need(rule: Expectation, what: str, fits: bool, kind: pl.DataType) -> None:
    if not fits:
        raise InvalidInput(f'{rule.name}: column "{rule.columns[0]}" is {kind}, and this rule needs {what}.')


def _compile(rule: Expectation, schema: pl.Schema, frame: pl.LazyFrame, look_up: LookUp) -> RowTest:
    chosen = where_of(rule, frame)
    columns = [pl.col(name) for name in rule.columns]
    here = [column.is_not_null() for column in columns]
    by_row = rule.kind in _BY_ROW and (chosen is None or is_by_row(chosen))
    every = rule.kind in ("not_null", "is_null", "unique", "expression")
    asked = _both(chosen, None if every else _all(here))
    count = pl.len() if asked is None else asked.sum()
    if chosen is None and not every and len(columns) == 1:
        count = pl.len() - columns[0].null_count()  # known to the column
    match rule.kind:
        case "unique":
            return _unique(columns, chosen, count)
        case "increasing" | "decreasing":
            fails = _out_of_order(rule, schema, chosen)
        case "foreign_key":
            fails = _unknown(rule, schema, columns, look_up(rule.other))
        case "expression":
            question = expression_of(rule.text)
            _need_yes_or_no(rule, frame, question)
            fails = ~question.fill_null(False)
            if is_scalar(question, schema):
                return RowTest(None, fails.cast(pl.Int64), pl.lit(0), False)
            by_row = is_by_row(question) and (chosen is None or is_by_row(chosen))
        case _:
            fails = _fails(rule, schema, columns)
    fails = fails if asked is None else fails.fill_null(False) & asked
    _need_yes_or_no(rule, frame, fails)
    return RowTest(fails, fails.sum(), count, by_row)


def _fails(rule: Expectation, schema: pl.Schema, columns: list[pl.Expr]) -> pl.Expr:
    column, kind = columns[0], schema[rule.columns[0]]
    match rule.kind:
        case "not_null":
            return pl.any_horizontal([one.is_null() for one in columns])
        case "is_null":
            return pl.any_horizontal([one.is_not_null() for one in columns])
        case "between":
            return _outside(column, rule, kind)
        case "one_of":
            return ~_in(column, rule, kind)
        case "none_of":
            return _in(column, rule, kind)
        case "matches" | "no_match":
            need(rule, "text", isinstance(kind, _TEXT), kind)
            found = column.cast(pl.String).str.contains(rule.text)
            return found if rule.kind == "no_match" else ~found
        case "length_between":
            return _outside_limits(_length(column, rule, kind), rule, rule.low, rule.high)
        case "parses":
            need(rule, "text", isinstance(kind, _TEXT), kind)
            return _parsed(column.cast(pl.String), rule.text).is_null()
        case _:
            return ~_compared(rule, schema, columns)


def _both(one: pl.Expr | None, other: pl.Expr | None) -> pl.Expr | None:
    return one & other if one is not None and other is not None else one if other is None else other


def _all(expressions: list[pl.Expr]) -> pl.Expr:
    return expressions[0] if len(expressions) == 1 else pl.all_horizontal(expressions)


def _need_yes_or_no(rule: Expectation, frame: pl.LazyFrame, question: pl.Expr) -> None:
    kind = frame.select(question).collect_schema().dtypes()[0]
    if kind != pl.Boolean:
        raise InvalidInput(f"{rule.name} is no yes-or-no question: it gives {kind}.")


def _unique(columns: list[pl.Expr], chosen: pl.Expr | None, count: pl.Expr) -> RowTest:
    value = columns[0] if len(columns) == 1 else pl.struct(columns)
    if chosen is None:
        return RowTest(value.is_duplicated(), count - value.n_unique(), count, False, repeated=True)
    fails = pl.struct(*columns, chosen.alias("\0chosen")).is_duplicated() & chosen
    return RowTest(fails, count - value.filter(chosen).n_unique(), count, False, repeated=True)


def _outside(column: pl.Expr, rule: Expectation, kind: pl.DataType) -> pl.Expr:
    if rule.low is None and rule.high is None:
        raise InvalidInput(f"{rule.name} needs low, high or both.")
    if isinstance(rule.low if rule.low is not None else rule.high, str):
        fits = kind.is_temporal() or isinstance(kind, _TEXT)
        need(rule, "a column of times or texts", fits and not isinstance(kind, pl.Duration), kind)
        if not kind.is_temporal():
            return _outside_limits(column.cast(pl.String), rule, rule.low, rule.high)
        if getattr(kind, "time_zone", None):
            column = column.dt.convert_time_zone("UTC")
        low, high = (moment_of(rule, limit, kind) for limit in (rule.low, rule.high))
        return _outside_limits(column, rule, low, high)
    need(rule, "numbers", kind.is_numeric(), kind)
    outside = _outside_limits(column, rule, rule.low, rule.high)
    return column.is_nan() | outside if kind.is_float() else outside


def _outside_limits(column: pl.Expr, rule: Expectation, low: Any, high: Any) -> pl.Expr:
    if low is None and high is None:
        raise InvalidInput(f"{rule.name} needs low, high or both.")
    low, high = (pl.lit(one) if one is not None else None for one in (low, high))
    below = None if low is None else column <= low if rule.without in ("low", "both") else column < low
    above = None if high is None else column >= high if rule.without in ("high", "both") else column > high
    return above if below is None else below if above is None else below | above  # type: ignore[return-value]


def moment_of(rule: Expectation, limit: Limit, kind: pl.DataType) -> dt.date | dt.time | None:
    """A limit as the moment that a column of times can be compared with. Raises InvalidInput."""
    if limit is None:
        return None
    try:
        if isinstance(kind, pl.Time):
            return dt.time.fromisoformat(str(limit))
        when = dt.datetime.fromisoformat(str(limit))
    except ValueError:
        raise InvalidInput(f'{rule.name}: "{limit}" is no time in ISO 8601, such as 2026-01-31T12:00.') from None
    if isinstance(kind, pl.Date):
        return when.date()
    if getattr(kind, "time_zone", None):
        return when.astimezone(dt.UTC) if when.tzinfo else when.replace(tzinfo=dt.UTC)
    return when.astimezone(dt.UTC).replace(tzinfo=None) if when.tzinfo else when


def values_of(rule: Expectation, kind: pl.DataType) -> tuple[pl.Series, pl.DataType]:
    """The values of a rule, and the type that they and the column are compared in. Raises InvalidInput."""
    types = {type(value) for value in rule.values}
    if types and types <= {int, float}:
        need(rule, "numbers", kind.is_numeric(), kind)
        common = pl.Int128() if types == {int} and kind.is_integer() else pl.Float64()
    elif types == {str}:
        need(rule, "text", isinstance(kind, _TEXT), kind)
        common = pl.String()
    elif types == {bool}:
        need(rule, "booleans", kind == pl.Boolean, kind)
        common = pl.Boolean()
    else:
        raise InvalidInput(f"{rule.name} needs values of one type: texts, numbers or booleans.")
    return pl.Series(rule.values, dtype=common, strict=False), common


def _in(column: pl.Expr, rule: Expectation, kind: pl.DataType) -> pl.Expr:
    values, common = values_of(rule, kind)
    if kind.is_integer() and common == pl.Int128() and all(abs(int(one)) < 1 << 31 for one in rule.values):
        values, common = values.cast(pl.Int64), pl.Int64() if kind != pl.UInt64 else pl.Int128()  # quicker to look up
    return column.cast(common).is_in(values.cast(common).implode())


def _length(column: pl.Expr, rule: Expectation, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, _TEXT):
        return column.cast(pl.String).str.len_chars()
    if isinstance(kind, pl.Binary):
        return column.bin.size()
    need(rule, "texts, lists or bytes", isinstance(kind, pl.List), kind)
    return column.list.len()


def _parsed(column: pl.Expr, form: str) -> pl.Expr:
    if form == "date":
        return column.str.to_date(strict=False)
    if form == "datetime":
        return column.str.to_datetime(strict=False, time_zone="UTC")
    if form in _PARSED:
        return column.cast(_PARSED[form], strict=False)
    return column.str.strptime(pl.Datetime, form, strict=False)


def _compared(rule: Expectation, schema: pl.Schema, columns: list[pl.Expr]) -> pl.Expr:
    if len(columns) != 2:
        raise InvalidInput(f"{rule.name} compares two columns.")
    one, other = columns
    kinds = [schema[name] for name in rule.columns]
    if any(isinstance(kind, (pl.Categorical, pl.Enum)) for kind in kinds):
        one, other = one.cast(pl.String), other.cast(pl.String)
    match rule.text:
        case "<":
            return one < other
        case "<=":
            return one <= other
        case ">":
            return one > other
        case ">=":
            return one >= other
        case "==":
            return one == other
        case "!=":
            return one != other
        case _:
            raise InvalidInput(f'{rule.name}: "{rule.text}" is no comparison: < <= > >= == !=')


def _out_of_order(rule: Expectation, schema: pl.Schema, chosen: pl.Expr | None) -> pl.Expr:
    for name in rule.others:
        if name not in schema:
            raise InvalidInput(f'{rule.name}: there is no column "{name}".{nearest(name, schema.names())}')
    kind = schema[rule.columns[0]]
    need(rule, "numbers, times or texts", not kind.is_nested() and kind != pl.Boolean, kind)
    value = pl.col(rule.columns[0]) if chosen is None else pl.when(chosen).then(pl.col(rule.columns[0]))
    before = value.forward_fill().shift(1)
    if rule.others:
        before = before.over(rule.others)
    strictly = rule.text == "strictly"
    if rule.kind == "increasing":
        return value <= before if strictly else value < before
    return value >= before if strictly else value > before


def _unknown(rule: Expectation, schema: pl.Schema, columns: list[pl.Expr], other: pl.LazyFrame) -> pl.Expr:
    names = rule.others or rule.columns
    there = other.collect_schema()
    for name in names:
        if name not in there:
            raise InvalidInput(f'{rule.name}: {rule.other} has no column "{name}".{nearest(name, there.names())}')
    if len(names) != len(rule.columns):
        raise InvalidInput(f"{rule.name} names {len(rule.columns)} columns here and {len(names)} there.")
    for mine, name in zip(rule.columns, names, strict=True):
        if schema[mine] != there[name] and not (schema[mine].is_integer() and there[name].is_integer()):
            raise InvalidInput(f'{rule.name}: "{mine}" is {schema[mine]}, "{name}" of {rule.other} is {there[name]}.')
    same = [pl.col(name).cast(schema[mine], strict=False) for mine, name in zip(rule.columns, names, strict=True)]
    keys = other.select(one.alias(mine) for one, mine in zip(same, rule.columns, strict=True))
    known = keys.unique().collect(engine="streaming")
    if len(columns) == 1:
        return ~columns[0].is_in(known.to_series().drop_nulls().implode())
    return ~pl.struct(columns).is_in(known.drop_nulls().to_struct().implode())
