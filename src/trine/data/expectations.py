"""Expectations: what a table must hold to be committed. An `error` that fails keeps the branch where it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from trine.errors import InvalidInput, NotFound

Severity = Literal["error", "warn"]
Limit = int | float | str | None
"""A number; or a time in ISO 8601, or a text."""

RowRule = Literal[
    "not_null", "is_null", "between", "one_of", "none_of", "matches", "no_match", "length_between", "parses", "compare",
    "unique", "increasing", "decreasing", "foreign_key", "expression",
]  # fmt: skip
TableRule = Literal[
    "row_count", "row_growth", "has_schema", "dtype", "null_share", "distinct_count", "distinct_share", "mean_between",
    "std_between", "median_between", "quantile_between", "sum_between", "minimum_between", "maximum_between", "includes",
    "fresh", "drift",
]  # fmt: skip


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One rule. Make it with the functions of `trine.data` of the same names, or read it from YAML or TOML.

    `where` is a Polars SQL expression: the rule is about the rows that it is true for. `mostly` is the share of the rows
    asked (those that have a value, for rules that nulls pass) that has to hold.
    """

    kind: RowRule | TableRule
    columns: tuple[str, ...] = ()
    severity: Severity = "error"
    low: Limit = None
    high: Limit = None
    values: tuple[str | int | float | bool, ...] = ()
    text: str = ""
    mostly: float = 1.0
    where: str = ""
    without: Literal["", "low", "high", "both"] = ""
    other: str = ""
    others: tuple[str, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """The rule for people: its label, or what it asks."""
        if self.label:
            return self.label
        told = {
            "low": self.low,
            "high": self.high,
            "values": list(self.values) or None,
            "text": self.text or None,
            "other": self.other or None,
            "others": list(self.others) or None,
            "without": self.without or None,
            "mostly": self.mostly if self.mostly != 1 else None,
            "where": self.where or None,
        }
        parts = [*self.columns, *(f"{key}={value!r}" for key, value in told.items() if value is not None)]
        return f"{self.kind}({', '.join(parts)})"

    @property
    def question(self) -> Expectation:
        """What it asks, whatever it is called and whatever follows: equal for rules that ask the same."""
        return msgspec.structs.replace(self, severity="error", label="")


Checks = Sequence[Expectation] | Path | str | None
"""Expectations, or a YAML or TOML file of them."""


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule's outcome: of `asked` rows so many are `failing` (1 for a rule about the whole table), and up to five of them.

    `found` is what a rule about the whole table found: a mean, a number of rows, the newest time.
    """

    rule: Expectation
    failing: int
    examples: tuple[dict[str, Any], ...] = ()
    asked: int = 0
    found: bool | int | float | str | None = None

    @property
    def passed(self) -> bool:
        return self.failing <= int((1 - self.rule.mostly) * self.asked + 1e-9)

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

    @property
    def message(self) -> str:
        """The outcome in words, with counts and the first row that fails."""
        if self.found is not None and not self.asked:
            found = f"{self.found:,.6g}" if isinstance(self.found, float) else str(self.found)
            return f"{self.name}: found {found}"
        if not self.failing:
            return f"{self.name}: holds"
        if not self.asked:
            return f"{self.name}: does not hold"
        share = 100 * self.failing / self.asked
        told = f"{self.name}: {self.failing:,} of {self.asked:,} {'row' if self.asked == 1 else 'rows'}"
        told += f" {'fails' if self.failing == 1 else 'fail'} ({share:.3g} %)"
        if self.examples:
            (number, row), *values = self.examples[0].items()
            told += f", first {number} {row}" + (": " if values else "")
            told += ", ".join(f"{name}={value!r}" for name, value in values[:4])
        return told


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
    """Expectations from a file: in YAML a list of mappings such as `{kind: between, columns: [age], low: 0, high: 130}`,
    in TOML an `[[expect]]` for each."""
    path = Path(path)
    found = _read(path)
    if isinstance(found, dict) and set(found) == {"expect"}:
        found = found["expect"]
    try:
        return msgspec.convert(_with_times_as_text(found), list[Expectation])
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{path} holds no list of expectations: {error}. Example: - {{kind: not_null, columns: [id]}}"
        ) from error


def write_expectations(rules: Sequence[Expectation]) -> str:
    """Expectations as YAML, one a line, as `read_expectations` takes them."""
    import yaml

    def line(rule: Expectation) -> str:
        told = yaml.safe_dump(
            msgspec.to_builtins(rule), default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True
        )
        return f"- {told.strip()}\n"

    return "".join(map(line, rules)) or "[]\n"


def _read(path: Path) -> Any:
    import tomllib

    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except FileNotFoundError:
        raise NotFound(f"There is no file of expectations at {path}.") from None
    except (OSError, yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise InvalidInput(f"{path} cannot be read as {kind}: {error}") from error


def _with_times_as_text(value: Any) -> Any:
    """YAML and TOML read 2026-01-31 as a date."""
    if isinstance(value, dict):
        return {key: _with_times_as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_times_as_text(one) for one in value]
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else value
