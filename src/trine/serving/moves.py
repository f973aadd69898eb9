"""The door's part on rollouts: they are started, moved and read here."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from trine.errors import Conflict, InvalidInput, NotFound
from trine.ids import canonical_json, new_id
from trine.operations import Limit, Page, operation, page_of, page_start
from trine.serving import tables
from trine.serving.rollouts import Action, Canary, Finding, Move, Rollout, State, steps_of, variants_at
from trine.serving.route_rows import (
    add_route,
    author,
    check_inputs,
    endpoint_row,
    matching,
    pinned,
    restore_route,
    route_of,
    settled,
)
from trine.serving.routing import Variant
from trine.workspace import Workspace


def _present_route_of_rollout(ws: Workspace, *, endpoint: str, **_: Any) -> int:
    return endpoint_row(ws, endpoint).route


@operation("POST /endpoints/{endpoint}/rollouts", allows="serving.deploy", state=_present_route_of_rollout)
def start_rollout(
    ws: Workspace, *, endpoint: str, model: str, canary: Canary = Canary(), reason: str = "", producer: str = ""
) -> Rollout:
    """Begin to move an endpoint to a model version: its first step serves when this returns."""
    steps = steps_of(canary)
    if list(steps) != sorted(set(steps)):
        raise InvalidInput(f"The steps {', '.join(map(str, steps))} of a canary must grow.")
    found = endpoint_row(ws, endpoint)
    if running := running_on(ws, endpoint):
        raise Conflict(
            f'Rollout {running} of endpoint "{endpoint}" is running. Let it end, or: trine rollout abort {running}',
            rollout=running,
        )
    (wanted,) = pinned(ws, (Variant("main", model),))
    baseline = route_of(ws, endpoint, found.route) if found.route else None
    name = "canary"
    while baseline and name in [one.name for one in baseline.variants]:
        name += "_"
    only = baseline is not None and [one.model for one in baseline.live] == [wanted.model]
    done = baseline is None or only
    if baseline and not done:
        check_inputs(ws, baseline, wanted.model)
    step = len(steps) - 1 if done else 0
    identity = new_id()
    now = ws.tx.now_us
    why = "" if not done else "it is served already" if only else "nothing was served before"
    state: State = "promoted" if done or steps[step] == 100 else "running"
    ws.tx.touch(f"rollout:{identity}", before=found.route, after=[wanted.model, state, step])
    if only and baseline:
        served = baseline
    elif baseline:
        variants = variants_at(baseline, wanted.model, name, steps[step])
        served = add_route(
            ws, endpoint, variants, back=settled(baseline), reason=reason, rollout=identity, salt=new_id()
        )
    else:
        served = add_route(ws, endpoint, (wanted,), back=0, reason=reason, rollout=identity)
    ws.tx.execute(
        insert(tables.rollout).values(
            project=ws.project,
            id=identity,
            endpoint=endpoint,
            model=wanted.model,
            canary=canonical_json(canary).decode(),
            baseline_route=baseline.number if baseline else 0,
            route=served.number,
            variant=name,
            state=state,
            step=step,
            epoch=0,
            step_us=now,
            reason=why or reason,
            author=author(ws),
            created_us=now,
            updated_us=now,
        )
    )
    _keep_move(ws, identity, 0, state, step, served.number, why or reason or "started", [])
    node = f"rollout:{identity}"
    ws.tx.link(node, "used", f"model:{wanted.model}")
    if not only:
        ws.tx.link(node, "produced", served.node)
    if producer:
        ws.tx.link(producer, "produced", node)
    ws.tx.note(endpoint=endpoint, model=wanted.model, state=state, step=step, share=steps[step], route=served.number)
    return get_rollout(ws, id=identity)


@operation("POST /rollouts/{id}/moves", allows="serving.deploy")
def move_rollout(
    ws: Workspace,
    *,
    id: str,
    epoch: int,
    action: Action,
    reason: str = "",
    findings: list[Finding] = [],  # noqa: B006 (copied by the door)
) -> Rollout:
    """Move a rollout on, back, or end it. `epoch` is the one it was read with: of two movers one wins, the other gets
    Conflict. The route of the next step, or the one the rollout began from, serves when this returns."""
    one = get_rollout(ws, id=id)
    if one.state != "running":
        raise Conflict(f"Rollout {one.id} is over: {one.state.replace('_', ' ')} ({one.reason}).", state=one.state)
    if one.epoch != epoch:
        raise Conflict(f"Rollout {one.id} has moved on to step {one.step + 1} ({one.share} %).", epoch=one.epoch)
    steps = steps_of(one.canary)
    baseline = route_of(ws, one.endpoint, one.baseline_route)
    ws.tx.touch(one.node, before=[one.state, one.step], after=[action, epoch + 1])
    state: State
    if action == "advance":
        step = one.step + 1
        state = "promoted" if step == len(steps) - 1 else "running"
        variants = variants_at(baseline, one.model, one.variant, steps[step])
        salt = route_of(ws, one.endpoint, one.route).salt
        served = add_route(ws, one.endpoint, variants, back=settled(baseline), reason=reason, rollout=one.id, salt=salt)
    else:
        step, state = one.step, "rolled_back" if action == "roll_back" else "aborted"
        served = restore_route(ws, one.endpoint, settled(baseline), reason=reason)
    _move(ws, one, state, step, served.number, reason, findings)
    ws.tx.link(one.node, "produced", served.node)
    ws.tx.note(endpoint=one.endpoint, model=one.model, state=state, step=step, route=served.number, reason=reason)
    return get_rollout(ws, id=one.id)


@operation("GET /rollouts/{id}", allows="serving.read")
def get_rollout(ws: Workspace, *, id: str) -> Rollout:
    """A rollout by its id or the beginning of it, with its moves."""
    table = tables.rollout
    query = select(table).where(*matching(table, ws), table.c.id.startswith(id, autoescape=True)).limit(2)
    rows = ws.tx.all(query) if id else []
    if not rows:
        raise NotFound(f'No rollout "{id}" in project "{ws.project}". See: trine rollout ls')
    if len(rows) > 1:
        raise InvalidInput(f'More than one rollout begins with "{id}": give more of the id.')
    return _to_rollout(ws, rows[0])


@operation("GET /rollouts", allows="serving.read")
def list_rollouts(ws: Workspace, *, endpoint: str = "", limit: Limit = 100, page: str = "") -> Page[Rollout]:
    """Rollouts, newest first; of one endpoint with its name."""
    table = tables.rollout
    query = select(table).where(*matching(table, ws)).order_by(table.c.id.desc()).limit(limit + 1)
    if endpoint:
        endpoint_row(ws, endpoint, deleted=True)
        query = query.where(table.c.endpoint == endpoint)
    if start := page_start(page, fields=str):
        query = query.where(table.c.id < start)
    found = page_of(ws.tx.all(query), limit, lambda row: row.id)
    return Page([_to_rollout(ws, row) for row in found.items], found.next)


def running_on(ws: Workspace, endpoint: str) -> str:
    table = tables.rollout
    return ws.tx.scalar(select(table.c.id).where(*matching(table, ws, endpoint=endpoint, state="running"))) or ""


def end_running(ws: Workspace, endpoint: str, reason: str, *, state: State = "aborted") -> None:
    """End the rollout that runs on an endpoint, without touching its route: the caller sets another."""
    if running := running_on(ws, endpoint):
        one = get_rollout(ws, id=running)
        _move(ws, one, state, one.step, one.route, reason, [])
        ws.tx.note(rollout=one.id, rollout_state=state)


def _move(
    ws: Workspace, one: Rollout, state: State, step: int, route: int, reason: str, findings: list[Finding]
) -> None:
    now = ws.tx.now_us
    ws.tx.execute(
        update(tables.rollout)
        .where(*matching(tables.rollout, ws, id=one.id))
        .values(state=state, step=step, route=route, epoch=one.epoch + 1, step_us=now, updated_us=now, reason=reason)
    )
    _keep_move(ws, one.id, one.epoch + 1, state, step, route, reason, findings)


def _keep_move(
    ws: Workspace, rollout: str, epoch: int, state: State, step: int, route: int, reason: str, findings: list[Finding]
) -> None:
    ws.tx.execute(
        insert(tables.rollout_move).values(
            project=ws.project,
            rollout=rollout,
            epoch=epoch,
            state=state,
            step=step,
            route=route,
            reason=reason,
            findings=canonical_json(findings).decode(),
            time_us=ws.tx.now_us,
        )
    )


def _to_rollout(ws: Workspace, row: Any) -> Rollout:
    table = tables.rollout_move
    moves = ws.tx.all(select(table).where(*matching(table, ws, rollout=row.id)).order_by(table.c.epoch))
    canary = msgspec.json.decode(row.canary, type=Canary)
    taken = {"canary", "share", "moves"}
    state: State = row.state
    share = steps_of(canary)[row.step] if state in ("running", "promoted") else 0
    return Rollout(
        canary=canary,
        share=share,
        moves=[
            Move(
                state=one.state,
                step=one.step,
                route=one.route,
                reason=one.reason,
                findings=msgspec.json.decode(one.findings, type=list[Finding]),
                time_us=one.time_us,
            )
            for one in moves
        ],
        **{name: getattr(row, name) for name in Rollout.__struct_fields__ if name not in taken},
    )
