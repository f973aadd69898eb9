"""What people pass to a run, as what it keeps: each function takes anything, and raises InvalidInput naming what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput
from trine.ids import now_us, to_us
from trine.tracking.runs import check_key, is_text
from trine.tracking.series import Points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Time = dt.datetime | int
"""A moment: a datetime (a naive one is UTC), or microseconds since the epoch."""


def as_number(key: str, value: Any) -> float:
    """A metric's value; texts are no numbers, even if they look like one."""
    if value is None or isinstance(value, (str, bytes)):
        raise InvalidInput(f'Metric "{key}" needs a number, not {"nothing" if value is None else repr(value)[:80]}.')
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f'Metric "{key}" needs a number, not {type(value).__name__}: {error}.') from None


def as_step(key: str, step: Any) -> int:
    """A step, as an integer of 64 bits that can still count on."""
    try:
        at = step.__index__()
    except AttributeError:
        raise InvalidInput(f'A step of metric "{key}" is an integer, not {step!r:.80}.') from None
    if not -(2**63) <= at < 2**63 - 1:
        raise InvalidInput(f'A step of metric "{key}" has 64 bits: {at} is too far.')
    return at


def as_micros(time: Any) -> int:
    """A moment as microseconds since the epoch."""
    if isinstance(time, dt.datetime):
        return to_us(time)
    if isinstance(time, bool) or not hasattr(time, "__index__"):
        raise InvalidInput(f"A time is a datetime or microseconds since the epoch, not {type(time).__name__}.")
    at = int(time.__index__())
    if not -(2**63) <= at < 2**63:
        raise InvalidInput(f"{at} is no time in microseconds since the epoch.")
    return at


def as_points(key: str, values: Any, steps: Any, times: Any) -> Points:
    """Points from columns of one length; without steps they count from 0, without times they have this moment."""
    import numpy as np

    def column(what: str, given: Any, kind: type[np.generic]) -> NDArray[Any]:
        try:
            if what == "times" and not isinstance(given, np.ndarray):
                given = [as_micros(one) for one in given]
            made = np.asarray(given)
            if what == "times" and made.dtype.kind == "M":
                made = made.astype("datetime64[us]").astype(np.int64)
            if made.dtype.kind not in ("iu" if kind is np.int64 else "fiub"):
                raise InvalidInput(f'The {what} of metric "{key}" hold {made.dtype}, not numbers.')
            return made.astype(kind).reshape(-1)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput(f'The {what} of metric "{key}" are not numbers of one kind: {error}.') from None

    found = column("values", values, np.float64)
    size = len(found)
    made = Points(
        np.arange(size) if steps is None else column("steps", steps, np.int64),
        np.full(size, now_us()) if times is None else column("times", times, np.int64),
        found,
    )
    if {len(one) for one in made} != {size}:
        lengths = ", ".join(f"{len(one)} {name}" for name, one in zip(made._fields, made, strict=True))
        raise InvalidInput(f'A batch of metric "{key}" has columns of one length, not {lengths}.')
    return made


def as_texts(values: Mapping[str, Any], what: str) -> dict[str, str]:
    """Params or tags as texts, as `str` gives them."""
    longest = 6_000 if what == "param" else 8_000
    texts: dict[str, str] = {}
    for name, value in values.items():
        text = value if isinstance(value, str) else str(value)
        if len(text) > longest or not is_text(text):
            problem = (
                f"has {len(text):,} characters; at most {longest:,} are kept"
                if len(text) > longest
                else "is no valid text"
            )
            raise InvalidInput(
                f'The value of {what} "{name}" {problem}. Use run.log_text for long ones.', argument=str(name)
            )
        texts[check_key(name, what)] = text
    return texts
