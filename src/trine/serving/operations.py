"""The door's part on serving: endpoints, routes, rollouts, the parts of the prediction log, labels."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.serving import tables
from trine.serving.merging import merge_small_parts
from trine.serving.parts import LabelPart, LogPart
from trine.serving.rollouts import Action, Canary, Finding, Move, Rollout, State, steps_of, variants_at
from trine.serving.routing import EndpointInfo, Route, Variant, checked
from trine.workspace import Workspace

# -- endpoints ------------------------------------------------------------------------------------------------------


@operation("POST /endpoints", allows="serving.deploy")
def create_endpoint(
    ws: Workspace, *, name: Name, model: str = "", key: str = "", description: str = "", producer: str = ""
) -> EndpointInfo:
    """Make a served name. `model` (name, name@version or name@alias) becomes its first route; without one, deploy later.

    `key` names the column that keeps a caller on one variant. Raises Conflict when the endpoint is there.
    """
    tx = ws.tx
    old = tx.first(select(tables.endpoint).where(*_is(tables.endpoint, ws, name=name)))
    if old is not None and old.deleted_us is None:
        raise Conflict(f'There is an endpoint "{name}" already. Give it another model: trine endpoints deploy {name} …')
    values = {
        "key": key,
        "description": description,
        "author": _author(ws),
        "created_us": tx.now_us,
        "deleted_us": None,
    }
    if old is None:
        tx.execute(insert(tables.endpoint).values(project=ws.project, name=name, route=0, **values))
    else:  # made again: its route numbers go on, so that a route's node means one thing for good
        tx.execute(update(tables.endpoint).where(*_is(tables.endpoint, ws, name=name)).values(route=0, **values))
    tx.touch(f"endpoint:{name}", after=[name, key])
    if model:
        _add_route(ws, name, (Variant("main", model),), back=0, producer=producer)
    return get_endpoint(ws, name=name)


@operation("GET /endpoints", allows="serving.read")
def list_endpoints(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[EndpointInfo]:
    """Endpoints by name, with the route that serves now."""
    table = tables.endpoint
    query = select(table).where(*_is(table, ws), table.c.deleted_us.is_(None)).order_by(table.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(table.c.name > start)
    found = page_of(ws.tx.all(query), limit, lambda row: row.name)
    return Page([_info(ws, row) for row in found.items], found.next)


@operation("GET /endpoints/{name}", allows="serving.read")
def get_endpoint(ws: Workspace, *, name: str) -> EndpointInfo:
    """One endpoint with the route that serves now."""
    return _info(ws, _endpoint(ws, name))


@operation("DELETE /endpoints/{name}", allows="serving.delete")
def delete_endpoint(ws: Workspace, *, name: str) -> Done:
    """Stop serving a name. What it predicted stays in the log and can be traced; a rollout that runs is aborted."""
    found = _endpoint(ws, name)
    _end_running(ws, name, "the endpoint was deleted")
    ws.tx.execute(
        update(tables.endpoint).where(*_is(tables.endpoint, ws, name=name)).values(deleted_us=ws.tx.now_us, route=0)
    )
    ws.tx.touch(f"endpoint:{name}", before=[name, found.route])
    return Done(f"endpoint:{name}")


# -- routes ---------------------------------------------------------------------------------------------------------


def _present_route(ws: Workspace, *, name: str, **_: Any) -> int:
    """What an approval of a new route is bound to: the route that serves now."""
    return _endpoint(ws, name).route


@operation("POST /endpoints/{name}/routes", allows="serving.deploy", state=_present_route)
def set_route(
    ws: Workspace,
    *,
    name: str,
    variants: list[Variant],
    reason: str = "",
    salt: str = "",
    expect: int | None = None,
    producer: str = "",
) -> Route:
    """Give an endpoint its next route; servers take it up without dropping a request.

    Models given by alias are pinned to the version they mean now. The salt of the present route is kept unless another
    is given, so keys stay where they are. With `expect`, only while that route number serves. A rollout that runs is
    aborted: a fix can always be deployed. The same variants again change nothing.
    """
    found = _endpoint(ws, name)
    if expect is not None and expect != found.route:
        raise Conflict(f'Endpoint "{name}" serves route {found.route}, not {expect}: it has moved.', now=found.route)
    wanted = _pinned(ws, checked(tuple(variants)))
    now = _route(ws, name, found.route) if found.route else None
    if now and now.variants == wanted and salt in ("", now.salt) and not now.rollout:
        ws.tx.touch(now.node)
        return now
    _end_running(ws, name, "another route was deployed")
    return _add_route(ws, name, wanted, back=_back_from(now), reason=reason, salt=salt, producer=producer)


@operation("GET /endpoints/{name}/routes", allows="serving.read")
def list_routes(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[Route]:
    """An endpoint's routes, newest first."""
    _endpoint(ws, name, deleted=True)
    table = tables.route
    query = select(table).where(*_is(table, ws, endpoint=name)).order_by(table.c.number.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(table.c.number < start)
    return page_of([_to_route(row) for row in ws.tx.all(query)], limit, lambda one: one.number)


@operation("GET /endpoints/{name}/routes/{number}", allows="serving.read")
def get_route(ws: Workspace, *, name: str, number: int) -> Route:
    """One route of an endpoint; those of deleted endpoints can still be read."""
    return _route(ws, name, number)


@operation("POST /endpoints/{name}/rollback", allows="serving.deploy", state=_present_route)
def roll_back(ws: Workspace, *, name: str, reason: str = "", producer: str = "") -> Route:
    """Serve again what was served before: a new route with the variants of the earlier one.

    Before a rollout's steps, that is what the rollout began from; a rollout that runs ends as rolled back.
    Rolling back again goes one further. Raises Conflict when there is nothing before.
    """
    found = _endpoint(ws, name)
    now = _route(ws, name, found.route) if found.route else None
    if now is None or not now.back:
        raise Conflict(f'Endpoint "{name}" has no earlier route to go back to.')
    _end_running(ws, name, reason or "rolled back by hand", state="rolled_back")
    return _restore(ws, name, now.back, reason=reason, producer=producer)


@operation("GET /live-routes", allows="serving.read")
def live_routes(ws: Workspace, *, names: list[str]) -> dict[str, int]:
    """The number of the route that serves now, by endpoint (0: none yet); endpoints that are not there are left out.

    One indexed query: what a server asks several times a second.
    """
    table = tables.endpoint
    query = select(table.c.name, table.c.route).where(
        *_is(table, ws), table.c.name.in_(names), table.c.deleted_us.is_(None)
    )
    return {row.name: row.route for row in ws.tx.all(query)}


@operation("PUT /endpoints/{name}/routes/{number}/problem", allows="serving.write")
def report_problem(ws: Workspace, *, name: str, number: int, problem: str) -> Done:
    """Say that a server could not take up a route; a rollout at that route rolls back."""
    one = _route(ws, name, number)
    ws.tx.execute(
        update(tables.route).where(*_is(tables.route, ws, endpoint=name, number=number)).values(problem=problem[:2_000])
    )
    ws.tx.touch(one.node, before=one.problem or None, after=problem)
    ws.tx.note(endpoint=name, problem=problem[:2_000])
    return Done(one.node)


@operation("GET /serving/caller", allows="serving.write")
def may_predict(ws: Workspace) -> Done:
    """Whether the principal may ask an endpoint for predictions: they are recorded, so it needs `serving.write`."""
    return Done(ws.principal.name, changed=False)


# -- rollouts -------------------------------------------------------------------------------------------------------


def _present_route_of_rollout(ws: Workspace, *, endpoint: str, **_: Any) -> int:
    return _endpoint(ws, endpoint).route


@operation("POST /endpoints/{endpoint}/rollouts", allows="serving.deploy", state=_present_route_of_rollout)
def start_rollout(
    ws: Workspace, *, endpoint: str, model: str, canary: Canary = Canary(), reason: str = "", producer: str = ""
) -> Rollout:
    """Begin to move an endpoint to a model version: its first step serves when this returns."""
    steps = steps_of(canary)
    if list(steps) != sorted(set(steps)):
        raise InvalidInput(f"The steps {', '.join(map(str, steps))} of a canary must grow.")
    found = _endpoint(ws, endpoint)
    if running := _running(ws, endpoint):
        raise Conflict(
            f'Rollout {running} of endpoint "{endpoint}" is running. Let it end, or: trine rollout abort {running}',
            rollout=running,
        )
    (wanted,) = _pinned(ws, (Variant("main", model),))
    baseline = _route(ws, endpoint, found.route) if found.route else None
    name = "canary"
    while baseline and name in [one.name for one in baseline.variants]:
        name += "_"
    only = baseline is not None and [one.model for one in baseline.live] == [wanted.model]
    done = baseline is None or only
    if baseline and not done:
        _check_inputs(ws, baseline, wanted.model)
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
        served = _add_route(
            ws, endpoint, variants, back=_settled(baseline), reason=reason, rollout=identity, salt=new_id()
        )
    else:
        served = _add_route(ws, endpoint, (wanted,), back=0, reason=reason, rollout=identity)
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
            author=_author(ws),
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
    baseline = _route(ws, one.endpoint, one.baseline_route)
    ws.tx.touch(one.node, before=[one.state, one.step], after=[action, epoch + 1])
    state: State
    if action == "advance":
        step = one.step + 1
        state = "promoted" if step == len(steps) - 1 else "running"
        variants = variants_at(baseline, one.model, one.variant, steps[step])
        salt = _route(ws, one.endpoint, one.route).salt
        served = _add_route(
            ws, one.endpoint, variants, back=_settled(baseline), reason=reason, rollout=one.id, salt=salt
        )
    else:
        step, state = one.step, "rolled_back" if action == "roll_back" else "aborted"
        served = _restore(ws, one.endpoint, _settled(baseline), reason=reason)
    _move(ws, one, state, step, served.number, reason, findings)
    ws.tx.link(one.node, "produced", served.node)
    ws.tx.note(endpoint=one.endpoint, model=one.model, state=state, step=step, route=served.number, reason=reason)
    return get_rollout(ws, id=one.id)


@operation("GET /rollouts/{id}", allows="serving.read")
def get_rollout(ws: Workspace, *, id: str) -> Rollout:
    """A rollout by its id or the beginning of it, with its moves."""
    table = tables.rollout
    query = select(table).where(*_is(table, ws), table.c.id.startswith(id, autoescape=True)).limit(2)
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
    query = select(table).where(*_is(table, ws)).order_by(table.c.id.desc()).limit(limit + 1)
    if endpoint:
        _endpoint(ws, endpoint, deleted=True)
        query = query.where(table.c.endpoint == endpoint)
    if start := page_start(page, fields=str):
        query = query.where(table.c.id < start)
    found = page_of(ws.tx.all(query), limit, lambda row: row.id)
    return Page([_to_rollout(ws, row) for row in found.items], found.next)


# -- the prediction log and labels ----------------------------------------------------------------------------------


@operation("POST /endpoints/{endpoint}/log", allows="serving.write")
def register_log_part(
    ws: Workspace,
    *,
    endpoint: str,
    segment: str,
    object: str,
    rows: int,
    size_bytes: int,
    first_id: str,
    last_id: str,
    first_us: int,
    last_us: int,
    lost_bytes: int = 0,
) -> Done:
    """Add a stored part of the prediction log, made from one segment. A segment counts once, however often it comes."""
    _endpoint(ws, endpoint, deleted=True)
    if not ws.store.has([object]):
        raise NotFound(f"Object {object} is not stored: store the part before it is registered.")
    values: dict[str, Any] = {
        "endpoint": endpoint,
        "object": object,
        "rows": rows,
        "size_bytes": size_bytes,
        "first_id": first_id,
        "last_id": last_id,
        "first_us": first_us,
        "last_us": last_us,
        "lost_bytes": lost_bytes,
        "created_us": ws.tx.now_us,
    }
    ws.tx.touch(f"endpoint:{endpoint}", after=[segment, object])
    table = tables.log_part
    if ws.tx.first(select(table.c.rows).where(*_is(table, ws, segment=segment))):
        return Done(segment, changed=False)
    ws.tx.execute(insert(table).values(project=ws.project, segment=segment, **values))
    if merged := merge_small_parts(ws, endpoint):
        ws.tx.note(merged=merged)
    return Done(segment)


@operation("GET /log-parts", allows="serving.read")
def list_log_parts(
    ws: Workspace,
    *,
    endpoint: str = "",
    since_us: int = 0,
    until_us: int | None = None,
    prediction: str = "",
    limit: Limit = 1000,
    page: str = "",
) -> Page[LogPart]:
    """The stored parts of the prediction log that can hold what is asked for, oldest first."""
    table = tables.log_part
    query = select(table).where(*_is(table, ws), table.c.last_us >= since_us)
    if endpoint:
        _endpoint(ws, endpoint, deleted=True)
        query = query.where(table.c.endpoint == endpoint)
    if until_us is not None:
        query = query.where(table.c.first_us < until_us)
    if prediction:
        query = query.where(table.c.first_id <= prediction, table.c.last_id >= prediction)
    if start := page_start(page, fields=str):
        query = query.where(table.c.segment > start)
    rows = ws.tx.all(query.order_by(table.c.segment).limit(limit + 1))
    return page_of([_to_part(row) for row in rows], limit, lambda one: one.segment)


@operation("POST /endpoints/{endpoint}/labels", allows="serving.write")
def register_labels(ws: Workspace, *, endpoint: str, object: str, rows: int, unknown: int = 0) -> LabelPart:
    """Add stored labels of an endpoint's predictions; for an id that had one, the later label wins."""
    _endpoint(ws, endpoint, deleted=True)
    if not ws.store.has([object]):
        raise NotFound(f"Object {object} is not stored: store the labels before they are registered.")
    table = tables.label_part
    last = ws.tx.scalar(select(func.max(table.c.number)).where(*_is(table, ws, endpoint=endpoint))) or 0
    values: dict[str, Any] = {"object": object, "rows": rows, "unknown": unknown, "author": _author(ws)}
    ws.tx.execute(
        insert(table).values(project=ws.project, endpoint=endpoint, number=last + 1, created_us=ws.tx.now_us, **values)
    )
    ws.tx.touch(f"endpoint:{endpoint}", after=[last + 1, object])
    ws.tx.note(endpoint=endpoint, labels=rows, unknown=unknown)
    return LabelPart(endpoint=endpoint, number=last + 1, created_us=ws.tx.now_us, **values)


@operation("GET /endpoints/{endpoint}/labels", allows="serving.read")
def list_label_parts(ws: Workspace, *, endpoint: str, limit: Limit = 1000, page: str = "") -> Page[LabelPart]:
    """The stored labels of an endpoint in the order they came."""
    _endpoint(ws, endpoint, deleted=True)
    table = tables.label_part
    query = select(table).where(*_is(table, ws, endpoint=endpoint)).order_by(table.c.number).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(table.c.number > start)
    fields = LabelPart.__struct_fields__
    rows = [LabelPart(**{name: getattr(row, name) for name in fields}) for row in ws.tx.all(query)]
    return page_of(rows, limit, lambda one: one.number)


# -- inside ---------------------------------------------------------------------------------------------------------


def _is(table: Any, ws: Workspace, **equals: Any) -> list[Any]:
    return [table.c.project == ws.project, *(table.c[name] == value for name, value in equals.items())]


def _author(ws: Workspace) -> str:
    return ws.on_behalf_of or ws.principal.name


def _endpoint(ws: Workspace, name: str, *, deleted: bool = False) -> Any:
    table = tables.endpoint
    row = ws.tx.first(select(table).where(*_is(table, ws, name=name)))
    if row is None or (row.deleted_us is not None and not deleted):
        query = select(table.c.name).where(*_is(table, ws), table.c.deleted_us.is_(None))
        known = [one.name for one in ws.tx.all(query)]
        raise NotFound(f'No endpoint "{name}" in project "{ws.project}".{nearest(name, known)} See: trine endpoints ls')
    return row


def _info(ws: Workspace, row: Any) -> EndpointInfo:
    return EndpointInfo(
        name=row.name,
        key=row.key,
        description=row.description,
        author=row.author,
        created_us=row.created_us,
        route=_route(ws, row.name, row.route) if row.route else None,
    )


def _route(ws: Workspace, name: str, number: int) -> Route:
    row = ws.tx.first(select(tables.route).where(*_is(tables.route, ws, endpoint=name, number=number)))
    if row is None:
        _endpoint(ws, name, deleted=True)
        raise NotFound(f'Endpoint "{name}" has no route {number}. See: trine endpoints routes {name}')
    return _to_route(row)


def _to_route(row: Any) -> Route:
    values = {name: getattr(row, name) for name in Route.__struct_fields__ if name != "variants"}
    return Route(variants=msgspec.json.decode(row.variants, type=tuple[Variant, ...]), **values)


def _back_from(now: Route | None) -> int:
    """Where a rollback of the route after `now` goes."""
    return _settled(now) if now else 0


def _settled(one: Route) -> int:
    """The route itself, or for a step of a rollout that did not reach all of the traffic, what that began from."""
    unfinished = one.rollout and len(one.live) > 1
    return one.back if unfinished else one.restores or one.number


def _add_route(
    ws: Workspace,
    name: str,
    variants: tuple[Variant, ...],
    *,
    back: int,
    reason: str = "",
    salt: str = "",
    rollout: str = "",
    restores: int = 0,
    producer: str = "",
) -> Route:
    """Write the next route and make it the one that serves."""
    table = tables.route
    last = ws.tx.scalar(select(func.max(table.c.number)).where(*_is(table, ws, endpoint=name))) or 0
    serving = ws.tx.scalar(select(tables.endpoint.c.route).where(*_is(tables.endpoint, ws, name=name)))
    if not salt:
        salt = _route(ws, name, serving).salt if serving else new_id()
    one = Route(
        endpoint=name,
        number=last + 1,
        variants=_pinned(ws, checked(variants)),
        salt=salt,
        back=back,
        restores=restores,
        rollout=rollout,
        reason=reason,
        author=_author(ws),
        created_us=ws.tx.now_us,
    )
    values = msgspec.structs.asdict(one) | {"variants": canonical_json(one.variants).decode(), "project": ws.project}
    ws.tx.execute(insert(table).values(values))
    ws.tx.execute(update(tables.endpoint).where(*_is(tables.endpoint, ws, name=name)).values(route=one.number))
    for variant in one.variants:
        ws.tx.link(one.node, "deployed", f"model:{variant.model}")
    ws.tx.link(f"endpoint:{name}", "deployed", one.node)
    if producer:
        ws.tx.link(producer, "produced", one.node)
    ws.tx.touch(one.node, before=serving or None, after=one)
    ws.tx.note(endpoint=name, route=one.number, models=[variant.model for variant in one.variants], why=reason)
    return one


def _restore(ws: Workspace, name: str, number: int, *, reason: str, producer: str = "") -> Route:
    old = _route(ws, name, number)
    return _add_route(
        ws, name, old.variants, back=old.back, reason=reason, salt=old.salt, restores=number, producer=producer
    )


def _pinned(ws: Workspace, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants with each model as name@version; raises NotFound for a model that is not there."""
    from trine import models

    return tuple(msgspec.structs.replace(one, model=models.resolve(one.model, ws=ws).ref) for one in variants)


def _check_inputs(ws: Workspace, baseline: Route, model: str) -> None:
    """Refuse a candidate that needs what callers of the baseline do not send: its share of them would only get errors."""
    from trine import models

    known = {field.name for one in baseline.live for field in models.resolve(one.model, ws=ws).signature.inputs}
    needs = [field.name for field in models.resolve(model, ws=ws).signature.inputs if field.required]
    if missing := [name for name in needs if name not in known]:
        raise Conflict(
            f"{model} needs {', '.join(missing)}, which {baseline.live[0].model} does not take, so callers of "
            f'"{baseline.endpoint}" do not send it. Deploy it to an endpoint of its own, or make the input optional.'
        )


def _running(ws: Workspace, endpoint: str) -> str:
    table = tables.rollout
    return ws.tx.scalar(select(table.c.id).where(*_is(table, ws, endpoint=endpoint, state="running"))) or ""


def _end_running(ws: Workspace, endpoint: str, reason: str, *, state: State = "aborted") -> None:
    """End the rollout that runs on an endpoint, without touching its route: the caller sets another."""
    if running := _running(ws, endpoint):
        one = get_rollout(ws, id=running)
        _move(ws, one, state, one.step, one.route, reason, [])
        ws.tx.note(rollout=one.id, rollout_state=state)


def _move(
    ws: Workspace, one: Rollout, state: State, step: int, route: int, reason: str, findings: list[Finding]
) -> None:
    now = ws.tx.now_us
    ws.tx.execute(
        update(tables.rollout)
        .where(*_is(tables.rollout, ws, id=one.id))
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
    moves = ws.tx.all(select(table).where(*_is(table, ws, rollout=row.id)).order_by(table.c.epoch))
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


def _to_part(row: Any) -> LogPart:
    return LogPart(**{name: getattr(row, name) for name in LogPart.__struct_fields__})
