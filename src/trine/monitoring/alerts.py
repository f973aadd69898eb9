"""Alerts: what people are told, and the state machine that keeps it calm.

    ok ──breach──▶ pending ──`for_windows` breaches in a row──▶ firing ──`clear_after` quiet windows──▶ resolved
    ▲                 │                                                                                  │
    └──quiet window───┘                          (a breach starts over as pending) ◀─────────────────────┘

One alert per (monitor, rule, column). After it resolved it stays pending until the cool-down is over. Muting silences
notices until it expires, it does not stop the machine. Windows that could not be judged change nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from trine.errors import InvalidInput
from trine.ids import digest

AlertState = Literal["ok", "pending", "firing", "resolved"]


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """How many windows make an alert fire and clear, and how long it keeps quiet after it has resolved."""

    for_windows: int = 1
    clear_after: int = 2
    cool_down_s: int = 0

    def __post_init__(self) -> None:
        if self.for_windows < 1 or self.clear_after < 1 or self.cool_down_s < 0:
            raise InvalidInput("An alert rule needs for_windows ≥ 1, clear_after ≥ 1 and cool_down_s ≥ 0.")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a monitor watches, and where it stands."""

    id: str
    monitor: str
    rule: str
    column: str = ""
    state: AlertState = "ok"
    breaches: int = 0
    quiet: int = 0
    since_us: int = 0
    fired_us: int | None = None
    resolved_us: int | None = None
    window_end_us: int = 0
    verdict: str = ""
    message: str = ""
    notified: bool = False
    acknowledged_by: str = ""
    acknowledged_us: int | None = None
    note: str = ""
    muted_until_us: int | None = None

    def is_muted(self, now_us: int) -> bool:
        return self.muted_until_us is not None and now_us < self.muted_until_us


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state of one alert. `notify` says that people are to be told."""

    alert: str
    monitor: str
    rule: str
    column: str
    before: AlertState
    after: AlertState
    time_us: int
    verdict: str = ""
    message: str = ""
    notify: bool = False


def alert_id(monitor: str, rule: str, column: str) -> str:
    """The deduplication key: 16 hex digits of (monitor, rule, column)."""
    return digest([monitor, rule, column])[:16]


def new_alert(monitor: str, rule: str, column: str) -> Alert:
    """The alert before its first window."""
    return Alert(id=alert_id(monitor, rule, column), monitor=monitor, rule=rule, column=column)


def advance(
    alert: Alert, breached: bool, now_us: int, rule: AlertRule, *, verdict: str = "", message: str = ""
) -> tuple[Alert, Transition | None]:
    """One judged window further: the alert after it, and the transition if there was one."""
    change = msgspec.structs.replace
    if breached:
        after = change(alert, breaches=alert.breaches + 1, quiet=0, verdict=verdict, message=message)
        after = _breached(after, now_us, rule)
    else:
        after = change(alert, breaches=0, quiet=alert.quiet + 1)
        if alert.state == "pending":
            after = change(after, state="ok", since_us=now_us)
        elif alert.state == "firing" and after.quiet >= rule.clear_after:
            after = change(after, state="resolved", since_us=now_us, resolved_us=now_us)
    after, notify = _notice(alert, after, now_us)
    if after.state == alert.state and not notify:
        return after, None
    return after, Transition(
        alert=after.id,
        monitor=after.monitor,
        rule=after.rule,
        column=after.column,
        before=alert.state,
        after=after.state,
        time_us=now_us,
        verdict=verdict or after.verdict,
        message=after.message,
        notify=notify,
    )


def _breached(alert: Alert, now_us: int, rule: AlertRule) -> Alert:
    if alert.state == "firing":
        return alert
    cooled = alert.resolved_us is None or now_us >= alert.resolved_us + rule.cool_down_s * 1_000_000
    if alert.breaches >= rule.for_windows and cooled:
        return msgspec.structs.replace(
            alert,
            state="firing",
            since_us=now_us,
            fired_us=now_us,
            notified=False,
            acknowledged_by="",
            acknowledged_us=None,
            note="",
        )
    if alert.state == "pending":
        return alert
    return msgspec.structs.replace(alert, state="pending", since_us=now_us)


def _notice(before: Alert, after: Alert, now_us: int) -> tuple[Alert, bool]:
    """Tell once when it fires (or when a mute ends while it still does), and when what was told is over."""
    if after.state == "firing" and not after.notified and not after.acknowledged_by and not after.is_muted(now_us):
        return msgspec.structs.replace(after, notified=True), True
    over = before.state == "firing" and after.state == "resolved"
    return after, over and after.notified and not after.is_muted(now_us)
