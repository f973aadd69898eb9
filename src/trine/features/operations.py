"""The feature room's part of the door: definitions and their versions, published online rows, freshness."""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Row, bindparam, func, insert, select, update

from trine.errors import InvalidInput, NotFound, Unavailable, nearest
from trine.features.definitions import Entity, FeatureService, FeatureView
from trine.features.durations import duration_us
from trine.features.online_file import Header, Held, OnlineFile, OnlineRow
from trine.features.tables import definition, publication
from trine.ids import canonical_json, digest
from trine.ledger import upsert
from trine.operations import Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

Kind = Literal["entity", "view", "service"]
Definition = TypeVar("Definition", FeatureView, FeatureService)
_NOUNS: dict[str, str] = {"entity": "entity", "view": "feature view", "service": "feature service"}


class Registered(msgspec.Struct, frozen=True):
    """One version of a definition. `spec` is the digest of all that was written, wording included."""

    kind: Kind
    name: str
    version: int
    hash: str
    spec: str

    @property
    def node(self) -> str:
        """Its name in the lineage graph."""
        return f"feature_{self.kind}:{self.name}@{self.version}"


class ViewVersion(msgspec.Struct, frozen=True):
    """One immutable version of a feature view."""

    name: str
    version: int
    hash: str
    definition: FeatureView
    author: str
    created_us: int


class ServiceVersion(msgspec.Struct, frozen=True):
    """One immutable version of a feature service; it holds the definitions of its views as they were."""

    name: str
    version: int
    hash: str
    definition: FeatureService
    author: str
    created_us: int


class EntityVersion(msgspec.Struct, frozen=True):
    """One version of an entity."""

    name: str
    version: int
    definition: Entity
    created_us: int


class Publication(msgspec.Struct, frozen=True):
    """The snapshot that online reads of a view version answer from, and what it was made of."""

    view: str
    version: int
    hash: str
    snapshot: str
    source: str
    rows: int
    newest_us: int | None
    until_us: int
    published_us: int


class Freshness(msgspec.Struct, frozen=True):
    """How old a view's newest row is, in the head of its dataset and online; `allowed` is what its definition promises.

    `state` is stale when either is older than allowed, unknown when nothing is promised or the newest row is not known.
    """

    view: str
    version: int
    state: Literal["fresh", "stale", "unknown"]
    allowed: str
    source: str
    source_newest_us: int | None
    source_age_s: float | None
    online_until_us: int | None
    online_newest_us: int | None
    online_age_s: float | None


class OnlineAnswer(msgspec.Struct, frozen=True):
    """What the online store holds for the keys of one view."""

    view: str
    version: int
    until_us: int
    header: Header
    rows: list[tuple[bytes, bytes]]


# -- definitions ------------------------------------------------------------------------------------------------


@operation("POST /feature-definitions", allows="features.register")
def register_definitions(
    ws: Workspace,
    *,
    views: list[FeatureView] = [],  # noqa: B006
    services: list[FeatureService] = [],  # noqa: B006
    sources: dict[str, str] = {},  # noqa: B006
) -> list[Registered]:
    """Register entities, views and services; a name gets a new version only when what decides its values is new.

    `sources` maps view names to the dataset commits the views were checked against.
    """
    every = {view.name: view for service in services for view in service.views}
    for view in views:
        if every.setdefault(view.name, view).hash != view.hash:
            raise InvalidInput(f'Feature view "{view.name}" is given in two definitions. Give one.')
    entities = {view.entity.name: view.entity for view in every.values()}
    made = [_register(ws, "entity", name, digest(entity), entity) for name, entity in entities.items()]
    for view in every.values():
        made.append(_register(ws, "view", view.name, view.hash, view))
        if view.name in sources:
            ws.tx.link(made[-1].node, "derived", sources[view.name])
    for service in services:
        made.append(_register(ws, "service", service.name, service.hash, service))
        versions = {each.name: each.node for each in made if each.kind == "view"}
        for view in service.views:
            ws.tx.link(made[-1].node, "used", versions[view.name])
    return made


