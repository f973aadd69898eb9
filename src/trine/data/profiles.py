"""Profiles: what a table looks like, column by column; kept with each commit and the reference of drift monitors."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from trine.errors import Damaged

if TYPE_CHECKING:
    from trine.storage import Store

QUANTILES = 257
"""Evenly spaced quantiles that are kept, the least and the greatest value included."""

TOP = 64
"""Most common values that are kept."""

LONGEST = 200
"""Characters of a text that is kept as a value."""

Scalar = bool | int | float | str | None


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column. Times are integers (microseconds since the epoch, UTC); NaN and null are counted apart.

    `count` rows, `nulls` of them missing; `ess` is the effective sample size in row order: how many independent rows the
    column is worth. `min`, `max`, `mean`, `std` (of a sample) and `quantiles` are over finite values; `std` is None where
    it has no finite value. `top` are the most common values with counts, for text, booleans and columns with few different
    values. Texts of more than 200 characters are counted, but not kept as values.

    All of it is exact for up to 131,072 rows that were committed together. In a table that grew: `distinct` is exact up to
    1,024 and an estimate within about 3 % above; a quantile's rank is off by at most 1/1,024 of the rows; counts in `top`
    are lower bounds for columns with more than 1,024 different values.

    Of more rows at once, columns with more than 1,024 different values are seen in part: `quantiles` in a stratified sample
    of `sampled` rows (0: in all), which adds at most `rank_error` of the rows; `distinct` is an estimate with a standard
    error of 1.6 %; `top` has only texts that are in 0.03 % of the rows or more. Counts, nulls, `min`, `max`, `mean` and `std`
    are exact always.
    """

    name: str
    dtype: str
    count: int
    nulls: int
    nans: int = 0
    infinities: int = 0
    distinct: int = 0
    min: Scalar = None
    max: Scalar = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[Scalar, int], ...] = ()
    ess: float | None = None
    sampled: int = 0

    @property
    def rank_error(self) -> float:
        """How far the rank of a quantile is off, as a share of the rows: not more, 99 times in 100 (Massart 1990)."""
        return math.sqrt(math.log(2 / 0.01) / (2 * self.sampled)) if self.sampled else 0.0


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """All columns of a table, in order. `sketches` are the objects that it was summed up from, `gone` those with rows that
    went since, and `failing` is the one with rows that fail the commit's expectations, or empty."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    sketches: tuple[str, ...] = ()
    failing: str = ""
    gone: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that it names."""
        return (*self.sketches, *self.gone, *([self.failing] if self.failing else []))

    def column(self, name: str) -> ColumnProfile | None:
        return next((one for one in self.columns if one.name == name), None)


def read_profile(store: Store, name: str) -> Profile:
    """A stored profile. Raises Damaged or NotFound naming the object."""
    try:
        return msgspec.json.decode(store.get(name), type=Profile)
    except msgspec.DecodeError as error:
        raise Damaged(f"Object {name} is no profile: {error}.", hash=name) from error


def named_in(store: Store, profile: str, opened: set[str]) -> Iterator[str]:
    """The objects that a stored profile names (see `trine.upkeep`)."""
    yield from read_profile(store, profile).objects


def shown(value: Scalar, dtype: str) -> str:
    """A profile's value for people: times as times."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and dtype.startswith(("Date", "Time", "Duration")):
        with contextlib.suppress(OverflowError):  # further away than Python's times reach
            span = dt.timedelta(microseconds=value)
            if not dtype.startswith("Date"):
                return str(span)
            when = dt.datetime(1970, 1, 1) + span
            return when.date().isoformat() if dtype == "Date" else when.isoformat(" ")
    return "–" if value is None else str(value)
