"""Values as people read them on a page: times, spans, sizes, numbers. All of it is text or escaped markup."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from trine.ids import now_us, to_datetime

_TIME = Markup('<time datetime="{}" title="{} UTC">{}</time>')


def ago(us: int | None) -> Markup:
    """How long ago in one unit, with the exact time on hover."""
    if us is None:
        return Markup("–")
    when = to_datetime(us)
    return _TIME.format(when.isoformat(timespec="seconds"), when.strftime("%Y-%m-%d %H:%M:%S"), age(us))


def age(us: int) -> str:
    """How long ago (or until when), in one unit."""
    seconds = (now_us() - us) / 1_000_000
    if abs(seconds) < 5:
        return "just now"
    return f"{span(seconds, whole=True)} ago" if seconds > 0 else f"in {span(-seconds, whole=True)}"


def when(us: int | None) -> Markup:
    """A time to the second, UTC."""
    if us is None:
        return Markup("–")
    found = to_datetime(us)
    shown = found.strftime("%Y-%m-%d %H:%M:%S")
    return _TIME.format(found.isoformat(timespec="seconds"), shown, shown)


def span(seconds: float | None, whole: bool = False) -> str:
    """A length of time in one or two units."""
    if seconds is None:
        return "–"
    if seconds < 1 and not whole:
        return f"{seconds * 1000:.3g} ms"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if whole or seconds >= 10 else f"{seconds:.1f} s"


def number(value: Any, digits: int = 4) -> str:
    """A number with so many digits that count; other values as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
        if value.is_integer() and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:.{digits}g}"
    return str(value)


def cell(value: Any) -> str:
    """A value of somebody's table, as it is."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "–" if value is None else ("+" if value > 0 else "") + number(value, 3).replace("-", "−")


def share(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def size(value: int | None) -> str:
    """Bytes in the unit that fits."""
    if value is None:
        return "–"
    left = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.3g} {unit}"
        left /= 1000
    return f"{left:.3g} TB"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
