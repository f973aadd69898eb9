"""Tails and quantiles of the distributions that tests and intervals stand on, so that judging needs no SciPy.

Each function names its method; the tests hold all of them against SciPy. Numbers in, numbers out: arrays are looped over
by their callers, which have one p-value a column.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

_TINY = 1e-300


# -- normal ---------------------------------------------------------------------------------------------------------


def normal_below(z: float) -> float:
    """P(Z <= z), through the complementary error function."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_above(z: float) -> float:
    """P(Z > z); exact far out in the tail."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """The z that Z is below with chance p: Wichura's (1988) algorithm AS 241; infinite at 0 and 1."""
    if p <= 0 or p >= 1:
        return math.copysign(math.inf, p - 0.5)
    return NormalDist().inv_cdf(p)


# -- incomplete beta: Student's t, binomial, beta --------------------------------------------------------------------


def beta_below(x: float, a: float, b: float) -> float:
    """P(B <= x) for B ~ Beta(a, b): the continued fraction DLMF 8.17.22 by Lentz's method, on the side where it is quick."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return min(1.0, front * _beta_fraction(x, a, b) / a)
    return max(0.0, 1.0 - front * _beta_fraction(1 - x, b, a) / b)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x that B ~ Beta(a, b) is below with chance p."""
    return root(lambda x: beta_below(x, a, b) - p, 0.0, 1.0)


def _beta_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _apart(1 + term * d)
            c = _apart(1 + term / c)
            found *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return found


def _apart(value: float) -> float:
    """The value, held off 0."""
    return value if abs(value) > _TINY else _TINY


