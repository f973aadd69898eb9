"""How many independent rows a column is worth: rows that follow each other in time repeat what was already said.

The number is n / τ with τ the integrated autocorrelation time (1 + 2 Σ ρ_k). τ is the larger of two estimates: an
AR(1) fit with its small-sample bias taken out (Kendall 1954), which is sharp when memory is long, and the initial
monotone sequence of Geyer (1992), which sees any other form of memory. Data that shows no memory keeps every row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def shows_memory(values: Floats) -> bool:
    """Whether neighbours or block means agree more than four standard errors beyond chance. O(n)."""
    n = len(values)
    if n < 8:
        return False
    centred = values - values.mean()
    power = float((centred * centred).sum())  # no @: BLAS would wake threads for a column
    if power <= 0 or not np.isfinite(power):
        return False
    if float((centred[1:] * centred[:-1]).sum()) / power > 4 / np.sqrt(n):
        return True
    length = int(np.sqrt(n))
    blocks = n // length
    means = centred[: blocks * length].reshape(blocks, length).mean(axis=1)
    ratio = length * float(means.var(ddof=1)) / (power / n)
    return ratio > 1 + 4 * np.sqrt(2 / (blocks - 1))


def autocorrelation_time(indicators: Floats) -> float:
    """τ ≥ 1 of a series (n,) or of a set of series (n, k) whose autocorrelations are averaged by variance."""
    series = indicators.reshape(len(indicators), -1)
    n = len(series)
    centred = series - series.mean(axis=0)
    power = float(np.sum(centred**2))
    if n < 8 or power <= 0:
        return 1.0
    length = min(m << (-(-2 * n // m) - 1).bit_length() for m in (1, 3, 5))  # a product of small primes, at least 2 n
    correlation = np.zeros(n)
    for column in centred.T:
        spectrum = np.fft.rfft(column, length)
        correlation += np.fft.irfft(spectrum.real**2 + spectrum.imag**2, length)[:n]
    correlation /= power
    lag_one = correlation[1] + (1 + 3 * correlation[1]) / n
    by_fit = (1 + lag_one) / max(1 - lag_one, 1 / n)
    pairs = correlation[0 : n // 2 * 2 : 2] + correlation[1 : n // 2 * 2 : 2]
    ends = np.flatnonzero(pairs <= 0)
    initial = np.minimum.accumulate(pairs[: int(ends[0]) if len(ends) else len(pairs)])
    return float(min(max(by_fit, 2 * float(initial.sum()) - 1, 1.0), n))


def effective_size(values: Floats) -> float:
    """Effective sample size of numbers in row order (no NaN), by their ranks: outliers don't hide memory."""
    n = len(values)
    if n < 8:
        return float(n)
    values = np.ldexp(values, -int(np.frexp(np.abs(values).max())[1]))  # ranks stay; no sum overflows
    edges = np.quantile(values[:20_000] if n > 20_000 else values, (0.02, 0.98))
    if edges[0] < edges[1] and not shows_memory(np.clip(values, edges[0], edges[1])):
        return float(n)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return n / autocorrelation_time((np.cumsum(counts) - (counts - 1) / 2)[place])


def effective_size_of_codes(codes: NDArray[np.int64], levels: int = 64) -> float:
    """Effective sample size of categories in row order, given as codes 0, 1, 2 …: that of their slowest mode.

    Dividing a chi-square by the largest design effect of any contrast keeps its level whatever the contrasts are (Rao
    and Scott 1981); the contrast with the longest memory is the second eigenvector of the transition matrix.
    """
    n = len(codes)
    counts = np.bincount(codes) if n else np.zeros(0)
    shares = counts / max(n, 1)
    chance = float(np.sum(shares**2))
    if n < 8 or chance >= 1:
        return float(n)
    top = np.argsort(-counts, kind="stable")[: levels - 1]
    matches = float(np.mean(codes[1:] == codes[:-1]))
    memory = matches - chance > 4 * np.sqrt(chance * (1 - chance) / n)
    if not memory and not shows_memory((codes == top[0]).astype(np.float64)):
        return float(n)
    place = np.full(len(counts), len(top))
    place[top] = np.arange(len(top))
    pooled = place[codes]
    return n / autocorrelation_time(_slowest_mode(pooled)[pooled])


def _slowest_mode(codes: NDArray[np.int64]) -> Floats:
    """One score a level, so that the scores in row order remember longest: the second eigenvector of the symmetrised
    transition matrix (the first says only how common levels are)."""
    k = int(codes.max()) + 1
    moves = np.bincount(codes[:-1] * k + codes[1:], minlength=k * k).reshape(k, k).astype(np.float64)
    moves += moves.T
    weight = np.sqrt(np.maximum(moves.sum(axis=1), 1e-12))
    _, vectors = np.linalg.eigh(moves / np.outer(weight, weight))
    return vectors[:, -2] / weight


def effective_size_of_events(happened: NDArray[np.bool_]) -> float:
    """Effective sample size of a yes/no series such as "is missing".

    Its memory is at least the mean length of its runs, and is stretched by one standard error of a count of events
    that come in clusters: a few long runs say little about how often runs come.
    """
    n, hits = len(happened), int(happened.sum())
    if n < 8 or hits in (0, n):
        return float(n)
    series = happened.astype(np.float64)
    if not shows_memory(series):
        return float(n)
    runs = int(happened[0]) + int(np.sum(happened[1:] & ~happened[:-1]))
    memory = max(autocorrelation_time(series), hits / max(runs, 1))
    clusters = max(min(hits, n - hits) / memory, 0.25)
    return n / min(memory * float(np.exp(1 / np.sqrt(clusters))), n)


def sure_size(effective: float, rows: float) -> float:
    """A careful value for an estimated effective size: about one standard error below it.

    For an AR(1) fit, log τ has standard error 1/√(n/τ) and bias −2/(n/τ); an error in τ goes straight into the
    p-values' exponent, so the careful side is the small one. Rows without memory are taken as they are.
    """
    if effective >= rows or effective <= 0:
        return float(rows if effective >= rows else 0.0)
    return effective * float(np.exp(-1 / np.sqrt(effective) - 2 / effective))


def effective_size_of_parts(rows: Floats, sizes: Floats, means: Floats, variance: Floats) -> float:
    """Effective sample size of parts that follow each other, from their `rows`, their own effective `sizes`, and their
    means (parts, k) of k series with this `variance` over all rows: of numbers their ranks, of categories one indicator
    a level.

    Parts whose means differ beyond chance remember longer than they are: τ is then that of batch means (for ranks, the
    Kruskal-Wallis statistic by its degrees of freedom), of the series that remembers longest.
    """
    total, freedom = float(rows.sum()), len(rows) - 1
    within = float(np.sum(rows**2 / sizes)) / total
    varies = variance > 0
    if freedom and varies.any():
        between = rows @ (means - rows @ means / total) ** 2 / freedom
        longest = float((between[varies] / variance[varies]).max())
        beyond_chance = 4 * np.sqrt(1 + np.log(varies.sum()))  # standard errors; more for the greatest of many
        if longest > within * (1 + beyond_chance * np.sqrt(2 / freedom)):
            return total / min(longest, total)
    return min(total / within, total)
