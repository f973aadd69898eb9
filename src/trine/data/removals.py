"""Taking rows out of a sketch: what is known of a table after some of its rows went, without reading the others.

Counts, means and deviations stay exact, and so does all of a column with few different values. Else a quantile's rank is off
by at most 1/1,024 of the rows that came and went, and what went may still count as different values.
"""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np
import polars as pl

from trine.data.profiles import TOP, Scalar
from trine.data.sketches import KEPT, ColumnSketch, Floats, Sketch, most_common, packed, sketch


def without(whole: Sketch, gone: Sketch) -> tuple[Sketch, list[str]]:
    """The sketch of the rows of `whole` that are not in `gone`, and the columns whose extremes went with those."""
    made = [_without(one, two) for one, two in zip(whole.columns, gone.columns, strict=True)]
    columns = tuple(column for column, _ in made)
    unknown = [one.name for one, known in made if not known]
    return Sketch(whole.format, whole.rows - gone.rows, columns, whole.level), unknown


def _without(whole: ColumnSketch, gone: ColumnSketch) -> tuple[ColumnSketch, bool]:
    """One column, and whether its extremes are known."""
    bare = ColumnSketch(
        name=whole.name,
        dtype=whole.dtype,
        count=whole.count - gone.count,
        nulls=whole.nulls - gone.nulls,
        nans=whole.nans - gone.nans,
        infinities=whole.infinities - gone.infinities,
    )
    if whole.low is None or not bare.finite:
        return msgspec.structs.replace(bare, distinct=min(whole.distinct, bare.count - bare.nulls)), True
    bare = msgspec.structs.replace(
        bare,
        distinct=min(whole.distinct, bare.count - bare.nulls),
        hashes=whole.hashes,
        low=whole.low,
        high=whole.high,
        sampled=whole.sampled,
        ess=None if whole.ess is None else max(1.0, whole.ess * bare.finite / whole.finite),
    )
    left = _left(whole, gone)
    exact, few = True, whole.distinct <= KEPT  # of few values all are kept, with their counts
    if whole.points:
        points, weights = _subtract(whole, gone, bare.finite)
        moments = _moments_of(points, weights, whole.exponent) if few else _moments(whole, gone)
        bare = msgspec.structs.replace(bare, common=left[:TOP], **moments, **packed(points, weights))
        values, exact = points.tolist(), abs(points[[0, -1]]).max() < 1 << 53
        if isinstance(whole.low, int):
            values = [int(one) for one in values]
    else:
        bare = msgspec.structs.replace(bare, common=left)
        values = sorted(value for value, _ in left)  # type: ignore[type-var]
        exact = sum(count for _, count in left) == bare.finite
    if exact and few:
        odd = (bare.nans > 0) + (bare.infinities > 0)
        return msgspec.structs.replace(bare, distinct=len(values) + odd, low=values[0], high=values[-1]), True
    return bare, gone.low is None or bool(gone.low > whole.low and gone.high < whole.high)  # type: ignore[operator]


def _left(whole: ColumnSketch, gone: ColumnSketch) -> tuple[tuple[Scalar, int], ...]:
    """The most common values of what is left."""
    counts = Counter(dict(whole.common))
    counts.subtract({value: count for value, count in gone.common if value in counts})
    left = +counts
    return most_common(list(left), np.array(list(left.values()), dtype=np.int64), KEPT)


def _subtract(whole: ColumnSketch, gone: ColumnSketch, rows: int) -> tuple[Floats, Floats]:
    """Points and weights of a distribution without another, whose weights add up to `rows`."""
    points = np.concatenate([np.frombuffer(one.points) for one in (whole, gone)])
    weights = np.concatenate([np.frombuffer(whole.weights), -np.frombuffer(gone.weights)])
    values, place = np.unique(points, return_inverse=True)
    below = np.clip(np.maximum.accumulate(np.cumsum(np.bincount(place, weights))), 0, rows)
    below[-1] = rows
    left = np.diff(below, prepend=0.0)
    return values[left > 0], left[left > 0]


def _moments_of(points: Floats, weights: Floats, exponent: int) -> dict[str, float]:
    scaled = np.ldexp(points, -exponent)
    mean = float(weights @ scaled / weights.sum())
    return {"exponent": exponent, "mean": mean, "squares": float(weights @ (scaled - mean) ** 2)}


def _moments(whole: ColumnSketch, gone: ColumnSketch) -> dict[str, float]:
    """Mean and squared deviations of what is left (Chan, Golub and LeVeque 1979, solved for one part)."""
    if not gone.finite or not gone.points:
        return {"exponent": whole.exponent, "mean": whole.mean, "squares": whole.squares}
    left = whole.finite - gone.finite
    shift = gone.exponent - whole.exponent
    mean_gone, squares_gone = math.ldexp(gone.mean, shift), math.ldexp(gone.squares, 2 * shift)
    mean = (whole.finite * whole.mean - gone.finite * mean_gone) / left
    squares = whole.squares - squares_gone - left * gone.finite / whole.finite * (mean_gone - mean) ** 2
    return {"exponent": whole.exponent, "mean": mean, "squares": max(squares, 0.0)}


def with_extremes(one: Sketch, names: list[str], rows: pl.LazyFrame) -> Sketch:
    """The sketch with the least and greatest values of these columns, as they are among the rows."""
    if not names:
        return one
    schema = rows.collect_schema()
    plans = [rows.select(getattr(_finite(name, schema[name]), end)() for name in names) for end in ("min", "max")]
    told = {column.name: column for column in sketch(pl.concat(pl.collect_all(plans, engine="streaming"))).columns}
    columns = tuple(
        msgspec.structs.replace(column, low=found.low, high=found.high) if (found := told.get(column.name)) else column
        for column in one.columns
    )
    return msgspec.structs.replace(one, columns=columns)


def _finite(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    return column.filter(column.is_finite()) if kind.is_float() else column