def student_above(t: float, freedom: float) -> float:
    """P(T > t) of Student's t, through the incomplete beta function (DLMF 8.17), from the side that loses no digits."""
    square = t * t
    if square < 1:
        tail = 0.5 - 0.5 * beta_below(square / (freedom + square), 0.5, freedom / 2)
    else:
        tail = 0.5 * beta_below(freedom / (freedom + square), freedom / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@functools.lru_cache(maxsize=1_024)
def student_quantile(p: float, freedom: float) -> float:
    """The t that Student's T is below with chance p."""
    if p < 0.5:
        return -student_quantile(1 - p, freedom)
    high = 2.0
    while student_above(high, freedom) > 1 - p:
        high *= 2
    return root(lambda t: 1 - p - student_above(t, freedom), 0.0, high)


def fair_above(successes: int, trials: int) -> float:
    """P(S >= successes) for a fair coin: the exact binomial tail at 1/2."""
    return 1.0 if successes <= 0 else beta_below(0.5, successes, trials - successes + 1)


# -- chi-square -----------------------------------------------------------------------------------------------------


def chi_square_above(statistic: float, freedom: int) -> float:
    """P(X > statistic): the finite sums for whole degrees of freedom (Abramowitz & Stegun 26.4.4 and 26.4.5)."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    start = 0.5 if freedom % 2 else 0.0
    terms = (
        math.exp(-half + (start + k) * math.log(half) - math.lgamma(start + k + 1))
        for k in range((freedom - freedom % 2) // 2)
    )
    return min(1.0, math.fsum(terms) + (math.erfc(math.sqrt(half)) if freedom % 2 else 0.0))


# -- hypergeometric -------------------------------------------------------------------------------------------------


def hypergeometric_tails(hits: int, total: int, marked: int, drawn: int) -> tuple[float, float]:
    """P(H <= hits) and P(H >= hits) marked among those drawn without replacement: weights by their ratios, summed."""
    low, high = max(0, drawn - (total - marked)), min(drawn, marked)
    weight, weights = 0.0, [0.0]
    for k in range(low, high):
        weight += math.log((marked - k) * (drawn - k)) - math.log((k + 1) * (total - marked - drawn + k + 1))
        weights.append(weight)
    most = max(weights)
    shares = [math.exp(one - most) for one in weights]
    all_of_them = math.fsum(shares)
    return (
        math.fsum(shares[: max(0, hits - low + 1)]) / all_of_them,
        math.fsum(shares[max(0, hits - low) :]) / all_of_them,
    )


# -- Kolmogorov -----------------------------------------------------------------------------------------------------

_DURBIN = 140
"""Up to so many values the distribution is computed exactly, as Simard and L'Ecuyer (2011) do."""


def kolmogorov_above(distance: float, size: int) -> float:
    """P(D >= distance) of the two-sided one-sample Kolmogorov-Smirnov statistic of `size` values.

    After Simard and L'Ecuyer (2011): in the tail twice the one-sided chance (Miller 1956), else Durbin's matrix (Marsaglia,
    Tsang and Wang 2003) for few values and the series of Pelz and Good (1976) for many.
    """
    reach = size * distance * distance
    if distance >= 1 or reach >= 370:
        return 0.0
    if 2 * size * distance <= 1:
        return 1.0
    if reach >= (4 if size <= _DURBIN else 2.2):
        return min(1.0, 2 * _one_sided(distance, size))
    below = _durbin(distance, size) if size <= _DURBIN else _pelz_good(distance, size)
    return min(1.0, max(0.0, 1 - below))


def _one_sided(distance: float, size: int) -> float:
    """P(D+ >= distance): Smirnov's (1944) sum, from many values on the expansion of Maag and Dicaire (1971)."""
    if size > 10_000:
        z = (6 * size * distance + 1) ** 2 / (18 * size)
        return max(0.0, math.exp(-z) * (1 - (2 * z * z - 4 * z - 1) / (18 * size)))
    import numpy as np

    j = np.arange(int(size * (1 - distance)) + 1)
    counts = np.concatenate([[0.0], np.cumsum(np.log((size - j[1:] + 1) / j[1:]))])  # log of size over j
    with np.errstate(divide="ignore"):
        left = np.log(np.maximum(1 - distance - j / size, 0.0))
        power = np.where(size - j > 0, (size - j) * left, 0.0)
    return float(distance * np.exp(counts + (j - 1) * np.log(distance + j / size) + power).sum())


def _durbin(distance: float, size: int) -> float:
    """P(D < distance) exactly: the middle of a power of a matrix of 2 k - 1 lines, k = ceil(size * distance)."""
    import numpy as np

    k = int(size * distance) + 1
    lines, rest = 2 * k - 1, k - size * distance
    steps = np.arange(lines)[:, None] - np.arange(lines)[None, :] + 1
    matrix = (steps >= 0).astype(np.float64)
    powers = rest ** np.arange(1, lines + 1)
    matrix[:, 0] -= powers
    matrix[-1, :] -= powers[::-1]
    matrix[-1, 0] += max(0.0, 2 * rest - 1) ** lines
    matrix /= np.array([float(math.factorial(step)) for step in range(lines + 1)])[np.maximum(steps, 0)]
    result = np.linalg.matrix_power(matrix / size * math.e, size)[
        k - 1, k - 1
    ]  # scaled by e / size a line: no overflow
    return float(result * math.exp(math.lgamma(size + 1) - size))


def _pelz_good(distance: float, size: int) -> float:
    """P(D < distance) by the limit distribution and three terms of its expansion in 1/sqrt(size) (Pelz and Good 1976)."""
    root_size = math.sqrt(size)
    z = distance * root_size
    z2, z4, z6 = z**2, z**4, z**6
    pi2, pi4, pi6 = math.pi**2, math.pi**4, math.pi**6
    sums = [0.0] * 4
    for k in range(20):
        m2 = (k + 0.5) ** 2
        weight = math.exp(-m2 * pi2 / (2 * z2))
        m4, m6 = m2 * m2, m2**3
        sums[0] += weight
        sums[1] += (pi2 * m2 - z2) * weight
        sums[2] += (6 * z6 + 2 * z4 + pi2 * (2 * z4 - 5 * z2) * m2 + pi4 * (1 - 2 * z2) * m4) * weight
        sums[3] += (
            -30 * z6 - 90 * z**8
            + pi2 * (135 * z4 - 96 * z6) * m2
            + pi4 * (212 * z4 - 60 * z2) * m4
            + pi6 * (5 - 30 * z2) * m6
        ) * weight  # fmt: skip
    whole = [0.0, 0.0]
    for k in range(1, 20):
        weight = math.exp(-k * k * pi2 / (2 * z2))
        whole[0] += k * k * weight
        whole[1] += (3 * z2 * k * k - pi2 * k**4) * weight
    scale = math.sqrt(2 * math.pi)
    half = math.sqrt(math.pi / 2)
    return math.fsum(
        (
            scale / z * sums[0],
            half / (3 * z4) * sums[1] / root_size,
            (half / (36 * z**7) * sums[2] - half * pi2 / (18 * z**3) * whole[0]) / size,
            (half / (3240 * z**10) * sums[3] + half * pi2 / (108 * z6) * whole[1]) / (size * root_size),
        )
    )


def kolmogorov_quantile(p: float) -> float:
    """The x that the limit of sqrt(n) D is above with chance p: Kolmogorov's (1933) series, solved."""

    def above(x: float) -> float:
        return 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))

    if p >= 1:
        return 0.0
    return root(lambda x: p - above(x), 0.05, math.sqrt(-math.log(p / 2) / 2) + 1) if p > 0 else math.inf


# -- solving --------------------------------------------------------------------------------------------------------


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function that changes its sign between two places is 0: Chandrupatla's (1997) bracketing method."""
    a, b = high, low
    at_a, at_b = function(a), function(b)
    c, at_c = a, at_a
    share = 0.5
    for _ in range(200):
        x = a + share * (b - a)
        at_x = function(x)
        if (at_x > 0) == (at_a > 0):
            c, at_c = a, at_a
        else:
            c, b, at_c, at_b = b, a, at_b, at_a
        a, at_a = x, at_x
        best, at_best = (a, at_a) if abs(at_a) < abs(at_b) else (b, at_b)
        width = abs(b - a)
        tolerance = 4e-16 * abs(best) + 1e-300
        if at_best == 0 or width <= 2 * tolerance:
            return best
        xi, phi = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b) if at_c != at_b else math.nan
        share = 0.5
        if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:  # inverse quadratic interpolation is safe here
            share = at_a / (at_b - at_a) * at_c / (at_b - at_c) + (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (
                at_c - at_b
            )
        edge = tolerance / width
        share = min(1 - edge, max(edge, share))
    return a
