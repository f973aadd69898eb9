"""An endpoint's row and its routes' rows, as the operations of this room read and write them inside a transaction."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update

from trine.errors import Conflict, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.serving import tables
from trine.serving.routing import EndpointInfo, Route, Variant, checked
from trine.workspace import Workspace


def matching(table: Any, ws: Workspace, **equals: Any) -> list[Any]:
    return [table.c.project == ws.project, *(table.c[name] == value for name, value in equals.items())]


def author(ws: Workspace) -> str:
    return ws.on_behalf_of or ws.principal.name


def endpoint_row(ws: Workspace, name: str, *, deleted: bool = False) -> Any:
    table = tables.endpoint
    row = ws.tx.first(select(table).where(*matching(table, ws, name=name)))
    if row is None or (row.deleted_us is not None and not deleted):
        query = select(table.c.name).where(*matching(table, ws), table.c.deleted_us.is_(None))
        known = [one.name for one in ws.tx.all(query)]
        raise NotFound(f'No endpoint "{name}" in project "{ws.project}".{nearest(name, known)} See: trine endpoints ls')
    return row


def info_of(ws: Workspace, row: Any) -> EndpointInfo:
    return EndpointInfo(
        name=row.name,
        key=row.key,
        description=row.description,
        author=row.author,
        created_us=row.created_us,
        route=route_of(ws, row.name, row.route) if row.route else None,
    )


def route_of(ws: Workspace, name: str, number: int) -> Route:
    row = ws.tx.first(select(tables.route).where(*matching(tables.route, ws, endpoint=name, number=number)))
    if row is None:
        endpoint_row(ws, name, deleted=True)
        raise NotFound(f'Endpoint "{name}" has no route {number}. See: trine endpoints routes {name}')
    return to_route(row)


def to_route(row: Any) -> Route:
    values = {name: getattr(row, name) for name in Route.__struct_fields__ if name != "variants"}
    return Route(variants=msgspec.json.decode(row.variants, type=tuple[Variant, ...]), **values)


def settled(one: Route) -> int:
    """The route itself, or for a step of a rollout that did not reach all of the traffic, what that began from."""
    unfinished = one.rollout and len(one.live) > 1
    return one.back if unfinished else one.restores or one.number


def add_route(
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
    last = ws.tx.scalar(select(func.max(table.c.number)).where(*matching(table, ws, endpoint=name))) or 0
    serving = ws.tx.scalar(select(tables.endpoint.c.route).where(*matching(tables.endpoint, ws, name=name)))
    if not salt:
        salt = route_of(ws, name, serving).salt if serving else new_id()
    one = Route(
        endpoint=name,
        number=last + 1,
        variants=pinned(ws, checked(variants)),
        salt=salt,
        back=back,
        restores=restores,
        rollout=rollout,
        reason=reason,
        author=author(ws),
        created_us=ws.tx.now_us,
    )
    values = msgspec.structs.asdict(one) | {"variants": canonical_json(one.variants).decode(), "project": ws.project}
    ws.tx.execute(insert(table).values(values))
    ws.tx.execute(update(tables.endpoint).where(*matching(tables.endpoint, ws, name=name)).values(route=one.number))
    for variant in one.variants:
        ws.tx.link(one.node, "deployed", f"model:{variant.model}")
    ws.tx.link(f"endpoint:{name}", "deployed", one.node)
    if producer:
        ws.tx.link(producer, "produced", one.node)
    ws.tx.touch(one.node, before=serving or None, after=one)
    ws.tx.note(endpoint=name, route=one.number, models=[variant.model for variant in one.variants], why=reason)
    return one


def restore_route(ws: Workspace, name: str, number: int, *, reason: str, producer: str = "") -> Route:
    old = route_of(ws, name, number)
    return add_route(
        ws, name, old.variants, back=old.back, reason=reason, salt=old.salt, restores=number, producer=producer
    )


def pinned(ws: Workspace, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants with each model as name@version; raises NotFound for a model that is not there."""
    from trine import models

    return tuple(msgspec.structs.replace(one, model=models.resolve(one.model, ws=ws).ref) for one in variants)


def check_inputs(ws: Workspace, baseline: Route, model: str) -> None:
    """Refuse a candidate that needs what callers of the baseline do not send: its share of them would only get errors."""
    from trine import models

    known = {field.name for one in baseline.live for field in models.resolve(one.model, ws=ws).signature.inputs}
    needs = [field.name for field in models.resolve(model, ws=ws).signature.inputs if field.required]
    if missing := [name for name in needs if name not in known]:
        raise Conflict(
            f"{model} needs {', '.join(missing)}, which {baseline.live[0].model} does not take, so callers of "
            f'"{baseline.endpoint}" do not send it. Deploy it to an endpoint of its own, or make the input optional.'
        )
