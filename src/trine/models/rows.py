"""Rows of the registry as values, and the questions that several of its operations ask the tables."""

from __future__ import annotations

import re
from shlex import quote
from typing import Any

import msgspec
from sqlalchemy import func, select

from trine.errors import NotFound, nearest
from trine.models.tables import model, model_alias_event, model_version
from trine.models.versions import NEWEST, AliasEvent, Manifest, ModelInfo, ModelVersion
from trine.workspace import Workspace


def is_model(ws: Workspace, name: str) -> tuple[Any, ...]:
    return model.c.project == ws.project, model.c.name == name


def is_version(ws: Workspace, name: str, version: int) -> tuple[Any, ...]:
    return model_version.c.project == ws.project, model_version.c.model == name, model_version.c.version == version


def versions_of(ws: Workspace, name: str) -> Any:
    return select(model_version).where(model_version.c.project == ws.project, model_version.c.model == name)


def events_of(ws: Workspace, name: str, alias: str = "") -> Any:
    query = select(model_alias_event).where(
        model_alias_event.c.project == ws.project, model_alias_event.c.model == name
    )
    return query.where(model_alias_event.c.alias == alias) if alias else query


def model_row(ws: Workspace, name: str) -> Any:
    row = ws.tx.first(select(model).where(*is_model(ws, name)))
    if row is None or row.gone:
        there = select(model.c.name).where(model.c.project == ws.project, model.c.gone == "")
        known = [one.name for one in ws.tx.all(there)]
        gone = f" It was {row.gone}." if row is not None else nearest(name, known)
        raise NotFound(f'No model "{name}" in project "{ws.project}".{gone} See: trine models ls')
    return row


def version_row(ws: Workspace, name: str, version: int) -> Any:
    row = ws.tx.first(versions_of(ws, name).where(model_version.c.version == version))
    if row is None:
        known = model_row(ws, name)
        gone = " It was deleted." if 0 < version <= known.last_version else ""
        raise NotFound(
            f'Model "{name}" has no version {version}.{gone} See: trine models versions {quote(name)}', version=version
        )
    return row


def find_version(ws: Workspace, name: str, ref: str) -> ModelVersion:
    """A version by number or alias; `latest` is the newest."""
    aliases = aliases_of(ws, name)
    if re.fullmatch(r"[0-9]{1,18}", ref):
        row = version_row(ws, name, int(ref))
    elif ref == NEWEST:
        row = ws.tx.first(versions_of(ws, name).order_by(model_version.c.version.desc()).limit(1))
        if row is None:
            raise NotFound(f'Model "{name}" has no version left. Register one: trine.models.register(…, "{name}")')
    else:
        if ref not in aliases:
            raise NotFound(
                f'Model "{name}" has no alias "{ref}".{nearest(ref, aliases)} '
                f"Point it at a version: trine models promote {quote(name + '@VERSION')} --alias {ref}"
            )
        row = version_row(ws, name, aliases[ref])
    return to_version(row, aliases)


def aliases_of(ws: Workspace, name: str) -> dict[str, int]:
    """Where the model's aliases point now: the last event of each."""
    model_row(ws, name)
    newest = (
        events_of(ws, name)
        .with_only_columns(func.max(model_alias_event.c.number))
        .group_by(model_alias_event.c.alias)
        .correlate(None)
    )
    rows = ws.tx.all(
        events_of(ws, name).where(model_alias_event.c.number.in_(newest)).order_by(model_alias_event.c.alias)
    )
    return {row.alias: row.version for row in rows if row.version is not None}


def model_info(ws: Workspace, row: Any) -> ModelInfo:
    counts = versions_of(ws, row.name).with_only_columns(
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
        aliases_of(ws, row.name),
        row.created_us,
    )


def to_version(row: Any, aliases: dict[str, int]) -> ModelVersion:
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
        stage=row.stage,
    )


def to_event(row: Any) -> AliasEvent:
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


def shown(version: int | None) -> str:
    return f"version {version}" if version else "nothing"
