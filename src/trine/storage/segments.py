"""Segments: append-only, CRC-framed record files. One format for metric points, predictions and spools.

    file   = magic, header length u32, header CRC u32, header JSON, frame*, (seal | zero padding)
    frame  = mark, payload length u32, CRC-32 of length and payload u32, payload (at least one byte)
    seal   = mark, 0 u32, CRC-32 of its own offset u32: the writer closed the file

A writer maps the file into memory, so what `append` returned for is in the page cache and survives kill -9 of the
process; `sync` makes it survive a power cut. A frame that was being written when the process died fails its CRC and
is cut off by the reader, who says so; any other bad frame is damage, and named. One process writes a file; others may
read it at any time.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import struct
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from trine.errors import Damaged, Failure, InvalidInput, NoSpace, NotFound
from trine.ids import now_us
from trine.storage.places import sync_folder

MAGIC = b"TRSEG\x02\r\n"
MARK = b"\xf1TR\x02"
LARGEST_FRAME = 64 << 20
_LENGTHS = struct.Struct("<II")
_HEAD = struct.Struct("<4sII")
_pack_head = _HEAD.pack
_STEP = 1 << 20


class Header(msgspec.Struct, frozen=True):
    """What a segment says about itself."""

    kind: str
    created_us: int
    pid: int
    meta: dict[str, Any] = {}


class Equals(NamedTuple):
    """Good frames of one size and first byte that follow each other: `frames` of them in `data` from its byte `start` on, each with its head
    of HEAD_BYTES before it."""

    data: bytes
    start: int
    frames: int


HEAD_BYTES = _HEAD.size


class SegmentRead(msgspec.Struct, frozen=True):
    """Frames with their offsets (many equal ones as `Equals`, where asked for), the offset after the last good one, and the bytes of a torn frame after it (0: none).

    `skipped` counts bytes of damage that was stepped over, `sealed` says that the writer closed the file.
    """

    kind: str
    meta: dict[str, Any]
    created_us: int
    frames: list[tuple[int, Any]]
    end: int
    torn: int
    skipped: int = 0
    sealed: bool = False


def pack_frame(payload: bytes) -> bytes:
    """The bytes of one frame."""
    length = len(payload)
    if not 0 < length <= LARGEST_FRAME:
        raise _wrong_length(length)
    return _pack_head(MARK, length, crc32(payload, length)) + payload


def _wrong_length(length: int) -> InvalidInput:
    return InvalidInput(f"A frame has 1 to {LARGEST_FRAME} bytes, not {length}.")


def _seal(offset: int) -> bytes:
    return _pack_head(MARK, 0, crc32(offset.to_bytes(8, "little")))


class SegmentWriter:
    """Appends frames to a new segment file. Threads may share it, and signal handlers; a forked child must make its own."""

    def __init__(self, path: Path | str, *, kind: str, meta: dict[str, Any] | None = None, step: int = _STEP) -> None:
        self.path = Path(path)
        header = msgspec.json.encode(Header(kind, now_us(), os.getpid(), meta or {}))
        start = MAGIC + _LENGTHS.pack(len(header), crc32(header)) + header
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise InvalidInput(f"{self.path} exists already: a segment has one writer, which makes it.") from None
        except OSError as error:
            raise _trouble(self.path, error) from error
        self._step = step
        self._lock = threading.RLock()
        self._is_writing = False
        self._late: list[bytes] = []  # what signal handlers append while their own thread is in the middle of a write
        self._syncing = threading.Lock()
        self._end = self._capacity = self._synced = 0
        self._map: mmap.mmap | None = None
        self._closed = False
        _writers.add(self)
        try:
            self._write(start)
        except BaseException:
            self._closed = True
            os.close(self._descriptor)
            self.path.unlink(missing_ok=True)
            raise

    @property
    def end(self) -> int:
        """The offset after the last frame."""
        return self._end

    def append(self, payload: bytes) -> int:
        """Append one frame and give its offset; when this returns, kill -9 cannot lose it. About a microsecond."""
        length = len(payload)
        if not 0 < length <= LARGEST_FRAME:
            raise _wrong_length(length)
        frame = _pack_head(MARK, length, crc32(payload, length)) + payload  # what `pack_frame` does, without its call
        with self._lock:
            if self._is_writing:
                self._late.append(frame)
                return self._end
            self._is_writing = True
            try:
                start = self._end
                stop = start + length + 12
                if stop > self._capacity:
                    self._grow(length + 12)
                self._map[start:stop] = frame  # type: ignore[index]
                self._end = stop
            finally:
                self._is_writing = False
            if self._late:
                self._write_late()
        return start

    def append_many(self, payloads: Iterable[bytes]) -> int:
        """Append frames one after the other in one copy; gives the offset after them."""
        return self._write(b"".join([pack_frame(payload) for payload in payloads]))

    def _write(self, data: bytes) -> int:
        with self._lock:
            if self._is_writing:
                self._late.append(data)
                return self._end
            self._is_writing = True
            try:
                stop = self._end + len(data)
                if stop > self._capacity or self._map is None:
                    self._grow(len(data))
                self._map[self._end : stop] = data  # type: ignore[index]
                self._end = stop
            finally:
                self._is_writing = False
            if self._late:
                self._write_late()
        return stop

    def _write_late(self) -> None:
        late, self._late = self._late, []
        self._write(b"".join(late))

    def _grow(self, wanted: int) -> None:
        if self._closed:
            raise Failure(f"{self.path} is closed here: after a fork or close, a process makes its own segment.")
        capacity = -(-(self._end + wanted) // self._step) * self._step
        try:
            _reserve(self._descriptor, self._capacity, capacity - self._capacity)
            fresh = mmap.mmap(self._descriptor, capacity)
        except OSError as error:
            raise _trouble(self.path, error) from error
        if self._map is not None:
            self._map.close()
        self._map, self._capacity = fresh, capacity

    def sync(self) -> None:
        """Make all that was appended survive a power cut. Threads that wait together share one sync."""
        wanted = self._end
        with self._syncing:
            if self._synced >= wanted:
                return
            with self._lock:
                if self._closed:
                    return
                end = self._end
                if sys.platform != "linux":  # there fdatasync writes mapped pages too, and lets appends go on meanwhile
                    self._map.flush()  # type: ignore[union-attr]
            try:
                os.fdatasync(self._descriptor)
                if not self._synced:
                    sync_folder(self.path.parent)
            except OSError as error:
                raise _trouble(self.path, error) from error
            self._synced = end

    def close(self) -> None:
        """Seal, cut the padding off, sync and close; closing twice is fine."""
        with self._syncing, self._lock:
            if self._closed:
                return
            self._closed = True
            self._capacity = self._end  # the next append asks to grow, and is refused
            if self._map is not None:
                self._map.close()
        try:
            os.ftruncate(self._descriptor, self._end)
            os.pwrite(self._descriptor, _seal(self._end), self._end)
            os.fsync(self._descriptor)
            sync_folder(self.path.parent)
        except OSError as error:
            raise _trouble(self.path, error) from error
        finally:
            os.close(self._descriptor)

    def _forget(self) -> None:
        """In a forked child: let go of the parent's file without touching it."""
        self._lock, self._syncing = threading.RLock(), threading.Lock()
        self._is_writing, self._late = False, []
        if not self._closed:
            self._closed = True
            self._capacity = self._end
            if self._map is not None:
                self._map.close()
            os.close(self._descriptor)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reserve(descriptor: int, offset: int, length: int) -> None:
    """Real blocks, not a hole: writing to a mapped hole on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, length)
    else:
        os.pwrite(descriptor, bytes(length), offset)


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in list(_writers):
        writer._forget()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)


def read_header(path: Path | str) -> tuple[Header, int]:
    """A segment's header and the offset of its first frame. Raises Damaged or NotFound naming the file."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(MAGIC) + _LENGTHS.size)
            if len(head) < len(MAGIC) + _LENGTHS.size or not head.startswith(MAGIC):
                raise Damaged(f"{path} is no Trine segment: its first bytes are not the segment mark.", path=str(path))
            length, crc = _LENGTHS.unpack_from(head, len(MAGIC))
            text = file.read(length)
    except FileNotFoundError:
        raise NotFound(f"There is no segment {path}.") from None
    if len(text) != length or crc32(text) != crc:
        raise Damaged(f"The header of {path} is damaged.", path=str(path), offset=len(MAGIC))
    return msgspec.json.decode(text, type=Header), len(head) + length


