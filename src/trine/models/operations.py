"""The door's part on models: versions, and the aliases that point at them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from sqlalchemy import delete, func, insert, select, update

from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json
from trine.ledger.lineage import walk
from trine.models.artifact import read_manifest
from trine.models.tables import model, model_alias_event, model_version
from trine.models.versions import NEWEST, AliasEvent, Manifest, ModelInfo, ModelVersion, check_alias
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

Tags = dict[str, str]

# -- models and versions ------------------------------------------------------------------------------------------


@operation("POST /models/{name}/versions", allows="models.register")
def register_version(
    ws: Workspace,
    *,
    name: Name,
    artifact: str,
    run: str = "",
    data: str = "",
    producer: str = "",
    description: str = "",
    tags: Tags = {},  # noqa: B006 (copied by the door)
    metrics: dict[str, float] = {},  # noqa: B006 (copied by the door)
) -> ModelVersion:
    """Give the artifact (a manifest whose files are stored already) the model's next number; the first makes the model."""
    tx = ws.tx
    if data and not data.startswith("dataset:"):
        raise InvalidInput(f'"{data}" is no node of training data: give dataset:NAME@COMMIT, the commit\'s `.node`.')
    manifest = read_manifest(ws.store, artifact)
    known = tx.first(select(model).where(*_is(ws, name)))
    version = known.last_version + 1 if known else 1
    if known is None:
        values = {"description": "", "tags": "{}", "last_version": version, "created_us": tx.now_us}
        tx.execute(insert(model).values(project=ws.project, name=name, **values))
    else:
        tx.execute(update(model).where(*_is(ws, name)).values(last_version=version))
    tx.execute(
        insert(model_version).values(
            project=ws.project,
            model=name,
            version=version,
            artifact=artifact,
            manifest=msgspec.json.encode(manifest).decode(),
            size_bytes=sum(file.size for file in manifest.files),
            run=run,
            data=data,
            producer=producer,
            description=description,
            tags=canonical_json(tags).decode(),
            metrics=canonical_json(metrics).decode(),
            author=ws.on_behalf_of or ws.principal.name,
            created_us=tx.now_us,
        )
    )
    found = get_version(ws, name=name, ref=str(version))
    for maker in dict.fromkeys([f"run:{run}" if run else "", producer]):
        if maker:
            tx.link(maker, "produced", found.node)
    if data:
        tx.link(found.node, "derived", data)
    tx.touch(found.node, after=artifact)
    tx.note(model=name, version=version, flavor=found.flavor, pickled=found.pickled, run=run, data=data)
    return found


@operation("GET /models/{name}/versions/{ref}", allows="models.read")
def get_version(ws: Workspace, *, name: str, ref: str = NEWEST) -> ModelVersion:
    """A version by number or alias; `latest` is the newest."""
    aliases = _aliases(ws, name)
    if ref.isdigit():
        row = _row(ws, name, int(ref))
    elif ref == NEWEST:
        row = ws.tx.first(_versions(ws, name).order_by(model_version.c.version.desc()).limit(1))
        if row is None:
            raise NotFound(f'Model "{name}" has no version left. Register one: trine.models.register(…, "{name}")')
    else:
        if ref not in aliases:
            raise NotFound(
                f'Model "{name}" has no alias "{ref}".{nearest(ref, aliases)} '
                f"Point it at a version: trine models promote {name}@VERSION --alias {ref}"
            )
        row = _row(ws, name, aliases[ref])
    return _version(row, aliases)


@operation("GET /models/{name}", allows="models.read")
def get_model(ws: Workspace, *, name: str) -> ModelInfo:
    """One model with its aliases."""
    return _info(ws, _model(ws, name))


