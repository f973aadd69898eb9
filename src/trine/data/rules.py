"""The vocabulary of expectations: one function a rule.

All take `severity` ("error" refuses the commit, "warn" is noted) and `label`, a name of your own. Rules about rows also take
`where`, a Polars SQL expression (only rows it is true for are asked), and `mostly`, the share of the rows asked that has to
hold. Rules about a column as a whole take `where`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from trine.data.expectations import Expectation, Limit, Severity
from trine.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl

Value = str | int | float | bool
Bound = int | float | str | dt.date | dt.time | None
Comparison = Literal["<", "<=", ">", ">=", "==", "!="]
Measure = Literal["distance", "psi"]


class Named(TypedDict, total=False):
    """What every rule takes."""

    severity: Severity
    label: str


class OfSome(Named, total=False):
    """What rules about a column as a whole take."""

    where: str


class OfRows(OfSome, total=False):
    """What rules about rows take."""

    mostly: float


# -- rows -----------------------------------------------------------------------------------------------------------


def not_null(*columns: str, **options: Unpack[OfRows]) -> Expectation:
    """No value is missing."""
    return Expectation("not_null", columns, **options)


def is_null(*columns: str, **options: Unpack[OfRows]) -> Expectation:
    """All values are missing; say with `where` in which rows."""
    return Expectation("is_null", columns, **options)


def between(
    column: str,
    low: Bound = None,
    high: Bound = None,
    *,
    without: Literal["", "low", "high", "both"] = "",
    **options: Unpack[OfRows],
) -> Expectation:
    """Numbers, times or texts lie in [low, high], or `without` the limits themselves; missing values pass, NaN fails.

    Times are given as such or in ISO 8601; without a zone they are read as UTC where the column has one.
    """
    return Expectation("between", (column,), low=_limit(low), high=_limit(high), without=without, **options)


def one_of(column: str, values: Sequence[Value], **options: Unpack[OfRows]) -> Expectation:
    """Values are from a set; missing values pass."""
    return Expectation("one_of", (column,), values=tuple(values), **options)


def none_of(column: str, values: Sequence[Value], **options: Unpack[OfRows]) -> Expectation:
    """No value is from a set."""
    return Expectation("none_of", (column,), values=tuple(values), **options)


def matches(column: str, pattern: str, **options: Unpack[OfRows]) -> Expectation:
    """Texts match a regular expression (anywhere; anchor it with ^ and $); missing values pass."""
    return Expectation("matches", (column,), text=pattern, **options)


def no_match(column: str, pattern: str, **options: Unpack[OfRows]) -> Expectation:
    """No text matches a regular expression."""
    return Expectation("no_match", (column,), text=pattern, **options)


def length_between(
    column: str, low: int | None = None, high: int | None = None, **options: Unpack[OfRows]
) -> Expectation:
    """Texts have so many characters, lists so many items; missing values pass."""
    return Expectation("length_between", (column,), low=low, high=high, **options)


def parses(column: str, form: str, **options: Unpack[OfRows]) -> Expectation:
    """Texts can be read as "integer", "number", "date", "datetime", or by a pattern such as "%d.%m.%Y"."""
    return Expectation("parses", (column,), text=form, **options)


def compare(column: str, is_: Comparison, other: str, **options: Unpack[OfRows]) -> Expectation:
    """One column compares with another, for instance `compare("start", "<=", "end")`; rows that miss either pass."""
    return Expectation("compare", (column, other), text=is_, **options)


def unique(*columns: str, **options: Unpack[OfRows]) -> Expectation:
    """No two rows have the same values in these columns; missing values are values here."""
    return Expectation("unique", columns, **options)


def increasing(
    column: str, *, strictly: bool = False, by: str | Sequence[str] = (), **options: Unpack[OfRows]
) -> Expectation:
    """No value is less than the one before it, in the order of the rows (of each group, with `by`)."""
    return _in_order("increasing", column, strictly, by, options)


def decreasing(
    column: str, *, strictly: bool = False, by: str | Sequence[str] = (), **options: Unpack[OfRows]
) -> Expectation:
    """No value is greater than the one before it, in the order of the rows (of each group, with `by`)."""
    return _in_order("decreasing", column, strictly, by, options)


def foreign_key(
    columns: str | Sequence[str], other: str, keys: str | Sequence[str] = (), **options: Unpack[OfRows]
) -> Expectation:
    """Values occur in another dataset (`name` or `name@ref`), in columns of the same names or `keys`; missing ones pass."""
    return Expectation("foreign_key", _names(columns), other=other, others=_names(keys), **options)


def expression(sql: str | pl.Expr, **options: Unpack[OfRows]) -> Expectation:
    """A Polars SQL expression, or a Polars expression without Python functions, is true in every row.

    For instance "dep_delay IS NULL OR dep_delay > -120", or `pl.col("total") == pl.col("price") * pl.col("count")`.
    """
    if isinstance(sql, str):
        return Expectation("expression", text=sql, **options)
    from trine.data.polars_expressions import as_text

    options.setdefault("label", f"expression({sql})"[:200])
    return Expectation("expression", text=as_text(sql), **options)


# -- the table ------------------------------------------------------------------------------------------------------


def row_count(low: int | None = None, high: int | None = None, **options: Unpack[OfSome]) -> Expectation:
    """The table has between low and high rows."""
    return Expectation("row_count", low=low, high=high, **options)


def row_growth(low: float | None = None, high: float | None = None, **options: Unpack[Named]) -> Expectation:
    """Rows against the commit before: from low=-0.1 (a tenth fewer) to high=0.5 (half as many more)."""
    return Expectation("row_growth", low=low, high=high, **options)


def has_schema(
    columns: Mapping[str, str | type | pl.DataType],
    *,
    more: bool = False,
    in_order: bool = False,
    **options: Unpack[Named],
) -> Expectation:
    """The columns are these, of these Polars types ("" for any); `more` lets others be there too."""
    types = tuple(kind if isinstance(kind, str) else _type_name(kind) for kind in columns.values())
    text = " ".join([*(["more"] if more else []), *(["in_order"] if in_order else [])])
    return Expectation("has_schema", tuple(columns), values=types, text=text, **options)


def dtype(column: str, name: str, **options: Unpack[Named]) -> Expectation:
    """A column has a Polars type, for instance "Int64" or "Datetime"."""
    return Expectation("dtype", (column,), text=name, **options)


def null_share(column: str, high: float, **options: Unpack[OfSome]) -> Expectation:
    """At most this share (0 to 1) of a column is missing."""
    return Expectation("null_share", (column,), high=high, **options)


def distinct_count(
    column: str, low: int | None = None, high: int | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """A column has so many different values; missing is none."""
    return Expectation("distinct_count", (column,), low=low, high=high, **options)


def distinct_share(
    column: str, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """Different values as a share (0 to 1) of all that are not missing."""
    return Expectation("distinct_share", (column,), low=low, high=high, **options)


def mean_between(
    column: str, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """The mean of the finite values."""
    return Expectation("mean_between", (column,), low=low, high=high, **options)


def std_between(
    column: str, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """The standard deviation (of a sample) of the finite values."""
    return Expectation("std_between", (column,), low=low, high=high, **options)


def median_between(
    column: str, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """The median of the finite values."""
    return Expectation("median_between", (column,), low=low, high=high, **options)


def quantile_between(
    column: str, quantile: float, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """A quantile (0 to 1) of the finite values."""
    return Expectation("quantile_between", (column,), values=(quantile,), low=low, high=high, **options)


def sum_between(
    column: str, low: float | None = None, high: float | None = None, **options: Unpack[OfSome]
) -> Expectation:
    """The sum of the finite values."""
    return Expectation("sum_between", (column,), low=low, high=high, **options)


def minimum_between(column: str, low: Bound = None, high: Bound = None, **options: Unpack[OfSome]) -> Expectation:
    """The least finite value, or the earliest time."""
    return Expectation("minimum_between", (column,), low=_limit(low), high=_limit(high), **options)


def maximum_between(column: str, low: Bound = None, high: Bound = None, **options: Unpack[OfSome]) -> Expectation:
    """The greatest finite value, or the latest time."""
    return Expectation("maximum_between", (column,), low=_limit(low), high=_limit(high), **options)


def includes(column: str, values: Sequence[Value], **options: Unpack[OfSome]) -> Expectation:
    """Each of these values occurs."""
    return Expectation("includes", (column,), values=tuple(values), **options)


def fresh(column: str, within: str | float | dt.timedelta, **options: Unpack[OfSome]) -> Expectation:
    """The newest time of a column is at most so old at the commit: "90m", "36h", "7d", seconds, or a timedelta."""
    return Expectation("fresh", (column,), high=_seconds(within), **options)


def drift(column: str, high: float, measure: Measure = "distance", **options: Unpack[Named]) -> Expectation:
    """The distribution is at most so far from that of the commit before; a first commit passes.

    `distance` is the greatest difference of the distribution functions (Kolmogorov-Smirnov) of numbers and times, the total
    variation distance of texts and booleans: 0 same, 1 disjoint. `psi` is the population stability index over ten bins.
    """
    return Expectation("drift", (column,), high=high, text="" if measure == "distance" else measure, **options)


def _in_order(
    kind: Literal["increasing", "decreasing"], column: str, strictly: bool, by: str | Sequence[str], options: OfRows
) -> Expectation:
    return Expectation(kind, (column,), text="strictly" if strictly else "", others=_names(by), **options)


def _names(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _limit(value: Bound) -> Limit:
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else value


def _type_name(kind: type | pl.DataType) -> str:
    import polars as pl

    return (
        str(pl.DataType.from_python(kind))
        if isinstance(kind, type) and not issubclass(kind, pl.DataType)
        else str(kind)
    )


def _seconds(within: str | float | dt.timedelta) -> float:
    if isinstance(within, dt.timedelta):
        return within.total_seconds()
    if not isinstance(within, str):
        return within
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
    try:
        return float(within[:-1]) * units[within[-1:]]
    except (KeyError, ValueError):
        raise InvalidInput(f'"{within}" is no span: write for instance 90m, 36h or 7d.') from None