def read_segment(
    path: Path | str, offset: int = 0, *, skip_damage: bool = False, together: tuple[int, int] = (0, 0)
) -> SegmentRead:
    """The good frames from `offset` (0: the first) on; works while the file is being written.

    A torn tail is cut and counted in `torn`. A bad frame with good ones after it, or in a sealed file, is damage: raises
    Damaged with the path and the offset, or with `skip_damage` goes on after it and counts the bytes in `skipped`.
    `together`: payloads of so many bytes that begin with that one come many at a time, as `Equals`, which costs a tenth.
    """
    header, first = read_header(path)
    scan = _Scan(Path(path), max(offset, first), skip_damage, together)
    scan.run()
    return SegmentRead(
        header.kind,
        header.meta,
        header.created_us,
        scan.frames,
        scan.at,
        scan.torn,
        scan.skipped,
        scan.sealed,
    )


class _Scan:
    """One pass over a file's frames. `at` is an offset in the file, `data` its bytes from `base` on."""

    def __init__(self, path: Path, start: int, skip_damage: bool, together: tuple[int, int]) -> None:
        self.path = path
        self.skip_damage = skip_damage
        self.together = together
        self.frames: list[tuple[int, Any]] = []
        self.at = start
        self.torn = self.skipped = 0
        self.sealed = False
        self.looked_again = -1
        self._load(start)

    def _load(self, base: int) -> None:
        with open(self.path, "rb") as file:
            file.seek(base)
            self.data = file.read()
        self.base = base

    def run(self) -> None:
        while True:
            self._take_frames()
            at = self.at - self.base
            self.sealed = self.data[at:] == _seal(self.at)
            rest = len(self.data.rstrip(b"\0")) - at
            if self.sealed or rest <= 0:
                return
            good = self._next_good(at + 1)
            if good is None:
                self.torn = rest
                return
            if self.looked_again != self.at:
                # the file may have grown while it was read: a frame that is followed by others is whole by now
                self.looked_again = self.at
                self._load(self.at)
                continue
            if not self.skip_damage:
                raise Damaged(
                    f"{self.path} is damaged at byte {self.at}: the frame there does not match its CRC.",
                    path=str(self.path),
                    offset=self.at,
                )
            self.skipped += good - at
            self.at = self.base + good

    def _take_frames(self) -> None:
        data, base, frames = self.data, self.base, self.frames
        at, size = self.at - base, len(data)
        length, first = self.together
        while stop := _frame_end(data, at, size):
            if stop - at == length + HEAD_BYTES and data[at + HEAD_BYTES] == first:
                count = _count_equals(data, at, length)
                frames.append((base + at, Equals(data, at, count)))
                at += count * (length + HEAD_BYTES)
                continue
            frames.append((base + at, data[at + HEAD_BYTES : stop]))
            at = stop
        self.at = base + at

    def _next_good(self, start: int) -> int | None:
        """Where the next good frame or the seal is."""
        at = self.data.find(MARK, start)
        while at >= 0:
            if _frame_end(self.data, at, len(self.data)) or self.data[at:] == _seal(self.base + at):
                return at
            at = self.data.find(MARK, at + 1)
        return None


