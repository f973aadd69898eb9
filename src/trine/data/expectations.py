"""Expectations: what a table must hold to be committed. An `error` that fails keeps the branch where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from trine.errors import InvalidInput, NotFound

Severity = Literal["error", "warn"]
Rule = Literal["not_null", "between", "one_of", "unique", "matches", "row_count", "dtype", "null_share", "expression"]


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule. Make it with the functions of this module, or read it from YAML."""

    kind: Rule
    columns: tuple[str, ...] = ()
    severity: Severity = "error"
    low: int | float | None = None
    high: int | float | None = None
    values: tuple[str | int | float | bool, ...] = ()
    text: str = ""

    @property
    def name(self) -> str:
        """The rule as text: two rules with the same name ask the same."""
        limits = {"low": self.low, "high": self.high, "values": list(self.values) or None, "text": self.text or None}
        told = ", ".join([*self.columns, *(f"{key}={value!r}" for key, value in limits.items() if value is not None)])
        return f"{self.kind}({told})"


Checks = Sequence[Expectation] | Path | str | None
"""Expectations, or a YAML file of them."""


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule's outcome: how many rows fail it (1 for a rule about the whole table), and up to five of them."""

    rule: Expectation
    failing: int
    examples: tuple[dict[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failing

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def severity(self) -> Severity:
        return self.rule.severity

    @property
    def refuses(self) -> bool:
        """Whether it keeps the branch from moving."""
        return not self.passed and self.severity == "error"


def not_null(*columns: str, severity: Severity = "error") -> Expectation:
    """No value is missing."""
    return Expectation("not_null", columns, severity)


def between(
    column: str, low: float | None = None, high: float | None = None, *, severity: Severity = "error"
) -> Expectation:
    """Numbers lie in [low, high]; missing values pass, NaN fails."""
    return Expectation("between", (column,), severity, low=low, high=high)


def one_of(column: str, values: Sequence[str | int | float | bool], *, severity: Severity = "error") -> Expectation:
    """Values are from a set; missing values pass."""
    return Expectation("one_of", (column,), severity, values=tuple(values))


def unique(*columns: str, severity: Severity = "error") -> Expectation:
    """No two rows have the same values in these columns; missing values are values here."""
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


def expectations(checks: Checks) -> list[Expectation]:
    """What was given as a list. Raises InvalidInput for what is no expectation."""
    if checks is None:
        return []
    if isinstance(checks, (str, Path)):
        return read_expectations(checks)
    for one in checks:
        if not isinstance(one, Expectation):  # pyright: ignore[reportUnnecessaryIsInstance] (users are not type-checked)
            raise InvalidInput(f"A {type(one).__name__} is no expectation: write for instance data.not_null('id').")
    return list(checks)


def read_expectations(path: Path | str) -> list[Expectation]:
    """Expectations from a YAML file: a list of mappings such as `{kind: between, columns: [age], low: 0, high: 130}`."""
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file of expectations at {path}.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as YAML: {error}") from error
    try:
        return msgspec.convert(found, list[Expectation])
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{path} holds no list of expectations: {error}. Example: - {{kind: not_null, columns: [id]}}"
        ) from error
