"""Endpoints from Python: make one, give it a model, split its traffic, go back."""

from __future__ import annotations

from collections.abc import Iterable

from trine.operations import every
from trine.serving import operations
from trine.serving.routing import EndpointInfo, Route, Variant
from trine.types import Done
from trine.workspace import Workspace, active_producer, current_workspace


def create_endpoint(
    name: str, *, model: str = "", key: str = "", description: str = "", ws: Workspace | None = None
) -> EndpointInfo:
    """Make a served name; `model` ("delays@3", "delays@production", "delays") becomes its first route.

    An alias is looked up now and the version is pinned: moving the alias later changes nothing that is served, a
    deploy or a rollout does. `key` names the column that keeps a caller on one variant.
    """
    return operations.create_endpoint(
        ws or current_workspace(), name=name, model=model, key=key, description=description, producer=active_producer()
    )


def get_endpoint(name: str, *, ws: Workspace | None = None) -> EndpointInfo:
    """One endpoint with the route that serves now."""
    return operations.get_endpoint(ws or current_workspace(), name=name)


def list_endpoints(*, ws: Workspace | None = None) -> list[EndpointInfo]:
    """Endpoints by name."""
    return list(every(operations.list_endpoints, ws or current_workspace()))


def delete_endpoint(name: str, *, ws: Workspace | None = None) -> Done:
    """Stop serving a name; its predictions stay in the log."""
    return operations.delete_endpoint(ws or current_workspace(), name=name)


def deploy(endpoint: str, model: str, *, reason: str = "", ws: Workspace | None = None) -> Route:
    """Send all of an endpoint's traffic to a model version: a new route with one variant."""
    return set_route(endpoint, [Variant("main", model)], reason=reason, ws=ws)


def set_route(
    endpoint: str,
    variants: Iterable[Variant],
    *,
    reason: str = "",
    salt: str = "",
    expect: int | None = None,
    ws: Workspace | None = None,
) -> Route:
    """Give an endpoint its next route. Servers follow within a fraction of a second and drop no request.

    Raises Conflict when `expect` is given and another route number serves.
    """
    return operations.set_route(
        ws or current_workspace(),
        name=endpoint,
        variants=list(variants),
        reason=reason,
        salt=salt,
        expect=expect,
        producer=active_producer(),
    )


def rollback(endpoint: str, *, reason: str = "", ws: Workspace | None = None) -> Route:
    """Serve again what was served before the present route (before the rollout, when that was one of its steps)."""
    return operations.roll_back(ws or current_workspace(), name=endpoint, reason=reason, producer=active_producer())


def routes(endpoint: str, *, ws: Workspace | None = None) -> list[Route]:
    """An endpoint's routes, newest first."""
    return list(every(operations.list_routes, ws or current_workspace(), name=endpoint))
