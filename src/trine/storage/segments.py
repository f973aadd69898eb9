"""Segments: append-only, CRC-framed record files. One format for metric points, predictions and spools.

    file   = magic, header length u32, header CRC u32, header JSON, frame*, zero padding
    frame  = payload length u32, CRC-32 of length and payload u32, payload (at least one byte)

A writer maps the file into memory, so what `append` returned for is in the page cache and survives kill -9 of the
process; `sync` makes it survive a power cut. A frame that was being written when the process died fails its CRC and
is cut off by the reader, who says so. One process writes a file; others may read it at any time.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import Damaged, Failure, InvalidInput, NoSpace, NotFound
from trine.ids import now_us

MAGIC = b"TRSEG\x01\r\n"
_LENGTHS = struct.Struct("<II")
_STEP = 1 << 20
LARGEST_FRAME = 64 << 20


class Header(msgspec.Struct, frozen=True):
    """What a segment says about itself."""

    kind: str
    created_us: int
    pid: int
    meta: dict[str, Any] = {}


class SegmentRead(msgspec.Struct, frozen=True):
    """Frames with their offsets, the offset after the last good one, and the bytes of a torn frame after it (0: none)."""

    kind: str
    meta: dict[str, Any]
    created_us: int
    frames: list[tuple[int, bytes]]
    end: int
    torn: int
    skipped: int = 0


def _crc(payload: bytes) -> int:
    return zlib.crc32(payload, len(payload))


def pack_frame(payload: bytes) -> bytes:
    """The bytes of one frame."""
    return _LENGTHS.pack(len(payload), _crc(payload)) + payload


class SegmentWriter:
    """Appends frames to a new segment file. Threads may share it; a forked child must make its own."""

    def __init__(self, path: Path | str, *, kind: str, meta: dict[str, Any] | None = None, step: int = _STEP) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = msgspec.json.encode(Header(kind, now_us(), os.getpid(), meta or {}))
        start = MAGIC + _LENGTHS.pack(len(header), zlib.crc32(header)) + header
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise InvalidInput(f"{self.path} exists already: a segment has one writer. Use open_append.") from None
        except OSError as error:
            raise _trouble(self.path, error) from error
        try:
            self._open(descriptor, 0, step)
            self._write(start)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise

    @classmethod
    def open_append(cls, path: Path | str, *, step: int = _STEP) -> SegmentWriter:
        """Go on after the last good frame of an existing segment whose writer is gone; a torn tail is cut off."""
        end = read_segment(path).end
        writer = object.__new__(cls)
        writer.path = Path(path)
        descriptor = os.open(writer.path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(descriptor, end)
        writer._open(descriptor, end, step)
        return writer

    def _open(self, descriptor: int, end: int, step: int) -> None:
        self._descriptor = descriptor
        self._step = step
        self._lock = threading.Lock()
        self._end = self._capacity = end
        self._map: mmap.mmap | None = None
        self._closed = False
        _writers.add(self)
        try:
            self._grow(1)
        except BaseException:
            os.close(descriptor)
            self._closed = True
            raise

    @property
    def end(self) -> int:
        """The offset after the last frame."""
        return self._end

    def append(self, payload: bytes) -> int:
        """Append one frame and give its offset; when this returns, kill -9 cannot lose it."""
        length = len(payload)
        if not 0 < length <= LARGEST_FRAME:
            raise InvalidInput(f"A frame has 1 to {LARGEST_FRAME} bytes, not {length}.")
        frame = _LENGTHS.pack(length, zlib.crc32(payload, length)) + payload
        with self._lock:
            start = self._end
            stop = start + length + 8
            if stop > self._capacity:
                self._grow(length + 8)
            self._map[start:stop] = frame  # type: ignore[index]
            self._end = stop
        return start

    def append_many(self, payloads: Iterable[bytes]) -> int:
        """Append frames one after the other in one copy; gives the offset after them."""
        return self._write(b"".join([pack_frame(payload) for payload in payloads]))

    def _write(self, data: bytes) -> int:
        with self._lock:
            stop = self._end + len(data)
            if stop > self._capacity:
                self._grow(len(data))
            assert self._map is not None
            self._map[self._end : stop] = data
            self._end = stop
        return stop

    def _grow(self, wanted: int) -> None:
        if self._closed:
            raise Failure(f"{self.path} is closed here: after a fork or close, a process makes its own segment.")
        capacity = -(-(self._end + wanted) // self._step) * self._step
        try:
            # real blocks, not a hole: writing to a mapped hole on a full disk would kill the process
            os.posix_fallocate(self._descriptor, self._capacity, capacity - self._capacity)
            fresh = mmap.mmap(self._descriptor, capacity)
        except OSError as error:
            raise _trouble(self.path, error) from error
        if self._map is not None:
            self._map.close()
        self._map, self._capacity = fresh, capacity

    def sync(self) -> None:
        """Make all that was appended survive a power cut: one fsync for everything since the last."""
        with self._lock:
            if self._closed or self._map is None:
                return
            self._map.flush()
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Sync, cut the padding off and close; closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._map is not None:
                self._map.close()
            self._capacity = self._end
        os.ftruncate(self._descriptor, self._end)
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _forget(self) -> None:
        """In a forked child: let go of the parent's file without touching it."""
        self._lock = threading.Lock()
        if not self._closed:
            self._closed = True
            self._capacity = self._end  # the next append asks to grow, and is refused
            if self._map is not None:
                self._map.close()
            os.close(self._descriptor)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer._forget()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)


