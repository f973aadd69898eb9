"""An encoder of protocol buffers and of the logs around them, independent of the reader under test."""

from __future__ import annotations

import json
import struct
import zlib


def number(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(tag: int, value: int | float | str | bytes) -> bytes:
    """A field as its Python type says: varint, double, text, or a message."""
    if isinstance(value, float):
        return number(tag << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return number(tag << 3) + number(value)
    data = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(data)) + data


def single(tag: int, value: float) -> bytes:
    """A float of 32 bits."""
    return number(tag << 3 | 5) + struct.pack("<f", value)


def message(*parts: bytes) -> bytes:
    return b"".join(parts)


def item(key: str, value: object, *below: str) -> bytes:
    """An item of wandb's history, summary or configuration."""
    names = b"".join(field(2, one) for one in (key, *below)) if below else field(1, key)
    return names + field(16, json.dumps(value))


def log(records: list[bytes]) -> bytes:
    """A .wandb file: LevelDB's log format, with wandb's seven bytes of head in the first block."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        first, rest = True, record
        while first or rest:
            left = 32_768 - len(out) % 32_768
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
    return bytes(out)


def event_file(events: list[bytes]) -> bytes:
    """A file of TensorBoard's events; the CRCs are not looked at."""
    return b"".join(struct.pack("<QI", len(one), 0) + one + b"\0\0\0\0" for one in events)
