"""The wire format of protocol buffers, read without schemas or generated code: numbers of fields and their values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and where it ends. Raises IndexError when the data ends in it."""
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field in order: an unsigned int, a float (fixed 64 and 32 bits), or bytes.

    Raises ValueError when the data is no message.
    """
    at, end = 0, len(data)
    try:
        while at < end:
            tag, at = varint(data, at)
            kind = tag & 7
            if kind == BYTES:
                size, at = varint(data, at)
                if at + size > end:
                    raise ValueError("a field reaches beyond its message")
                yield tag >> 3, data[at : at + size]
                at += size
            elif kind == VARINT:
                value, at = varint(data, at)
                yield tag >> 3, value
            elif kind == FIXED64:
                yield tag >> 3, _DOUBLE.unpack_from(data, at)[0]
                at += 8
            elif kind == FIXED32:
                yield tag >> 3, _FLOAT.unpack_from(data, at)[0]
                at += 4
            else:
                raise ValueError(f"there is no field of kind {kind}")
    except (IndexError, struct.error):
        raise ValueError("the message ends in the middle of a field") from None


def by_number(data: bytes) -> dict[int, list[Any]]:
    """All values of each field of a message."""
    found: dict[int, list[Any]] = {}
    for number, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


def text(message: dict[int, list[Any]], number: int) -> str:
    """The last value of a text field, or nothing."""
    return message[number][-1].decode(errors="replace") if number in message else ""


def signed(value: int) -> int:
    """An int64 as it was meant: the wire has it as an unsigned number."""
    return value - (1 << 64) if value >= 1 << 63 else value


def zigzag(value: int) -> int:
    """A sint64 as it was meant."""
    return (value >> 1) ^ -(value & 1)


def seconds(message: bytes) -> float:
    """A Timestamp in seconds since the epoch."""
    found = by_number(message)
    return signed(found.get(1, [0])[-1]) + signed(found.get(2, [0])[-1]) / 1e9
