"""The door's part on endpoints and their routes. `moves` has the rollouts', `parts` the prediction log's and the labels'."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from trine.errors import Conflict
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.serving import tables
from trine.serving.moves import end_running
from trine.serving.route_rows import (
    add_route,
    author,
    endpoint_row,
    info_of,
    matching,
    pinned,
    restore_route,
    route_of,
    settled,
    to_route,
)
from trine.serving.routing import EndpointInfo, Route, Variant, checked
from trine.workspace import Workspace


@operation("POST /endpoints", allows="serving.deploy")
def create_endpoint(
    ws: Workspace, *, name: Name, model: str = "", key: str = "", description: str = "", producer: str = ""
) -> EndpointInfo:
    """Make a served name. `model` (name, name@version or name@alias) becomes its first route; without one, deploy later.

    `key` names the column that keeps a caller on one variant. Raises Conflict when the endpoint is there.
    """
    tx = ws.tx
    old = tx.first(select(tables.endpoint).where(*matching(tables.endpoint, ws, name=name)))
    if old is not None and old.deleted_us is None:
        raise Conflict(f'There is an endpoint "{name}" already. Give it another model: trine endpoints deploy {name} …')
    values = {
        "key": key,
        "description": description,
        "author": author(ws),
        "created_us": tx.now_us,
        "deleted_us": None,
    }
    if old is None:
        tx.execute(insert(tables.endpoint).values(project=ws.project, name=name, route=0, **values))
    else:  # made again: its route numbers go on, so that a route's node means one thing for good
        tx.execute(update(tables.endpoint).where(*matching(tables.endpoint, ws, name=name)).values(route=0, **values))
    tx.touch(f"endpoint:{name}", after=[name, key])
    if model:
        add_route(ws, name, (Variant("main", model),), back=0, producer=producer)
    return get_endpoint(ws, name=name)


@operation("GET /endpoints", allows="serving.read")
def list_endpoints(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[EndpointInfo]:
    """Endpoints by name, with the route that serves now."""
    table = tables.endpoint
    query = (
        select(table).where(*matching(table, ws), table.c.deleted_us.is_(None)).order_by(table.c.name).limit(limit + 1)
    )
    if start := page_start(page, fields=str):
        query = query.where(table.c.name > start)
    found = page_of(ws.tx.all(query), limit, lambda row: row.name)
    return Page([info_of(ws, row) for row in found.items], found.next)


@operation("GET /endpoints/{name}", allows="serving.read")
def get_endpoint(ws: Workspace, *, name: str) -> EndpointInfo:
    """One endpoint with the route that serves now."""
    return info_of(ws, endpoint_row(ws, name))


@operation("DELETE /endpoints/{name}", allows="serving.delete")
def delete_endpoint(ws: Workspace, *, name: str) -> Done:
    """Stop serving a name. What it predicted stays in the log and can be traced; a rollout that runs is aborted."""
    found = endpoint_row(ws, name)
    end_running(ws, name, "the endpoint was deleted")
    ws.tx.execute(
        update(tables.endpoint)
        .where(*matching(tables.endpoint, ws, name=name))
        .values(deleted_us=ws.tx.now_us, route=0)
    )
    ws.tx.touch(f"endpoint:{name}", before=[name, found.route])
    return Done(f"endpoint:{name}")


def _present_route(ws: Workspace, *, name: str, **_: Any) -> int:
    """What an approval of a new route is bound to: the route that serves now."""
    return endpoint_row(ws, name).route


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
    found = endpoint_row(ws, name)
    if expect is not None and expect != found.route:
        raise Conflict(f'Endpoint "{name}" serves route {found.route}, not {expect}: it has moved.', now=found.route)
    wanted = pinned(ws, checked(tuple(variants)))
    now = route_of(ws, name, found.route) if found.route else None
    if now and now.variants == wanted and salt in ("", now.salt) and not now.rollout:
        ws.tx.touch(now.node)
        return now
    end_running(ws, name, "another route was deployed")
    return add_route(ws, name, wanted, back=settled(now) if now else 0, reason=reason, salt=salt, producer=producer)


@operation("GET /endpoints/{name}/routes", allows="serving.read")
def list_routes(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[Route]:
    """An endpoint's routes, newest first."""
    endpoint_row(ws, name, deleted=True)
    table = tables.route
    query = select(table).where(*matching(table, ws, endpoint=name)).order_by(table.c.number.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(table.c.number < start)
    return page_of([to_route(row) for row in ws.tx.all(query)], limit, lambda one: one.number)


@operation("GET /endpoints/{name}/routes/{number}", allows="serving.read")
def get_route(ws: Workspace, *, name: str, number: int) -> Route:
    """One route of an endpoint; those of deleted endpoints can still be read."""
    return route_of(ws, name, number)


@operation("POST /endpoints/{name}/rollback", allows="serving.deploy", state=_present_route)
def roll_back(ws: Workspace, *, name: str, reason: str = "", producer: str = "") -> Route:
    """Serve again what was served before: a new route with the variants of the earlier one.

    Before a rollout's steps, that is what the rollout began from; a rollout that runs ends as rolled back.
    Rolling back again goes one further. Raises Conflict when there is nothing before.
    """
    found = endpoint_row(ws, name)
    now = route_of(ws, name, found.route) if found.route else None
    if now is None or not now.back:
        raise Conflict(f'Endpoint "{name}" has no earlier route to go back to.')
    end_running(ws, name, reason or "rolled back by hand", state="rolled_back")
    return restore_route(ws, name, now.back, reason=reason, producer=producer)


@operation("GET /live-routes", allows="serving.read")
def live_routes(ws: Workspace, *, names: list[str]) -> dict[str, int]:
    """The number of the route that serves now, by endpoint (0: none yet); endpoints that are not there are left out.

    One indexed query: what a server asks several times a second.
    """
    table = tables.endpoint
    query = select(table.c.name, table.c.route).where(
        *matching(table, ws), table.c.name.in_(names), table.c.deleted_us.is_(None)
    )
    return {row.name: row.route for row in ws.tx.all(query)}


@operation("PUT /endpoints/{name}/routes/{number}/problem", allows="serving.write")
def report_problem(ws: Workspace, *, name: str, number: int, problem: str) -> Done:
    """Say that a server could not take up a route; a rollout at that route rolls back."""
    one = route_of(ws, name, number)
    ws.tx.execute(
        update(tables.route)
        .where(*matching(tables.route, ws, endpoint=name, number=number))
        .values(problem=problem[:2_000])
    )
    ws.tx.touch(one.node, before=one.problem or None, after=problem)
    ws.tx.note(endpoint=name, problem=problem[:2_000])
    return Done(one.node)


@operation("GET /serving/caller", allows="serving.write")
def may_predict(ws: Workspace) -> Done:
    """Whether the principal may ask an endpoint for predictions: they are recorded, so it needs `serving.write`."""
    return Done(ws.principal.name, changed=False)