def read_header(path: Path | str) -> tuple[Header, int]:
    """A segment's header and the offset of its first frame. Raises Damaged or NotFound naming the file."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC) + 8)
            if len(head) < len(MAGIC) + 8 or not head.startswith(MAGIC):
                raise Damaged(f"{path} is no Trine segment: its first bytes are not the segment mark.", path=str(path))
            length, crc = _LENGTHS.unpack_from(head, len(MAGIC))
            text = file.read(length)
    except FileNotFoundError:
        raise NotFound(f"There is no segment {path}.") from None
    if len(text) != length or zlib.crc32(text) != crc:
        raise Damaged(f"The header of {path} is damaged.", path=str(path), offset=len(MAGIC))
    return msgspec.json.decode(text, type=Header), len(MAGIC) + 8 + length


def read_segment(path: Path | str, offset: int = 0, *, skip_damage: bool = False) -> SegmentRead:
    """The good frames from `offset` (0: the first) on; works while the file is being written.

    A torn tail is cut and counted in `torn`. A bad frame with good ones after it is damage: raises Damaged with the
    path and the offset, or with `skip_damage` goes on after it and counts the bytes in `skipped`.
    """
    header, first = read_header(path)
    start = max(offset, first)
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read()
    frames: list[tuple[int, bytes]] = []
    at = skipped = torn = 0
    size = len(data)
    while at < size:
        stop = _frame_end(data, at, size)
        if stop:
            frames.append((start + at, data[at + 8 : stop]))
            at = stop
            continue
        rest = len(data.rstrip(b"\0")) - at
        if rest <= 0:
            break
        good = _next_good(data, at + 1, at + rest)
        if good is None:
            torn = rest
            break
        if not skip_damage:
            raise Damaged(
                f"{path} is damaged at byte {start + at}: the frame there does not match its CRC, and good frames follow.",
                path=str(path),
                offset=start + at,
            )
        skipped += good - at
        at = good
    return SegmentRead(header.kind, header.meta, header.created_us, frames, start + at, torn, skipped)


def _frame_end(data: bytes, at: int, size: int) -> int:
    """The offset after the good frame at `at`, or 0."""
    if at + 8 > size:
        return 0
    length, crc = _LENGTHS.unpack_from(data, at)
    stop = at + 8 + length
    if not length or stop > size or zlib.crc32(data[at + 8 : stop], length) != crc:
        return 0
    return stop


def _next_good(data: bytes, start: int, stop: int) -> int | None:
    for at in range(start, max(start, stop - 8)):
        length = int.from_bytes(data[at : at + 4], "little")
        if 0 < length <= stop - at - 8 and _frame_end(data, at, stop):
            return at
    return None


def segments_in(folder: Path) -> Iterator[Path]:
    """The segment files of a folder and below, by name."""
    return iter(sorted(folder.rglob("*.seg"))) if folder.is_dir() else iter(())


def _trouble(path: Path, error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"There is no space left to write {path}. Free some and try again.", path=str(path))
    return Failure(f"{path} cannot be written: {error.strerror}.", path=str(path))
