"""What one column of a window holds: its values, what is missing, and how many independent rows it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trine.data.autocorrelation import effective_size, effective_size_of_codes, effective_size_of_events
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
    codes: NDArray[np.int64] | None = None
    infinite: int = 0

    @property
    def present(self) -> int:
        """Rows whose value can be compared: not missing, and finite."""
        return self.rows - self.nulls - self.infinite

    @property
    def null_share(self) -> float:
        return self.nulls / self.rows if self.rows else 0.0


def sample_of(series: pl.Series, kind: Kind) -> Sample:
    """Measure a column, rows in time order, read as `kind`. NaN counts as missing; infinities are counted and left out."""
    if series.dtype.is_float():
        series = series.fill_nan(None)
    rows, nulls = len(series), series.null_count()
    null_size = effective_size_of_events(series.is_null().to_numpy()) if nulls else float(rows)
    present = series.drop_nulls() if nulls else series
    if not len(present):
        return Sample(rows, nulls, 0.0, null_size)
    if kind in ("number", "time"):
        values = numbers_of(present)
        infinite = int(np.isinf(values).sum())
        finite = values[np.isfinite(values)] if infinite else values
        return Sample(rows, nulls, effective_size(finite), null_size, finite, infinite=infinite)
    if kind in ("category", "boolean"):
        levels, codes = _levels_of(present)
        return Sample(rows, nulls, effective_size_of_codes(codes), null_size, levels=levels, codes=codes)
    return Sample(rows, nulls, float(len(present)), null_size)


def numbers_of(series: pl.Series) -> NDArray[np.float64]:
    """Numbers as they are, times as microseconds since the epoch."""
    import polars as pl

    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    if isinstance(series.dtype, pl.Datetime):
        series = series.dt.cast_time_unit("us").cast(pl.Int64)
    elif isinstance(series.dtype, pl.Duration):
        series = series.cast(pl.Duration("us")).cast(pl.Int64)
    elif series.dtype == pl.Time:
        series = series.cast(pl.Int64) // 1_000
    return series.cast(pl.Float64).to_numpy()


def _levels_of(present: pl.Series) -> tuple[dict[str, int], NDArray[np.int64]]:
    """Counts by level name, and each row's place in that mapping."""
    import polars as pl

    text = present.dtype != pl.Boolean and not present.dtype.is_numeric()
    coded = present.cast(pl.String).cast(pl.Categorical) if text else present
    counted = coded.value_counts()
    values = counted.to_series(0)
    names = [level_name(value) for value in (values.cast(pl.String) if text else values).to_list()]
    numbers = counted.to_series(1).to_list()
    if text:
        marks, known = coded.to_physical().to_numpy(), values.to_physical().to_numpy()
        place = np.zeros(int(known.max()) + 1, dtype=np.int64)
        place[known] = np.arange(len(known))
        codes = place[marks]
    else:
        marks, known = coded.to_numpy(), values.to_numpy()
        order = np.argsort(known)
        codes = order[np.searchsorted(known[order], marks)]
    return dict(zip(names, map(int, numbers), strict=True)), codes.astype(np.int64)
