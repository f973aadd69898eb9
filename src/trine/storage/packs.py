"""Packs: many small objects in one file, so that adding twenty thousand costs one fsync.

    pack  = magic, entry*                    entry = BLAKE3 32 bytes, flags u8, stored u32, raw u32, payload
    index = magic, count u32, CRC u32, record*   record = BLAKE3 32 bytes, offset u64, flags u8, stored u32, raw u32

Every entry describes itself, so a lost or damaged index is made again from its pack. Flag 1: the payload is zstd.
An entry that turned out to be damaged has no record any more: the pack keeps its other objects.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import zstandard
from blake3 import blake3

from trine.errors import Damaged

PACK_MAGIC = b"TRPACK\x01\n"
INDEX_MAGIC = b"TRPIDX\x01\n"
LARGEST_PACK = 64 << 20
ENTRY = struct.Struct("<32sBII")
_RECORD = struct.Struct("<32sQBII")
_COUNT = struct.Struct("<II")
_ZSTD = 1
_WORTH = 0.9
_PROBE = 4096


class Entry(NamedTuple):
    """Where an object is in a pack: offset of its payload, flags, stored and raw size in bytes."""

    hash: bytes
    offset: int
    flags: int
    stored: int
    raw: int


class Encoder:
    """Compresses a payload when that saves at least a tenth; a probe of the first 4 KiB spares bytes that will not shrink."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=1)

    def encode(self, data: bytes) -> tuple[int, bytes]:
        """Flags and payload."""
        if len(data) >= 64:
            if len(data) >= 2 * _PROBE and len(self._zstd.compress(data[:_PROBE])) > _PROBE * _WORTH:
                return 0, data
            small = self._zstd.compress(data)
            if len(small) <= len(data) * _WORTH:
                return _ZSTD, small
        return 0, data


def decode(flags: int, payload: bytes, raw: int) -> bytes:
    """The object's bytes. Raises Damaged when they cannot be had."""
    if flags not in (0, _ZSTD):
        raise Damaged(f"its flags are {flags}")
    if not flags:
        return payload
    try:
        # a damaged frame may claim any size, and the decompressor would allocate it
        if zstandard.frame_content_size(payload) != raw:
            raise Damaged("its compressed size is wrong")
        return zstandard.ZstdDecompressor().decompress(payload, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"it cannot be decompressed ({error})") from error


def entry_head(hash_: bytes, flags: int, payload: bytes, raw: int) -> bytes:
    """What stands before a payload in a pack."""
    return ENTRY.pack(hash_, flags, len(payload), raw)


def encode_index(entries: list[Entry]) -> bytes:
    """An index's bytes, sorted by hash."""
    body = b"".join(_RECORD.pack(*entry) for entry in sorted(entries))
    return INDEX_MAGIC + _COUNT.pack(len(entries), zlib.crc32(body)) + body


def decode_index(data: bytes) -> list[Entry] | None:
    """The entries, or None when the index is damaged (it can be made again from the pack)."""
    head = len(INDEX_MAGIC) + _COUNT.size
    if len(data) < head or not data.startswith(INDEX_MAGIC):
        return None
    count, crc = _COUNT.unpack_from(data, len(INDEX_MAGIC))
    body = data[head:]
    if len(body) != count * _RECORD.size or zlib.crc32(body) != crc:
        return None
    return [Entry(*fields) for fields in _RECORD.iter_unpack(body)]


def scan_pack(data: bytes) -> Iterator[Entry]:
    """The entries of a pack, from the pack itself; stops at the first that is not whole."""
    at = len(PACK_MAGIC) if data.startswith(PACK_MAGIC) else len(data)
    while at + ENTRY.size <= len(data):
        hash_, flags, stored, raw = ENTRY.unpack_from(data, at)
        start = at + ENTRY.size
        if start + stored > len(data):
            return
        yield Entry(hash_, start, flags, stored, raw)
        at = start + stored


GAP = 64 << 10
"""Bytes between two entries that are cheaper to read than to ask twice."""

LARGEST_SPAN = 8 << 20


def spans(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries of a pack, those together that are near each other, by offset."""
    span: list[Entry] = []
    for one in sorted(entries, key=lambda one: one.offset):
        end = span[-1].offset + span[-1].stored if span else 0
        if span and (one.offset - end > GAP or one.offset + one.stored - span[0].offset > LARGEST_SPAN):
            yield span
            span = []
        span.append(one)
    if span:
        yield span


def sound_entries(data: bytes) -> tuple[list[Entry], str]:
    """The entries of a pack whose bytes are right, and what is wrong with it, if anything: for a pack that has no index."""
    entries = list(scan_pack(data))
    problem = problem_of(data, entries)
    sound: list[Entry] = []
    for entry in entries:
        try:
            payload = data[entry.offset : entry.offset + entry.stored]
            whole = blake3(decode(entry.flags, payload, entry.raw)).digest() == entry.hash
        except Damaged:
            whole = False
        if whole:
            sound.append(entry)
        else:
            problem = problem or f"the entry at byte {entry.offset - ENTRY.size} does not match its hash"
    return sound, problem


def problem_of(data: bytes, index: list[Entry]) -> str:
    """What is wrong with a pack's own marks (magic, entry heads, length), or nothing; payloads are checked when they are read."""
    if not data.startswith(PACK_MAGIC):
        return "its first bytes are not the pack mark"
    heads = {entry.offset: entry for entry in scan_pack(data)}
    at = max((entry.offset + entry.stored for entry in heads.values()), default=len(PACK_MAGIC))
    for entry in sorted(index, key=lambda one: one.offset):
        if heads.get(entry.offset) != entry:
            return f"the head of the entry at byte {entry.offset - ENTRY.size} does not match the index"
    return "" if at == len(data) else f"what follows byte {at} is no entry"
