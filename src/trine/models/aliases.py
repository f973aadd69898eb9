"""Aliases: names such as `production` that point at versions; every move is an event, so the past can be asked."""

from __future__ import annotations

import datetime as dt

from trine.ids import to_us
from trine.models import operations as door
from trine.models.loading import resolve
from trine.models.versions import AliasEvent, ModelVersion
from trine.workspace import Workspace, current_workspace


def promote(
    name: str,
    version: int | str | ModelVersion,
    *,
    alias: str = "production",
    expect: int | None = None,
    reason: str = "",
    gate: str = "",
    ws: Workspace | None = None,
) -> AliasEvent:
    """Point an alias at a version (a number, or another alias that names it).

    With `expect` only when the alias points there now (0: nowhere yet), else Conflict: what was decided against one version must
    not replace another. `gate` is the report this version passed; CheckFailed when it did not. Raises ApprovalRequired when a policy
    holds the move; the approval is void as soon as the alias points elsewhere.
    """
    ws = ws or current_workspace()
    if isinstance(version, str):
        version = int(version) if version.isdigit() else resolve(f"{name}@{version}", ws=ws)
    number = version.version if isinstance(version, ModelVersion) else version
    return door.promote_model(ws, name=name, alias=alias, version=number, expect=expect, reason=reason, gate=gate)


def rollback(name: str, *, alias: str = "production", reason: str = "", ws: Workspace | None = None) -> AliasEvent:
    """Point an alias at the version before the present one; again goes further back. Conflict when there is none."""
    return door.rollback_alias(ws or current_workspace(), name=name, alias=alias, reason=reason)


def history(name: str, alias: str = "", *, limit: int = 100, ws: Workspace | None = None) -> list[AliasEvent]:
    """Moves of a model's aliases, newest first; of one with `alias`."""
    return door.list_alias_events(ws or current_workspace(), name=name, alias=alias, limit=limit).items


def at(
    name: str, when: dt.datetime | int, alias: str = "production", *, ws: Workspace | None = None
) -> ModelVersion | None:
    """The version an alias pointed at at a time (a datetime, or microseconds since the epoch), or None."""
    at_us = to_us(when) if isinstance(when, dt.datetime) else when
    return door.alias_at(ws or current_workspace(), name=name, alias=alias, at_us=at_us)
