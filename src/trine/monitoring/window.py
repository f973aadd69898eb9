"""What one column of a window holds: its values, what is missing, and how many independent rows it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trine.monitoring.dependence import effective_size, effective_size_of_codes, effective_size_of_events
from trine.monitoring.reference import Kind, level_name

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Sample:
    """One column of a window. `size` is the effective number of present values, `null_size` that of the null marks."""

    rows: int
    nulls: int
    size: float
    null_size: float
    values: NDArray[np.float64] | None = None
    levels: Mapping[str, int] = field(default_factory=dict[str, int])
    infinite: int = 0

    @property
    def present(self) -> int:
        return self.rows - self.nulls

    @property
    def null_share(self) -> float:
        return self.nulls / self.rows if self.rows else 0.0


def sample_of(series: pl.Series, kind: Kind) -> Sample:
    """Measure a column, rows in time order, read as `kind`. NaN counts as missing; infinities are counted and kept."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
    rows, nulls = len(series), series.null_count()
    null_size = effective_size_of_events(series.is_null().to_numpy()) if nulls else float(rows)
    present = series.drop_nulls() if nulls else series
    if kind in ("number", "time"):
        values = numbers_of(present)
        infinite = int(np.isinf(values).sum())
        finite = values[np.isfinite(values)] if infinite else values
        size = effective_size(finite) * (len(values) / max(len(finite), 1))
        return Sample(rows, nulls, min(size, float(len(values))), null_size, values, infinite=infinite)
    if kind in ("category", "boolean"):
        levels, size = _levels_of(present)
        return Sample(rows, nulls, size, null_size, levels=levels)
    return Sample(rows, nulls, float(len(present)), null_size)


def numbers_of(series: pl.Series) -> NDArray[np.float64]:
    """Numbers as they are, times as microseconds since the epoch."""
    import polars as pl

    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    if isinstance(series.dtype, (pl.Datetime, pl.Duration)):
        series = series.cast(pl.Datetime("us") if isinstance(series.dtype, pl.Datetime) else pl.Duration("us"))
    return series.to_physical().cast(pl.Float64).to_numpy()


def _levels_of(present: pl.Series) -> tuple[dict[str, int], float]:
    import polars as pl

    if not len(present):
        return {}, 0.0
    if present.dtype == pl.Boolean or present.dtype.is_numeric():
        coded = present
        codes = present.rank("dense").to_numpy().astype(np.int64) - 1
    else:
        coded = present.cast(pl.String).cast(pl.Categorical)
        codes = coded.to_physical().to_numpy().astype(np.int64)
        codes -= codes.min()
    counted = coded.value_counts()
    values = counted.to_series(0)
    names = (values.cast(pl.String) if values.dtype == pl.Categorical else values).to_list()
    numbers = counted.to_series(1).to_list()
    levels: dict[str, int] = {}
    for value, number in zip(names, numbers, strict=True):
        levels[level_name(value)] = levels.get(level_name(value), 0) + int(number)
    return levels, effective_size_of_codes(codes)
