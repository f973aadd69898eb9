"""Merging sketches: the profile of a table that grew, from what its parts left behind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from trine.data.autocorrelation import effective_size_of_parts
from trine.data.profiles import TOP, Scalar
from trine.data.sketches import FORMAT, KEPT, ColumnSketch, Floats, Hashes, Sketch, most_common, packed

FOLD = 16
"""So many sketches of one level are folded into one of the next: a table of any age has few."""


def fold(sketches: list[Sketch]) -> list[Sketch]:
    """The same sketches, with the newest folded where there are `FOLD` of one level."""
    while len(sketches) >= FOLD and len({one.level for one in sketches[-FOLD:]}) == 1:
        sketches = [*sketches[:-FOLD], merge(sketches[-FOLD:])]
    return sketches


def merge(sketches: Sequence[Sketch]) -> Sketch:
    """The sketch of all rows together, in this order; the columns are the same in all."""
    if len(sketches) == 1:
        return sketches[0]
    columns = zip(*(one.columns for one in sketches), strict=True)
    merged = tuple(_merge([one for one in parts if one.count] or [parts[0]]) for parts in columns)
    return Sketch(FORMAT, sum(one.rows for one in sketches), merged, max(one.level for one in sketches) + 1)


def _merge(parts: Sequence[ColumnSketch]) -> ColumnSketch:
    if len(parts) == 1:
        return parts[0]
    distinct, hashes = _merge_distinct(parts)
    bare = ColumnSketch(
        name=parts[0].name,
        dtype=parts[0].dtype,
        count=sum(one.count for one in parts),
        nulls=sum(one.nulls for one in parts),
        nans=sum(one.nans for one in parts),
        infinities=sum(one.infinities for one in parts),
        distinct=distinct,
        hashes=hashes.tobytes(),
    )
    parts = [one for one in parts if one.finite and one.low is not None]
    if not parts:
        return bare
    bare = msgspec.structs.replace(
        bare,
        low=min(one.low for one in parts),  # type: ignore[type-var]
        high=max(one.high for one in parts),  # type: ignore[type-var]
    )
    return _merge_numbers(bare, parts) if parts[0].points else _merge_texts(bare, parts)


def _merge_distinct(parts: Sequence[ColumnSketch]) -> tuple[int, Hashes]:
    hashes = np.unique(np.concatenate([np.frombuffer(one.hashes, np.uint64) for one in parts]))
    if all(one.distinct <= KEPT for one in parts):
        return len(hashes), hashes[:KEPT]
    estimate = round((KEPT - 1) / (float(hashes[KEPT - 1]) / 2.0**64))
    least, most = max(one.distinct for one in parts), sum(one.distinct for one in parts)
    return min(max(estimate, least), most), hashes[:KEPT]


def _merge_numbers(bare: ColumnSketch, parts: Sequence[ColumnSketch]) -> ColumnSketch:
    points = np.concatenate([np.frombuffer(one.points) for one in parts])
    weights = np.concatenate([np.frombuffer(one.weights) for one in parts])
    of_part = np.repeat(np.arange(len(parts)), [len(one.points) // 8 for one in parts])
    values, place = np.unique(points, return_inverse=True)
    rows = np.bincount(place, weights).astype(np.float64)
    middle = np.cumsum(rows) - rows / 2
    sizes = np.array([one.finite for one in parts], dtype=np.float64)
    ranks = np.bincount(of_part, weights * middle[place]) / sizes
    spread = float((rows * (middle - sizes.sum() / 2) ** 2).sum() / sizes.sum())
    exponent, mean, squares = _merge_moments(parts, sizes)
    few = all(one.common for one in parts) and bare.distinct <= TOP
    return msgspec.structs.replace(
        bare,
        exponent=exponent,
        mean=mean,
        squares=squares,
        common=_merge_common(parts, TOP) if few else (),
        sampled=_sampled(parts),
        ess=effective_size_of_parts(sizes, _sizes(parts), ranks[:, None], np.array([spread])),
        **packed(values, rows),
    )


def _sampled(parts: Sequence[ColumnSketch]) -> int:
    """The size of one sample that would be as sure of the distribution; 0 when all rows were seen."""
    if not any(one.sampled for one in parts):
        return 0
    total = sum(one.finite for one in parts)
    return round(total**2 / sum(one.finite**2 / (one.sampled or one.finite) for one in parts))


def _merge_texts(bare: ColumnSketch, parts: Sequence[ColumnSketch]) -> ColumnSketch:
    common = _merge_common(parts, KEPT)
    levels = {value: i for i, (value, _) in enumerate(common[:TOP])}
    sizes = np.array([one.finite for one in parts], dtype=np.float64)
    shares = np.zeros((len(parts), len(levels)))
    for row, one in enumerate(parts):
        for value, count in one.common:
            if value in levels:
                shares[row, levels[value]] = count / sizes[row]
    overall = sizes @ shares / sizes.sum()
    ess = effective_size_of_parts(sizes, _sizes(parts), shares, overall * (1 - overall))
    return msgspec.structs.replace(bare, common=common, ess=ess)


def _merge_common(parts: Sequence[ColumnSketch], most: int) -> tuple[tuple[Scalar, int], ...]:
    total: Counter[Scalar] = Counter()
    for one in parts:
        total.update(dict(one.common))
    return most_common(list(total), np.array(list(total.values()), dtype=np.int64), most)


def _sizes(parts: Sequence[ColumnSketch]) -> Floats:
    return np.array([one.finite if one.ess is None else one.ess for one in parts], dtype=np.float64)


def _merge_moments(parts: Sequence[ColumnSketch], sizes: Floats) -> tuple[int, float, float]:
    exponent = max(one.exponent for one in parts)
    shift = [one.exponent - exponent for one in parts]
    means = np.array([math.ldexp(one.mean, by) for one, by in zip(parts, shift, strict=True)])
    squares = np.array([math.ldexp(one.squares, 2 * by) for one, by in zip(parts, shift, strict=True)])
    mean = float(sizes @ means / sizes.sum())
    return exponent, mean, float(squares.sum() + sizes @ (means - mean) ** 2)
