"""The tests behind a drift verdict. All take effective sample sizes, which need not be whole numbers.

With effective sizes equal to the row counts they are the textbook tests (and tested against scipy).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trine.distributions import (
    chi_square_above,
    hypergeometric_tails,
    kolmogorov_above,
    kolmogorov_quantile,
    normal_above,
)


def harmonic_size(n: ArrayLike, m: ArrayLike) -> NDArray[np.float64]:
    """n·m / (n + m): the size that a two-sample comparison has."""
    n, m = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    return n * m / np.maximum(n + m, 1e-300)


def kolmogorov_smirnov(distance: ArrayLike, n: ArrayLike, m: ArrayLike) -> NDArray[np.float64]:
    """Asymptotic two-sided two-sample Kolmogorov-Smirnov p-values for distances between distribution functions."""
    distances = np.asarray(distance, dtype=np.float64)
    sizes = np.broadcast_to(np.maximum(np.floor(harmonic_size(n, m)), 1), distances.shape)
    each = [kolmogorov_above(float(one), int(size)) for one, size in zip(distances.flat, sizes.flat, strict=True)]
    return np.array(each, dtype=np.float64).reshape(distances.shape)


class ChiSquare(NamedTuple):
    """A two-sample chi-square test: statistic, degrees of freedom, p (NaN when fewer than two levels are common enough)."""

    statistic: float
    freedom: int
    p: float


def chi_square(reference: NDArray[np.float64], window: NDArray[np.float64], n: float, m: float) -> ChiSquare:
    """Pearson's two-sample (homogeneity) chi-square of two tables of counts, scaled to effective sizes `n` and `m`.

    Levels whose expected count would be under 5 in the smaller sample are pooled into one (Cochran 1954), chosen by
    the pooled shares so that the choice favours neither side.
    """
    total_r, total_w = float(reference.sum()), float(window.sum())
    if total_r <= 0 or total_w <= 0:
        return ChiSquare(np.nan, 0, np.nan)
    r, w = reference / total_r, window / total_w
    pooled = (n * r + m * w) / (n + m)
    rare = pooled * min(n, m) < 5
    if rare.any():
        r = np.append(r[~rare], r[rare].sum())
        w = np.append(w[~rare], w[rare].sum())
        pooled = np.append(pooled[~rare], pooled[rare].sum())
        if pooled[-1] * min(n, m) < 5 and len(pooled) > 2:  # still rare together: joins the smallest level that is left
            least = int(np.argmin(pooled[:-1]))
            for shares in (r, w, pooled):
                shares[least] += shares[-1]
            r, w, pooled = r[:-1], w[:-1], pooled[:-1]
    there = pooled > 0
    freedom = int(there.sum()) - 1
    if freedom < 1 or float(pooled[there].min()) * min(n, m) < 5:
        return ChiSquare(np.nan, 0, np.nan)
    statistic = float(harmonic_size(n, m) * np.sum((r[there] - w[there]) ** 2 / pooled[there]))
    return ChiSquare(statistic, freedom, chi_square_above(statistic, freedom))


def two_shares(
    reference: ArrayLike, window: ArrayLike, n: ArrayLike, m: ArrayLike, *, exact_below: float = 25.0
) -> NDArray[np.float64]:
    """Two-sided p-values that two shares are equal: pooled z-test, Fisher's exact test where counts are small."""
    r, w = np.atleast_1d(np.asarray(reference, dtype=np.float64)), np.atleast_1d(np.asarray(window, dtype=np.float64))
    n, m = (
        np.broadcast_to(np.asarray(n, dtype=np.float64), r.shape),
        np.broadcast_to(np.asarray(m, dtype=np.float64), r.shape),
    )
    pooled = (n * r + m * w) / np.maximum(n + m, 1e-300)
    spread = np.sqrt(pooled * (1 - pooled) / np.maximum(harmonic_size(n, m), 1e-300))
    z = np.divide(np.abs(r - w), spread, out=np.zeros_like(spread), where=spread > 0)
    p = np.array([2 * normal_above(float(one)) for one in z])
    small = (spread > 0) & (np.minimum(pooled, 1 - pooled) * np.minimum(n, m) < exact_below)
    for place in np.flatnonzero(small):
        total_r, total_w = round(n[place]), round(m[place])
        hits_r, hits_w = round(r[place] * total_r), round(w[place] * total_w)
        p[place] = min(1.0, 2 * min(hypergeometric_tails(hits_w, total_r + total_w, hits_r + hits_w, total_w)))
    return p


def never_before(hits: float, n: float, m: float, choices: int = 1) -> float:
    """P-value that something seen `hits` times in the window and never in the reference is new by chance.

    Under exchangeability each of the hits falls into the window with probability m / (n + m), so all of them do with
    that to the power of `hits`; times the number of things one could have looked at (Bonferroni).
    """
    if hits <= 0:
        return 1.0
    return float(min(1.0, max(choices, 1) * (m / (n + m)) ** hits))


def detectable_distance(n: float, m: float, rate: float, tests: int) -> float:
    """The smallest Kolmogorov-Smirnov distance that is found with about 80 % power at that rate over so many tests."""
    size = float(harmonic_size(n, m))
    if size <= 0:
        return 1.0
    critical = kolmogorov_quantile(rate / max(tests, 1))
    return min(1.0, (critical + 0.42) / float(np.sqrt(size)))
