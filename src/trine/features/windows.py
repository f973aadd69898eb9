"""Aggregates over trailing windows, for many moments at once, exact also when rows become known late.

A row that happens at e and is known from k ≥ e is in the window (t - w, t] exactly for k ≤ t < e + w. So a window is the rows
that have *entered* by t (k ≤ t) less those that have *left* by t (e ≤ t - w), each a prefix of the key's rows in its own order;
rows with k ≥ e + w never enter and are left out. Sums are then differences of two prefix sums. Minimum and maximum cannot
be taken back, so there each row paints the stretch of (sorted) moments it is visible at, in power-of-two strips that are
pushed down level by level: O((rows + moments) log moments), no loop over rows or keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trine.features.sums import ExactSums, Floats, Ints, prefix, two_product, variance
from trine.features.timeline import Moments, Timeline

Bools = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """Numbers (64-bit whole or floating) and which of them are there; a NaN is not there."""

    values: Values
    valid: Bools

    @property
    def is_whole(self) -> bool:
        return self.values.dtype == np.int64


class Windows:
    """The trailing windows of rows (key code, when each happened, when it was known) at some moments."""

    def __init__(self, codes: Ints, event_us: Ints, known_us: Ints, groups: int, moments: Moments) -> None:
        self._codes = codes
        self._event_us = event_us
        self._known_us = np.maximum(event_us, known_us)
        self._groups = groups
        self._moments = moments
        self._is_late = bool((self._known_us > event_us).any())
        self._left: dict[int, Ints] = {}
        self._sums: dict[tuple[str, str, int], ExactSums] = {}

    @cached_property
    def _leaving(self) -> Timeline:
        return Timeline(self._codes, self._event_us, self._groups)

    @cached_property
    def _entering(self) -> Timeline:
        if not self._is_late:
            return self._leaving
        return Timeline(self._codes, self._known_us, self._groups)

    @cached_property
    def _entered(self) -> Ints:
        return self._entering.upto_each(self._moments)

    def _gone(self, window_us: int) -> Ints:
        if window_us not in self._left:
            self._left[window_us] = self._leaving.upto_each(self._moments, window_us)
        return self._left[window_us]

    def _counted(self, column: Column, window_us: int) -> Bools:
        if not self._is_late:
            return column.valid
        return column.valid & (self._known_us - self._event_us < window_us)

    def _difference(self, values: Ints, window_us: int) -> Ints:
        entered = prefix(values, self._entering.order)
        left = entered if self._entering is self._leaving else prefix(values, self._leaving.order)
        return entered[self._entered] - left[self._gone(window_us)]

    def count(self, column: Column, window_us: int) -> Ints:
        """How many of the column's values are in each window."""
        return self._difference(self._counted(column, window_us).astype(np.int64), window_us)

    def total(self, column: Column, window_us: int) -> Values:
        """The sum of each window: of whole numbers exact (modulo 2^64), of floats rounded once."""
        counted = self._counted(column, window_us)
        if column.is_whole:
            whole: Ints = np.where(counted, column.values, 0).astype(np.int64)
            return self._difference(whole, window_us)
        values = np.where(counted, column.values, 0.0).astype(np.float64)
        finite = np.isfinite(values)
        total = self._exact([np.where(finite, values, 0.0)], window_us)[0]
        if finite.all():
            return total
        with np.errstate(invalid="ignore"):
            for infinite in (np.inf, -np.inf):
                has = self._difference((values == infinite).astype(np.int64), window_us) > 0
                total = np.where(has, total + infinite, total)
        return total

    def mean(self, column: Column, window_us: int) -> Floats:
        """The mean of each window; NaN where it holds no value."""
        n = self.count(column, window_us)
        total = self.total(column, window_us).astype(np.float64)
        return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)

    def std(self, column: Column, window_us: int) -> Floats:
        """The sample standard deviation of each window; NaN where it holds fewer than two values or an infinite one."""
        counted = self._counted(column, window_us)
        n = self.count(column, window_us)
        values = np.where(counted, column.values, 0).astype(np.float64)
        finite = np.isfinite(values)
        sizes = np.where(finite, values, 0.0)
        scale = _scale(sizes)
        sizes = np.ldexp(sizes, -scale)
        with np.errstate(under="ignore"):
            squares, lost = two_product(sizes, sizes)
        spread = variance(n, self._exact([sizes], window_us), self._exact([squares, lost], window_us))
        out = np.ldexp(np.sqrt(spread), scale)
        if not finite.all():
            infinite = self._difference((~finite).astype(np.int64), window_us) > 0
            out = np.where(infinite, np.nan, out)
        return out

    def _exact(self, parts: list[Floats], window_us: int) -> tuple[Floats, Floats]:
        sums = ExactSums(parts, self._entering.order, self._leaving.order)
        return sums.between(self._gone(window_us), self._entered)

    def least(self, column: Column, window_us: int) -> Values:
        """The least value of each window; anything where it holds none (`count` tells)."""
        if column.is_whole:  # ~x = -x - 1 turns the order of whole numbers round without overflow
            return ~self.greatest(Column(~column.values, column.valid), window_us)
        return -self.greatest(Column(-column.values, column.valid), window_us)

    def greatest(self, column: Column, window_us: int) -> Values:
        """The greatest value of each window; anything where it holds none (`count` tells)."""
        asked = self._moments.timeline
        size = len(asked.order)
        nothing = np.iinfo(np.int64).min if column.is_whole else -np.inf
        first = asked.upto(self._codes, self._known_us - 1)
        end = asked.upto(self._codes, self._event_us + (window_us - 1))
        rows = np.flatnonzero(column.valid & (end > first))
        first, length, values = first[rows], (end - first)[rows], column.values[rows]
        level = np.frexp(length.astype(np.float64))[1] - 1  # floor(log2(length))
        by_level = np.argsort(level, kind="stable")
        bounds = np.searchsorted(level[by_level], np.arange(int(level.max(initial=0)) + 2))
        strips = np.full(size, nothing, column.values.dtype)
        for depth in range(len(bounds) - 2, -1, -1):
            here = by_level[bounds[depth] : bounds[depth + 1]]
            span = 1 << depth
            np.maximum.at(strips, first[here], values[here])
            np.maximum.at(strips, first[here] + length[here] - span, values[here])
            if depth:  # a strip of length 2^depth becomes its two halves
                half = span >> 1
                halves = strips.copy()
                np.maximum(halves[half:], strips[: size - half], out=halves[half:])
                strips = halves
        out = np.empty_like(strips)
        out[asked.order] = strips
        return out


def _scale(values: Floats) -> int:
    """The power of two to divide by so that squares neither overflow nor vanish; 0 for all ordinary values."""
    largest = float(np.abs(values).max(initial=0.0))
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > 400 and largest > 0 else 0
