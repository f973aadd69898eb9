"""Series: the points of one metric as columns, their summary, and the compact form in which the ledger keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trine.errors import InvalidInput
from trine.tracking.runs import Key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Points(NamedTuple):
    """Steps and times (microseconds since the epoch, UTC) as int64, values as float64; in order of arrival."""

    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def take(self, where: slice | NDArray[Any]) -> Points:
        """Some of the points, or all in another order."""
        return Points(self.steps[where], self.times[where], self.values[where])

    def to_bytes(self) -> tuple[bytes, bytes, bytes]:
        """The columns, little-endian."""
        return (
            self.steps.astype("<i8").tobytes(),
            self.times.astype("<i8").tobytes(),
            self.values.astype("<f8").tobytes(),
        )


class Series(msgspec.Struct, frozen=True):
    """Points of one metric on the wire: little-endian int64 steps, int64 times in microseconds, float64 values."""

    key: Key
    steps: bytes
    times: bytes
    values: bytes


def pack(key: str, points: Points) -> Series:
    """Points for the wire."""
    return Series(key, *points.to_bytes())


def unpack(series: Series) -> Points:
    """Raises InvalidInput when the columns are not of one length."""
    import numpy as np

    lengths = {len(series.steps), len(series.times), len(series.values)}
    if len(lengths) != 1 or len(series.steps) % 8 or not series.steps:
        raise InvalidInput(f'The columns of metric "{series.key}" must have the same length, 8 bytes a point.')
    return Points(
        np.frombuffer(series.steps, "<i8"), np.frombuffer(series.times, "<i8"), np.frombuffer(series.values, "<f8")
    )


def encode(points: Points) -> bytes:
    """Delta-coded steps and times and the values as they are, byte planes apart (so that equal bytes meet), in zstandard."""
    import numpy as np
    import zstandard

    columns = np.diff(points.steps, prepend=0), np.diff(points.times, prepend=0), points.values
    planes = [np.ascontiguousarray(one).view(np.uint8).reshape(-1, 8).T.tobytes() for one in columns]
    return zstandard.ZstdCompressor(level=3).compress(b"".join(planes))


def decode(data: bytes) -> Points:
    """The points of `encode`, bit by bit."""
    import numpy as np
    import zstandard

    planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(data), np.uint8).reshape(3, 8, -1)
    columns = np.empty((3, planes.shape[2], 8), np.uint8)
    for byte in range(8):  # twice as quick as a transposition
        columns[:, :, byte] = planes[:, byte]
    steps, times, values = columns.reshape(3, -1)
    return Points(np.cumsum(steps.view("<i8")), np.cumsum(times.view("<i8")), values.view("<f8"))


def join(parts: list[Points]) -> Points:
    """Points one after the other."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    return Points(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def ordered(points: Points) -> Points:
    """By step, then time, then arrival."""
    import numpy as np

    if (np.diff(points.steps) > 0).all():
        return points
    return points.take(np.lexsort((points.times, points.steps)))


def summarise(points: Points) -> dict[str, Any]:
    """The columns of `run_metric` for these points alone. NaN is None."""
    import numpy as np

    line = ordered(points)
    steps, times, values = line
    numbers = ~np.isnan(values)
    found: dict[str, Any] = {
        "points": len(values),
        "nans": len(values) - int(numbers.sum()),
        "first": _value(values[0]),
        "first_step": int(steps[0]),
        "first_us": int(times[0]),
        "last": _value(values[-1]),
        "last_step": int(steps[-1]),
        "last_us": int(times[-1]),
    }
    for name, where in (("min", np.argmin), ("max", np.argmax)):
        at = int(np.flatnonzero(numbers)[where(values[numbers])]) if numbers.any() else 0
        found[name], found[f"{name}_step"] = _value(values[at]), int(steps[at])
    return found


def _value(value: Any) -> float | None:
    return None if value != value else float(value)


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The summary of all points, from those of what was there and what came; of two points at the same step and time the
    one that came first is the first, the one that came last the last."""
    found = dict(old)
    found["points"] += new["points"]
    found["nans"] += new["nans"]
    if (new["first_step"], new["first_us"]) < (old["first_step"], old["first_us"]):
        found.update({name: new[name] for name in ("first", "first_step", "first_us")})
    if (new["last_step"], new["last_us"]) >= (old["last_step"], old["last_us"]):
        found.update({name: new[name] for name in ("last", "last_step", "last_us")})
    for name, sign in (("min", 1), ("max", -1)):
        step = f"{name}_step"
        if new[name] is None:
            if old[name] is None:
                found[step] = min(old[step], new[step])
            continue
        if old[name] is None or (sign * new[name], new[step]) < (sign * old[name], old[step]):
            found[name], found[step] = new[name], new[step]
    return found


def thin(points: Points, count: int) -> Points:
    """At most `count` points that draw the same picture: the least and the greatest of each of `count` / 2 equal parts of
    the line, the ends kept. NaN is left out of a part that has numbers."""
    import numpy as np

    size = len(points.values)
    if size <= count:
        return points
    bounds = np.linspace(0, size, max(1, count // 2 - 1) + 1).astype(int)
    longest = int(np.diff(bounds).max())
    places = bounds[:-1, None] + np.arange(longest)
    inside = places < bounds[1:, None]
    parts = points.values[np.minimum(places, size - 1)]
    left_out = ~inside | np.isnan(parts)
    empty = left_out.all(axis=1)
    low = np.where(left_out, np.inf, parts).argmin(axis=1)
    high = np.where(left_out, -np.inf, parts).argmax(axis=1)
    low, high = np.where(empty, 0, low), np.where(empty, 0, high)
    return points.take(np.unique(np.concatenate([bounds[:-1] + low, bounds[:-1] + high, [0, size - 1]])))


def between(points: Points, since: int | None, until: int | None) -> Points:
    """The points of an ordered line whose steps lie between two, both included. O(log points)."""
    import numpy as np

    first = 0 if since is None else int(np.searchsorted(points.steps, since, "left"))
    last = len(points.steps) if until is None else int(np.searchsorted(points.steps, until, "right"))
    return points.take(slice(first, last))


def buckets(points: Points, count: int) -> tuple[NDArray[Any], ...]:
    """A line as at most `count` vertical strokes: the steps from the first to the last are divided into equal parts, and each
    part with points gives its first step, its number of points, and their least, greatest and last value (NaN only where
    there is no number). Points are in order of step."""
    import numpy as np

    steps, values = points.steps, points.values
    span = int(steps[-1]) - int(steps[0]) + 1
    if span <= count:
        starts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    else:
        edges = (
            int(steps[0]) + (np.arange(count) * span) // count
            if span < 2**50
            else np.linspace(steps[0], steps[-1], count)
        )
        starts = np.unique(np.searchsorted(steps, edges, side="left"))
        starts = starts[starts < len(steps)]
    ends = np.append(starts[1:], len(steps))
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return steps[starts], ends - starts, low, high, values[ends - 1]
