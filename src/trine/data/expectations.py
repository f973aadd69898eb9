"""Expectations: what a table must hold to be committed. An `error` that fails keeps the branch where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl

from trine.errors import InvalidInput, NotFound, nearest

Severity = Literal["error", "warn"]
Kind = Literal["not_null", "between", "one_of", "unique", "matches", "row_count", "dtype", "null_share", "expression"]


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule. Make it with the functions of this module, or read it from YAML."""

    kind: Kind
    columns: tuple[str, ...] = ()
    severity: Severity = "error"
    low: float | None = None
    high: float | None = None
    values: tuple[str | int | float | bool | None, ...] = ()
    text: str = ""

    @property
    def name(self) -> str:
        limits = {"low": self.low, "high": self.high, "values": list(self.values) or None, "text": self.text or None}
        told = ", ".join([*self.columns, *(f"{key}={value}" for key, value in limits.items() if value is not None)])
        return f"{self.kind}({told})"


class CheckResult(msgspec.Struct, frozen=True):
    """One rule's outcome: rows that fail it (of row_count: 1 or 0), and up to five of them."""

    name: str
    columns: tuple[str, ...]
    severity: Severity
    passed: bool
    failing: int
    examples: tuple[dict[str, Any], ...] = ()


def not_null(*columns: str, severity: Severity = "error") -> Expectation:
    """No value is missing."""
    return Expectation("not_null", columns, severity)


def between(
    column: str, low: float | None = None, high: float | None = None, *, severity: Severity = "error"
) -> Expectation:
    """Values lie in [low, high]; missing values pass, NaN fails."""
    return Expectation("between", (column,), severity, low=low, high=high)


def one_of(column: str, values: Sequence[str | int | float | bool], *, severity: Severity = "error") -> Expectation:
    """Values are from a set; missing values pass."""
    return Expectation("one_of", (column,), severity, values=tuple(values))


def unique(*columns: str, severity: Severity = "error") -> Expectation:
    """No two rows have the same values in these columns."""
    return Expectation("unique", columns, severity)


def matches(column: str, pattern: str, *, severity: Severity = "error") -> Expectation:
    """Texts match a regular expression (anywhere; anchor it with ^ and $); missing values pass."""
    return Expectation("matches", (column,), severity, text=pattern)


def row_count(low: int | None = None, high: int | None = None, *, severity: Severity = "error") -> Expectation:
    """The table has between low and high rows."""
    return Expectation("row_count", (), severity, low=low, high=high)


def dtype(column: str, name: str, *, severity: Severity = "error") -> Expectation:
    """A column has a Polars type, for instance "Int64" or "Datetime"."""
    return Expectation("dtype", (column,), severity, text=name)


def null_share(column: str, high: float, *, severity: Severity = "error") -> Expectation:
    """At most this share (0 to 1) of a column is missing."""
    return Expectation("null_share", (column,), severity, high=high)


def expression(sql: str, *, severity: Severity = "error") -> Expectation:
    """A Polars SQL expression is true in every row, for instance "dep_delay IS NULL OR dep_delay > -120"."""
    return Expectation("expression", (), severity, text=sql)


def read_expectations(path: Path | str) -> list[Expectation]:
    """Expectations from a YAML file: a list of mappings such as `{kind: between, columns: [age], low: 0, high: 130}`."""
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file of expectations at {path}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not valid YAML: {error}") from error
    try:
        return msgspec.convert(found, list[Expectation])
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{path} holds no list of expectations: {error}. Example: - {{kind: not_null, columns: [id]}}"
        ) from error


def check(frame: pl.LazyFrame, expectations: Sequence[Expectation]) -> list[CheckResult]:
    """Evaluate all rules in one plan; a second look fetches example rows of those that fail.

    Raises InvalidInput for an unknown column or an expression that cannot be evaluated.
    """
    if not expectations:
        return []
    schema = frame.collect_schema()
    tests = [_failing_rows(one, schema) for one in expectations]
    counts = [_count(one, test) for one, test in zip(expectations, tests, strict=True)]
    try:
        row = frame.select(*[count.alias(str(i)) for i, count in enumerate(counts)]).collect().row(0)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"An expectation cannot be evaluated: {str(error).splitlines()[0]}") from error
    results: list[CheckResult] = []
    for one, test, failing in zip(expectations, tests, row, strict=True):
        failing = int(failing or 0)
        results.append(
            CheckResult(
                one.name, one.columns, one.severity, failing == 0, failing, _examples(frame, one, test, failing)
            )
        )
    return results


