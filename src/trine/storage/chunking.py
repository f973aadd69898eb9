"""Cutting large files into chunks where their content says so, so that a change moves only the cuts around it.

A cut may follow every eight bytes that, read as a number and multiplied by an odd constant, give less than 1/32,768 of what
64 bits can hold (a multiplicative hash of a sliding window: as content-defined as a gear hash, Xia et al. 2016, and one
numpy operation for many places at once). Of these, one is taken whenever at least `LEAST` bytes have gone by; after `MOST`
bytes a cut is made anyway. These numbers are part of the format: other numbers find nothing in what was cut before.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor

LEAST, MEAN, MOST = 8 << 10, 32 << 10, 128 << 10
_WINDOW = 8
_FACTOR = 0x9E3779B97F4A7C15
_PIECE = 8 << 20


def cuts(descriptor: int, size: int) -> list[int]:
    """Where the chunks of an open file end, the last at its end; reads it once, by several threads."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        starts = range(0, size, _PIECE)
        found = [place for piece in pool.map(lambda start: _places(descriptor, start), starts) for place in piece]
    ends: list[int] = []
    at = 0
    while size - at > LEAST:
        next_ = bisect_left(found, at + LEAST)
        at = min(found[next_] if next_ < len(found) else size, at + MOST, size)
        ends.append(at)
    if at < size:
        ends.append(size)
    return ends


def _places(descriptor: int, start: int) -> list[int]:
    """Where a cut may be in a piece of a file, by offsets in the file."""
    import numpy as np

    first = max(0, start - _WINDOW + 1)
    data = os.pread(descriptor, start + _PIECE - first, first)
    found: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for shift in range(_WINDOW):
        count = (len(data) - shift) // _WINDOW
        if count > 0:
            windows = np.frombuffer(data, "<u8", count, shift) * np.uint64(_FACTOR)
            windows -= np.uint64(1)  # so that zeros are no cut: there are long runs of them
            hits = np.flatnonzero(windows < np.uint64(2**64 // MEAN))
            found.append(hits * _WINDOW + (first + shift + _WINDOW))
    return np.sort(np.concatenate(found)).tolist() if found else []
