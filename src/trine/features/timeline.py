"""Rows ordered by key and time, and how many of them there are up to a moment: the one search under every join."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_MANY = 2_000


@dataclass(frozen=True)
class Moments:
    """Rows that ask: for key number `codes[i]` (`groups` for an unknown key, which no source row has) as of `times_us[i]`."""

    codes: Ints
    times_us: Ints
    groups: int

    @cached_property
    def timeline(self) -> Timeline:
        """The moments by key and time; sorted once, whatever they are asked of."""
        return Timeline(self.codes, self.times_us, self.groups)


class Timeline:
    """Rows sorted by (code, time). `order` lists them; equal ones keep the order they came in."""

    def __init__(self, codes: Ints, times_us: Ints, groups: int, ties: Ints | None = None) -> None:
        self._distinct: Ints | None = None
        self._first = int(times_us.min()) if len(times_us) else 0
        self._last = int(times_us.max()) if len(times_us) else 0
        if (groups + 2) * (self._last - self._first + 2) >= 1 << 63:
            self._distinct = np.unique(times_us)
        sort_keys = self._combine(codes, times_us)
        if bool((sort_keys[1:] >= sort_keys[:-1]).all()) and ties is None:
            self.order = np.arange(len(codes))
            self._sorted = sort_keys
        else:
            self.order = np.argsort(sort_keys, kind="stable") if ties is None else np.lexsort((ties, sort_keys))
            self._sorted = sort_keys[self.order]

    def _combine(self, codes: Ints, times_us: Ints) -> Ints:
        """One integer that sorts like (code, time); times before the first row's count as one, so do those past the last."""
        if self._distinct is not None:
            return codes * (len(self._distinct) + 1) + np.searchsorted(self._distinct, times_us, "right")
        offsets = np.clip(times_us, self._first - 1, self._last)
        offsets -= self._first - 1
        return codes * (self._last - self._first + 2) + offsets

    def upto(self, codes: Ints, times_us: Ints) -> Ints:
        """How many rows sort at or before (code, time): the end of the key's rows that are not later than the time."""
        return np.searchsorted(self._sorted, self._combine(codes, times_us), "right")

    def upto_each(self, moments: Moments, back_us: int = 0) -> Ints:
        """`upto` for every moment, or so long before it."""
        wanted = self._combine(moments.codes, moments.times_us - back_us)
        if len(wanted) < _MANY:
            return np.searchsorted(self._sorted, wanted, "right")
        order = moments.timeline.order  # a search for sorted values walks through memory instead of jumping about in it
        ends = np.empty(len(wanted), np.int64)
        ends[order] = np.searchsorted(self._sorted, wanted[order], "right")
        return ends
