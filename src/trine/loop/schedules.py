"""Cron schedules in a time zone: when one was due. Times that a clock change skips or repeats fire once (as Debian's cron)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from trine.errors import InvalidInput
from trine.ids import to_datetime, to_us

_LOOK_BACK = (dt.timedelta(hours=4), dt.timedelta(days=3), dt.timedelta(days=70))
"""How far back the newest due time is looked for first: a long silence of a busy schedule is not walked through."""


def check_schedule(cron: str, tz: str) -> None:
    """Raise InvalidInput for a cron expression or a time zone that does not exist, or that never comes."""
    if len(cron.split()) != 5:
        raise InvalidInput(
            f'"{cron}" is no cron expression: write minute hour day month weekday, for instance 0 3 * * 1.'
        )
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f'"{tz[:100]}" is no time zone. Write one as Europe/Berlin or UTC.') from None
    try:
        upcoming(cron, tz, 0, 1)
    except (CronSimError, ValueError) as error:
        message = str(error)
        raise InvalidInput(f'"{cron[:100]}" is no cron expression: {message[:1].lower()}{message[1:]}.') from None
    except StopIteration:
        raise InvalidInput(f'The schedule "{cron}" never comes.') from None


def upcoming(cron: str, tz: str, after_us: int, count: int) -> list[int]:
    """The next due times after a moment, in microseconds."""
    times = _times(cron, tz, to_datetime(after_us))
    return [to_us(next(times)) for _ in range(count)]


def last_due(cron: str, tz: str, after_us: int, until_us: int) -> int | None:
    """The newest due time in (after, until], or None: what was missed while nothing ran counts once."""
    after, until = to_datetime(after_us), to_datetime(until_us)
    for back in _LOOK_BACK:
        if until - back > after and (found := _newest(cron, tz, until - back, until)) is not None:
            return found
    return _newest(cron, tz, after, until)


def _newest(cron: str, tz: str, after: dt.datetime, until: dt.datetime) -> int | None:
    found: dt.datetime | None = None
    for time in _times(cron, tz, after):
        if time > until:
            break
        found = time
    return to_us(found) if found else None


def _times(cron: str, tz: str, after: dt.datetime) -> Iterator[dt.datetime]:
    """Due times after a moment, ascending, in UTC."""
    for local in CronSim(cron, after.astimezone(ZoneInfo(tz))):
        time = local.astimezone(dt.UTC)
        if time > after:  # inside a repeated hour the first pass comes again: it was due already
            yield time
