"""The prediction log as it is written: one frame of a segment for each request and variant, before the answer is sent.

A serving process has a folder of its own, locked while it lives, with one open segment for each endpoint:

    spool/predictions/<process>/lock
    spool/predictions/<process>/<project>/<endpoint>/<segment>.seg

A frame survives kill -9 of the process as soon as `append` returns (`storage.segments`). `shipping` turns closed segments into
stored Parquet parts, those of dead processes included; `reading` reads both.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trine.errors import TrineError, Unavailable
from trine.ids import new_id
from trine.storage import SegmentWriter

if TYPE_CHECKING:
    from trine.workspace import Workspace

KIND = "predictions"
ROWS_OF_FRAME = 10_000
Durability = Literal["os", "disk"]
Status = Literal["ok", "error", "rejected"]
Values = Sequence[Any]


class Schema(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What the entries after it refer to: a model version and the names and dtypes of its inputs and outputs."""

    model: str
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()


class Entry(msgspec.Struct, array_like=True, tag=1):
    """The rows of one request that one variant answered, by column. `schema` counts the segment's schemas from 0."""

    schema: int
    request: str
    ids: Sequence[str]
    time_us: int
    route: int
    variant: str
    shadow: bool
    status: Status
    latency_us: int
    keys: Sequence[str] | None = None
    inputs: Sequence[Values] | None = None
    outputs: Sequence[Values] | None = None
    error: str = ""
    shadow_of: Sequence[str] | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Schema | Entry)


def decode(payload: bytes) -> Schema | Entry:
    """A frame's payload."""
    return _decoder.decode(payload)


def _parts(entry: Entry) -> Iterator[Entry]:
    """The entry, in parts that each fit a frame."""
    if len(entry.ids) <= ROWS_OF_FRAME:
        yield entry
        return
    for start in range(0, len(entry.ids), ROWS_OF_FRAME):
        rows = slice(start, start + ROWS_OF_FRAME)
        yield msgspec.structs.replace(
            entry,
            ids=entry.ids[rows],
            keys=entry.keys and entry.keys[rows],
            shadow_of=entry.shadow_of and entry.shadow_of[rows],
            inputs=entry.inputs and [column[rows] for column in entry.inputs],
            outputs=entry.outputs and [column[rows] for column in entry.outputs],
        )


class Ids:
    """Ids of a process's predictions: 32 hex digits in the form of RFC 9562 version 7, growing with time and, in one
    millisecond, with each row. A process draws 74 random bits once and counts on from there."""

    def __init__(self) -> None:
        noise = int.from_bytes(os.urandom(10), "big")
        self._middle = f"7{noise >> 64 & 0xFFF:03x}"
        self._next = 1 << 63 | (noise & (1 << 61) - 1)  # the variant bits 10, then room to count upwards
        self._lock = threading.Lock()

    def take(self, count: int, time_us: int) -> list[str]:
        """Ids for the rows of a request."""
        with self._lock:
            start = self._next
            self._next += count
        head = f"{time_us // 1000:012x}{self._middle}"
        return [f"{head}{number:016x}" for number in range(start, start + count)]


def time_of(prediction: str) -> int:
    """When an id was made: microseconds since the epoch, to the millisecond."""
    return int(prediction[:12], 16) * 1000


class _Open:
    """A segment that is being written."""

    def __init__(self, writer: SegmentWriter) -> None:
        self.writer = writer
        self.schemas: dict[Schema, int] = {}
        self.since = time.monotonic()

    def index_of(self, schema: Schema) -> int:
        at = self.schemas.get(schema)
        if at is None:
            self.writer.append(_encoder.encode(schema))
            at = self.schemas[schema] = len(self.schemas)
        return at


class PredictionLog:
    """The log of one serving process. `append` may be called from any thread; the folder is locked until `close`."""

    def __init__(self, ws: Workspace, *, durability: Durability = "os") -> None:
        self.durability: Durability = durability
        self.project = ws.project
        self.ids = Ids()
        self.folder = ws.spool / KIND / new_id()
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._hold = _claim_new(self.folder)

    def append(self, endpoint: str, schema: Schema, entry: Entry) -> None:
        """Write an entry; when this returns, kill -9 cannot lose it. Raises NoSpace when the disk is full."""
        with self._lock:
            if self._closed:
                raise Unavailable("The prediction log of this process is closed: it is about to end.")
            one = self._open.get(endpoint)
            if one is None:
                one = self._open[endpoint] = _Open(self._begin(endpoint))
            entry.schema = one.index_of(schema)
            for part in _parts(entry):
                one.writer.append(_encoder.encode(part))

    def _begin(self, endpoint: str) -> SegmentWriter:
        path = self.folder / self.project / endpoint / f"{new_id()}.seg"
        meta = {"project": self.project, "endpoint": endpoint}
        writer = SegmentWriter(path.with_suffix(".new"), kind=KIND, meta=meta)
        writer.path = writer.path.rename(path)  # readers see it with its header only
        return writer

    def sync(self) -> None:
        """Make all that was appended survive a power cut."""
        with self._lock:
            writers = [one.writer for one in self._open.values()]
        for writer in writers:  # one that was closed meanwhile is on disk already
            writer.sync()

    async def synced(self) -> None:
        """Wait until what was appended is on disk. Requests that wait together share one sync (group commit, no timer)."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sync_waiting())
        await waiter

    async def _sync_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self.sync)
            except TrineError as error:
                for waiter in batch:
                    if not waiter.done():
                        waiter.set_exception(error)
            else:
                for waiter in batch:
                    if not waiter.done():
                        waiter.set_result(None)

    def rotate(self, *, older_than_s: float = 0.0, larger_than: int = 0) -> None:
        """Close segments that are as old or as large as that; the next entry begins a new one."""
        now = time.monotonic()
        with self._lock:
            ripe = [
                name
                for name, one in self._open.items()
                if now - one.since >= older_than_s or (larger_than and one.writer.end >= larger_than)
            ]
            closing = [self._open.pop(name) for name in ripe]
        for one in closing:
            one.writer.close()

    def closed_segments(self) -> list[Path]:
        """Segments of this process that nothing is written to any more."""
        with self._lock:
            writing = {one.writer.path for one in self._open.values()}
        return [path for path in sorted(self.folder.rglob("*.seg")) if path not in writing]

    def close(self) -> None:
        """Close all segments and give the folder up: whoever comes next ships what is left in it."""
        with self._lock:
            self._closed = True
        self.rotate()
        os.close(self._hold)


def _claim_new(folder: Path) -> int:
    """Make a process's folder, locked before others can see it; gives the descriptor that holds the lock."""
    draft = folder.with_name(f".{folder.name}")
    draft.mkdir(parents=True)
    hold = os.open(draft / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(hold, fcntl.LOCK_EX)
    draft.rename(folder)
    return hold


@contextmanager
def claimed(folder: Path) -> Generator[bool]:
    """Hold the folder of a process that is gone; False while that process, or another claimer, lives."""
    try:
        hold = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(hold)


def abandoned(ws: Workspace) -> Iterator[Path]:
    """The folders of serving processes that are gone, each held while the caller looks at it."""
    root = ws.spool / KIND
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not folder.name.startswith("."):
            with claimed(folder) as mine:
                if mine:
                    yield folder
