"""Stages: where a version stands on its way, by the names a project gives them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from trine.errors import Conflict, InvalidInput, nearest
from trine.models.protections import hold_move
from trine.models.rows import aliases_of, find_version, is_version, model_row, to_version, versions_of
from trine.models.tables import model_stage, model_version
from trine.models.versions import ModelVersion
from trine.operations import Name, operation
from trine.workspace import Workspace

DEFAULT = ("Staging", "Production", "Archived")
"""The stages of a project that has not named its own."""


@operation("PUT /model-stages", allows="models.manage")
def set_stages(ws: Workspace, *, names: list[Name]) -> list[str]:
    """Name the stages of this project's models, in their order. One that versions are in has to stay."""
    folded = [one.lower() for one in names]
    if len(set(folded)) != len(folded) or "none" in folded:
        raise InvalidInput('Stages need names that differ (capitals do not count), and "none" means no stage.')
    kept = {one.lower() for one in names}
    used = select(model_version.c.stage).where(model_version.c.project == ws.project, model_version.c.stage != "")
    for row in ws.tx.all(used.distinct()):
        if row.stage.lower() not in kept:
            raise Conflict(f'Versions are in stage "{row.stage}", so it has to stay. Move them first.')
    before = stages_of(ws)
    ws.tx.execute(delete(model_stage).where(model_stage.c.project == ws.project))
    for position, name in enumerate(names):
        ws.tx.execute(insert(model_stage).values(project=ws.project, position=position, name=name))
        renamed = model_version.c.project == ws.project, model_version.c.stage.in_(_spellings(before, name))
        ws.tx.execute(update(model_version).where(*renamed).values(stage=name))
    ws.tx.touch("models:stages", before=before, after=names)
    return names


def _spellings(before: list[str], name: str) -> list[str]:
    return [one for one in before if one.lower() == name.lower() and one != name]


@operation("GET /model-stages", allows="models.read")
def list_stages(ws: Workspace) -> list[str]:
    """The stages of this project's models, in their order."""
    return stages_of(ws)


def stages_of(ws: Workspace) -> list[str]:
    query = select(model_stage.c.name).where(model_stage.c.project == ws.project).order_by(model_stage.c.position)
    return [row.name for row in ws.tx.all(query)] or list(DEFAULT)


def _held(ws: Workspace, *, name: str, version: int, stage: str, **_: Any) -> Any:
    return hold_move(ws, name=name, alias=stage, version=version) if stage else None


def _present(ws: Workspace, *, name: str, stage: str, **_: Any) -> dict[str, Any]:
    """What an approval is bound to: which versions are in the stage now."""
    model_row(ws, name)
    rows = ws.tx.all(versions_of(ws, name).where(model_version.c.stage == stage))
    return {"now": sorted(row.version for row in rows)}


@operation("PUT /models/{name}/versions/{version}/stage", allows="models.promote", state=_present, holds=_held)
def set_stage(ws: Workspace, *, name: str, version: int, stage: str = "", alone: bool = False) -> ModelVersion:
    """Put a version into a stage, or with an empty one into none; `alone` moves those that are there to the last stage.

    A stage that has the name of a protected alias asks for what the alias does.
    """
    stage = stage_named(ws, stage)
    before = find_version(ws, name, str(version))
    if alone and stage:
        stages = stages_of(ws)
        others = [row.version for row in ws.tx.all(versions_of(ws, name).where(model_version.c.stage == stage))]
        for other in sorted({*others} - {version}):
            after = "" if stages[-1] == stage else stages[-1]
            ws.tx.execute(update(model_version).where(*is_version(ws, name, other)).values(stage=after))
    ws.tx.execute(update(model_version).where(*is_version(ws, name, version)).values(stage=stage))
    found = find_version(ws, name, str(version))
    ws.tx.touch(found.node, before=before, after=found)
    ws.tx.note(model=name, version=version, stage=stage, before=before.stage)
    return found


def stage_named(ws: Workspace, stage: str) -> str:
    """A stage as the project spells it. Raises InvalidInput for one that it has not."""
    if stage.lower() in ("", "none"):
        return ""
    known = stages_of(ws)
    found = next((one for one in known if one.lower() == stage.lower()), "")
    if not found:
        raise InvalidInput(
            f'This project has no stage "{stage}".{nearest(stage, known)} Stages: {", ".join(known)}. '
            "Name others: trine models stages NAME…"
        )
    return found


@operation("GET /models/{name}/latest", allows="models.read")
def latest_versions(ws: Workspace, *, name: str) -> list[ModelVersion]:
    """The newest version in each stage, and the newest in none; stages without a version are left out."""
    aliases = aliases_of(ws, name)
    found: dict[str, ModelVersion] = {}
    for row in ws.tx.all(versions_of(ws, name).order_by(model_version.c.version.desc())):
        found.setdefault(row.stage, to_version(row, aliases))
    order = ["", *stages_of(ws)]
    return sorted(found.values(), key=lambda one: order.index(one.stage))
