"""Slices: the parts of the rows that are looked at one by one, by the values of a column or by quantile bins of a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput, nearest

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

MOST = 100
"""Slices one column may give."""
FEW = 20
"""A number with more different values than this is cut into bins."""
BINS = 4


@dataclass(frozen=True)
class Slice:
    """Some of the rows: those whose `column` has `value`."""

    column: str
    value: str
    rows: NDArray[np.bool_]


def slices_of(rows: pl.DataFrame, asked: Sequence[str]) -> list[Slice]:
    """The slices of each `column` or `column:bins`, in order of value; missing values are a slice of their own.

    Raises InvalidInput for an unknown column, or one with more values than slices make sense for.
    """
    return [one for text in asked for one in _slices(rows, text)]


def _slices(rows: pl.DataFrame, asked: str) -> Iterator[Slice]:
    name, colon, bins = asked.rpartition(":")
    if asked in rows.columns or not colon:
        name, bins = asked, ""
    if name not in rows.columns:
        raise InvalidInput(f'The rows have no column "{name}" to slice by.{nearest(name, rows.columns)}', column=name)
    if bins and not (bins.isdigit() and 2 <= int(bins) <= MOST):
        raise InvalidInput(
            f'"{asked}" is no slice: after the colon comes a number of bins, for instance {name}:{BINS}.'
        )
    column = rows[name]
    missing = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
    different = column.filter(~missing).n_unique()
    if bins or (column.dtype.is_numeric() and different > FEW):
        yield from _bins(column.filter(~missing), ~missing, column, int(bins or BINS))
    elif different > MOST:
        raise InvalidInput(
            f'Column "{name}" has {different:,} different values, more than the {MOST} that slices make sense for. '
            "Commit a coarser column, or for numbers and times write column:bins.",
            column=name,
        )
    else:
        for value in column.filter(~missing).unique().sort():
            yield Slice(name, _shown(value), (column == value).fill_null(False).to_numpy())
    if missing.any():
        yield Slice(name, "missing", missing.to_numpy())


def _bins(present: pl.Series, there: pl.Series, column: pl.Series, bins: int) -> Iterator[Slice]:
    if present.is_empty():
        return
    if not (present.dtype.is_numeric() or present.dtype.is_temporal()):
        raise InvalidInput(
            f'Column "{column.name}" is {present.dtype}: only numbers and times have bins.', column=column.name
        )
    ordered = present.sort()
    cuts = sorted({ordered[len(ordered) * part // bins] for part in range(1, bins)} - {ordered[0]})
    edges: list[Any] = [ordered[0], *cuts, ordered[-1]]
    for index in range(len(edges) - 1):
        low, high, last = edges[index], edges[index + 1], index == len(edges) - 2
        inside = there & (column >= low) & ((column <= high) if last else (column < high))
        yield Slice(
            column.name, f"[{_shown(low)}, {_shown(high)}{']' if last else ')'}", inside.fill_null(False).to_numpy()
        )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