@operation("GET /models", allows="models.read")
def list_models(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[ModelInfo]:
    """Models by name."""
    query = select(model).where(model.c.project == ws.project).order_by(model.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(model.c.name > start)
    return page_of([_info(ws, row) for row in ws.tx.all(query)], limit, lambda one: one.name)


@operation("GET /models/{name}/versions", allows="models.read")
def list_versions(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[ModelVersion]:
    """Versions of a model, newest first."""
    aliases = _aliases(ws, name)
    query = _versions(ws, name).order_by(model_version.c.version.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(model_version.c.version < start)
    return page_of([_version(row, aliases) for row in ws.tx.all(query)], limit, lambda one: one.version)


@operation("PATCH /models/{name}", allows="models.write")
def update_model(
    ws: Workspace,
    *,
    name: str,
    description: str | None = None,
    tags: dict[str, str | None] = {},  # noqa: B006 (copied by the door)
) -> ModelInfo:
    """Change a model's description, set tags; a tag set to null goes."""
    before = get_model(ws, name=name)
    ws.tx.execute(update(model).where(*_is(ws, name)).values(_edited(before, description, tags)))
    after = get_model(ws, name=name)
    ws.tx.touch(f"model:{name}", before=before, after=after)
    return after


@operation("PATCH /models/{name}/versions/{version}", allows="models.write")
def update_version(
    ws: Workspace,
    *,
    name: str,
    version: int,
    description: str | None = None,
    tags: dict[str, str | None] = {},  # noqa: B006 (copied by the door)
) -> ModelVersion:
    """Change a version's description, set tags; a tag set to null goes. Nothing else of a version ever changes."""
    before = get_version(ws, name=name, ref=str(version))
    ws.tx.execute(update(model_version).where(*_at(ws, name, version)).values(_edited(before, description, tags)))
    after = get_version(ws, name=name, ref=str(version))
    ws.tx.touch(after.node, before=before, after=after)
    return after


def _edited(before: ModelInfo | ModelVersion, description: str | None, tags: dict[str, str | None]) -> dict[str, Any]:
    kept = {key: value for key, value in {**before.tags, **tags}.items() if value is not None}
    return {
        "description": before.description if description is None else description,
        "tags": canonical_json(kept).decode(),
    }


@operation("DELETE /models/{name}/versions/{version}", allows="models.delete")
def delete_version(ws: Workspace, *, name: str, version: int) -> Done:
    """Forget a version that no alias points at; its number never comes back."""
    found = get_version(ws, name=name, ref=str(version))
    if found.aliases:
        raise Conflict(
            f'{found.ref} cannot be deleted: alias "{found.aliases[0]}" points at it. Promote another version first, '
            f"or remove the alias: trine models unalias {name} {found.aliases[0]}"
        )
    ws.tx.execute(delete(model_version).where(*_at(ws, name, version)))
    ws.tx.touch(found.node, before=found)
    return Done(found.node)


# -- aliases --------------------------------------------------------------------------------------------------------


def _present(ws: Workspace, *, name: str, alias: str, **_: Any) -> dict[str, int | None]:
    """What an approval of a move is bound to: where the alias points now."""
    return {"now": _aliases(ws, name).get(alias)}


@operation("PUT /models/{name}/aliases/{alias}", allows="models.promote", state=_present)
def promote_model(
    ws: Workspace,
    *,
    name: str,
    alias: Name,
    version: int,
    expect: int | None = None,
    reason: str = "",
    gate: str = "",
) -> AliasEvent:
    """Point an alias at a version. Conflict when `expect` is given and the alias points elsewhere (0: nowhere yet).

    `gate` names a gate report that this version passed; another report is refused.
    """
    check_alias(alias)
    found = get_version(ws, name=name, ref=str(version))
    before = _aliases(ws, name).get(alias)
    if expect is not None and expect != (before or 0):
        raise Conflict(
            f'Alias "{alias}" of model "{name}" points at {_shown(before)}, not at {_shown(expect)}: '
            "somebody moved it meanwhile. Look at trine models history, and decide again.",
            expected=expect,
            now=before,
        )
    gate = _passed(ws, gate, found)
    return _move(ws, name, alias, "promoted", version, reason, gate)


def _passed(ws: Workspace, gate: str, version: ModelVersion) -> str:
    """The gate's node, when the graph says that this version passed it (evaluation writes that edge with the report)."""
    if not gate:
        return ""
    node = gate if gate.startswith("gate:") else f"gate:{gate}"
    graph = walk(ws.tx.connection, ws.project, node, direction="up", depth=1)
    if not any(one.kind == "approved" and one.source == node and one.target == version.node for one in graph.edges):
        raise CheckFailed(f"{version.ref} did not pass {node}. See: trine models report {node}", gate=node)
    return node


@operation("POST /models/{name}/aliases/{alias}/rollback", allows="models.promote")
def rollback_alias(ws: Workspace, *, name: str, alias: str, reason: str = "") -> AliasEvent:
    """Point an alias at the version before the present one; doing it again goes one further back."""
    past = _past(ws, name, alias)
    if not past:
        raise NotFound(f'Model "{name}" has no alias "{alias}".{nearest(alias, _aliases(ws, name))}')
    earlier = next((one for one in reversed(past) if one not in (None, past[-1])), None)
    if earlier is None:
        raise Conflict(
            f'There is nothing to roll back to: alias "{alias}" of model "{name}" points at {_shown(past[-1])}, the first it had.'
        )
    if ws.tx.first(_versions(ws, name).where(model_version.c.version == earlier)) is None:
        raise Conflict(
            f'{name}@{earlier}, where alias "{alias}" was before, is deleted. Promote another: trine models promote'
        )
    return _move(ws, name, alias, "rolled_back", earlier, reason, "")


def _past(ws: Workspace, name: str, alias: str) -> list[int | None]:
    """Where the alias points, and before that, ignoring what was rolled back: the last is the present."""
    _model(ws, name)
    past: list[int | None] = []
    for row in ws.tx.all(_events(ws, name, alias).order_by(model_alias_event.c.number)):
        if row.kind == "rolled_back":
            while past[-1] != row.version:
                past.pop()
        elif not past or past[-1] != row.version:
            past.append(row.version)
    return past


@operation("DELETE /models/{name}/aliases/{alias}", allows="models.promote")
def remove_alias(ws: Workspace, *, name: str, alias: str, reason: str = "") -> AliasEvent:
    """Let an alias point at nothing; its history stays, and a rollback brings it back."""
    aliases = _aliases(ws, name)
    if alias not in aliases:
        raise NotFound(f'Model "{name}" has no alias "{alias}".{nearest(alias, aliases)}')
    return _move(ws, name, alias, "removed", None, reason, "")


@operation("GET /models/{name}/aliases/{alias}", allows="models.read")
def alias_at(ws: Workspace, *, name: str, alias: str, at_us: int) -> ModelVersion | None:
    """The version an alias pointed at at a time, or null."""
    aliases = _aliases(ws, name)
    query = _events(ws, name, alias).where(model_alias_event.c.time_us <= at_us)
    row = ws.tx.first(query.order_by(model_alias_event.c.number.desc()).limit(1))
    if row is None or row.version is None:
        return None
    return _version(_row(ws, name, row.version), aliases)


@operation("GET /models/{name}/alias-events", allows="models.read")
def list_alias_events(
    ws: Workspace, *, name: str, alias: str = "", limit: Limit = 100, page: str = ""
) -> Page[AliasEvent]:
    """Moves of a model's aliases, newest first."""
    _model(ws, name)
    query = _events(ws, name, alias).order_by(model_alias_event.c.number.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(model_alias_event.c.number < start)
    return page_of([_event(row) for row in ws.tx.all(query)], limit, lambda one: one.number)


def _move(
    ws: Workspace,
    name: str,
    alias: str,
    kind: Literal["promoted", "rolled_back", "removed"],
    version: int | None,
    reason: str,
    gate: str,
) -> AliasEvent:
    tx = ws.tx
    last = tx.first(_events(ws, name).order_by(model_alias_event.c.number.desc()).limit(1))
    before = _aliases(ws, name).get(alias)
    moved = AliasEvent(
        name=name,
        number=last.number + 1 if last else 1,
        alias=alias,
        kind=kind,
        version=version,
        before=before,
        reason=reason,
        gate=gate,
        author=ws.on_behalf_of or ws.principal.name,
        time_us=max(tx.now_us, last.time_us if last else 0),  # a clock that went back must not reorder history
    )
    values = msgspec.to_builtins(moved)
    values["model"] = values.pop("name")
    tx.execute(insert(model_alias_event).values(project=ws.project, **values))
    about = version if version is not None else before
    tx.touch(f"model:{name}@{about}", before=[alias, before], after=[alias, version])
    tx.note(model=name, alias=alias, kind=kind, version=version, before=before, gate=gate)
    return moved


# -- rows -----------------------------------------------------------------------------------------------------------


def _is(ws: Workspace, name: str) -> tuple[Any, ...]:
    return model.c.project == ws.project, model.c.name == name


def _at(ws: Workspace, name: str, version: int) -> tuple[Any, ...]:
    return model_version.c.project == ws.project, model_version.c.model == name, model_version.c.version == version


def _versions(ws: Workspace, name: str) -> Any:
    return select(model_version).where(model_version.c.project == ws.project, model_version.c.model == name)


def _events(ws: Workspace, name: str, alias: str = "") -> Any:
    query = select(model_alias_event).where(
        model_alias_event.c.project == ws.project, model_alias_event.c.model == name
    )
    return query.where(model_alias_event.c.alias == alias) if alias else query


def _model(ws: Workspace, name: str) -> Any:
    row = ws.tx.first(select(model).where(*_is(ws, name)))
    if row is None:
        known = [one.name for one in ws.tx.all(select(model.c.name).where(model.c.project == ws.project))]
        raise NotFound(f'No model "{name}" in project "{ws.project}".{nearest(name, known)} See: trine models ls')
    return row


def _row(ws: Workspace, name: str, version: int) -> Any:
    row = ws.tx.first(_versions(ws, name).where(model_version.c.version == version))
    if row is None:
        known = _model(ws, name)
        gone = " It was deleted." if 0 < version <= known.last_version else ""
        raise NotFound(
            f'Model "{name}" has no version {version}.{gone} See: trine models versions {name}', version=version
        )
    return row


def _aliases(ws: Workspace, name: str) -> dict[str, int]:
    """Where the model's aliases point now: the last event of each."""
    _model(ws, name)
    newest = (
        _events(ws, name)
        .with_only_columns(func.max(model_alias_event.c.number))
        .group_by(model_alias_event.c.alias)
        .correlate(None)
    )
    rows = ws.tx.all(
        _events(ws, name).where(model_alias_event.c.number.in_(newest)).order_by(model_alias_event.c.alias)
    )
    return {row.alias: row.version for row in rows if row.version is not None}


def _info(ws: Workspace, row: Any) -> ModelInfo:
    counts = _versions(ws, row.name).with_only_columns(
        func.count().label("versions"), func.max(model_version.c.version).label("newest")
    )
    found = ws.tx.first(counts)
    assert found is not None
    return ModelInfo(
        row.name,
        row.description,
        msgspec.json.decode(row.tags),
        found.versions,
        found.newest or 0,
        _aliases(ws, row.name),
        row.created_us,
    )


def _version(row: Any, aliases: dict[str, int]) -> ModelVersion:
    manifest = msgspec.json.decode(row.manifest, type=Manifest)
    return ModelVersion(
        name=row.model,
        version=row.version,
        flavor=manifest.flavor,
        signature=manifest.signature,
        run=row.run,
        data=row.data,
        artifact=row.artifact,
        size_bytes=row.size_bytes,
        description=row.description,
        tags=msgspec.json.decode(row.tags),
        metrics=msgspec.json.decode(row.metrics),
        libraries=manifest.libraries,
        estimator=manifest.estimator,
        classes=manifest.classes,
        pickled=manifest.pickled,
        producer=row.producer,
        author=row.author,
        created_us=row.created_us,
        aliases=tuple(alias for alias, version in aliases.items() if version == row.version),
    )


def _event(row: Any) -> AliasEvent:
    return AliasEvent(
        row.model,
        row.number,
        row.alias,
        row.kind,
        row.version,
        row.before,
        row.reason,
        row.gate,
        row.author,
        row.time_us,
    )


def _shown(version: int | None) -> str:
    return f"version {version}" if version else "nothing"
