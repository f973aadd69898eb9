"""Exact sums of floats between any two positions of an array, from prefix sums.

Differences of rounded prefix sums lose digits (1e16 before the window wipes out 0.1 in it), and two orders of the same rows
round differently. Here each float is cut into 32-bit digits of one fixed-point number (a superaccumulator: Kulisch 1971; Neal,
*Fast exact summation using small and large superaccumulators*, 2015), and the digits are summed as integers. So every prefix is
exact, a difference of two prefixes is exact whatever the order of each, and the one rounding at the end depends only on
the values in the window: training and online give the same bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DIGIT_BITS = 32
_DIGIT = np.int64((1 << _DIGIT_BITS) - 1)
_SPLITTER = float((1 << 27) + 1)


class ExactSums:
    """Sums over rows that were added up to one position in one order and taken away up to one in another.

    Both orders are permutations of the same rows (or None for the order given); fewer than 2^31 rows.
    Values must be finite.
    """

    def __init__(self, parts: list[Floats], adding: Ints | None, removing: Ints | None) -> None:
        self._prefixes: list[tuple[int, Ints, Ints]] = []
        for place, digits in _digits(parts):
            added = prefix(digits, adding)
            removed = added if removing is adding else prefix(digits, removing)
            self._prefixes.append((place, added, removed))

    def between(self, removed: Ints, added: Ints) -> tuple[Floats, Floats]:
        """The sums as unevaluated pairs high + low (some 100 bits)."""
        size = len(added)
        digits = [
            (place, adds[added] - removes[removed]) for place, adds, removes in self._prefixes
        ]  # lowest place first
        digits = _carry(digits)
        negative = digits[-1][1] < 0 if digits else np.zeros(size, bool)
        if negative.any():
            digits = _carry([(place, np.where(negative, -each, each)) for place, each in digits])
        high, low = np.zeros(size), np.zeros(size)
        with np.errstate(over="ignore", invalid="ignore"):
            for place, each in reversed(digits):
                high, lost = _two_sum(high, np.ldexp(each.astype(np.float64), place * _DIGIT_BITS))
                low += lost
            high, low = _two_sum(high, low)
        if not np.isfinite(high).all():  # past the largest float
            high, low = np.where(np.isfinite(high), high, np.inf), np.where(np.isfinite(high), low, 0.0)
        sign = np.where(negative, -1.0, 1.0)
        return high * sign, low * sign


def prefix(values: Ints, order: Ints | None) -> Ints:
    """`out[i]` is the sum of the first i values in that order."""
    out = np.empty(len(values) + 1, np.int64)
    out[0] = 0
    np.cumsum(values if order is None else values[order], out=out[1:])
    return out


def _digits(parts: list[Floats]) -> list[tuple[int, Ints]]:
    """The values (a row's parts added) as digits of weight 2^(32 place), places that are all zero left out."""
    pieces: list[tuple[Ints, Ints]] = []
    for values in parts:
        mantissa, exponent = np.frexp(values)
        whole = np.ldexp(mantissa, 53).astype(np.int64)
        sign, size = np.sign(whole), np.abs(whole)
        exponent = exponent.astype(np.int64) - 53
        place, shift = exponent >> 5, exponent & 31
        lower = (size & _DIGIT) << shift
        upper = ((size >> 32) << shift) + (lower >> 32)
        pieces += [
            (place, sign * (lower & _DIGIT)),
            (place + 1, sign * (upper & _DIGIT)),
            (place + 2, sign * (upper >> 32)),
        ]
    found: dict[int, Ints] = {}
    for place, digit in pieces:
        used = digit != 0
        for at in np.unique(place[used]).tolist():
            here = np.where(used & (place == at), digit, 0)
            found[at] = found[at] + here if at in found else here
    return sorted(found.items())


def _carry(digits: list[tuple[int, Ints]]) -> list[tuple[int, Ints]]:
    """Digits in 0 … 2^32 - 1 at each place without gaps; only the last one may be negative."""
    if not digits:
        return digits
    given = dict(digits)
    carried: list[tuple[int, Ints]] = []
    carry = np.zeros_like(digits[0][1])
    place, last = digits[0][0], digits[-1][0]
    while place <= last or bool(((carry != 0) & (carry != -1)).any()):
        total = given[place] + carry if place in given else carry
        carried.append((place, total & _DIGIT))
        carry = total >> _DIGIT_BITS
        place += 1
        if place > last and not carry.any():
            break
    carried.append((place, carry))
    return carried


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a + b and its rounding error (Knuth 1969)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a × b and its rounding error (Dekker 1971); for sizes between 2^-480 and 2^480."""
    product = a * b
    a_high = a * _SPLITTER
    a_high = a_high - (a_high - a)
    a_low = a - a_high
    b_high = b * _SPLITTER
    b_high = b_high - (b_high - b)
    b_low = b - b_high
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, lost


def variance(count: Ints, total: tuple[Floats, Floats], squares: tuple[Floats, Floats]) -> Floats:
    """The sample variance (n - 1) from n, Σx and Σx², each pair some 100 bits: (n Σx² - (Σx)²) / (n (n - 1)).

    What lies below the pairs' own precision (a relative spread under 2^-49) is 0. NaN for n < 2.
    """
    n = count.astype(np.float64)
    left, left_low = two_product(n, squares[0])
    left_low = left_low + n * squares[1]
    right, right_low = two_product(total[0], total[0])
    right_low = right_low + 2.0 * total[0] * total[1]
    spread, lost = _two_sum(left, -right)
    spread = spread + (lost + (left_low - right_low))
    spread = np.where(spread <= right * 2.0**-98, 0.0, spread)
    return np.divide(spread, n * (n - 1.0), out=np.full(len(n), np.nan), where=count >= 2)
