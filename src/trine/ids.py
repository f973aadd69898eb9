"""Ids, clocks and digests: the only place where time and randomness enter."""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from typing import Any

from trine.errors import InvalidInput


def new_id() -> str:
    """32 hex digits, unique and ordered by creation time (RFC 9562, UUID version 7 bits)."""
    ms = time.time_ns() // 1_000_000
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    return ms.to_bytes(6, "big").hex() + tail.hex()


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1_000


def to_datetime(us: int) -> dt.datetime:
    """An aware UTC datetime from microseconds since the epoch."""
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=us)


def to_us(when: dt.datetime) -> int:
    """Microseconds since the epoch; a naive datetime is read as UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    return (aware - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON-able value: sorted keys, no spaces, structs and datetimes encoded."""
    import msgspec

    return msgspec.json.encode(value, order="sorted")


def digest(value: bytes | Any) -> str:
    """BLAKE3 hex of bytes, or of the canonical JSON of anything else."""
    from blake3 import blake3

    return blake3(value if isinstance(value, bytes) else canonical_json(value)).hexdigest()


_HASH = re.compile("[0-9a-f]{64}")


def is_hash(name: str) -> bool:
    """Whether a text has the form of an object's name: 64 hexadecimal digits."""
    return _HASH.fullmatch(name) is not None


def check_hash(name: str) -> str:
    """The name, when it can be an object's. Raises InvalidInput."""
    if not is_hash(name):
        raise InvalidInput(f"{name[:80]!r} is no object's hash: 64 hexadecimal digits.")
    return name