def _frame_end(data: bytes, at: int, size: int) -> int:
    """The offset after the good frame at `at`, or 0."""
    if at + _HEAD.size > size:
        return 0
    mark, length, crc = _HEAD.unpack_from(data, at)
    stop = at + _HEAD.size + length
    if mark != MARK or not length or stop > size or crc32(data[at + _HEAD.size : stop], length) != crc:
        return 0
    return stop


_MOST_EQUALS = 8_192


def _count_equals(data: bytes, at: int, length: int) -> int:
    """How many good frames with payloads of that length follow each other here, looked at all at once.

    The CRC of messages of one length is linear: each byte adds what its place and value give, so 256 values per place do.
    """
    import numpy as np

    size = length + HEAD_BYTES
    count = min((len(data) - at) // size, _MOST_EQUALS)
    table = np.frombuffer(data, np.uint8, count * size, at).reshape(count, size)
    heads = table[:, : HEAD_BYTES - 4]
    good = (heads == heads[0]).all(axis=1)  # the first one is known to be good: mark and length,
    good &= table[:, HEAD_BYTES] == table[0, HEAD_BYTES]  # and begins as it should
    crc, places = _crc_of(length)
    found = np.full(count, crc, np.uint32)
    for place in range(length):
        found ^= places[place][table[:, HEAD_BYTES + place]]
    good &= found == table[:, HEAD_BYTES - 4 : HEAD_BYTES].copy().view("<u4").reshape(-1)
    return count if good.all() else int(good.argmin())


@functools.cache
def _crc_of(length: int) -> tuple[int, Any]:
    """The CRC of a frame of zeros, and what each value adds to it at each place."""
    import numpy as np

    zeros = crc32(bytes(length), length)
    places = np.empty((length, 256), np.uint32)
    for place in range(length):
        before, after = bytes(place), bytes(length - place - 1)
        places[place] = [crc32(before + bytes((value,)) + after, length) ^ zeros for value in range(256)]
    return zeros, places


def segments_in(folder: Path) -> Iterator[Path]:
    """The segment files of a folder and below, by name."""
    return iter(sorted(folder.rglob("*.seg"))) if folder.is_dir() else iter(())


def _trouble(path: Path, error: OSError) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"There is no space left to write {path}. Free some and try again.", path=str(path))
    return Failure(f"{path} cannot be written: {error.strerror}.", path=str(path))
