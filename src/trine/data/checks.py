"""Evaluating expectations: all rules of a table in one plan, then a look at some rows of those that fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import polars as pl

from trine.data.expectations import CheckResult, Checks, Expectation, expectations
from trine.data.frames import as_polars, first_line
from trine.data.profiles import LONGEST, Profile
from trine.errors import InvalidInput, nearest

ROW_BY_ROW = frozenset({"not_null", "between", "one_of", "matches"})
"""Rules that look at one row at a time: rows that passed once need not be asked again."""

EXAMPLES = 5
"""Rows that fail a rule and are kept with its outcome."""


class Asked(NamedTuple):
    """A rule, and the rows it has to look at: those after the first `skipped` ones of the table."""

    rule: Expectation
    rows: pl.LazyFrame
    skipped: int
    fails: pl.Expr | None
    failures: pl.Expr


class Checking:
    """The rules of a table, ready to run: `plans` are to be collected (together with others), and `results` reads them.

    For rows that are added to a table, `before` is its profile, `passed` names the rules that all its rows hold, and
    `whole` gives the old rows and the new ones; it is asked only where the new rows and the profile do not tell.
    """

    def __init__(
        self,
        rules: Sequence[Expectation],
        rows: pl.LazyFrame,
        *,
        before: Profile | None = None,
        passed: Collection[str] = (),
        whole: Callable[[], pl.LazyFrame] | None = None,
    ) -> None:
        """Raises InvalidInput for an unknown column, or a rule that does not go with the column's type."""
        schema = rows.collect_schema()
        together: pl.LazyFrame | None = None
        self._tests: list[Asked] = []
        for rule in rules:
            fails, count = _compile(rule, schema, rows, before)
            told = fails is None or (rule.kind in ROW_BY_ROW and rule.name in passed)
            if before is None or whole is None or told:
                self._tests.append(Asked(rule, rows, before.rows if before else 0, fails, count))
            else:
                together = whole() if together is None else together
                self._tests.append(Asked(rule, together, 0, fails, count))
        groups = [[(i, one) for i, one in enumerate(self._tests) if one.rows is frame] for frame in (rows, together)]
        self._groups = [group for group in groups if group]
        self.plans = [group[0][1].rows.select(one.failures.alias(str(i)) for i, one in group) for group in self._groups]

    def results(self, collected: Sequence[pl.DataFrame]) -> list[CheckResult]:
        """The outcomes in the order of the rules; reads example rows of those that fail."""
        counts: dict[int, int] = {}
        for group, frame in zip(self._groups, collected, strict=True):
            counts |= {i: int(count or 0) for (i, _), count in zip(group, frame.row(0), strict=True)}
        return [CheckResult(one.rule, counts[i], _examples(one, counts[i])) for i, one in enumerate(self._tests)]

    def blame(self, error: pl.exceptions.PolarsError) -> InvalidInput:
        """The error of plans that could not be run, with the name of the rule that it is about."""
        for one in self._tests:
            try:
                one.rows.select(one.failures).collect(engine="streaming")
            except pl.exceptions.PolarsError as found:
                return _unfit(one.rule, found)
        return InvalidInput(f"The rows cannot be looked at: {first_line(error)}")


def check(frame: Any, checks: Checks) -> list[CheckResult]:
    """What a commit of a frame with these expectations would say about them; nothing is stored."""
    checking = Checking(expectations(checks), as_polars(frame).lazy())
    try:
        return checking.results(pl.collect_all(checking.plans, engine="streaming"))
    except pl.exceptions.PolarsError as error:
        raise checking.blame(error) from error


def failing(frame: pl.LazyFrame, rule: Expectation) -> pl.LazyFrame:
    """The rows that fail a rule, with their number in front; none for a rule about the whole table."""
    schema = frame.collect_schema()
    fails, _ = _compile(rule, schema, frame, None)
    return frame.with_row_index(_number(schema)).filter(pl.lit(False) if fails is None else fails)


