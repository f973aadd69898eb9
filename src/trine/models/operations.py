"""The door's part on models: models and versions here; aliases, what protects them, and stages in their own files."""

from __future__ import annotations

from shlex import quote
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, tuple_, update

from trine.errors import Conflict, InvalidInput
from trine.ids import canonical_json
from trine.models.moves import alias_at, list_alias_events, promote_model, remove_alias, rollback_alias
from trine.models.names import ModelName
from trine.models.protections import list_protections, protect_alias, protections_of, unprotect_alias
from trine.models.rows import (
    aliases_of,
    find_version,
    is_model,
    is_version,
    model_info,
    model_row,
    to_version,
    versions_of,
)
from trine.models.scanning import admitted
from trine.models.stages import latest_versions, list_stages, set_stage, set_stages, stage_named
from trine.models.tables import model, model_alias_event, model_version
from trine.models.versions import NEWEST, Manifest, ModelInfo, ModelVersion
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.workspace import Workspace

__all__ = [
    "alias_at",
    "check_artifact",
    "delete_model",
    "delete_version",
    "find_versions",
    "get_model",
    "get_version",
    "latest_versions",
    "list_alias_events",
    "list_models",
    "list_protections",
    "list_stages",
    "list_versions",
    "promote_model",
    "protect_alias",
    "register_version",
    "remove_alias",
    "rename_model",
    "rollback_alias",
    "set_stage",
    "set_stages",
    "unprotect_alias",
    "update_model",
    "update_version",
]

Tags = dict[str, str]

# -- models and versions ------------------------------------------------------------------------------------------


@operation("GET /model-artifacts/{artifact}", allows="models.read")
def check_artifact(ws: Workspace, *, artifact: str) -> Manifest:
    """The manifest of an artifact in the store, when all its files are there and may be in a version. Raises InvalidInput."""
    return admitted(ws.store, artifact)


