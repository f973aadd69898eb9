"""What a window is compared with: the distribution of each column in the data a model was trained on.

It comes from the profile that the training commit carries (no raw data is read), or from a frame.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from trine.data import Profile

Floats = NDArray[np.float64]
Kind = Literal["number", "time", "category", "boolean", "other"]

FEW_VALUES = 10
"""An integer column with at most so many different values is read as categories."""


@dataclass(frozen=True)
class Steps:
    """A distribution function known at `points`: F(v−) and F(v), each as an interval when only a sketch is known.

    `hidden` is the largest share that a sketch may have missed at one value; 0 when every value is known.
    """

    points: Floats
    left_low: Floats
    left_high: Floats
    right_low: Floats
    right_high: Floats
    hidden: float = 0.0

    @classmethod
    def of_counts(cls, values: Floats, counts: Floats) -> Steps:
        """Exact, from different values in rising order and how often each occurs."""
        right = np.cumsum(counts) / counts.sum()
        left = np.concatenate(([0.0], right[:-1]))
        return cls(values, left, left, right, right)

    @classmethod
    def of_quantiles(cls, quantiles: Floats) -> Steps:
        """From evenly spaced quantiles; a value that fills several of them is an atom known to one step."""
        step = 1 / (len(quantiles) - 1)
        points, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
        last = first + counts - 1
        atom = counts > 1
        left, right = first * step, last * step
        left_low = np.where(atom, np.maximum(left - step, 0.0), left)
        right_high = np.where(atom, np.minimum(right + step, 1.0), right)
        left, left_low = np.where(first == 0, 0.0, left), np.where(first == 0, 0.0, left_low)
        right = np.where(last == len(quantiles) - 1, 1.0, right)
        right_high = np.where(last == len(quantiles) - 1, 1.0, right_high)
        return cls(points, left_low, left, right, right_high, hidden=step)

    def distance(self, values: Floats) -> float:
        """Kolmogorov-Smirnov distance to the empirical distribution of `values` (sorted): never overstated."""
        below = np.searchsorted(values, self.points, side="left") / len(values)
        upto = np.searchsorted(values, self.points, side="right") / len(values)
        # where the window has an atom, a sketch may be hiding one
        hidden = np.minimum(upto - below, self.hidden)
        left_low = np.minimum(self.left_low, self.left_high - hidden)
        right_high = np.maximum(self.right_high, self.right_low + hidden)
        gaps = (below - self.left_high, left_low - below, upto - right_high, self.right_low - upto)
        return max(0.0, *(float(gap.max()) for gap in gaps))


@dataclass(frozen=True)
class ReferenceColumn:
    """One column of a reference. `levels` are counts by value; `whole` says that they are all the values there are.

    `size` is how many independent rows it is worth, and `seen` those that `steps` were seen in, when that was a sample.
    """

    name: str
    dtype: str
    kind: Kind
    count: int
    nulls: int
    size: float
    steps: Steps | None = None
    levels: Mapping[str, int] = field(default_factory=dict[str, int])
    whole: bool = False
    low: float | None = None
    high: float | None = None
    infinite: int = 0
    seen: float | None = None

    @property
    def present(self) -> int:
        """Rows whose value can be compared: not missing, and finite."""
        return self.count - self.nulls - self.infinite

    @property
    def null_share(self) -> float:
        return self.nulls / self.count if self.count else 0.0


Reference = Mapping[str, ReferenceColumn]


def kind_of(dtype: str) -> Kind:
    """The family of a column type, from polars' name of it."""
    head = dtype.partition("(")[0]
    if head.startswith(("Int", "UInt", "Float", "Decimal")):
        return "number"
    if head in ("Date", "Datetime", "Time", "Duration"):
        return "time"
    if head in ("String", "Utf8", "Categorical", "Enum"):
        return "category"
    return "boolean" if head == "Boolean" else "other"


