"""Sketches: what is kept of the columns of some rows, so that a table that grows is profiled from its new rows alone.

Sketches of parts merge: the profile of the whole costs O(parts), whatever their size. A column with at most `KEPT`
different values is kept exactly, with its counts. Of one with more, there are

- the values at `KEPT` + 1 evenly spaced ranks, each with the weight of the ranks around it, so that a distribution
  function merged from parts is off by at most 1/(2 KEPT) of the rows;
- the most common texts;
- the `KEPT` smallest hashes of its values: how small they are tells how many values there are (k minimum values,
  Bar-Yossef et al. 2002; relative standard error 1/√(k − 2)).

Means and squares are of values scaled by a power of two, and merge by Chan, Golub and LeVeque (1979): no sum overflows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from trine.data.autocorrelation import effective_size, effective_size_of_codes
from trine.data.profiles import LONGEST, QUANTILES, TOP, ColumnProfile, Profile, Scalar

KEPT = 1_024
"""Different values, points and hashes that are kept of a column."""

FORMAT = f"sketch-1 polars-{pl.__version__}"
"""Sketches of another format are made again from their rows: hashes differ between versions of Polars."""

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]
Column = TypeVar("Column", pl.Series, pl.Expr)


class ColumnSketch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column. `points` are float64 in rising order, `weights` the rows each stands for, `hashes` uint64 in rising order.

    `common` are values with counts: of texts the most common, of numbers all while there are at most `TOP`.
    `sampled` is how many independent values `points` were seen in; 0 for all. `mean` and `squares` (the sum of squared deviations from it) are of the finite values times 2 ** -`exponent`.
    """

    name: str
    dtype: str
    count: int
    nulls: int
    nans: int = 0
    infinities: int = 0
    distinct: int = 0
    low: Scalar = None
    high: Scalar = None
    exponent: int = 0
    mean: float = 0.0
    squares: float = 0.0
    points: bytes = b""
    weights: bytes = b""
    common: tuple[tuple[Scalar, int], ...] = ()
    hashes: bytes = b""
    ess: float | None = None
    sampled: int = 0

    @property
    def finite(self) -> int:
        """Rows that have a value that can be compared."""
        return self.count - self.nulls - self.nans - self.infinities


class Sketch(msgspec.Struct, frozen=True):
    """Some rows of a table; `level` is how many times sketches were folded into it."""

    format: str
    rows: int
    columns: tuple[ColumnSketch, ...]
    level: int = 0


def count_values(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The plan that a sketch is made from: of each column, one row with its different values and how often each occurs."""
    return frame.select(
        pl.col(name).drop_nulls().alias("value").value_counts(name="count").implode().alias(name)
        for name, dtype in frame.collect_schema().items()
        if is_comparable(dtype)
    )


def sketch(frame: pl.DataFrame, counted: pl.DataFrame | None = None) -> Sketch:
    """Rows as a sketch; `counted` is what `count_values` gave for them."""
    if counted is None:
        counted = count_values(frame.lazy()).collect()
    columns = (
        sketch_column(series, counted.get_column(series.name)[0] if series.name in counted.columns else None)
        for series in frame.iter_columns()
    )
    return Sketch(FORMAT, frame.height, tuple(columns))


def is_comparable(dtype: pl.DataType) -> bool:
    """Whether a column of this type has an order."""
    return not dtype.is_nested() and not isinstance(dtype, (pl.Object, pl.Binary, pl.Null))


def sketch_column(series: pl.Series, counted: pl.Series | None, in_order: pl.Series | None = None) -> ColumnSketch:
    """A column as a sketch, from its different values and how often each occurs; `in_order` are the rows that tell its
    memory, without them all."""
    bare = ColumnSketch(name=series.name, dtype=str(series.dtype), count=len(series), nulls=series.null_count())
    if counted is None or not len(counted):
        return bare
    values, counts = counted.struct.field("value"), counted.struct.field("count").to_numpy().astype(np.int64)
    values = as_hashed(values)
    hashes = np.sort(values.hash().to_numpy())[:KEPT]
    bare = msgspec.structs.replace(bare, distinct=len(values), hashes=hashes.tobytes())
    in_order = series if in_order is None else in_order
    if series.dtype.is_numeric() or series.dtype.is_temporal():
        return _of_numbers(bare, in_order.drop_nulls(), values, counts)
    return _of_texts(bare, in_order.drop_nulls(), values, counts)


def _of_numbers(bare: ColumnSketch, rows: pl.Series, values: pl.Series, counts: NDArray[np.int64]) -> ColumnSketch:
    numbers = as_numbers(values)
    floats = numbers.cast(pl.Float64).to_numpy()
    finite = np.isfinite(floats)
    nans, infinities = int(counts[np.isnan(floats)].sum()), int(counts[np.isinf(floats)].sum())
    bare = msgspec.structs.replace(bare, nans=nans, infinities=infinities)
    if not finite.any():
        return bare
    points, weights = _combine(floats[finite], counts[finite].astype(np.float64))
    exponent, mean, squares = _moments(points, weights)
    whole = numbers.dtype.is_integer()
    few = len(values) <= TOP and not values.dtype.is_temporal()
    in_order = as_numbers(rows).cast(pl.Float64).to_numpy()
    low, high = (numbers.min(), numbers.max()) if whole else (points[0], points[-1])
    return msgspec.structs.replace(
        bare,
        low=scalar(low),
        high=scalar(high),
        exponent=exponent,
        mean=mean,
        squares=squares,
        common=most_common(numbers.filter(finite).to_list(), counts[finite], TOP) if few else (),
        ess=effective_size(in_order[np.isfinite(in_order)]),
        **packed(points, weights),
    )


def _of_texts(bare: ColumnSketch, rows: pl.Series, values: pl.Series, counts: NDArray[np.int64]) -> ColumnSketch:
    short = np.ones(len(values), dtype=np.bool_)
    if values.dtype != pl.Boolean:
        short = (values.str.len_chars() <= LONGEST).to_numpy()
    return msgspec.structs.replace(
        bare,
        low=scalar(values.min()),
        high=scalar(values.max()),
        common=most_common(values.filter(short).to_list(), counts[short], KEPT),
        ess=effective_size_of_codes(codes_of(rows)),
    )


def codes_of(rows: pl.Series) -> NDArray[np.int64]:
    """Texts or booleans as numbers from 0 on, in their order."""
    if rows.dtype == pl.Boolean:
        return rows.cast(pl.Int64).to_numpy()
    texts = rows.cast(pl.String)
    return texts.cast(pl.Enum(texts.unique().sort())).to_physical().to_numpy().astype(np.int64)


def as_hashed(column: Column, kind: pl.DataType | None = None) -> Column:
    """Categories as texts (their codes differ from part to part), all else as it is; an expression needs its `kind`."""
    kind = column.dtype if isinstance(column, pl.Series) else kind
    return column.cast(pl.String) if isinstance(kind, (pl.Categorical, pl.Enum)) else column


def as_numbers(column: Column, kind: pl.DataType | None = None) -> Column:
    """Times as microseconds since the epoch (or since midnight, or long), numbers as they are; an expression needs its `kind`."""
    kind = column.dtype if isinstance(column, pl.Series) else kind
    assert kind is not None
    if kind == pl.Time:
        return column.cast(pl.Int64) // 1_000
    if kind == pl.Duration:
        return column.cast(pl.Duration("us")).cast(pl.Int64)
    if kind.is_temporal():
        return column.cast(pl.Datetime("us")).cast(pl.Int64)
    return column.cast(pl.Float64) if kind.is_decimal() else column


def scalar(value: object) -> Scalar:
    """A value as a profile keeps it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(1 << 63) <= value < 1 << 64 else float(value)
    if isinstance(value, str):
        return value[:LONGEST]
    return float(value) if isinstance(value, np.floating) else value  # type: ignore[return-value]


def most_common(values: Sequence[Scalar], counts: NDArray[np.int64], most: int) -> tuple[tuple[Scalar, int], ...]:
    """Values with their counts, the most common first."""
    pairs = zip(map(scalar, values), counts.tolist(), strict=True)
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))[:most]


