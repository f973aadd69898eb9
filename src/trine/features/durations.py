"""Lengths of time as people write them: `7d`, `90m`, `1h30m`."""

from __future__ import annotations

import datetime as dt
import re

from trine.errors import InvalidInput

_UNITS_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_PART = re.compile(r"(\d+)(ms|us|w|d|h|m|s)")
LONGEST_US = 1 << 59
"""Some 18,000 years; adding or subtracting that from any time that Trine keeps cannot overflow."""


def duration_us(text: str) -> int:
    """Microseconds of `7d`, `1h30m`, …; nothing (`""`) is 0."""
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise InvalidInput(f'"{text}" is not a length of time. Write it like 7d, 12h, 90m or 1h30m.')
    total = sum(int(number) * _UNITS_US[unit] for number, unit in parts)
    if total > LONGEST_US:
        raise InvalidInput(f'"{text}" is longer than any time that is kept; the longest is {LONGEST_US}us.')
    return total


def duration(value: str | dt.timedelta, what: str) -> str:
    """The one written form of a positive length of time: `"168h"`, `"7d"` and `timedelta(7)` are all `1w`."""
    if isinstance(value, dt.timedelta):
        left = value // dt.timedelta(microseconds=1)
    else:
        left = duration_us(value)
    if left <= 0:
        raise InvalidInput(f'{what} is "{value}", but must be longer than nothing: for instance 7d.')
    written = ""
    for unit in ("w", "d", "h", "m", "s", "ms", "us"):
        number, left = divmod(left, _UNITS_US[unit])
        written += f"{number}{unit}" if number else ""
    return written
