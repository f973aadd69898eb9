"""How far apart two columns are, by their profiles alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trine.data.profiles import ColumnProfile

BINS = 10
"""Bins of the population stability index: deciles of what was before."""

_LEAST = 1e-4
"""The share that an empty bin counts as, so that its logarithm is finite."""

Floats = NDArray[np.float64]


def distance(before: ColumnProfile, now: ColumnProfile) -> float | None:
    """0 for the same distribution, 1 for disjoint ones; None where one has no values.

    Numbers and times: the Kolmogorov-Smirnov distance. Texts and booleans: the total variation distance, with all values
    that are not among the most common ones of either as one.
    """
    if before.quantiles and now.quantiles:
        edges = np.union1d(before.quantiles, now.quantiles)
        return float(np.abs(_below(before, edges) - _below(now, edges)).max())
    shares = _shares(before, now)
    return None if shares is None else float(np.abs(shares[0] - shares[1]).sum() / 2)


def stability_index(before: ColumnProfile, now: ColumnProfile) -> float | None:
    """Population stability index, Σ (q - p) ln(q / p), over the deciles of numbers before or over the common values."""
    if before.quantiles and now.quantiles:
        inner = np.unique(np.quantile(before.quantiles, np.linspace(0, 1, BINS + 1)[1:-1]))
        shares = tuple(np.diff([0.0, *_below(one, inner), 1.0]) for one in (before, now))
    else:
        shares = _shares(before, now)
    if shares is None:
        return None
    p, q = (np.maximum(one, _LEAST) for one in shares)
    return float(((q - p) * np.log(q / p)).sum())


def _below(one: ColumnProfile, points: Floats) -> Floats:
    """The share of the values that are at most so great."""
    finite = one.count - one.nulls - one.nans - one.infinities
    if one.top and sum(count for _, count in one.top) == finite:
        values, counts = (np.array(list(part), dtype=np.float64) for part in zip(*sorted(one.top), strict=True))
        total = np.concatenate(([0.0], np.cumsum(counts)))
        return total[np.searchsorted(values, points, side="right")] / finite
    return np.searchsorted(np.asarray(one.quantiles), points, side="right") / len(one.quantiles)


def _shares(before: ColumnProfile, now: ColumnProfile) -> tuple[Floats, Floats] | None:
    sizes = [one.count - one.nulls for one in (before, now)]
    if not all(sizes):
        return None
    values = list(dict.fromkeys(value for one in (before, now) for value, _ in one.top))
    found: list[Floats] = []
    for one, size in zip((before, now), sizes, strict=True):
        counts = dict(one.top)
        common = np.array([counts.get(value, 0) for value in values], dtype=np.float64) / size
        found.append(np.append(common, max(0.0, 1 - float(common.sum()))))
    return found[0], found[1]
