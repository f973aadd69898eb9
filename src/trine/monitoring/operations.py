"""The door's part on monitoring: monitors, verdicts and alerts."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from sqlalchemy import delete, func, insert, select

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.ledger import upsert
from trine.monitoring.alerts import Alert, AlertRule, AlertState, Transition, advance, alert_id, new_alert
from trine.monitoring.breaches import breaches, is_judged
from trine.monitoring.monitors import BaselineMetric, Monitor, Thresholds, checked
from trine.monitoring.tables import alert, alert_transition, monitor, verdict
from trine.monitoring.verdicts import Outcome, Verdict
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Transaction, Workspace


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A stored verdict and what it did to the alerts; `notices` are those that people are to be told."""

    verdict: Verdict
    transitions: list[Transition]

    @property
    def notices(self) -> list[Transition]:
        return [one for one in self.transitions if one.notify]


class VerdictSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict without its columns."""

    id: str
    monitor: str
    window_start_us: int
    window_end_us: int
    rows: int
    outcome: Outcome
    moved: list[str]
    created_us: int


# -- monitors ---------------------------------------------------------------------------------------------------


@operation("POST /monitors", allows="monitoring.register")
def create_monitor(
    ws: Workspace,
    *,
    name: Name,
    subject: str,
    reference: str,
    columns: list[str] = [],  # noqa: B006  # the door copies defaults
    thresholds: Thresholds | None = None,
    rule: AlertRule | None = None,
    window_s: int = 86_400,
    time_column: str = "",
    score: str = "",
    predicted: str = "",
    positive: str = "",
    baseline: dict[str, BaselineMetric] = {},  # noqa: B006
    tolerances: dict[str, float] = {},  # noqa: B006
    ranges: dict[str, list[float | None]] = {},  # noqa: B006
    channels: list[str] = [],  # noqa: B006
    description: str = "",
    replace: bool = False,
) -> Monitor:
    """Define a monitor over `endpoint:NAME` or `dataset:NAME@REF` against `dataset:NAME@REF` or `model:NAME@REF`.

    Defining the same monitor again changes nothing; a different one of that name is a conflict unless `replace`.
    """
    asked = checked(
        Monitor(
            name=name,
            subject=subject,
            reference=reference,
            columns=columns,
            thresholds=thresholds or Thresholds(),
            rule=rule or AlertRule(),
            window_s=window_s,
            time_column=time_column,
            score=score,
            predicted=predicted,
            positive=positive,
            baseline=baseline,
            tolerances=tolerances,
            ranges=ranges,
            channels=channels,
            description=description,
            created_us=ws.tx.now_us,
        )
    )
    old = _definition(ws, name)
    ws.tx.touch(asked.node, before=old, after=asked)
    if old is not None:
        if msgspec.structs.replace(old, created_us=0) == msgspec.structs.replace(asked, created_us=0):
            return old
        if not replace:
            raise Conflict(
                f'Monitor "{name}" exists and is defined differently. Replace it with replace=True (--replace).'
            )
        asked = msgspec.structs.replace(asked, created_us=old.created_us)
    row = {
        "project": ws.project,
        "name": name,
        "subject": subject,
        "definition": canonical_json(asked).decode(),
        "created_us": asked.created_us,
    }
    ws.tx.execute(upsert(monitor), row)
    if asked.subject_kind == "endpoint":
        ws.tx.link(asked.node, "used", asked.subject)
    return asked


@operation("GET /monitors/{name}", allows="monitoring.read")
def get_monitor(ws: Workspace, *, name: str) -> Monitor:
    """One monitor as it was defined."""
    found = _definition(ws, name)
    if found is None:
        known = [row.name for row in ws.tx.all(select(monitor.c.name).where(monitor.c.project == ws.project))]
        raise NotFound(f'No monitor "{name}" in project "{ws.project}".{nearest(name, known)} See: trine monitor ls')
    return found


@operation("GET /monitors", allows="monitoring.read")
def list_monitors(ws: Workspace, *, subject: str = "", limit: Limit = 100, page: str = "") -> Page[Monitor]:
    """Monitors by name; with `subject`, those of one endpoint or dataset."""
    query = select(monitor).where(monitor.c.project == ws.project).order_by(monitor.c.name).limit(limit + 1)
    if subject:
        query = query.where(monitor.c.subject == subject)
    if start := page_start(page, fields=str):
        query = query.where(monitor.c.name > start)
    found = [msgspec.json.decode(row.definition, type=Monitor) for row in ws.tx.all(query)]
    return page_of(found, limit, lambda one: one.name)


@operation("DELETE /monitors/{name}", allows="monitoring.delete")
def delete_monitor(ws: Workspace, *, name: str) -> Done:
    """Forget a monitor and its alerts; its verdicts stay."""
    old = get_monitor(ws, name=name)
    ws.tx.touch(old.node, before=old)
    ws.tx.execute(delete(monitor).where(monitor.c.project == ws.project, monitor.c.name == name))
    ws.tx.execute(delete(alert).where(alert.c.project == ws.project, alert.c.monitor == name))
    return Done(old.node)


def _definition(ws: Workspace, name: str) -> Monitor | None:
    row = ws.tx.first(select(monitor.c.definition).where(monitor.c.project == ws.project, monitor.c.name == name))
    return msgspec.json.decode(row.definition, type=Monitor) if row else None


# -- verdicts ---------------------------------------------------------------------------------------------------


@operation("POST /verdicts", allows="monitoring.run")
def record_verdict(ws: Workspace, *, name: str, body: str, used: list[str] = []) -> Recorded:  # noqa: B006
    """Store the verdict of monitor `name` and move its alerts; `body` is the hash of the verdict's JSON in the store.

    `used` are the nodes it was made from. The event tells monitor, outcome and what moved, for triggers.
    """
    tx = ws.tx
    asked = get_monitor(ws, name=name)
    given = _given(ws, name, body)
    stored = msgspec.structs.replace(given, id=new_id(), created_us=tx.now_us)
    row = {
        "project": ws.project,
        "id": stored.id,
        "monitor": name,
        "window_start_us": stored.window_start_us,
        "window_end_us": stored.window_end_us,
        "rows": stored.rows,
        "outcome": stored.outcome,
        "body": canonical_json(stored).decode(),
        "created_us": tx.now_us,
    }
    tx.execute(insert(verdict).values(row))
    for ref in dict.fromkeys([asked.node, *used]):
        tx.link(stored.node, "used", ref)
    transitions = _move_alerts(ws, asked, stored)
    tx.touch(stored.node, after=stored)
    tx.note(
        monitor=name,
        subject=asked.subject,
        outcome=stored.outcome,
        rows=stored.rows,
        moved=list(stored.moved[:50]),
        degraded=list(stored.performance.worse) if stored.performance else [],
        window_start_us=stored.window_start_us,
        window_end_us=stored.window_end_us,
        alerts=[
            {"id": one.alert, "rule": one.rule, "column": one.column, "before": one.before, "after": one.after}
            for one in transitions[:50]
        ],
    )
    return Recorded(verdict=stored, transitions=transitions)


def _given(ws: Workspace, name: str, body: str) -> Verdict:
    try:
        given = msgspec.json.decode(ws.store.get(body), type=Verdict)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"Object {body[:12]} holds no verdict: {error}.") from None
    if given.monitor != name:
        raise InvalidInput(f'Object {body[:12]} is a verdict of monitor "{given.monitor}", not of "{name}".')
    if given.window_end_us < given.window_start_us:
        raise InvalidInput("The window of the verdict ends before it starts.")
    return given


@operation("GET /verdicts/{verdict_id}", allows="monitoring.read")
def get_verdict(ws: Workspace, *, verdict_id: str) -> Verdict:
    """One verdict with all its columns; a prefix of its id that only it has will do."""
    query = (
        select(verdict.c.body)
        .where(verdict.c.project == ws.project, verdict.c.id.startswith(verdict_id, autoescape=True))
        .limit(2)
    )
    rows = ws.tx.all(query) if verdict_id else []
    if not rows:
        raise NotFound(f'No verdict "{verdict_id}" in project "{ws.project}". See: trine monitor verdicts NAME')
    if len(rows) > 1:
        raise InvalidInput(f'More than one verdict begins with "{verdict_id}": give more of the id.')
    return msgspec.json.decode(rows[0].body, type=Verdict)


@operation("GET /verdicts", allows="monitoring.read")
def list_verdicts(
    ws: Workspace,
    *,
    name: str = "",
    outcome: str = "",
    since_us: int = 0,
    until_us: int | None = None,
    limit: Limit = 100,
    page: str = "",
) -> Page[VerdictSummary]:
    """Verdicts, newest window first; of one monitor with `name`, of windows that end in [since_us, until_us)."""
    query = select(verdict).where(verdict.c.project == ws.project, verdict.c.window_end_us >= since_us)
    if name:
        get_monitor(ws, name=name)
        query = query.where(verdict.c.monitor == name)
    if outcome:
        query = query.where(verdict.c.outcome == outcome)
    if until_us is not None:
        query = query.where(verdict.c.window_end_us < until_us)
    if start := page_start(page, fields=tuple[int, str]):
        end, last = start
        query = query.where(
            (verdict.c.window_end_us < end) | ((verdict.c.window_end_us == end) & (verdict.c.id < last))
        )
    rows = ws.tx.all(query.order_by(verdict.c.window_end_us.desc(), verdict.c.id.desc()).limit(limit + 1))
    return page_of([_summary(row.body) for row in rows], limit, lambda one: (one.window_end_us, one.id))


def _summary(body: str) -> VerdictSummary:
    one = msgspec.json.decode(body, type=Verdict)
    return VerdictSummary(
        id=one.id,
        monitor=one.monitor,
        window_start_us=one.window_start_us,
        window_end_us=one.window_end_us,
        rows=one.rows,
        outcome=one.outcome,
        moved=list(one.moved),
        created_us=one.created_us,
    )


# -- alerts -----------------------------------------------------------------------------------------------------


def _move_alerts(ws: Workspace, asked: Monitor, given: Verdict) -> list[Transition]:
    """Advance every alert of the monitor that this verdict judges, each window once."""
    breached = breaches(given)
    rows = ws.tx.all(select(alert).where(alert.c.project == ws.project, alert.c.monitor == asked.name))
    known = {(row.rule, row.column_name): _alert(row) for row in rows}
    transitions: list[Transition] = []
    for key in sorted({*breached, *known}):
        before = known.get(key) or new_alert(asked.name, *key)
        bad = key in breached
        if not (bad or is_judged(given, key)) or not _is_new(before, given.window_end_us, bad):
            continue
        after, transition = advance(
            before, bad, ws.tx.now_us, asked.rule, verdict=given.id, message=breached.get(key, "")
        )
        _save(ws, msgspec.structs.replace(after, window_end_us=given.window_end_us))
        if transition is not None:
            _keep(ws.tx, ws.project, transition)
            transitions.append(transition)
    return transitions


def _is_new(before: Alert, window_end_us: int, bad: bool) -> bool:
    """A window counts once; a later look at the newest one counts again only when it turned bad (late labels)."""
    return window_end_us > before.window_end_us or (
        window_end_us == before.window_end_us and bad and not before.breaches
    )


@operation("GET /alerts", allows="monitoring.read")
def list_alerts(
    ws: Workspace,
    *,
    name: str = "",
    state: AlertState | Literal[""] = "",
    limit: Limit = 100,
    page: str = "",
) -> Page[Alert]:
    """Alerts, firing first, then pending, resolved and ok; of one monitor with `name`."""
    rank = func.instr if ws.tx.connection.dialect.name == "sqlite" else func.strpos
    order = rank("firing pending resolved ok", alert.c.state)
    query = select(alert, order.label("rank")).where(alert.c.project == ws.project)
    if name:
        get_monitor(ws, name=name)
        query = query.where(alert.c.monitor == name)
    if state:
        query = query.where(alert.c.state == state)
    if start := page_start(page, fields=tuple[int, str]):
        query = query.where((order > start[0]) | ((order == start[0]) & (alert.c.id > start[1])))
    rows = ws.tx.all(query.order_by(order, alert.c.id).limit(limit + 1))
    found = page_of([(row.rank, _alert(row)) for row in rows], limit, lambda pair: (pair[0], pair[1].id))
    return Page([one for _, one in found.items], found.next)


@operation("GET /alerts/{alert_key}/transitions", allows="monitoring.read")
def list_transitions(ws: Workspace, *, alert_key: str, limit: Limit = 100, page: str = "") -> Page[Transition]:
    """What an alert went through, newest first."""
    one = _one_alert(ws, alert_key)
    query = select(alert_transition).where(alert_transition.c.project == ws.project, alert_transition.c.alert == one.id)
    if start := page_start(page, fields=str):
        query = query.where(alert_transition.c.id < start)
    rows = ws.tx.all(query.order_by(alert_transition.c.id.desc()).limit(limit + 1))
    found = page_of(rows, limit, lambda row: row.id)
    return Page([_transition(one, row) for row in found.items], found.next)


@operation("POST /alerts/{alert_key}/acknowledge", allows="monitoring.run")
def acknowledge_alert(ws: Workspace, *, alert_key: str, note: str = "") -> Alert:
    """Say that somebody looks after a firing alert: it stays firing, and is not told again."""
    before = _one_alert(ws, alert_key)
    if before.state != "firing":
        raise Conflict(f"Alert {before.id} is {before.state}: only a firing alert can be acknowledged.")
    after = msgspec.structs.replace(before, acknowledged_by=ws.principal.name, acknowledged_us=ws.tx.now_us, note=note)
    _save(ws, after)
    ws.tx.touch(f"alert:{before.id}", before=before, after=after)
    return after


@operation("POST /alerts/{alert_key}/mute", allows="monitoring.run")
def mute_alert(ws: Workspace, *, alert_key: str, seconds: int, note: str = "") -> Alert:
    """Tell nobody about an alert for so many seconds (0 ends it); what happens meanwhile is still recorded."""
    if not 0 <= seconds <= 366 * 86_400:
        raise InvalidInput("An alert can be muted for 0 to 31,622,400 seconds (366 days).")
    before = _one_alert(ws, alert_key)
    until = ws.tx.now_us + seconds * 1_000_000 if seconds else None
    after = msgspec.structs.replace(before, muted_until_us=until, note=note or before.note)
    _save(ws, after)
    ws.tx.touch(f"alert:{before.id}", before=before, after=after)
    return after


def _one_alert(ws: Workspace, key: str) -> Alert:
    """By id, a prefix of it, or MONITOR/RULE/COLUMN written with colons: delays:drift:dep_delay."""
    query = select(alert).where(alert.c.project == ws.project)
    name, _, rest = key.partition(":")
    if rest:
        rule, _, column = rest.partition(":")
        rows = ws.tx.all(query.where(alert.c.id == alert_id(name, rule, column)))
    else:
        rows = ws.tx.all(query.where(alert.c.id.startswith(key, autoescape=True)).limit(2)) if key else []
    if not rows:
        raise NotFound(f'No alert "{key}" in project "{ws.project}". See: trine alerts ls')
    if len(rows) > 1:
        raise InvalidInput(f'More than one alert begins with "{key}": give more of the id.')
    return _alert(rows[0])


def _alert(row: Any) -> Alert:
    return msgspec.convert({**_values(row), "column": row.column_name, "notified": bool(row.notified)}, Alert)


def _values(row: Any) -> dict[str, Any]:
    return {str(name): value for name, value in row._asdict().items()}


def _save(ws: Workspace, one: Alert) -> None:
    row = msgspec.structs.asdict(one)
    row |= {"project": ws.project, "column_name": row.pop("column"), "notified": int(one.notified)}
    ws.tx.execute(upsert(alert), row)


def _keep(tx: Transaction, project: str, one: Transition) -> None:
    row = msgspec.structs.asdict(one)
    for name in ("monitor", "rule", "column"):  # the alert knows
        del row[name]
    tx.execute(insert(alert_transition).values({**row, "project": project, "id": new_id(), "notify": int(one.notify)}))


def _transition(one: Alert, row: Any) -> Transition:
    about = {"monitor": one.monitor, "rule": one.rule, "column": one.column, "notify": bool(row.notify)}
    return msgspec.convert({**_values(row), **about}, Transition)
