"""The door's part on loops: definitions, triggers, cycles and their moves."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, func, insert, select, update

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, new_id, to_datetime
from trine.ledger import upsert
from trine.ledger.events import Event, read_events
from trine.ledger.lineage import walk
from trine.ledger.tables import cursor, event
from trine.loop.cycles import Cycle, Facts, Outcome, State, told
from trine.loop.definition import Definition, LoopInfo, check_definition
from trine.loop.tables import loop, loop_cycle
from trine.loop.triggers import COMMITTED, JUDGED, Fired, due, fired_by, followed, together
from trine.models import operations as models
from trine.monitoring import operations as monitoring
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

_BATCH = 1_000


class Due(msgspec.Struct, frozen=True):
    """What would start a cycle now, up to event `seen` and time `seen_us`; `blocked` says why it has to wait."""

    triggers: list[Fired]
    seen: int
    seen_us: int
    blocked: str = ""


# -- loops ------------------------------------------------------------------------------------------------------


@operation("PUT /loops/{name}", allows="loop.write")
def put_loop(ws: Workspace, *, name: Name, definition: Definition) -> LoopInfo:
    """Define a loop, or define it anew; a new loop reacts to what happens from now on."""
    tx = ws.tx
    if definition.name != name:
        raise InvalidInput(f'The definition is of loop "{definition.name}", not of "{name}".')
    check_definition(definition)
    row = tx.first(select(loop).where(*_is(ws, name)))
    text = canonical_json(definition).decode()
    tx.touch(f"loop:{name}", before=row.definition if row else None, after=text)
    if row:
        tx.execute(update(loop).where(*_is(ws, name)).values(definition=text))
    else:
        values = {"definition": text, "paused": False, "seen_us": tx.now_us, "created_us": tx.now_us}
        tx.execute(insert(loop).values(project=ws.project, name=name, **values))
        _mark_seen(ws, name, _head(ws))
    return get_loop(ws, name=name)


@operation("GET /loops/{name}", allows="loop.read")
def get_loop(ws: Workspace, *, name: str) -> LoopInfo:
    """One loop."""
    row = ws.tx.first(select(loop).where(*_is(ws, name)))
    if row is None:
        known = [one.name for one in ws.tx.all(select(loop.c.name).where(loop.c.project == ws.project))]
        raise NotFound(f'No loop "{name}" in project "{ws.project}".{nearest(name, known)} See: trine loop ls')
    return _loop(ws, row)


@operation("GET /loops", allows="loop.read")
def list_loops(ws: Workspace, *, model: str = "", limit: Limit = 100, page: str = "") -> Page[LoopInfo]:
    """Loops by name; with `model`, those that train it."""
    query = select(loop).where(loop.c.project == ws.project).order_by(loop.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(loop.c.name > start)
    found = page_of([_loop(ws, row) for row in ws.tx.all(query)], limit, lambda one: one.name)
    return Page([one for one in found.items if model in ("", one.definition.model)], found.next)


@operation("PATCH /loops/{name}", allows="loop.run")
def pause_loop(ws: Workspace, *, name: str, paused: bool = True) -> LoopInfo:
    """Stop a loop from starting cycles, or let it go on: what fired meanwhile then starts one. An open cycle goes on."""
    found = get_loop(ws, name=name)
    ws.tx.execute(update(loop).where(*_is(ws, name)).values(paused=paused))
    ws.tx.touch(found.node, before=found.paused, after=paused)
    return get_loop(ws, name=name)


# -- triggers ---------------------------------------------------------------------------------------------------


@operation("POST /loops/{name}/trigger", allows="loop.run")
def trigger_loop(ws: Workspace, *, name: str, reason: str = "") -> Done:
    """Ask for a cycle. While one is open this is kept for the next; a cooldown does not hold it back."""
    found = get_loop(ws, name=name)
    if found.paused:
        raise Conflict(f'Loop "{name}" is paused. Let it go on first: trine loop resume {name}')
    ws.tx.touch(found.node, after=reason)
    ws.tx.note(reason=reason)
    return Done(found.node)


@operation("GET /loops/{name}/due", allows="loop.read")
def get_due(ws: Workspace, *, name: str, after: int = 0) -> Due:
    """What has fired since the loop last started a cycle. A reader that saw nothing up to an event can begin `after` it."""
    found = get_loop(ws, name=name)
    triggers = found.definition.triggers
    fired: list[Fired] = []
    head = _head(ws)
    made = _own_run(ws, name)
    for operation_ in followed(triggers):
        seen = max(found.seen, after)
        while batch := read_events(
            ws.tx.connection, after=seen, limit=_BATCH, project=ws.project, operation=operation_
        ):
            hits = [(one, hit) for one in batch if (hit := fired_by(name, triggers, one))]
            fired += [hit for one, hit in hits if not _is_idle(ws, found.definition, one, made)]
            seen = batch[-1].seq
    fired += due(triggers, found.seen_us, ws.tx.now_us)
    return Due(fired, head, ws.tx.now_us, _blocked(ws, found, fired))


def _blocked(ws: Workspace, found: LoopInfo, fired: list[Fired]) -> str:
    """Why no cycle may start now, or nothing."""
    last = ws.tx.first(_cycles(ws, found.name).limit(1))
    if last is not None and last.state != "done":
        return f"cycle {last.id} is open"
    if found.paused:
        return "the loop is paused"
    if last is not None and not any(one.kind == "manual" for one in fired):
        rested_us = last.updated_us + found.definition.cooldown_s * 1_000_000
        if ws.tx.now_us < rested_us:
            return f"the loop cools down until {to_datetime(rested_us):%Y-%m-%d %H:%M:%S} UTC"
    return ""


def _is_idle(ws: Workspace, loop_: Definition, one: Event, made: str) -> bool:
    """Whether an event is no reason to train: data that the last cycle made, or a verdict on what was replaced since."""
    if one.operation in COMMITTED:
        return _is_own(ws, one.object, made)
    return one.operation == JUDGED and _is_outdated(ws, loop_, one)


def _is_outdated(ws: Workspace, loop_: Definition, one: Event) -> bool:
    """Whether a verdict compared with the training data of a version that is not in production any more."""
    try:
        asked = monitoring.get_monitor(ws, name=one.body["monitor"])
        if asked.reference != f"model:{loop_.model}@{loop_.alias}":
            return False
        now = models.get_version(ws, name=loop_.model, ref=loop_.alias)
    except NotFound:
        return False
    judged = monitoring.get_verdict(ws, verdict_id=one.object.partition(":")[2])
    return judged.reference not in ("", now.data)


def _own_run(ws: Workspace, name: str) -> str:
    """The pipeline run of the last cycle: what it committed must not start the next one."""
    last = ws.tx.first(_cycles(ws, name).limit(1))
    return _cycle(last).facts.pipeline_run if last is not None else ""


def _is_own(ws: Workspace, node: str, pipeline_run: str) -> bool:
    """Whether a commit came out of a step (or a run inside a step) of a pipeline run."""
    if not pipeline_run:
        return False
    makers = {node}
    for one in walk(ws.tx.connection, ws.project, node, direction="up", depth=4).edges:  # nearest first
        if one.kind == "produced" and one.target in makers:
            makers.add(one.source)
    return any(one.startswith(f"step_run:{pipeline_run}/") for one in makers)


def _head(ws: Workspace) -> int:
    return ws.tx.scalar(select(func.max(event.c.seq))) or 0


def _mark_seen(ws: Workspace, name: str, seq: int) -> None:
    ws.tx.execute(upsert(cursor), {"project": ws.project, "consumer": _consumer(name), "seq": seq})


# -- cycles -----------------------------------------------------------------------------------------------------


@operation("POST /loops/{name}/cycles", allows="loop.run")
def start_cycle(ws: Workspace, *, name: str) -> Cycle:
    """Start a cycle for what is due, all of it together; a loop has one open cycle at a time."""
    tx = ws.tx
    found = get_due(ws, name=name)
    if found.blocked:
        raise Conflict(f'Loop "{name}" starts no cycle now: {found.blocked}.')
    if not found.triggers:
        raise Conflict(f'No trigger of loop "{name}" has fired. Ask for a cycle with: trine loop trigger {name}')
    trigger = together(found.triggers)
    identity = new_id()
    row = {
        "project": ws.project,
        "id": identity,
        "loop": name,
        "state": "triggered",
        "epoch": 0,
        "trigger": canonical_json(trigger).decode(),
        "facts": canonical_json(Facts()).decode(),
        "outcome": "",
        "reason": told(trigger, Facts()),
        "created_us": tx.now_us,
        "updated_us": tx.now_us,
    }
    tx.execute(insert(loop_cycle), row)
    tx.execute(update(loop).where(*_is(ws, name)).values(seen_us=found.seen_us))
    _mark_seen(ws, name, found.seen)
    tx.touch(f"cycle:{identity}", after="triggered")
    tx.note(loop=name, trigger=msgspec.to_builtins(trigger))
    tx.link(f"loop:{name}", "triggered", f"cycle:{identity}")
    for one in found.triggers:
        if one.subject:
            tx.link(one.subject, "triggered", f"cycle:{identity}")
    return get_cycle(ws, cycle_id=identity)


@operation("POST /cycles/{cycle_id}/moves", allows="loop.run")
def move_cycle(
    ws: Workspace, *, cycle_id: str, epoch: int, state: State, facts: Facts, outcome: Outcome = "", reason: str = ""
) -> Cycle:
    """Move a cycle on. `epoch` is the one it was read with: of two movers one wins, the other gets Conflict."""
    tx = ws.tx
    found = get_cycle(ws, cycle_id=cycle_id)
    if found.epoch != epoch or not found.is_open:
        raise Conflict(f"Cycle {cycle_id} has moved on to {found.state} (epoch {found.epoch}, not {epoch}).")
    if (state == "done") != bool(outcome):
        raise InvalidInput("A cycle has an outcome when it is done, and only then.")
    values = {
        "state": state,
        "epoch": epoch + 1,
        "facts": canonical_json(facts).decode(),
        "outcome": outcome,
        "reason": reason,
        "updated_us": tx.now_us,
    }
    tx.execute(update(loop_cycle).where(loop_cycle.c.project == ws.project, loop_cycle.c.id == cycle_id).values(values))
    tx.touch(found.node, before=found.state, after=state)
    tx.note(loop=found.loop, state=state, outcome=outcome, reason=reason, facts=msgspec.to_builtins(facts))
    return get_cycle(ws, cycle_id=cycle_id)


@operation("GET /cycles/{cycle_id}", allows="loop.read")
def get_cycle(ws: Workspace, *, cycle_id: str) -> Cycle:
    """One cycle, by its id or a prefix of it that only it has."""
    query = select(loop_cycle).where(
        loop_cycle.c.project == ws.project, loop_cycle.c.id.startswith(cycle_id, autoescape=True)
    )
    rows = ws.tx.all(query.limit(2)) if cycle_id else []
    if not rows:
        raise NotFound(f'No cycle "{cycle_id}" in project "{ws.project}". See: trine loop cycles NAME')
    if len(rows) > 1:
        raise InvalidInput(f'More than one cycle begins with "{cycle_id}": give more of the id.')
    return _cycle(rows[0])


@operation("GET /loops/{name}/cycles", allows="loop.read")
def list_cycles(
    ws: Workspace, *, name: str, open_only: bool = False, limit: Limit = 100, page: str = ""
) -> Page[Cycle]:
    """A loop's cycles, newest first."""
    get_loop(ws, name=name)
    query = _cycles(ws, name).limit(limit + 1)
    if open_only:
        query = query.where(loop_cycle.c.state != "done")
    if start := page_start(page, fields=str):
        query = query.where(loop_cycle.c.id < start)
    return page_of([_cycle(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


def _cycles(ws: Workspace, name: str) -> Any:
    mine = (loop_cycle.c.project == ws.project, loop_cycle.c.loop == name)
    return select(loop_cycle).where(*mine).order_by(loop_cycle.c.id.desc())


def _is(ws: Workspace, name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return loop.c.project == ws.project, loop.c.name == name


def _consumer(name: str) -> str:
    return f"loop:{name}"


def _loop(ws: Workspace, row: Row[Any]) -> LoopInfo:
    definition = msgspec.json.decode(row.definition, type=Definition)
    place = select(cursor.c.seq).where(cursor.c.project == ws.project, cursor.c.consumer == _consumer(row.name))
    seen = ws.tx.scalar(place) or 0
    return LoopInfo(row.name, definition, bool(row.paused), seen, row.seen_us, row.created_us)


def _cycle(row: Row[Any]) -> Cycle:
    trigger = msgspec.json.decode(row.trigger, type=Fired)
    facts = msgspec.json.decode(row.facts, type=Facts)
    return Cycle(
        row.id,
        row.loop,
        row.state,
        row.epoch,
        trigger,
        facts,
        row.outcome,
        row.reason,
        row.created_us,
        row.updated_us,
    )