def _combine(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Different values in rising order, and the weight of each."""
    points, place = np.unique(values, return_inverse=True)
    return points, np.bincount(place, weights).astype(np.float64)


def packed(points: Floats, weights: Floats) -> dict[str, bytes]:
    """A distribution in at most `KEPT` + 1 points."""
    if len(points) > KEPT:
        total = round(weights.sum())
        ranks = np.linspace(0, total - 1, KEPT + 1).round()
        points = points[_at_ranks(weights, ranks)]
        edges = np.concatenate(([0.0], (ranks[:-1] + ranks[1:] + 1) / 2, [total]))
        points, weights = _combine(points, np.diff(edges))
    return {"points": points.tobytes(), "weights": weights.tobytes()}


def _at_ranks(weights: Floats, ranks: Floats) -> NDArray[np.int64]:
    """Where the rows of these ranks (0 is the least) are."""
    return np.minimum(np.searchsorted(np.cumsum(weights), ranks, side="right"), len(weights) - 1)


def _moments(values: Floats, weights: Floats) -> tuple[int, float, float]:
    exponent = int(np.frexp(np.abs(values).max())[1])
    scaled = np.ldexp(values, -exponent)
    total = weights.sum()
    mean = min(max(float((weights * scaled).sum() / total), float(scaled[0])), float(scaled[-1]))
    away = scaled - mean
    return exponent, mean, float((weights * away**2).sum() - (weights * away).sum() ** 2 / total)


def summarise(one: Sketch, sketches: Sequence[str] = ()) -> Profile:
    """A sketch as a profile; `sketches` are the objects it was merged from."""
    return Profile(one.rows, tuple(_summarise(column) for column in one.columns), tuple(sketches))


def _summarise(one: ColumnSketch) -> ColumnProfile:
    quantiles: tuple[float, ...] = ()
    if one.points:
        ranks = np.linspace(0, one.finite - 1, QUANTILES).round()
        quantiles = tuple(np.frombuffer(one.points)[_at_ranks(np.frombuffer(one.weights), ranks)].tolist())
    return ColumnProfile(
        name=one.name,
        dtype=one.dtype,
        count=one.count,
        nulls=one.nulls,
        nans=one.nans,
        infinities=one.infinities,
        distinct=one.distinct,
        min=one.low,
        max=one.high,
        mean=math.ldexp(one.mean, one.exponent) if one.points else None,
        std=_deviation(one) if one.points and one.finite > 1 else None,
        quantiles=quantiles,
        top=one.common[:TOP],
        ess=one.ess,
        sampled=one.sampled,
    )


def _deviation(one: ColumnSketch) -> float | None:
    """The sample standard deviation; None when it is greater than the greatest float."""
    try:
        return math.ldexp(math.sqrt(one.squares / (one.finite - 1)), one.exponent)
    except OverflowError:
        return None
