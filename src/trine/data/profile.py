"""Profiles: what a table looks like, column by column; kept with each commit and the reference of drift monitors."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trine.data.autocorrelation import effective_size, effective_size_of_codes

QUANTILES = 257
"""Evenly spaced quantiles that are kept, the least and the greatest value included."""

TOP = 64
"""Most common values that are kept."""

Scalar = bool | int | float | str | None


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column. Times are integers (microseconds since the epoch, UTC); NaN and null are counted apart.

    `count` rows, `nulls` of them missing; `ess` is the effective sample size in row order: how many independent rows the
    column is worth. `quantiles` and the moments are over finite values. `top` are the most common values with counts, for
    text, booleans and columns with few different values.
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


class Profile(msgspec.Struct, frozen=True):
    """All columns of a table, in order."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        return next((one for one in self.columns if one.name == name), None)


def profile_frame(frame: pl.LazyFrame | pl.DataFrame) -> Profile:
    """The profile of a frame; O(n log n) a column, in memory."""
    table = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    return Profile(table.height, tuple(_profile(series) for series in table.iter_columns()))


def _profile(series: pl.Series) -> ColumnProfile:
    kept = series.drop_nulls()
    base: dict[str, Any] = {
        "name": series.name,
        "dtype": str(series.dtype),
        "count": len(series),
        "nulls": series.null_count(),
    }
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary, pl.Null):
        return ColumnProfile(**base)
    if series.dtype.is_numeric() or series.dtype.is_temporal():
        return ColumnProfile(**base, **_numeric(kept))
    return ColumnProfile(**base, **_categorical(kept))


def _numeric(kept: pl.Series) -> dict[str, Any]:
    as_times = kept.dtype.is_temporal()
    numbers = _as_microseconds(kept) if as_times else kept
    values = numbers.to_numpy().astype(np.float64, copy=False)
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {
        "nans": int(np.isnan(values).sum()),
        "infinities": int(np.isinf(values).sum()),
        "distinct": kept.n_unique(),
    }
    if len(finite):
        ordered = np.sort(finite)
        places = np.linspace(0, len(ordered) - 1, QUANTILES).round().astype(np.int64)
        whole = as_times or kept.dtype.is_integer()
        found |= {
            "min": int(ordered[0]) if whole else float(ordered[0]),
            "max": int(ordered[-1]) if whole else float(ordered[-1]),
            "mean": float(finite.mean()),
            "std": float(finite.std(ddof=1)) if len(finite) > 1 else None,
            "quantiles": tuple(ordered[places].tolist()),
            "ess": effective_size(finite),
        }
    if found["distinct"] <= TOP and not as_times:
        found["top"] = _top(kept)
    return found


def _categorical(kept: pl.Series) -> dict[str, Any]:
    texts = kept if kept.dtype == pl.Boolean else kept.cast(pl.String)
    codes = texts.rank("dense").to_numpy().astype(np.int64) - 1 if len(texts) else np.zeros(0, np.int64)
    found: dict[str, Any] = {
        "distinct": kept.n_unique(),
        "top": _top(texts),
        "ess": effective_size_of_codes(codes),
    }
    if len(kept):
        low, high = texts.min(), texts.max()
        found |= {"min": low, "max": high}
    return found


def _top(kept: pl.Series) -> tuple[tuple[Scalar, int], ...]:
    name = kept.name or "value"
    counts = kept.alias(name).value_counts(name="__count").sort(["__count", name], descending=[True, False]).head(TOP)
    return tuple((value, count) for value, count in counts.iter_rows())


def _as_microseconds(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    if series.dtype == pl.Time:
        return series.cast(pl.Int64) // 1_000
    if isinstance(series.dtype, pl.Datetime):
        return series.dt.cast_time_unit("us").cast(pl.Int64)
    return series.cast(pl.Duration("us")).cast(pl.Int64)


def shown(value: Scalar, dtype: str) -> str:
    """A profile's value for people: times as times."""
    if value is None:
        return "–"
    if dtype.startswith(("Datetime", "Date")) and isinstance(value, (int, float)):
        return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(value))).isoformat(" ")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