def _register(ws: Workspace, kind: Kind, name: str, hash: str, value: Any) -> Registered:
    tx = ws.tx
    spec = canonical_json(value).decode()
    mine = (definition.c.project == ws.project) & (definition.c.kind == kind) & (definition.c.name == name)
    if known := tx.first(select(definition).where(mine, definition.c.hash == hash)):
        if known.spec != spec:  # other words about the same values
            tx.execute(update(definition).where(mine, definition.c.hash == hash).values(spec=spec))
        return Registered(kind, name, known.version, hash, digest(spec.encode()))
    before = tx.scalar(select(func.max(definition.c.version)).where(mine)) or 0
    tx.execute(
        insert(definition).values(
            project=ws.project,
            kind=kind,
            name=name,
            version=before + 1,
            hash=hash,
            spec=spec,
            author=ws.principal.name,
            created_us=tx.now_us,
        )
    )
    made = Registered(kind, name, before + 1, hash, digest(spec.encode()))
    tx.touch(made.node, after=hash)
    return made


@operation("GET /feature-definitions", allows="features.read")
def find_definitions(ws: Workspace, *, hashes: list[str]) -> list[Registered]:
    """The versions that have one of these hashes."""
    rows = ws.tx.all(select(definition).where(definition.c.project == ws.project, definition.c.hash.in_(hashes)))
    return [Registered(row.kind, row.name, row.version, row.hash, digest(row.spec.encode())) for row in rows]


def _version(ws: Workspace, kind: Kind, name: str, version: int) -> Row[Any]:
    """A definition's row; version 0 is the newest."""
    mine = select(definition).where(definition.c.project == ws.project, definition.c.kind == kind)
    named = mine.where(definition.c.name == name).order_by(definition.c.version.desc())
    row = ws.tx.first(named.where(definition.c.version == version) if version else named)
    if row is not None:
        return row
    newest = ws.tx.first(named)
    if newest is not None:
        raise NotFound(
            f'{_NOUNS[kind].capitalize()} "{name}" has no version {version}; its newest is {newest.version}.'
        )
    known = {each.name for each in ws.tx.all(mine)}
    raise NotFound(
        f'No {_NOUNS[kind]} "{name}" in project "{ws.project}".{nearest(name, known)} See: trine features ls'
    )


def _newest(ws: Workspace, kind: Kind, limit: int, page: str) -> list[Row[Any]]:
    """The newest version of each definition of a kind, by name; one more than the limit."""
    mine = (definition.c.project == ws.project) & (definition.c.kind == kind)
    newest = (
        select(definition.c.name, func.max(definition.c.version).label("version"))
        .where(mine)
        .group_by(definition.c.name)
        .subquery()
    )
    query = (
        select(definition)
        .join(newest, (definition.c.name == newest.c.name) & (definition.c.version == newest.c.version))
        .where(mine)
        .order_by(definition.c.name)
        .limit(limit + 1)
    )
    if start := page_start(page, fields=str):
        query = query.where(definition.c.name > start)
    return list(ws.tx.all(query))


@functools.lru_cache(maxsize=256)
def _decoded(spec: str, kind: type[Definition]) -> Definition:
    """A definition from its JSON; definitions never change, and checking one takes longer than reading features."""
    return msgspec.json.decode(spec, type=kind)


def _view(row: Row[Any]) -> ViewVersion:
    made = _decoded(row.spec, FeatureView)
    return ViewVersion(row.name, row.version, row.hash, made, row.author, row.created_us)


def _service(row: Row[Any]) -> ServiceVersion:
    made = _decoded(row.spec, FeatureService)
    return ServiceVersion(row.name, row.version, row.hash, made, row.author, row.created_us)