def level_name(value: Any) -> str:
    """How a value is named as a level: 1, 1.0 and "1" in a column of numbers are one, and true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def as_number(value: Any) -> float | None:
    """A number or a time (microseconds since the epoch) as a float; None for what is neither."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return aware.timestamp() * 1e6
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp() * 1e6
    if isinstance(value, dt.timedelta):
        return value.total_seconds() * 1e6
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def of_column(
    *,
    name: str,
    dtype: str,
    count: int,
    nulls: int,
    ess: float | None = None,
    quantiles: Any = (),
    top: Any = (),
    low: Any = None,
    high: Any = None,
    infinite: int = 0,
    sampled: int = 0,
) -> ReferenceColumn:
    """A reference column from the parts of a column profile: `top` are (value, count) pairs, `nulls` count NaN too."""
    kind = kind_of(dtype)
    present = count - nulls - infinite
    pairs = [
        (value, int(number))
        for value, number in top
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    ]
    whole = bool(pairs) and sum(number for _, number in pairs) >= present > 0
    is_integer = dtype.startswith(("Int", "UInt"))
    if kind == "number" and is_integer and whole and len(pairs) <= FEW_VALUES:
        kind = "category"
    size = float(present) if ess is None else float(min(ess, present))
    steps = None
    if kind in ("number", "time") and present > 0:
        numbers = [(as_number(value), number) for value, number in pairs]
        if whole and all(value is not None for value, _ in numbers):
            numbers.sort(key=lambda pair: pair[0] or 0.0)
            steps = Steps.of_counts(
                np.array([value for value, _ in numbers], dtype=np.float64),
                np.array([number for _, number in numbers], dtype=np.float64),
            )
        elif len(quantiles) > 1:
            steps = Steps.of_quantiles(np.array([as_number(q) for q in quantiles], dtype=np.float64))
    levels = {level_name(value): number for value, number in pairs} if kind in ("category", "boolean") else {}
    return ReferenceColumn(
        name=name,
        dtype=dtype,
        kind=kind,
        count=count,
        nulls=nulls,
        size=size,
        steps=steps,
        seen=1 / (1 / size + 1 / sampled - 1 / present) if sampled and size else None,
        levels=levels,
        whole=whole,
        low=as_number(low),
        high=as_number(high),
        infinite=infinite,
    )


def of_profile(profile: Profile) -> dict[str, ReferenceColumn]:
    """The reference that a commit's profile holds (`trine.data.Profile`)."""
    return {
        column.name: of_column(
            name=column.name,
            dtype=column.dtype,
            count=column.count,
            nulls=column.nulls + column.nans,
            ess=column.ess,
            quantiles=column.quantiles,
            top=column.top,
            low=column.min,
            high=column.max,
            infinite=column.infinities,
            sampled=column.sampled,
        )
        for column in profile.columns
    }


def of_frame(frame: pl.DataFrame) -> dict[str, ReferenceColumn]:
    """A reference straight from a frame, in row order: exact distribution functions, no sketch."""
    from trine.monitoring.window import sample_of

    found: dict[str, ReferenceColumn] = {}
    for series in frame.iter_columns():
        dtype = str(series.dtype)
        kind = kind_of(dtype)
        if kind == "number" and series.dtype.is_integer() and series.n_unique() <= FEW_VALUES:
            kind = "category"
        one = sample_of(series, kind)
        steps, low, high = None, None, None
        if one.values is not None and len(one.values):
            points, counts = np.unique(one.values, return_counts=True)
            steps = Steps.of_counts(points, counts.astype(np.float64))
            low, high = float(points[0]), float(points[-1])
        found[series.name] = ReferenceColumn(
            name=series.name,
            dtype=dtype,
            kind=kind,
            count=one.rows,
            nulls=one.nulls,
            size=one.size,
            steps=steps,
            levels=one.levels,
            whole=True,
            low=low,
            high=high,
            infinite=one.infinite,
        )
    return found
