"""Feature views and services: what they compute, from what, how fresh they are, who uses them."""

from __future__ import annotations

from starlette.responses import Response

from trine.access.graph import lineage
from trine.errors import InvalidInput, NotFound
from trine.features import operations as door
from trine.server.ui.pages import Asked, page
from trine.workspace import Workspace


@page("/features")
def features(asked: Asked) -> Response:
    """Feature views and services."""
    return asked.show(
        "features.html",
        views=door.list_views(asked.ws, limit=200).items,
        services=door.list_services(asked.ws, limit=200).items,
        entities=door.list_entities(asked.ws, limit=200).items,
        freshness={one.view: one for one in door.freshness(asked.ws)},
    )


@page("/features/views/{name}/{version}")
def view(asked: Asked) -> Response:
    """One version of a view."""
    found = door.get_view(asked.ws, name=asked.path["name"], version=_whole(asked.path["version"]))
    fresh = next((one for one in door.freshness(asked.ws, view=found.name) if one.version == found.version), None)
    node = f"feature_view:{found.name}@{found.version}"
    return asked.show("view.html", view=found, fresh=fresh, node=node, used=_used(asked.ws, node))


@page("/features/services/{name}/{version}")
def service(asked: Asked) -> Response:
    """One version of a service."""
    found = door.get_service(asked.ws, name=asked.path["name"], version=_whole(asked.path["version"]))
    node = f"feature_service:{found.name}@{found.version}"
    return asked.show("service.html", service=found, node=node, used=_used(asked.ws, node))


def _used(ws: Workspace, node: str) -> list[str]:
    try:
        return [one for one in lineage(ws, node=node, direction="down", depth=1).nodes if one != node][:100]
    except NotFound:
        return []


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidInput(f'"{text[:40]}" is no number of a version.')
    return int(text)
