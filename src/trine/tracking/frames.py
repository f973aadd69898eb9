"""Frames: what a run's segment holds, and reading it back in batches that the ledger takes in one transaction each.

1 key      u32 number, name          a metric's name, once per segment, before its first point
2 point    u32 key, i64 step, i64 time, f64 value
3 columns  u32 key, i64 steps, i64 times, f64 values: many points of one metric
4 use      node                      something versioned that the run read
5 lost     u64                       points that could not be written
6 end      JSON of an Ending         nothing more is written here; the run may go on in another segment
7 batch    (u32 key, i64 step, i64 time, f64 value)…   points that are there together or not at all
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from trine.storage.segments import HEAD_BYTES, Equals, pack_frame, read_header, read_segment
from trine.tracking.runs import Ended
from trine.tracking.series import Points, Series, join, pack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "run"
KEY, POINT, COLUMNS, USE, LOST, END, BATCH = range(1, 8)
_POINT = struct.Struct("<BIqqd")
_NUMBER = struct.Struct("<BI")
_COUNT = struct.Struct("<BQ")
pack_point = _POINT.pack
pack_row = struct.Struct("<Iqqd").pack
_POINTS = _POINT.size, POINT
_POINT_FRAME = len(pack_frame(bytes(_POINT.size)))

LARGEST_BATCH = 100_000
"""Points that go into the ledger in one transaction, about; a columns frame is never divided."""


class Meta(msgspec.Struct, frozen=True):
    """What a run's segment says about itself. `owner`: this process keeps the run open, so the run ends with it."""

    run: str
    project: str
    session: str
    owner: bool


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a segment, and of its run when `state` says so."""

    state: Ended | Literal[""] = ""
    reason: str = ""
    ended_us: int = 0


class Batch(msgspec.Struct, frozen=True):
    """The frames from `start` to `stop`, decoded."""

    start: int
    stop: int
    series: list[Series]
    uses: list[str]
    lost: int
    ending: Ending | None


def pack_key(number: int, name: str) -> bytes:
    """A metric's name under its number in this segment."""
    return _NUMBER.pack(KEY, number) + name.encode()


def pack_columns(number: int, points: Points) -> bytes:
    """Many points of one metric."""
    return _NUMBER.pack(COLUMNS, number) + b"".join(points.to_bytes())


def pack_batch(rows: list[bytes]) -> bytes:
    """Points that are there together or not at all, each packed by `pack_row`."""
    return bytes((BATCH,)) + b"".join(rows)


def pack_use(node: str) -> bytes:
    """A versioned thing that the run read."""
    return bytes((USE,)) + node.encode()


def pack_lost(count: int) -> bytes:
    """How many points could not be written."""
    return _COUNT.pack(LOST, count)


def pack_ending(ending: Ending) -> bytes:
    """The last frame."""
    return bytes((END,)) + msgspec.json.encode(ending)


def read_meta(path: Path) -> Meta:
    """Whose segment a file is. Raises Damaged or NotFound naming it."""
    return msgspec.convert(read_header(path)[0].meta, Meta)