@operation("POST /models/{name}/versions", allows="models.register")
def register_version(
    ws: Workspace,
    *,
    name: ModelName,
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
    manifest = admitted(ws.store, artifact)
    known = tx.first(select(model).where(*is_model(ws, name)))
    version = known.last_version + 1 if known else 1
    if known is None:
        values = {"description": "", "tags": "{}", "last_version": version, "created_us": tx.now_us}
        tx.execute(insert(model).values(project=ws.project, name=name, **values))
    else:
        fresh = {"gone": "", "description": "", "tags": "{}", "created_us": tx.now_us} if known.gone else {}
        tx.execute(update(model).where(*is_model(ws, name)).values(last_version=version, **fresh))
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
    tx.make(found.node)
    if data:
        tx.link(found.node, "derived", data)
    tx.touch(found.node, after=artifact)
    tx.note(model=name, version=version, flavor=found.flavor, pickled=found.pickled, run=run, data=data)
    return found


@operation("GET /models/{name}/versions/{ref}", allows="models.read")
def get_version(ws: Workspace, *, name: str, ref: str = NEWEST) -> ModelVersion:
    """A version by number or alias; `latest` is the newest."""
    return find_version(ws, name, ref)


@operation("GET /models/{name}", allows="models.read")
def get_model(ws: Workspace, *, name: str) -> ModelInfo:
    """One model with its aliases."""
    return model_info(ws, model_row(ws, name))


@operation("GET /models", allows="models.read")
def list_models(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[ModelInfo]:
    """Models by name."""
    query = (
        select(model).where(model.c.project == ws.project, model.c.gone == "").order_by(model.c.name).limit(limit + 1)
    )
    if start := page_start(page, fields=str):
        query = query.where(model.c.name > start)
    return page_of([model_info(ws, row) for row in ws.tx.all(query)], limit, lambda one: one.name)


@operation("GET /models/{name}/versions", allows="models.read")
def list_versions(ws: Workspace, *, name: str, limit: Limit = 100, page: str = "") -> Page[ModelVersion]:
    """Versions of a model, newest first."""
    aliases = aliases_of(ws, name)
    query = versions_of(ws, name).order_by(model_version.c.version.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(model_version.c.version < start)
    return page_of([to_version(row, aliases) for row in ws.tx.all(query)], limit, lambda one: one.version)


@operation("GET /model-versions", allows="models.read")
def find_versions(
    ws: Workspace, *, run: str = "", data: str = "", stage: str = "", limit: Limit = 100, page: str = ""
) -> Page[ModelVersion]:
    """Versions of all models, newest first: those a run made, that learned from a dataset commit, or that are in a stage."""
    query = select(model_version).where(model_version.c.project == ws.project)
    if run:
        query = query.where(model_version.c.run == run.removeprefix("run:"))
    if data:
        query = query.where(model_version.c.data == (data if data.startswith("dataset:") else f"dataset:{data}"))
    if stage:
        query = query.where(model_version.c.stage == stage_named(ws, stage))
    made, name, version = model_version.c.created_us, model_version.c.model, model_version.c.version
    if start := page_start(page, fields=tuple[int, str, int]):
        query = query.where(tuple_(made, name, version) < tuple_(*start))
    rows = ws.tx.all(query.order_by(made.desc(), name.desc(), version.desc()).limit(limit + 1))
    aliases = {row.model: aliases_of(ws, row.model) for row in {row.model: row for row in rows}.values()}
    found = [to_version(row, aliases[row.model]) for row in rows]
    return page_of(found, limit, lambda one: [one.created_us, one.name, one.version])


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
    ws.tx.execute(update(model).where(*is_model(ws, name)).values(_edited(before, description, tags)))
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
    ws.tx.execute(
        update(model_version).where(*is_version(ws, name, version)).values(_edited(before, description, tags))
    )
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
            f"or remove the alias: trine models unalias {quote(name)} {found.aliases[0]}"
        )
    ws.tx.execute(delete(model_version).where(*is_version(ws, name, version)))
    ws.tx.touch(found.node, before=found)
    ws.tx.note(model=name, version=version)
    return Done(found.node)


@operation("DELETE /models/{name}", allows="models.delete")
def delete_model(ws: Workspace, *, name: str) -> Done:
    """Forget a model that no alias and no protection holds, with its versions. A model of that name goes on counting later."""
    before = get_model(ws, name=name)
    if before.aliases:
        alias = next(iter(before.aliases))
        raise Conflict(
            f'Model "{name}" cannot be deleted: alias "{alias}" points at version {before.aliases[alias]}. '
            f"Remove it first: trine models unalias {quote(name)} {alias}"
        )
    _refuse_protected(ws, name, "deleted")
    ws.tx.execute(delete(model_version).where(model_version.c.project == ws.project, model_version.c.model == name))
    ws.tx.execute(update(model).where(*is_model(ws, name)).values(gone="deleted"))
    ws.tx.touch(f"model:{name}", before=before)
    ws.tx.note(model=name, versions=before.versions)
    return Done(f"model:{name}")


@operation("POST /models/{name}/rename", allows="models.delete")
def rename_model(ws: Workspace, *, name: str, new_name: ModelName) -> ModelInfo:
    """Give a model another name: versions, aliases and their history go with it; what names the old one has to follow.

    In the lineage graph each version is a new node, derived from the one of the old name.
    """
    tx = ws.tx
    old = model_row(ws, name)
    taken = tx.first(select(model).where(*is_model(ws, new_name)))
    if taken is not None:
        state = f"was {taken.gone}, and numbers never come back" if taken.gone else "is there already"
        raise Conflict(f'Model "{name}" cannot be renamed to "{new_name}": a model of that name {state}.')
    _refuse_protected(ws, name, "renamed")
    row = {
        "description": old.description,
        "tags": old.tags,
        "last_version": old.last_version,
        "created_us": old.created_us,
    }
    tx.execute(insert(model).values(project=ws.project, name=new_name, **row))
    tx.execute(update(model).where(*is_model(ws, name)).values(gone=f"renamed to {new_name}"))
    for row in tx.all(versions_of(ws, name)):
        tx.link(f"model:{new_name}@{row.version}", "derived", f"model:{name}@{row.version}")
    for table in (model_version, model_alias_event):
        tx.execute(update(table).where(table.c.project == ws.project, table.c.model == name).values(model=new_name))
    tx.touch(f"model:{new_name}", before=name, after=new_name)
    tx.note(model=new_name, before=name)
    return get_model(ws, name=new_name)


def _refuse_protected(ws: Workspace, name: str, what: str) -> None:
    if known := protections_of(ws, name):
        alias = next(iter(known))
        raise Conflict(
            f'Model "{name}" cannot be {what}: alias "{alias}" is protected. '
            f"An admin can lift that: trine models unprotect {quote(name)} {alias}"
        )