def _entity(row: Row[Any]) -> EntityVersion:
    return EntityVersion(row.name, row.version, msgspec.json.decode(row.spec, type=Entity), row.created_us)


@operation("GET /feature-views/{name}", allows="features.read")
def get_view(ws: Workspace, *, name: str, version: int = 0) -> ViewVersion:
    """A feature view; version 0 is the newest."""
    return _view(_version(ws, "view", name, version))


@operation("GET /feature-views", allows="features.read")
def list_views(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[ViewVersion]:
    """The newest version of each feature view, by name."""
    return page_of([_view(row) for row in _newest(ws, "view", limit, page)], limit, lambda one: one.name)


@operation("GET /feature-services/{name}", allows="features.read")
def get_service(ws: Workspace, *, name: str, version: int = 0) -> ServiceVersion:
    """A feature service; version 0 is the newest."""
    return _service(_version(ws, "service", name, version))


@operation("GET /feature-services", allows="features.read")
def list_services(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[ServiceVersion]:
    """The newest version of each feature service, by name."""
    return page_of([_service(row) for row in _newest(ws, "service", limit, page)], limit, lambda one: one.name)


@operation("GET /feature-entities", allows="features.read")
def list_entities(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[EntityVersion]:
    """The newest version of each entity, by name."""
    return page_of([_entity(row) for row in _newest(ws, "entity", limit, page)], limit, lambda one: one.name)


# -- online -----------------------------------------------------------------------------------------------------


@operation("POST /feature-views/{name}/publications", allows="features.write")
def publish_snapshot(
    ws: Workspace,
    *,
    name: Name,
    version: int,
    snapshot: str,
    header: Header,
    source: str,
    rows: int,
    newest_us: int | None,
    until_us: int,
) -> Publication:
    """Let online reads of a view version answer from a snapshot that is in the store; an older one changes nothing."""
    tx = ws.tx
    view = _version(ws, "view", name, version)
    node = f"feature_view:{name}@{view.version}"
    held = _publication(ws, name, view.version)
    if held is not None and held.until_us > until_us:
        tx.note(ignored=True)
        return _published(held)
    if not ws.store.has([snapshot]):
        raise NotFound(f"Snapshot {snapshot} is not in the store: put it there before publishing it.")
    values = {
        "project": ws.project,
        "view": name,
        "version": view.version,
        "hash": view.hash,
        "snapshot": snapshot,
        "header": msgspec.json.encode(header).decode(),
        "source": source,
        "rows": rows,
        "newest_us": newest_us,
        "until_us": until_us,
        "published_us": tx.now_us,
    }
    tx.execute(upsert(publication), values)
    tx.note(source=source, rows=rows)
    tx.touch(node, before=held.snapshot if held is not None else None, after=snapshot)
    return _published(_publication(ws, name, view.version))


def _publication(ws: Workspace, view: str, version: int) -> Row[Any] | None:
    mine = (publication.c.project == ws.project) & (publication.c.view == view)
    return ws.tx.first(select(publication).where(mine, publication.c.version == version))


def _published(row: Any) -> Publication:
    return Publication(**{name: getattr(row, name) for name in Publication.__struct_fields__})


_PUBLISHED = select(publication).where(
    publication.c.project == bindparam("in_project"),
    publication.c.view == bindparam("of_view"),
    publication.c.hash == bindparam("with_hash"),
)


@operation("GET /feature-online", allows="features.read")
def read_online(ws: Workspace, *, views: list[str], keys: list[str] = []) -> list[OnlineAnswer]:  # noqa: B006
    """The online rows of keys in several views.

    `views` are `name:hash`; `keys` are base64 (URL-safe), as many for each view, view after view.
    """
    if views and len(keys) % len(views):
        raise InvalidInput(f"{len(keys)} keys cannot be shared out evenly among {len(views)} views.")
    each = len(keys) // len(views) if views else 0
    answers: list[OnlineAnswer] = []
    for place, reference in enumerate(views):
        name, _, hash = reference.partition(":")
        row = ws.tx.execute(_PUBLISHED, {"in_project": ws.project, "of_view": name, "with_hash": hash}).first()
        if row is None:
            raise NotFound(
                f'Feature view "{name}" has no online rows for that definition. '
                f"Fill them with: trine features materialize {name}",
                view=name,
            )
        held = _held(ws, row, [_bytes(key) for key in keys[place * each : (place + 1) * each]])
        header = msgspec.json.decode(held.header, type=Header)
        answers.append(OnlineAnswer(name, row.version, held.until_us, header, held.rows))
    return answers


def _bytes(key: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(key.encode())
    except (binascii.Error, ValueError):
        raise InvalidInput(f'"{key}" is not URL-safe base64, which the keys of an online read are.') from None


def _held(ws: Workspace, row: Row[Any], keys: list[bytes]) -> Held:
    """The rows from this machine's online file, which is filled from the published snapshot when it does not hold it."""
    file = OnlineFile((ws.root or ws.spool.parent) / "online.sqlite")
    held = file.read(ws.project, row.view, row.hash, row.published_us, keys)
    if held is None:
        chunks = msgspec.msgpack.decode(ws.store.get(row.snapshot), type=list[str])
        file.fill(
            ws.project,
            row.view,
            row.hash,
            published_us=row.published_us,
            until_us=row.until_us,
            header=row.header,
            rows=(one for chunk in chunks for one in msgspec.msgpack.decode(ws.store.get(chunk), type=list[OnlineRow])),
        )
        held = file.read(ws.project, row.view, row.hash, row.published_us, keys)
    if held is None:
        raise Unavailable(
            f'The online rows of feature view "{row.view}" were replaced while they were read. Try again.'
        )
    return held


# -- freshness --------------------------------------------------------------------------------------------------


@operation("GET /feature-freshness", allows="features.read")
def freshness(ws: Workspace, *, view: str = "", as_of_us: int = 0) -> list[Freshness]:
    """How old the newest rows of one feature view, or of every one, are; by the clock, or at `as_of_us`."""
    rows = [_version(ws, "view", view, 0)] if view else _newest(ws, "view", 100_000, "")
    return [_freshness(ws, _view(row), as_of_us or ws.tx.now_us) for row in rows]


def _freshness(ws: Workspace, view: ViewVersion, at_us: int) -> Freshness:
    source, source_newest = _newest_in_source(ws, view.definition)
    held = _publication(ws, view.name, view.version)
    online_newest: int | None = held.newest_us if held is not None else None
    allowed = view.definition.freshness
    ages = [(at_us - newest) / 1e6 for newest in (source_newest, online_newest) if newest is not None]
    state: Literal["fresh", "stale", "unknown"] = "unknown"
    if allowed and source_newest is not None:
        state = "stale" if max(ages) > duration_us(allowed) / 1e6 else "fresh"
    return Freshness(
        view=view.name,
        version=view.version,
        state=state,
        allowed=allowed,
        source=source,
        source_newest_us=source_newest,
        source_age_s=None if source_newest is None else (at_us - source_newest) / 1e6,
        online_until_us=None if held is None else held.until_us,
        online_newest_us=online_newest,
        online_age_s=None if online_newest is None else (at_us - online_newest) / 1e6,
    )


def _newest_in_source(ws: Workspace, view: FeatureView) -> tuple[str, int | None]:
    """The head commit of the view's dataset, and the greatest time in it (from the commit's profile)."""
    from trine import data

    try:
        commit = data.resolve(view.source, ws=ws)
    except NotFound:
        return "", None
    if view.time is None or not commit.profile:
        return commit.node, None
    column = data.profile_of(ws, commit).column(view.time)
    return commit.node, int(column.max) if column is not None and isinstance(column.max, (int, float)) else None