def _compile(
    rule: Expectation, schema: pl.Schema, frame: pl.LazyFrame, before: Profile | None
) -> tuple[pl.Expr | None, pl.Expr]:
    """What is true where a row fails (None for rules about the whole table), and how often the rule fails."""
    for column in rule.columns:
        if column not in schema:
            raise InvalidInput(f'{rule.name}: there is no column "{column}".{nearest(column, schema.names())}')
    if not rule.columns and rule.kind not in ("expression", "row_count"):
        raise InvalidInput(f"{rule.name} needs a column.")
    if rule.low is not None and rule.high is not None and not rule.low <= rule.high:
        raise InvalidInput(f"{rule.name} can never hold: low is above high.")
    rows = pl.len() + (before.rows if before else 0)
    match rule.kind:
        case "row_count":
            inside = pl.lit(True)
            if rule.low is not None:
                inside = inside & (rows >= rule.low)
            if rule.high is not None:
                inside = inside & (rows <= rule.high)
            return None, (~inside).cast(pl.Int64)
        case "null_share":
            if rule.high is None or not 0 <= rule.high <= 1:
                raise InvalidInput(f"{rule.name} needs a share from 0 to 1 as high.")
            column = before.column(rule.columns[0]) if before else None
            nulls = pl.col(rule.columns[0]).null_count() + (column.nulls if column else 0)
            return None, pl.when(nulls > rule.high * rows).then(nulls).otherwise(0)
        case "dtype":
            found = str(schema[rule.columns[0]])
            fits = found == rule.text or found.startswith(rule.text + "(")
            return None, pl.lit(0 if fits else 1)
        case _:
            fails = _fails(rule, schema)
    try:
        kind = frame.select(fails).collect_schema().dtypes()[0]
    except pl.exceptions.PolarsError as error:
        raise _unfit(rule, error) from error
    if kind != pl.Boolean:
        raise InvalidInput(f"{rule.name} is no yes-or-no question: it gives {kind}.")
    return fails, fails.sum()


def _fails(rule: Expectation, schema: pl.Schema) -> pl.Expr:
    columns = [pl.col(name) for name in rule.columns]
    match rule.kind:
        case "not_null":
            return pl.any_horizontal([column.is_null() for column in columns])
        case "unique":
            return (columns[0] if len(columns) == 1 else pl.struct(columns)).is_duplicated()
        case "between":
            return _outside(columns[0], rule, schema[rule.columns[0]])
        case "one_of":
            return _not_in(columns[0], rule, schema[rule.columns[0]])
        case "matches":
            _need(rule, "text", isinstance(schema[rule.columns[0]], (pl.String, pl.Categorical, pl.Enum)), schema)
            return (~columns[0].cast(pl.String).str.contains(rule.text)).fill_null(False)
        case _:
            try:
                return ~pl.sql_expr(rule.text).fill_null(False)
            except pl.exceptions.PolarsError as error:
                raise _unfit(rule, error) from error


def _outside(column: pl.Expr, rule: Expectation, kind: pl.DataType) -> pl.Expr:
    _need(rule, "numbers", kind.is_numeric(), {rule.columns[0]: kind})
    if rule.low is None and rule.high is None:
        raise InvalidInput(f"{rule.name} needs low, high or both.")
    outside = column.is_nan() if kind.is_float() else pl.lit(False)
    if rule.low is not None:
        outside = outside | (column < rule.low)
    if rule.high is not None:
        outside = outside | (column > rule.high)
    return outside.fill_null(False)


def _not_in(column: pl.Expr, rule: Expectation, kind: pl.DataType) -> pl.Expr:
    types = {type(value) for value in rule.values}
    if types and types <= {int, float}:
        _need(rule, "numbers", kind.is_numeric(), {rule.columns[0]: kind})
        common = pl.Int128() if types == {int} and kind.is_integer() else pl.Float64()
    elif types == {str}:
        _need(rule, "text", isinstance(kind, (pl.String, pl.Categorical, pl.Enum)), {rule.columns[0]: kind})
        common = pl.String()
    elif types == {bool}:
        _need(rule, "booleans", kind == pl.Boolean, {rule.columns[0]: kind})
        common = pl.Boolean()
    else:
        raise InvalidInput(f"{rule.name} needs values of one type: texts, numbers or booleans.")
    values = pl.Series(rule.values, dtype=common, strict=False)
    return (~column.cast(common).is_in(values.implode())).fill_null(False)


def _need(rule: Expectation, what: str, fits: bool, schema: Any) -> None:
    if not fits:
        column = rule.columns[0]
        raise InvalidInput(f'{rule.name}: column "{column}" is {schema[column]}, and this rule needs {what}.')


def _examples(one: Asked, count: int) -> tuple[dict[str, Any], ...]:
    if not count or one.fails is None:
        return ()
    schema = one.rows.collect_schema()
    number = _number(schema)
    rows = one.rows.with_row_index(number, offset=one.skipped).filter(one.fails).head(EXAMPLES)
    if one.rule.columns:
        rows = rows.select(number, *one.rule.columns)
    return tuple(
        {key: _plain(value) for key, value in row.items()} for row in rows.collect(engine="streaming").to_dicts()
    )


def _number(schema: pl.Schema) -> str:
    return "row" if "row" not in schema else "row_number"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    return value if isinstance(value, (bool, int, type(None))) else str(value)[:LONGEST]


def _unfit(rule: Expectation, error: pl.exceptions.PolarsError) -> InvalidInput:
    return InvalidInput(f"{rule.name} cannot be evaluated: {first_line(error)}")
