"""Applying definitions, and finding them again by name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from trine.errors import InvalidInput
from trine.features import operations
from trine.features.columns import check_source
from trine.features.definitions import FeatureService, FeatureView
from trine.features.operations import Freshness, Registered
from trine.features.sources import open_source
from trine.ids import canonical_json, digest, to_us
from trine.workspace import Workspace, current_workspace


def apply(*definitions: FeatureView | FeatureService, ws: Workspace | None = None) -> list[Registered]:
    """Register views and services (with the entities and views in them); gives the version of each.

    Applying what is registered already changes nothing. A view is checked against its dataset: columns and their types.
    """
    ws = ws or current_workspace()
    views: dict[str, FeatureView] = {}
    services = [each for each in definitions if isinstance(each, FeatureService)]
    given = [each for each in definitions if isinstance(each, FeatureView)]
    for view in [*given, *(view for service in services for view in service.views)]:
        if views.setdefault(view.name, view).hash != view.hash:
            raise InvalidInput(f'Feature view "{view.name}" is given in two definitions. Give one.')
    if not views:
        raise InvalidInput("There is nothing to apply. Give feature views or services.")
    if known := _known(list(views.values()), services, ws):
        return known
    sources: dict[str, str] = {}
    for view in views.values():
        source = open_source(view.source, ws)
        check_source(view, source.frame.collect_schema())
        sources[view.name] = source.node
    return operations.register_definitions(ws, views=list(views.values()), services=services, sources=sources)


def _known(views: list[FeatureView], services: list[FeatureService], ws: Workspace) -> list[Registered] | None:
    """Their versions when every one is registered word for word."""
    wanted = {each.hash: digest(canonical_json(each)) for each in (*views, *services)}
    found = operations.find_definitions(ws, hashes=list(wanted))
    same = {each.hash: each for each in found if wanted[each.hash] == each.spec}
    return [same[hash] for hash in wanted] if len(same) == len(wanted) else None


def view_of(view: FeatureView | str, ws: Workspace) -> FeatureView:
    """A view from itself, or by `name` (its newest version) or `name@version`."""
    if isinstance(view, FeatureView):
        return view
    name, version = reference(view, "feature view")
    return operations.get_view(ws, name=name, version=version).definition


def service_of(service: FeatureService | FeatureView | str, ws: Workspace) -> FeatureService:
    """A service from itself, from one view, or by `name` (its newest version) or `name@version`."""
    if isinstance(service, FeatureService):
        return service
    if isinstance(service, FeatureView):
        return FeatureService(service.name, [service])
    name, version = reference(service, "feature service")
    return operations.get_service(ws, name=name, version=version).definition


def freshness(view: str = "", *, as_of: dt.datetime | None = None, ws: Workspace | None = None) -> list[Freshness]:
    """How old the newest rows of a feature view, or of every one, are, in its dataset and online; by the clock, or at `as_of`."""
    return operations.freshness(ws or current_workspace(), view=view, as_of_us=to_us(as_of) if as_of else 0)


def reference(text: str, what: str) -> tuple[str, int]:
    """`name` or `name@version` as (name, version), 0 for the newest."""
    name, at, version = text.partition("@")
    if at and not (version.isdigit() and int(version)):
        raise InvalidInput(f'"{text}" names no {what}: write its name, or name@version with a whole number.')
    return name, int(version) if at else 0


def nodes(registered: Iterable[Registered], kind: str) -> list[str]:
    """The lineage nodes of one kind of definition."""
    return [each.node for each in registered if each.kind == kind]
