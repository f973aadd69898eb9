"""`trine monitor` and `trine alerts`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, echo, group, is_json, moment_us, option, print_table, show, when

if TYPE_CHECKING:
    from trine.monitoring import Alert, ColumnVerdict, Monitor
    from trine.workspace import Workspace

CALM = frozenset({"ok", "too_small", "no_data"})
"""Outcomes that --strict lets pass."""

NO_MONITORS = (
    "No monitors yet. Make one: trine monitor create NAME --subject endpoint:NAME --reference model:NAME@production"
)


@group()
def monitor() -> None:
    """Monitors: drift, quality and accuracy of datasets and endpoints."""


@monitor.command("ls")
@option("--subject", default="", help="Only those of this endpoint or dataset.")
@command(example="trine monitor ls")
def list_(ws: Workspace, subject: str) -> None:
    """Monitors by name."""
    from trine.monitoring import operations

    show(
        operations.list_monitors(ws, subject=subject, limit=1000),
        table=[
            ("monitor", lambda m: m.name),
            ("subject", lambda m: m.subject),
            ("reference", lambda m: m.reference),
            ("columns", lambda m: m.columns or "all"),
            ("channels", lambda m: [name.partition(":")[0] for name in m.channels]),
        ],
        empty=NO_MONITORS,
    )


@monitor.command("create")
@argument("name")
@option("--subject", required=True, help="What to watch: endpoint:NAME, or dataset:NAME@REF.")
@option("--reference", required=True, help="dataset:NAME@REF, or model:NAME@REF for what it was trained on.")
@option("--columns", default="", help="Compare only these, separated by commas.")
@option("--time-column", default="", help="Column of a dataset that windows are cut from; without it: the whole.")
@option("--window", default="1d", show_default=True, help="Length of a window: 1h, 7d, …")
@option("--range", "ranges", multiple=True, metavar="COLUMN=LOW..HIGH", help="What a column's values must lie in.")
@option("--positive", default="", help="The label that the score is the probability of.")
@option("--for", "for_windows", default=1, show_default=True, help="Bad windows in a row until an alert fires.")
@option("--clear-after", default=2, show_default=True, help="Quiet windows in a row until it is over.")
@option("--cool-down", default="", help="How long it keeps quiet after that: 6h, …")
@option("--channel", "channels", multiple=True, help="Whom to tell: log, file:PATH, webhook:URL or webhook:$VARIABLE.")
@option("--description", default="")
@option("--replace", is_flag=True, help="Define an existing monitor anew.")
@command(
    example="trine monitor create delays --subject endpoint:delays --reference model:delays@production --channel log\n"
    "trine monitor create flights --subject dataset:flights --reference dataset:flights@january --time-column at"
)
def create(
    ws: Workspace,
    name: str,
    subject: str,
    reference: str,
    columns: str,
    time_column: str,
    window: str,
    ranges: Sequence[str],
    positive: str,
    for_windows: int,
    clear_after: int,
    cool_down: str,
    channels: Sequence[str],
    description: str,
    replace: bool,
) -> None:
    """Watch an endpoint or a dataset against a reference."""
    from trine.features.durations import duration_us
    from trine.monitoring import AlertRule, operations

    rule = AlertRule(for_windows=for_windows, clear_after=clear_after, cool_down_s=duration_us(cool_down) // 1_000_000)
    made = operations.create_monitor(
        ws,
        name=name,
        subject=subject,
        reference=reference,
        columns=[column.strip() for column in columns.split(",") if column.strip()],
        time_column=time_column,
        window_s=duration_us(window) // 1_000_000,
        ranges=dict(map(_range, ranges)),
        positive=positive,
        rule=rule,
        channels=list(channels),
        description=description,
        replace=replace,
    )
    show(made, text=f"{made.name} watches {made.subject} against {made.reference}. Ask it: trine monitor check {name}")


def _range(text: str) -> tuple[str, list[float | None]]:
    from trine.errors import InvalidInput

    column, equals, limits = text.rpartition("=")
    low, dots, high = limits.partition("..")
    try:
        if not (equals and dots and column):
            raise ValueError
        return column, [float(limit) if limit else None for limit in (low, high)]
    except ValueError:
        raise InvalidInput(f'"{text}" is no range: write COLUMN=LOW..HIGH, either side may be left out.') from None


@monitor.command("show")
@argument("name")
@command(example="trine monitor show delays")
def show_(ws: Workspace, name: str) -> None:
    """One monitor, its newest verdicts and its alerts."""
    from trine.monitoring import operations

    found = operations.get_monitor(ws, name=name)
    if is_json():
        show(found)
        return
    for label, value in _facts(found).items():
        if value:
            echo(f"{label.ljust(12)} {value}")
    if newest := operations.list_verdicts(ws, name=name, limit=5).items:
        echo("\nnewest verdicts")
        show(newest, table=VERDICTS[1:])
    if told := [one for one in operations.list_alerts(ws, name=name).items if one.state != "ok"]:
        echo("\nalerts")
        show(told, table=ALERTS)


def _facts(one: Monitor) -> dict[str, str]:
    rule = one.rule
    limits = [
        f"{name} in {low if low is not None else '…'}..{high if high is not None else '…'}"
        for name, (low, high) in one.ranges.items()
    ]
    return {
        "monitor": one.name,
        "about": one.description,
        "subject": one.subject,
        "reference": one.reference,
        "columns": ", ".join(one.columns) or "all that both have",
        "window": f"{one.window_s} s" + (f" of {one.time_column}" if one.time_column else ""),
        "ranges": ", ".join(limits),
        "baseline": ", ".join(f"{name} {base.value:.4f}" for name, base in one.baseline.items()),
        "alerts": f"fire after {rule.for_windows}, clear after {rule.clear_after}, cool down {rule.cool_down_s} s",
        "channels": ", ".join(one.channels),
        "made": when(one.created_us),
    }


@monitor.command("check")
@argument("name")
@option("--since", default="", help="Begin of the window (ISO 8601, UTC); default: its length before the end.")
@option("--until", default="", help="End of the window, not in it; default: now.")
@option("--strict", is_flag=True, help="Exit with 5 when something is wrong, for scripts.")
@command(example="trine monitor check delays --since 2013-03-01 --until 2013-04-01")
def check(ws: Workspace, name: str, since: str, until: str, strict: bool) -> None:
    """Judge a window, keep the verdict, and tell whom it concerns."""
    from trine import monitoring

    verdict = monitoring.check(name, moment_us(since), moment_us(until), ws=ws)
    show(verdict, text=f"{verdict.text()}\n  kept as {verdict.node}")
    if strict and verdict.outcome not in CALM:
        sys.exit(5)


VERDICTS: list[tuple[str, Any]] = [
    ("monitor", lambda v: v.monitor),
    ("verdict", lambda v: v.id),
    ("outcome", lambda v: v.outcome),
    ("window from", lambda v: when(v.window_start_us)),
    ("to", lambda v: when(v.window_end_us)),
    ("rows", lambda v: v.rows),
    ("moved", lambda v: _some(v.moved)),
]


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@monitor.command("verdicts")
@argument("name", default="")
@option("--outcome", default="", help="ok, drift, quality, degraded, too_small or no_data.")
@option("--limit", default=50, show_default=True)
@command(example="trine monitor verdicts delays --outcome drift")
def verdicts(ws: Workspace, name: str, outcome: str, limit: int) -> None:
    """Verdicts, newest window first."""
    from trine.monitoring import operations

    found = operations.list_verdicts(ws, name=name, outcome=outcome, limit=limit)
    show(found, table=VERDICTS, empty="No verdicts yet. Ask a monitor: trine monitor check NAME")


@monitor.command("verdict")
@argument("verdict")
@command(example="trine monitor verdict 0193a")
def verdict_(ws: Workspace, verdict: str) -> None:
    """One verdict (by its id, or the beginning of it) with all its columns and findings."""
    from trine.monitoring import operations

    found = operations.get_verdict(ws, verdict_id=verdict)
    if is_json():
        show(found)
        return
    echo(found.text())
    for finding in found.findings:
        if not finding.serious:
            echo(f"  {finding.message}")
    _print_columns(found.columns)
    echo(f"\nagainst {found.reference}, made {when(found.created_us)}")


def _print_columns(columns: Sequence[ColumnVerdict]) -> None:
    header = ["column", "state", "effect", "q", "missing", "before", "rows", "worth", "detectable"]
    rows: list[list[Any]] = []
    for one in columns:
        q = next((test.q for test in one.tests if test.name == "distribution"), None)
        shares = (f"{share:.1%}" for share in (one.null_share, one.reference_null_share))
        rows.append([one.column, one.state, one.effect, q, *shares, one.rows, round(one.size), one.detectable])
    if rows:
        echo()
        print_table(header, rows)


@monitor.command("compare")
@argument("reference")
@argument("window")
@option("--columns", default="", help="Only these, separated by commas.")
@command(example="trine monitor compare flights@january flights@february")
def compare(ws: Workspace, reference: str, window: str, columns: str) -> None:
    """The drift between two versions of datasets, without a monitor; nothing is kept."""
    from trine import monitoring

    named = [column.strip() for column in columns.split(",") if column.strip()]
    found = monitoring.compare(reference, window, columns=named, ws=ws)
    if is_json():
        show(found)
        return
    moved = [one.column for one in found if one.moved]
    echo(f"{len(moved)} of {len(found)} columns moved" + (f": {_some(moved, 8)}" if moved else ""))
    _print_columns(found)


@monitor.command("rm")
@argument("name")
@command(example="trine monitor rm delays")
def remove(ws: Workspace, name: str) -> None:
    """Forget a monitor and its alerts; its verdicts stay."""
    from trine.monitoring import operations

    show(operations.delete_monitor(ws, name=name), text=f"{name} is forgotten; its verdicts stay.")


@group()
def alerts() -> None:
    """Alerts: what monitors tell people."""


def _state(one: Alert) -> str:
    from trine.ids import now_us

    seen = f" (seen by {one.acknowledged_by})" if one.acknowledged_by else ""
    return one.state + (" (muted)" if one.is_muted(now_us()) else "") + seen


ALERTS: list[tuple[str, Any]] = [
    ("alert", lambda a: a.id),
    ("state", _state),
    ("monitor", lambda a: a.monitor),
    ("rule", lambda a: a.rule),
    ("column", lambda a: a.column),
    ("since", lambda a: ago(a.since_us)),
    ("message", lambda a: a.message),
]


@alerts.command("ls")
@option("--monitor", "name", default="", help="Only those of one monitor.")
@option("--state", type=click.Choice(["firing", "pending", "resolved", "ok"]), help="Only those in this state.")
@command(example="trine alerts ls --state firing")
def list_alerts(ws: Workspace, name: str, state: Any) -> None:
    """Alerts, firing first."""
    from trine.monitoring import operations

    found = operations.list_alerts(ws, name=name, state=state or "", limit=1000)
    show(found, table=ALERTS, empty="No alerts. They come from monitors: trine monitor check NAME")


@alerts.command("show")
@argument("alert", metavar="ALERT")
@command(example="trine alerts show delays:drift:dep_delay")
def show_alert(ws: Workspace, alert: str) -> None:
    """What an alert (by id, or MONITOR:RULE:COLUMN) went through, newest first."""
    from trine.monitoring import operations

    show(
        operations.list_transitions(ws, alert_key=alert, limit=1000),
        table=[
            ("time", lambda t: when(t.time_us)),
            ("from", lambda t: t.before),
            ("to", lambda t: t.after),
            ("told", lambda t: t.notify),
            ("verdict", lambda t: t.verdict),
            ("message", lambda t: t.message),
        ],
    )


@alerts.command("ack")
@argument("alert", metavar="ALERT")
@option("--note", "-m", default="", help="What is being done about it.")
@command(example="trine alerts ack delays:drift:dep_delay -m 'new airline, retraining'")
def acknowledge(ws: Workspace, alert: str, note: str) -> None:
    """Say that somebody looks after a firing alert: it is not told again."""
    from trine.monitoring import operations

    made = operations.acknowledge_alert(ws, alert_key=alert, note=note)
    show(made, text=f"{made.id} is yours, {made.acknowledged_by}. It stays firing until {made.rule} is quiet.")


@alerts.command("mute")
@argument("alert", metavar="ALERT")
@argument("time", default="1d", metavar="[TIME]")
@option("--note", "-m", default="", help="Why.")
@option("--off", is_flag=True, help="End it now.")
@command(example="trine alerts mute delays:drift:dep_delay 8h -m 'known, the airport is closed'")
def mute(ws: Workspace, alert: str, time: str, note: str, off: bool) -> None:
    """Tell nobody about an alert for a TIME (1d, 8h, …); what happens meanwhile is still recorded."""
    from trine.features.durations import duration_us
    from trine.monitoring import operations

    seconds = 0 if off else duration_us(time) // 1_000_000
    made = operations.mute_alert(ws, alert_key=alert, seconds=seconds, note=note)
    show(
        made, text=f"{made.id} is muted until {when(made.muted_until_us)}." if seconds else f"{made.id} is heard again."
    )