class Reader:
    """Goes through one segment; remembers how far it came and the names of the keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.torn = 0
        self.has_ended = False
        self._names: dict[int, str] = {}

    def batches(self, *, final: bool = False) -> Iterator[Batch]:
        """What was written since; `at` moves on when the next batch is asked for, so what failed on the way is read again.
        `final`: the writer is gone, so damage is stepped over (and counted as lost) and a torn tail stays behind."""
        read = read_segment(self.path, self.at, skip_damage=final, together=_POINTS)
        self.torn = read.torn
        start, lost = self.at, -(-read.skipped // _POINT_FRAME)
        frames: list[bytes | Equals] = []
        points = 0
        for offset, payload in read.frames:
            if points >= LARGEST_BATCH:
                yield self._batch(start, offset, frames, 0)
                self.at = start = offset
                frames, points = [], 0
            frames.append(payload)
            points += (
                payload.frames if isinstance(payload, Equals) else 1 if payload[0] == POINT else len(payload) // 24
            )
        last = self._batch(start, read.end, frames, lost)
        if last.series or last.uses or last.lost or last.ending:
            yield last
            self.at = read.end

    def forward(self, offset: int) -> None:
        """Go to a frame further on, learning the keys on the way."""
        for at, payload in read_segment(self.path, self.at, skip_damage=True, together=_POINTS).frames:
            if at >= offset:
                break
            if isinstance(payload, Equals):
                continue
            if payload[0] == KEY:
                self._learn(payload)
            self.has_ended |= payload[0] == END
        self.at = offset

    def _learn(self, payload: bytes) -> None:
        _, number = _NUMBER.unpack_from(payload)
        self._names[number] = payload[_NUMBER.size :].decode()

    def _batch(self, start: int, stop: int, frames: list[bytes | Equals], lost: int) -> Batch:
        uses: list[str] = []
        ending: Ending | None = None
        rows: list[bytes | Equals | NDArray[np.void]] = []
        for payload in frames:
            if isinstance(payload, Equals):
                rows.append(payload)
                continue
            kind = payload[0]
            if kind == POINT:
                rows.append(payload)
            elif kind == COLUMNS:
                rows.append(_rows(payload))
            elif kind == BATCH:
                rows.append(_batched(payload))
            elif kind == KEY:
                self._learn(payload)
            elif kind == USE:
                uses.append(payload[1:].decode())
            elif kind == LOST:
                lost += _COUNT.unpack(payload)[1]
            elif kind == END:
                ending = msgspec.json.decode(payload[1:], type=Ending)
                self.has_ended = True
        named: dict[str, list[Points]] = {}
        for number, points in _by_key(rows):
            if number not in self._names:  # the frame with its name was damaged
                lost += len(points.values)
                continue
            named.setdefault(self._names[number], []).append(
                points
            )  # a signal handler may have named one a second time
        series = [pack(name, join(parts)) for name, parts in named.items()]
        return Batch(start, stop, series, uses, lost, ending)


def _by_key(rows: list[bytes | Equals | NDArray[np.void]]) -> Iterator[tuple[int, Points]]:
    """Points by the number of their key, each in order of arrival."""
    if not rows:
        return
    import numpy as np

    tables: list[NDArray[np.void]] = []
    for kind, some in itertools.groupby(rows, type):
        if kind is bytes:
            tables.append(np.frombuffer(b"".join(one for one in some if isinstance(one, bytes)), _dtype()))
        elif kind is Equals:
            tables += [_equals(one) for one in some if isinstance(one, Equals)]
        else:
            tables += [one for one in some if not isinstance(one, (bytes, Equals))]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in ("key", "step", "time", "value")}
    keys = columns["key"]
    if (keys == keys[0]).all():
        yield int(keys[0]), Points(columns["step"], columns["time"], columns["value"])
        return
    order = np.argsort(keys, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        yield int(keys[part[0]]), Points(columns["step"][part], columns["time"][part], columns["value"][part])


def _dtype() -> np.dtype[np.void]:
    import numpy as np

    return np.dtype([("kind", "u1"), ("key", "<u4"), ("step", "<i8"), ("time", "<i8"), ("value", "<f8")])


def _equals(frames: Equals) -> NDArray[np.void]:
    """Points as the segment holds them, without copying."""
    import numpy as np

    kind = np.dtype([("head", f"V{HEAD_BYTES}"), *((name, part[0]) for name, part in (_dtype().fields or {}).items())])
    return np.frombuffer(frames.data, kind, frames.frames, frames.start)


def _batched(payload: bytes) -> NDArray[np.void]:
    """A batch as points, without copying."""
    import numpy as np

    kind = np.dtype([(name, part[0]) for name, part in (_dtype().fields or {}).items() if name != "kind"])
    return np.frombuffer(payload, kind, offset=1)


def _rows(payload: bytes) -> NDArray[np.void]:
    """A columns frame as points."""
    import numpy as np

    _, number = _NUMBER.unpack_from(payload)
    size = (len(payload) - _NUMBER.size) // 3
    table: NDArray[np.void] = np.empty(size // 8, _dtype())
    table["kind"], table["key"] = POINT, number
    for at, (name, kind) in enumerate((("step", "<i8"), ("time", "<i8"), ("value", "<f8"))):
        table[name] = np.frombuffer(payload, kind, size // 8, _NUMBER.size + at * size)
    return table
