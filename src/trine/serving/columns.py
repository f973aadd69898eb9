"""One column of a request against one field of a signature: JSON values in, checked values out.

Whoever sends a wrong value is told its row, its column and what was expected. What the log keeps are the checked
values as they came (dates and times as text), and `series_of` makes the column of them that a reader sees.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from trine.errors import InvalidInput
from trine.models.signature import Field, polars_type

if TYPE_CHECKING:
    import polars as pl


Values = Sequence[Any]
Check = Callable[[Values, Sequence[int] | None], Values]

FLOAT_LIMITS = {"float64": math.inf, "float32": 3.4028235677973366e38}
"""The first number that a float type rounds to infinity."""

INTEGER_LIMITS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)} | {
    f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)
}

_FLOATS = frozenset({float})
_INTEGERS = frozenset({int})
_TEXTS = frozenset({str})
_BOOLEANS = frozenset({bool})
_EXACT = 2**53
"""Integers up to here are the same number as a float: above it `3.0e16` may not be what the caller meant."""


class Column:
    """A field of a signature with the check of its values."""

    def __init__(self, field: Field) -> None:
        self.name = field.name
        self.dtype = field.dtype
        self.required = field.required
        self.check: Check = self._find_check()

    def _find_check(self) -> Check:
        if self.dtype in FLOAT_LIMITS:
            return self._check_float
        if self.dtype in INTEGER_LIMITS:
            return self._check_integer
        if self.dtype == "boolean":
            return self._plain(_BOOLEANS, "true or false")
        if self.dtype == "string":
            return self._plain(_TEXTS, "text")
        if self.dtype == "date":
            return self._check_date
        if self.dtype == "datetime":
            return self._check_datetime
        return self._check_null

    # -- what is wrong ------------------------------------------------------------------------------------------------

    def refuse(self, row: int, problem: str) -> NoReturn:
        raise InvalidInput(f'Row {row}, column "{self.name}": {problem}.', row=row, column=self.name)

    def _wrong(self, values: Values, at: int, rows: Sequence[int] | None, expected: str) -> NoReturn:
        row = rows[at] if rows else at
        value = values[at]
        if value is None:
            self.refuse(row, f"a value is required ({self.dtype}), not null")
        shown = {True: "true", False: "false"}.get(value, "") if isinstance(value, bool) else repr(value)
        kind = "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else ""
        self.refuse(row, f"expected {expected} ({self.dtype}), not {kind or shown[:60]}")

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_null(self, values: Values, rows: Sequence[int] | None) -> Values:
        if self.required and None in values:
            self._wrong(values, list(values).index(None), rows, "a value")
        return values

    def _plain(self, kinds: frozenset[type], expected: str) -> Check:
        def check(values: Values, rows: Sequence[int] | None) -> Values:
            if kinds.issuperset(map(type, values)):
                return values
            for at, value in enumerate(values):
                if type(value) not in kinds and (value is not None or self.required):
                    self._wrong(values, at, rows, expected)
            return values

        return check

    def _check_float(self, values: Values, rows: Sequence[int] | None) -> Values:
        limit = FLOAT_LIMITS[self.dtype]
        if limit == math.inf and _FLOATS.issuperset(map(type, values)):
            return values  # JSON has no NaN and no infinity, so a float is a good one
        return [self._float(values, at, rows, limit) for at in range(len(values))]

    def _float(self, values: Values, at: int, rows: Sequence[int] | None, limit: float) -> float | None:
        value = values[at]
        if value is None and not self.required:
            return None
        if type(value) is not float and type(value) is not int:
            self._wrong(values, at, rows, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or abs(number) >= limit:
            self.refuse(rows[at] if rows else at, f"{str(value)[:40]} is out of the range of {self.dtype}")
        return number

    def _check_integer(self, values: Values, rows: Sequence[int] | None) -> Values:
        low, high = INTEGER_LIMITS[self.dtype]
        if values and _INTEGERS.issuperset(map(type, values)) and low <= min(values) and max(values) <= high:
            return values
        return [self._integer(values, at, rows, low, high) for at in range(len(values))]

    def _integer(self, values: Values, at: int, rows: Sequence[int] | None, low: int, high: int) -> int | None:
        value = values[at]
        if value is None and not self.required:
            return None
        if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
            value = int(value)  # a column with nulls arrives from pandas as 3.0
        if type(value) is not int:
            self._wrong(values, at, rows, "a whole number")
        if not low <= value <= high:
            self.refuse(rows[at] if rows else at, f"{str(value)[:40]} is out of the range of {self.dtype}")
        return value

    def _check_date(self, values: Values, rows: Sequence[int] | None) -> Values:
        return self._check_time(values, rows, as_date, "a date as YYYY-MM-DD")

    def _check_datetime(self, values: Values, rows: Sequence[int] | None) -> Values:
        return self._check_time(values, rows, as_datetime, "a time as ISO 8601 text")

    def _check_time(
        self, values: Values, rows: Sequence[int] | None, read: Callable[[str], Any], expected: str
    ) -> Values:
        for at, value in enumerate(values):
            if value is None and not self.required:
                continue
            if type(value) is not str:
                self._wrong(values, at, rows, expected)
            try:
                read(value)
            except ValueError:
                self._wrong(values, at, rows, expected)
        return values

    def for_model(self, values: Values) -> Values:
        read = _READERS.get(self.dtype)
        return values if read is None else [value and read(value) for value in values]

    # -- text (CSV) ---------------------------------------------------------------------------------------------------

    def from_text(self, values: Sequence[str]) -> Values:
        """Cells of a CSV as the JSON values they stand for; an empty cell is null (empty text in a text column)."""
        if self.dtype in FLOAT_LIMITS:
            return [self._read(float, text, row) for row, text in enumerate(values)]
        if self.dtype in INTEGER_LIMITS:
            return [self._read(int, text, row) for row, text in enumerate(values)]
        if self.dtype == "boolean":
            known = {"true": True, "false": False, "1": True, "0": False}
            return [known.get(text.strip().lower(), text or None) for text in values]
        if self.dtype == "string":
            return values
        return [text or None for text in values]

    def _read(self, kind: type[int | float], text: str, row: int) -> Any:
        if not text.strip():
            return None
        try:
            value = kind(text) if "_" not in text else None
        except ValueError:
            value = self._read(float, text, row) if kind is int else None
        if value is None or (kind is float and not math.isfinite(value)):
            self.refuse(row, f"{text[:40]!r} is no number ({self.dtype})")
        return value


def as_date(text: str) -> dt.date:
    """A date of `YYYY-MM-DD`. Raises ValueError."""
    return dt.date.fromisoformat(text)


def as_datetime(text: str) -> dt.datetime:
    """The instant of ISO 8601 text in UTC, without a zone as signatures have it. Raises ValueError."""
    found = dt.datetime.fromisoformat(text)
    try:
        return found.astimezone(dt.UTC).replace(tzinfo=None) if found.tzinfo else found
    except OverflowError:
        raise ValueError(text) from None


_READERS: dict[str, Callable[[str], Any]] = {"date": as_date, "datetime": as_datetime}


def series_of(name: str, dtype: str, values: Values) -> pl.Series:
    """A column for the model or the log from checked values."""
    import polars as pl

    if read := _READERS.get(dtype):
        values = [value and read(value) for value in values]
    return pl.Series(name, values, dtype=polars_type(dtype), strict=False)


_EXACT_KINDS: dict[str, type] = {"float64": float, "boolean": bool, "string": str} | dict.fromkeys(INTEGER_LIMITS, int)
"""The one Python type whose values need no look of their own (but integers their range)."""


class Columns:
    """All input columns of one signature."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.all = tuple(Column(field) for field in fields)
        self.names = tuple(one.name for one in self.all)
        self.known = frozenset(self.names)
        self.required = frozenset(one.name for one in self.all if one.required)
        self._kinds = [_EXACT_KINDS.get(one.dtype) for one in self.all]
        self._ranges = [
            (at, *INTEGER_LIMITS[one.dtype]) for at, one in enumerate(self.all) if one.dtype in INTEGER_LIMITS
        ]

    def check(self, given: Mapping[str, Values], count: int, rows: Sequence[int] | None = None) -> list[Values]:
        """The checked values of each column in order; an optional column that was not given is null."""
        if count == 1 and self.known <= given.keys() and self._is_plain(found := [given[name] for name in self.names]):
            return found
        self.check_given(given)
        return [
            [None] * count if (values := given.get(one.name)) is None else one.check(values, rows) for one in self.all
        ]

    def check_given(self, given: Mapping[str, Values]) -> None:
        """Raise InvalidInput for a required column that is missing."""
        if not self.required <= given.keys():
            missing = next(one for one in self.all if one.required and one.name not in given)
            raise InvalidInput(f'Column "{missing.name}" ({missing.dtype}) is missing.', column=missing.name)

    def _is_plain(self, columns: list[Values]) -> bool:
        """Whether one row is of just the expected types: all of it seen at once, not column by column."""
        return [type(values[0]) for values in columns] == self._kinds and all(
            low <= columns[at][0] <= high for at, low, high in self._ranges
        )

    def for_model(self, values: Sequence[Values]) -> dict[str, Values]:
        """Checked values by name as a model takes them: dates and times as such."""
        return {one.name: one.for_model(given) for one, given in zip(self.all, values, strict=True)}