def _failing_rows(one: Expectation, schema: pl.Schema) -> pl.Expr | None:
    """A boolean expression that is true where a row fails; None for rules about the whole table."""
    for column in one.columns:
        if column not in schema:
            raise InvalidInput(f'{one.name}: there is no column "{column}".{nearest(column, schema.names())}')
    columns = [pl.col(name) for name in one.columns]
    if one.kind in ("row_count", "dtype", "null_share"):
        return None
    if not columns and one.kind != "expression":
        raise InvalidInput(f"{one.kind} needs a column.")
    match one.kind:
        case "not_null":
            return pl.any_horizontal([column.is_null() for column in columns])
        case "between":
            return _outside(columns[0], one, schema[one.columns[0]])
        case "one_of":
            return columns[0].is_not_null() & ~columns[0].is_in(list(one.values))
        case "unique":
            return pl.struct(columns).is_duplicated()
        case "matches":
            return columns[0].is_not_null() & ~columns[0].cast(pl.String).str.contains(one.text)
        case _:
            try:
                return ~pl.sql_expr(one.text).fill_null(False)
            except pl.exceptions.PolarsError as error:
                raise InvalidInput(f"expression({one.text}) is not valid: {str(error).splitlines()[0]}") from error


def _outside(column: pl.Expr, one: Expectation, kind: pl.DataType) -> pl.Expr:
    if not kind.is_numeric():
        raise InvalidInput(f'{one.name}: column "{one.columns[0]}" is {kind}, and between needs numbers.')
    outside = pl.lit(False)
    if one.low is not None:
        outside = outside | (column < one.low)
    if one.high is not None:
        outside = outside | (column > one.high)
    if kind.is_float():
        outside = outside | column.is_nan()
    return outside.fill_null(False)


def _count(one: Expectation, failing: pl.Expr | None) -> pl.Expr:
    if failing is not None:
        return failing.sum()
    if one.kind == "row_count":
        low = one.low if one.low is not None else 0
        high = one.high if one.high is not None else float("inf")
        return (~pl.len().is_between(low, high)).cast(pl.Int64)
    if one.kind == "null_share":
        nulls = pl.col(one.columns[0]).null_count()
        return pl.when(nulls > (one.high or 0.0) * pl.len()).then(nulls).otherwise(0)
    return pl.lit(0)


def _examples(
    frame: pl.LazyFrame, one: Expectation, failing_rows: pl.Expr | None, failing: int
) -> tuple[dict[str, Any], ...]:
    if not failing or failing_rows is None:
        return ()
    shown = frame.with_row_index("row").filter(failing_rows).head(5)
    if one.columns:
        shown = shown.select("row", *one.columns)
    rows = shown.collect().to_dicts()
    return tuple({key: _plain(value) for key, value in row.items()} for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return "NaN"
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def check_types(schema: pl.Schema, expectations: Sequence[Expectation]) -> list[CheckResult]:
    """The results of `dtype` rules, which need no scan."""
    results: list[CheckResult] = []
    for one in expectations:
        if one.kind == "dtype":
            found = str(schema[one.columns[0]])
            passed = found == one.text or found.startswith(one.text + "(")
            example = () if passed else ({"type": found},)
            results.append(CheckResult(one.name, one.columns, one.severity, passed, 0 if passed else 1, example))
    return results


def run_checks(frame: pl.LazyFrame, expectations: Sequence[Expectation]) -> list[CheckResult]:
    """All rules' results, in the order they were given."""
    scanned = check(frame, [one for one in expectations if one.kind != "dtype"])
    for one in expectations:
        _failing_rows(one, frame.collect_schema())
    typed = check_types(frame.collect_schema(), expectations)
    by_name = {result.name: result for result in [*scanned, *typed]}
    return [by_name[one.name] for one in expectations]
