"""Monitors: verdicts over time, drift column by column with both distributions, accuracy, alerts to acknowledge and mute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from trine import data, monitoring, serving
from trine.data.profiles import ColumnProfile, Profile
from trine.errors import InvalidInput, TrineError
from trine.ids import now_us
from trine.monitoring import operations as door
from trine.monitoring.monitors import Monitor
from trine.monitoring.verdicts import Verdict
from trine.server.ui.data import both
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page
from trine.server.ui.rendering import compressed
from trine.server.ui.series import Line, Lines

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 50_000
"""Rows of a window that its distributions are drawn from."""

TIMELINE = 60
MOST_PICTURES = 60


@page("/monitors")
def monitors(asked: Asked) -> Response:
    """Monitors with their latest verdicts."""
    found = door.list_monitors(asked.ws, limit=100, page=asked.text("page"))
    verdicts = {one.name: door.list_verdicts(asked.ws, name=one.name, limit=24).items[::-1] for one in found.items}
    firing = door.list_alerts(asked.ws, state="firing", limit=200).items
    return asked.show("monitors.html", found=found, verdicts=verdicts, firing=firing)


@page("/monitors/{name}")
def monitor(asked: Asked) -> Response:
    """One monitor."""
    found = door.get_monitor(asked.ws, name=asked.path["name"])
    verdicts = door.list_verdicts(asked.ws, name=found.name, limit=TIMELINE).items
    return asked.show(
        "monitor.html",
        monitor=found,
        verdicts=verdicts,
        alerts=[one for one in door.list_alerts(asked.ws, name=found.name, limit=200).items if one.state != "ok"],
        measured=_measured(asked, found),
    )


def _measured(asked: Asked, found: Monitor) -> list[str]:
    """The metrics that the newest verdict with a performance has."""
    for one in door.list_verdicts(asked.ws, name=found.name, limit=5).items:
        performance = door.get_verdict(asked.ws, verdict_id=one.id).performance
        if performance is not None and performance.metrics:
            return [each.name for each in performance.metrics]
    return []


@page("/monitors/{name}/performance")
def performance(asked: Asked) -> Response:
    """A metric over the windows, with its interval as the band, and what it was at acceptance."""
    key = asked.text("key")
    x: list[float] = []
    value: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    accepted: list[float | None] = []
    summaries = door.list_verdicts(asked.ws, name=asked.path["name"], limit=TIMELINE).items
    for one in reversed(summaries):
        verdict = door.get_verdict(asked.ws, verdict_id=one.id)
        report = next(
            (each for each in (verdict.performance.metrics if verdict.performance else ()) if each.name == key), None
        )
        if report is None or report.value is None:
            continue
        x.append(verdict.window_end_us / 1e6)
        for column, one in zip(
            (value, low, high, accepted), (report.value, report.low, report.high, report.baseline), strict=True
        ):
            column.append(one)
    lines = [Line(key, x, value, low, high), Line("at acceptance", x, accepted)] if x else []
    return compressed(asked.request, msgspec.json.encode(Lines(lines, True)), "application/json")


@page("/verdicts/{id}")
def verdict(asked: Asked) -> Response:
    """One verdict: each column against its reference, drawn from both."""
    found = door.get_verdict(asked.ws, verdict_id=asked.path["id"])
    alerts = [one for one in door.list_alerts(asked.ws, name=found.monitor, limit=200).items if one.state == "firing"]
    return asked.show("verdict.html", verdict=found, pictures=_pictures(asked, found), alerts=alerts)


def _pictures(asked: Asked, found: Verdict) -> dict[str, Markup]:
    """The distributions of the reference and the window over each other; none when their rows are gone or not to be seen."""
    names = [one.column for one in found.columns][:MOST_PICTURES]
    try:
        one = door.get_monitor(asked.ws, name=found.monitor)
        before = data.profile(found.reference.removeprefix("dataset:"), ws=asked.ws)
        after = _profile(_window(asked, one, found), names)
    except TrineError:
        return {}
    return {name: both(_column(before, name), _column(after, name)) for name in names}


def _window(asked: Asked, one: Monitor, found: Verdict) -> pl.DataFrame:
    import polars as pl

    if one.subject_kind == "endpoint":
        return serving.predictions(one.subject_name, found.window_start_us, found.window_end_us, ws=asked.ws)
    rows = data.load(one.subject_name, ws=asked.ws)
    if one.time_column:
        at = pl.col(one.time_column).cast(pl.Datetime("us")).cast(pl.Int64)
        rows = rows.filter(at >= found.window_start_us, at < found.window_end_us)
    return rows.collect()


def _profile(frame: pl.DataFrame, names: list[str]) -> Profile:
    step = max(1, frame.height // MOST_ROWS)
    return data.profile_frame(frame.select([name for name in names if name in frame.columns]).gather_every(step))


def _column(profile: Profile, name: str) -> ColumnProfile | None:
    return profile.column(name)


# -- alerts -----------------------------------------------------------------------------------------------------------


@page("/alerts")
def alerts(asked: Asked) -> Response:
    """Alerts, firing first."""
    state: Any = asked.text("state") if asked.text("state") in ("firing", "pending", "resolved", "ok") else ""
    found = door.list_alerts(asked.ws, state=state, limit=100, page=asked.text("page"))
    return asked.show("alerts.html", found=found, state=state, now_us=now_us())


@page("/alerts/{key:path}")
def alert(asked: Asked) -> Response:
    """One alert: what it went through, and where to look."""
    key = asked.path["key"]
    found = next((one for one in door.list_alerts(asked.ws, limit=1000).items if key in (one.id, _key(one))), None)
    transitions = door.list_transitions(asked.ws, alert_key=key, limit=100).items
    return asked.show("alert.html", alert=found, transitions=transitions, key=key, now_us=now_us())


def _key(one: monitoring.Alert) -> str:
    return f"{one.monitor}:{one.rule}:{one.column}"


@action("/alert-acknowledge")
def acknowledge(asked: Asked) -> Response:
    made = door.acknowledge_alert(asked.ws, alert_key=asked.form.get("alert", ""), note=asked.form.get("note", ""))
    return asked.back(path("alerts", made.id), f"It is yours, {made.acknowledged_by}.")


@action("/alert-mute")
def mute(asked: Asked) -> Response:
    text = asked.form.get("hours", "")
    if not text.isdigit() or len(text) > 5:
        raise InvalidInput("Say for how many hours, as a whole number; 0 ends it.")
    made = door.mute_alert(
        asked.ws, alert_key=asked.form.get("alert", ""), seconds=int(text) * 3600, note=asked.form.get("note", "")
    )
    return asked.back(path("alerts", made.id), "Muted." if int(text) else "It is heard again.")


@action("/monitors/{name}/check")
def check(asked: Asked) -> Response:
    found = monitoring.check(asked.path["name"], ws=asked.ws)
    return asked.back(path("verdicts", found.id), f"Judged: {found.outcome.replace('_', ' ')}.")
