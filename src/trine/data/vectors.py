"""Deletion vectors: which rows of a part are gone, in the form that the Delta Lake protocol gives them.

A vector is a file of one version byte and one blob: its size (4 bytes, big-endian), the blob, its CRC-32 (4 bytes,
big-endian). The blob is a RoaringBitmapArray: a magic number, and 32-bit roaring bitmaps in their portable form
(github.com/RoaringBitmap/RoaringFormatSpec), each under the high half of its positions. Trine writes array and bitmap
containers; what it reads may have runs as well.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from trine.errors import Damaged

Positions = NDArray[np.uint64]
"""Numbers of rows in a part, rising, each once."""

VERSION = 1
MAGIC = 1_681_511_377
_PLAIN, _RUNS = 12_346, 12_347
_ARRAY = 4_096
"""A container of more positions than these is kept as a bitmap of 65,536 bits."""
_FEW = 4
"""A bitmap with runs and fewer containers than these has no table of offsets."""


def encode_vector(positions: Positions) -> bytes:
    """The file of a vector."""
    high = positions >> np.uint64(32)
    keys, starts = np.unique(high, return_index=True)
    blob = struct.pack("<IQ", MAGIC, len(keys))
    for key, part in zip(keys.tolist(), np.split(positions, starts[1:]), strict=True):
        blob += struct.pack("<I", key) + _bitmap(part.astype(np.uint32))
    return struct.pack(">BI", VERSION, len(blob)) + blob + struct.pack(">I", zlib.crc32(blob))


def _bitmap(values: NDArray[np.uint32]) -> bytes:
    keys, starts, counts = np.unique(values >> np.uint32(16), return_index=True, return_counts=True)
    containers = [_container(part.astype("<u2")) for part in np.split(values, starts[1:])]
    heads = np.stack([keys, counts - 1], axis=1).astype("<u2").tobytes()
    sizes = np.cumsum([0, *(len(one) for one in containers[:-1])])
    offsets = (8 + 8 * len(containers) + sizes).astype("<u4").tobytes()
    return struct.pack("<II", _PLAIN, len(containers)) + heads + offsets + b"".join(containers)


def _container(low: NDArray[np.uint16]) -> bytes:
    if len(low) <= _ARRAY:
        return low.tobytes()
    bits = np.zeros(1 << 16, dtype=np.uint8)
    bits[low] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def decode_vector(data: bytes, name: str = "") -> Positions:
    """The positions in the file of a vector. Raises Damaged, with its `name`, when it is none."""
    try:
        version, size = struct.unpack_from(">BI", data)
        blob = data[5 : 5 + size]
        (crc,) = struct.unpack_from(">I", data, 5 + size)
        magic, bitmaps = struct.unpack_from("<IQ", blob)
        if version != VERSION or magic != MAGIC or zlib.crc32(blob) != crc:
            raise ValueError("its marks are wrong")
        at, found = 12, [np.empty(0, dtype=np.uint64)]
        for _ in range(bitmaps):
            (key,) = struct.unpack_from("<I", blob, at)
            values, at = _read_bitmap(blob, at + 4)
            found.append(values.astype(np.uint64) | np.uint64(key << 32))
    except (struct.error, ValueError, IndexError) as error:
        raise Damaged(f"Object {name} is no deletion vector: {error}.", hash=name) from error
    return np.concatenate(found)


def _read_bitmap(blob: bytes, at: int) -> tuple[NDArray[np.uint32], int]:
    """The values of a bitmap that begins here, and where it ends."""
    (cookie,) = struct.unpack_from("<I", blob, at)
    has_runs = cookie & 0xFFFF == _RUNS
    if has_runs:
        containers = (cookie >> 16) + 1
        at += 4
        flags = np.unpackbits(np.frombuffer(blob, np.uint8, (containers + 7) // 8, at), bitorder="little")
        at += (containers + 7) // 8
    elif cookie == _PLAIN:
        (containers,) = struct.unpack_from("<I", blob, at + 4)
        flags = np.zeros(containers, dtype=np.uint8)
        at += 8
    else:
        raise ValueError(f"a bitmap begins with {cookie}")
    heads = np.frombuffer(blob, "<u2", 2 * containers, at).reshape(-1, 2)
    at += 4 * containers + (0 if has_runs and containers < _FEW else 4 * containers)
    found = [np.empty(0, dtype=np.uint32)]
    for number, (key, count) in enumerate(heads.tolist()):
        low, at = _read_container(blob, at, count + 1, is_runs=bool(flags[number]))
        found.append(low.astype(np.uint32) | np.uint32(key << 16))
    return np.concatenate(found), at


def _read_container(blob: bytes, at: int, count: int, *, is_runs: bool) -> tuple[NDArray[np.uint32], int]:
    if is_runs:
        (runs,) = struct.unpack_from("<H", blob, at)
        spans = np.frombuffer(blob, "<u2", 2 * runs, at + 2).reshape(-1, 2).astype(np.uint32)
        values = [np.arange(first, first + more + 1, dtype=np.uint32) for first, more in spans.tolist()]
        return np.concatenate(values), at + 2 + 4 * runs
    if count > _ARRAY:
        bits = np.unpackbits(np.frombuffer(blob, np.uint8, 8_192, at), bitorder="little")
        return np.flatnonzero(bits).astype(np.uint32), at + 8_192
    return np.frombuffer(blob, "<u2", count, at).astype(np.uint32), at + 2 * count
