from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.ids import to_datetime, to_us
from trine.loop.schedules import check_schedule, last_due, upcoming

MINUTE = dt.timedelta(minutes=1)
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # half an hour
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),
    "UTC": ("2026-03-29", "2026-10-25"),
}


def _star_minutes(hour: str, minute: str, zone: ZoneInfo, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Schedules with a star run by the clock on the wall, minute by minute: a repeated hour counts twice, a skipped not."""
    found: list[dt.datetime] = []
    at = start
    while at <= end:
        local = at.astimezone(zone)
        if hour in ("*", str(local.hour)) and minute in ("*", str(local.minute)):
            found.append(at)
        at += MINUTE
    return found


def _fixed_times(hour: str, minute: str, zone: ZoneInfo, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """A fixed time of day runs once a day: the first time round when it is repeated, after the gap when it is skipped."""
    found: list[dt.datetime] = []
    day = (start - dt.timedelta(days=1)).date()
    while day <= (end + dt.timedelta(days=1)).date():
        wall = dt.datetime.combine(day, dt.time(int(hour), int(minute)), tzinfo=zone)
        while wall.astimezone(dt.UTC).astimezone(zone).replace(fold=0) != wall:
            wall += MINUTE
        found.append(wall.astimezone(dt.UTC))
        day += dt.timedelta(days=1)
    return [time for time in found if start <= time <= end]


@given(
    zone=st.sampled_from(sorted(CHANGES)),
    spring=st.booleans(),
    hour=st.sampled_from(["*", "0", "1", "2", "3", "4", "23"]),
    minute=st.sampled_from(["*", "0", "15", "30", "59"]),
    begin=st.integers(0, 3 * 24 * 60),
    length=st.integers(0, 2 * 24 * 60),
)
def test_the_newest_due_time_is_the_one_of_a_clock_on_the_wall(
    zone: str, spring: bool, hour: str, minute: str, begin: int, length: int
) -> None:
    day = dt.datetime.fromisoformat(CHANGES[zone][0 if spring else 1]).replace(tzinfo=dt.UTC)
    after = day - dt.timedelta(days=1) + begin * MINUTE
    until = after + length * MINUTE
    expected = _star_minutes if "*" in (hour, minute) else _fixed_times
    times = expected(hour, minute, ZoneInfo(zone), after + MINUTE, until)
    newest = last_due(f"{minute} {hour} * * *", zone, to_us(after), to_us(until))
    assert newest == (to_us(times[-1]) if times else None)


@given(
    zone=st.sampled_from(sorted(CHANGES)),
    cron=st.sampled_from(["30 2 * * *", "0 2 * * 0", "*/20 * * * *", "15 1-3 * * *", "0 0 1 * *", "59 23 29 2 *"]),
    cuts=st.lists(st.integers(0, 400 * 24 * 60), min_size=2, max_size=40, unique=True),
)
def test_each_due_time_fires_once_however_the_looks_are_spread(zone: str, cron: str, cuts: list[int]) -> None:
    """Looking in many windows finds exactly the newest of each window: nothing twice, nothing outside, nothing lost."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    looks = [to_us(start + cut * MINUTE) for cut in sorted(cuts)]
    found = [last_due(cron, zone, a, b) for a, b in itertools.pairwise(looks)]
    fired = [time for time in found if time is not None]
    assert fired == sorted(set(fired))
    for (a, b), time in zip(itertools.pairwise(looks), found, strict=True):
        (following,) = upcoming(cron, zone, a if time is None else time, 1)
        assert (time is None and following > b) or (time is not None and a < time <= b < following)


def test_the_hour_that_is_repeated_fires_a_daily_job_once() -> None:
    """croniter doubles this one."""
    first = dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)  # 02:30 summer time, the first of two
    times = upcoming("30 2 * * *", "Europe/Berlin", to_us(first) - 1, 2)
    assert [to_datetime(time) for time in times] == [first, dt.datetime(2026, 10, 26, 1, 30, tzinfo=dt.UTC)]


def test_the_hour_that_is_skipped_fires_a_daily_job_after_the_gap() -> None:
    (time,) = upcoming("30 2 * * *", "Europe/Berlin", to_us(dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)), 1)
    assert to_datetime(time) == dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC)  # 03:00 summer time


def test_a_year_of_silence_costs_no_walk_through_its_minutes() -> None:
    after, until = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, 0, 0, 30, tzinfo=dt.UTC)
    assert last_due("* * * * *", "Europe/Berlin", to_us(after), to_us(until)) == to_us(until.replace(second=0))


@pytest.mark.parametrize(
    ("cron", "tz", "message"),
    [
        ("0 3 * *", "UTC", "is no cron expression: write minute hour"),
        ("0 3 * * * *", "UTC", "is no cron expression: write minute hour"),
        ("61 3 * * *", "UTC", "bad minute"),
        ("0 3 30 2 *", "UTC", "bad day-of-month"),
        ("", "UTC", "is no cron expression"),
        ("0 3 * * *", "Europe/Nowhere", '"Europe/Nowhere" is no time zone'),
        ("0 3 * * *", "../../etc/passwd", "is no time zone"),
        ("0 3 * * *", "", "is no time zone"),
        ("0 3 * * *", "a" * 300, "is no time zone"),
        (f"{'9' * 5_000} 3 * * *", "UTC", "is no cron expression"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(cron: str, tz: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_schedule(cron, tz)


@given(cron=st.text("0123456789*/,-#L MONW", max_size=20) | st.text(max_size=20), tz=st.text(max_size=5_000))
def test_any_text_is_a_schedule_or_refused(cron: str, tz: str) -> None:
    for zone in ("Europe/Berlin", tz):
        try:
            check_schedule(cron, zone)
        except InvalidInput:
            continue
        (time,) = upcoming(cron, zone, 0, 1)
        assert last_due(cron, zone, 0, time) == time
