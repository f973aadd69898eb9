"""The door's part on loops: definitions, cycles and their moves."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from trine.errors import Conflict, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.loop.definition import Cycle, Definition, Facts, Fired, LoopInfo, Outcome, State
from trine.loop.tables import loop, loop_cycle
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.workspace import Workspace


@operation("PUT /loops/{name}", allows="loop.write")
def put_loop(ws: Workspace, *, name: str, definition: Definition) -> LoopInfo:
    """Keep a loop's definition; an unchanged one changes nothing but is answered the same."""
    tx = ws.tx
    row = tx.first(select(loop).where(loop.c.project == ws.project, loop.c.name == name))
    text = canonical_json(definition).decode()
    tx.touch(f"loop:{name}", before=row.definition if row else None, after=text)
    if row:
        tx.execute(_one(update(loop), ws, name).values(definition=text))
    else:
        values = {"definition": text, "paused": False, "seen_us": tx.now_us, "created_us": tx.now_us}
        tx.execute(insert(loop).values(project=ws.project, name=name, **values))
    return get_loop(ws, name=name)


@operation("GET /loops/{name}", allows="loop.read")
def get_loop(ws: Workspace, *, name: str) -> LoopInfo:
    """One loop."""
    row = ws.tx.first(select(loop).where(loop.c.project == ws.project, loop.c.name == name))
    if row is None:
        known = [one.name for one in ws.tx.all(select(loop.c.name).where(loop.c.project == ws.project))]
        raise NotFound(f'No loop "{name}" in project "{ws.project}".{nearest(name, known)} See: trine loop ls')
    return _loop(row)


@operation("GET /loops", allows="loop.read")
def list_loops(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[LoopInfo]:
    """Loops by name."""
    query = select(loop).where(loop.c.project == ws.project).order_by(loop.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(loop.c.name > start)
    return page_of([_loop(row) for row in ws.tx.all(query)], limit, lambda one: one.name)


@operation("PATCH /loops/{name}", allows="loop.run")
def pause_loop(ws: Workspace, *, name: str, paused: bool = True) -> LoopInfo:
    """Stop a loop from starting cycles, or let it go on; triggers that come meanwhile are not lost."""
    found = get_loop(ws, name=name)
    ws.tx.execute(_one(update(loop), ws, name).values(paused=paused))
    ws.tx.touch(f"loop:{name}", before=found.paused, after=paused)
    return get_loop(ws, name=name)


@operation("POST /loops/{name}/cycles", allows="loop.run")
def start_cycle(ws: Workspace, *, name: str, trigger: Fired, seen_us: int = 0) -> Cycle:
    """Start a cycle; a loop has one open cycle at a time."""
    tx = ws.tx
    get_loop(ws, name=name)
    query = select(loop_cycle.c.id).where(
        loop_cycle.c.project == ws.project, loop_cycle.c.loop == name, loop_cycle.c.state != "done"
    )
    if opened := tx.scalar(query):
        raise Conflict(f'Loop "{name}" has the open cycle {opened}; it has to end before another starts.')
    identity = new_id()
    tx.execute(
        insert(loop_cycle).values(
            project=ws.project,
            id=identity,
            loop=name,
            state="triggered",
            epoch=0,
            trigger=canonical_json(trigger).decode(),
            facts=canonical_json(Facts()).decode(),
            outcome="",
            reason="",
            created_us=tx.now_us,
            updated_us=tx.now_us,
        )
    )
    if seen_us:
        tx.execute(_one(update(loop), ws, name).values(seen_us=seen_us))
    tx.touch(f"cycle:{identity}", after="triggered")
    tx.note(loop=name, trigger=msgspec.to_builtins(trigger))
    if trigger.subject:
        tx.link(trigger.subject, "triggered", f"cycle:{identity}")
    return get_cycle(ws, id=identity)


@operation("PUT /loops/{name}/seen", allows="loop.run")
def mark_seen(ws: Workspace, *, name: str, seen_us: int) -> Done:
    """Say that schedules were judged up to a time."""
    ws.tx.execute(_one(update(loop), ws, name).values(seen_us=seen_us))
    ws.tx.touch(f"loop:{name}", after=seen_us)
    return Done(name)


@operation("POST /cycles/{id}/move", allows="loop.run")
def move_cycle(
    ws: Workspace, *, id: str, epoch: int, state: State, facts: Facts, outcome: Outcome = "", reason: str = ""
) -> Cycle:
    """Move a cycle on. `epoch` is the one it was read with: of two movers one wins, the other gets Conflict."""
    tx = ws.tx
    found = get_cycle(ws, id=id)
    moved = tx.execute(
        update(loop_cycle)
        .where(loop_cycle.c.project == ws.project, loop_cycle.c.id == id, loop_cycle.c.epoch == epoch)
        .values(
            state=state,
            epoch=epoch + 1,
            facts=canonical_json(facts).decode(),
            outcome=outcome,
            reason=reason,
            updated_us=tx.now_us,
        )
    )
    if not moved.rowcount:
        raise Conflict(f"Cycle {id} has moved on to {found.state} (epoch {found.epoch}, not {epoch}).")
    tx.touch(f"cycle:{id}", before=found.state, after=state)
    tx.note(loop=found.loop, state=state, outcome=outcome, reason=reason, facts=msgspec.to_builtins(facts))
    if facts.pipeline_run and not found.facts.pipeline_run:
        tx.link(f"cycle:{id}", "triggered", f"pipeline_run:{facts.pipeline_run}")
    if facts.candidate and not found.facts.candidate:
        tx.link(f"cycle:{id}", "produced", f"model:{facts.candidate}")
    return get_cycle(ws, id=id)


@operation("GET /cycles/{id}", allows="loop.read")
def get_cycle(ws: Workspace, *, id: str) -> Cycle:
    """One cycle."""
    row = ws.tx.first(select(loop_cycle).where(loop_cycle.c.project == ws.project, loop_cycle.c.id == id))
    if row is None:
        raise NotFound(f'No cycle "{id}" in project "{ws.project}". See: trine loop cycles NAME')
    return _cycle(row)


@operation("GET /loops/{name}/cycles", allows="loop.read")
def list_cycles(
    ws: Workspace, *, name: str, open_only: bool = False, limit: Limit = 100, page: str = ""
) -> Page[Cycle]:
    """A loop's cycles, newest first."""
    get_loop(ws, name=name)
    query = (
        select(loop_cycle)
        .where(loop_cycle.c.project == ws.project, loop_cycle.c.loop == name)
        .order_by(loop_cycle.c.id.desc())
        .limit(limit + 1)
    )
    if open_only:
        query = query.where(loop_cycle.c.state != "done")
    if start := page_start(page, fields=str):
        query = query.where(loop_cycle.c.id < start)
    return page_of([_cycle(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


def _one(statement: Any, ws: Workspace, name: str) -> Any:
    return statement.where(loop.c.project == ws.project, loop.c.name == name)


def _loop(row: Any) -> LoopInfo:
    return LoopInfo(
        row.name, msgspec.json.decode(row.definition, type=Definition), row.paused, row.seen_us, row.created_us
    )


def _cycle(row: Any) -> Cycle:
    return Cycle(
        row.id,
        row.loop,
        row.state,
        row.epoch,
        msgspec.json.decode(row.trigger, type=Fired),
        msgspec.json.decode(row.facts, type=Facts),
        row.outcome,
        row.reason,
        row.created_us,
        row.updated_us,
    )
