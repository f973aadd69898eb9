"""What starts a cycle: a monitor's verdict, a data commit, a schedule, or somebody who asks. All but schedules are events."""

from __future__ import annotations

from typing import get_args

import msgspec

from trine.errors import InvalidInput
from trine.ids import to_datetime
from trine.ledger.events import Event
from trine.loop.schedules import check_schedule, last_due, upcoming

COMMITTED = ("data.commit_dataset", "data.move_ref")
"""A commit that was made here, and one that came by a push or pull."""

JUDGED = "monitoring.record_verdict"
ASKED = "loop.trigger_loop"


class OnVerdict(msgspec.Struct, frozen=True, tag="verdict"):
    """Fire when a monitor's verdict has one of these outcomes."""

    monitor: str
    outcomes: tuple[str, ...] = ("drift", "degraded")


class OnCommit(msgspec.Struct, frozen=True, tag="commit"):
    """Fire when a commit moves a dataset's branch; commits that the loop's own pipeline made do not count."""

    dataset: str
    branch: str = "main"


class Schedule(msgspec.Struct, frozen=True, tag="schedule"):
    """Fire at the times of a cron expression in a time zone; times missed while nothing ran fire once."""

    cron: str
    tz: str = "UTC"


Trigger = OnVerdict | OnCommit | Schedule


class Fired(msgspec.Struct, frozen=True):
    """Why a cycle starts: the trigger's kind, a sentence, the event and the node behind it, and other reasons it took along."""

    kind: str
    reason: str
    time_us: int = 0
    event: int = 0
    subject: str = ""
    also: tuple[str, ...] = ()


def check_triggers(triggers: tuple[Trigger, ...]) -> None:
    """Raise InvalidInput for a trigger that could never fire."""
    from trine.monitoring.verdicts import Outcome

    outcomes: tuple[str, ...] = get_args(Outcome)
    for one in triggers:
        if isinstance(one, Schedule):
            check_schedule(one.cron, one.tz)
        if isinstance(one, OnVerdict) and (unknown := [each for each in one.outcomes if each not in outcomes]):
            raise InvalidInput(f'A verdict is never "{unknown[0]}": its outcome is one of {", ".join(outcomes)}.')


def described(trigger: Trigger, now_us: int) -> str:
    """A trigger in words, a schedule with its next time."""
    if isinstance(trigger, OnVerdict):
        return f"verdict {' or '.join(trigger.outcomes)} of monitor {trigger.monitor}"
    if isinstance(trigger, OnCommit):
        return f"new data on {trigger.dataset}@{trigger.branch}"
    (following,) = upcoming(trigger.cron, trigger.tz, now_us, 1)
    return f"schedule {trigger.cron} {trigger.tz}, next {to_datetime(following):%Y-%m-%d %H:%M} UTC"


def followed(triggers: tuple[Trigger, ...]) -> list[str]:
    """The operations whose events these triggers read."""
    kinds = {type(one) for one in triggers}
    return [ASKED, *([JUDGED] if OnVerdict in kinds else []), *(COMMITTED if OnCommit in kinds else [])]


def fired_by(name: str, triggers: tuple[Trigger, ...], event: Event) -> Fired | None:
    """What one event means to the loop `name`."""
    if event.outcome != "done":
        return None
    if event.operation == ASKED:
        return _asked(event) if event.object == f"loop:{name}" else None
    for one in triggers:
        if isinstance(one, OnVerdict) and event.operation == JUDGED and _is_judged(one, event):
            return _judged(event)
        if isinstance(one, OnCommit) and event.operation in COMMITTED and _is_committed(one, event):
            return _committed(event)
    return None


def _is_judged(one: OnVerdict, event: Event) -> bool:
    return event.body.get("monitor") == one.monitor and event.body.get("outcome") in one.outcomes


def _is_committed(one: OnCommit, event: Event) -> bool:
    body = event.body
    return (body.get("dataset"), body.get("branch"), body.get("state")) == (one.dataset, one.branch, "accepted")


def due(triggers: tuple[Trigger, ...], after_us: int, until_us: int) -> list[Fired]:
    """Schedules that came due in (after, until], each once however often it was missed."""
    found: list[Fired] = []
    for one in triggers:
        if isinstance(one, Schedule) and (time := last_due(one.cron, one.tz, after_us, until_us)) is not None:
            told = f"schedule {one.cron} {one.tz}, due {to_datetime(time):%Y-%m-%d %H:%M} UTC"
            found.append(Fired("schedule", told, time))
    return found


def together(fired: list[Fired]) -> Fired:
    """Several triggers as the one a cycle starts with: the first, with the others' reasons beside it."""
    first, *others = sorted(fired, key=lambda one: (one.kind != "manual", one.time_us))
    return msgspec.structs.replace(first, also=tuple(dict.fromkeys(one.reason for one in others)))


def _asked(event: Event) -> Fired:
    reason = str(event.body.get("reason") or "")
    told = f"asked for by {event.on_behalf_of or event.actor}" + (f": {reason}" if reason else "")
    return Fired("manual", told, event.time_us, event.seq)


def _judged(event: Event) -> Fired:
    body = event.body
    outcome = str(body.get("outcome"))
    verdict = event.object.partition(":")[2]
    columns: list[str] = body.get("degraded" if outcome == "degraded" else "moved") or []
    told = ", ".join(columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    what = {"degraded": "worse", "drift": "drift in"}.get(outcome, outcome)
    return Fired(
        "verdict", f"{f'{what} {told}'.strip()} (verdict {verdict[:12]})", event.time_us, event.seq, event.object
    )


def _committed(event: Event) -> Fired:
    rows = event.body.get("rows")
    told = f"new data {event.object.partition(':')[2]}" + (f", {rows:,} rows" if isinstance(rows, int) else "")
    return Fired("commit", told, event.time_us, event.seq, event.object)
