"""The moves of aliases: each is an event that stays, so the past can be asked and a rollback is one call."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from sqlalchemy import insert

from trine.errors import Conflict, NotFound, nearest
from trine.models.protections import (
    check_expected,
    check_gate,
    hold_move,
    hold_removal,
    passed_gate,
    protections_of,
    refuse_pickle,
)
from trine.models.rows import (
    aliases_of,
    events_of,
    find_version,
    model_row,
    shown,
    to_event,
    to_version,
    version_row,
    versions_of,
)
from trine.models.tables import model_alias_event, model_version
from trine.models.versions import AliasEvent, ModelVersion, check_alias
from trine.operations import Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace


def _present(ws: Workspace, *, name: str, alias: str, **_: Any) -> dict[str, int | None]:
    """What an approval of a move is bound to: where the alias points now."""
    return {"now": aliases_of(ws, name).get(alias)}


@operation("PUT /models/{name}/aliases/{alias}", allows="models.promote", state=_present, holds=hold_move)
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

    `gate` names a gate report that this version passed; another report is refused. A protected alias takes the newest
    one when none is named.
    """
    check_alias(alias)
    found = find_version(ws, name, str(version))
    check_expected(ws, name, alias, expect)
    rule = protections_of(ws, name).get(alias.lower())
    if rule is not None and rule.gate:
        gate = passed_gate(ws, rule, found, gate)
    elif gate:
        gate = check_gate(ws, gate, found)
    return _move(ws, name, alias, "promoted", version, reason, gate)


@operation("POST /models/{name}/aliases/{alias}/rollback", allows="models.promote")
def rollback_alias(ws: Workspace, *, name: str, alias: str, reason: str = "") -> AliasEvent:
    """Point an alias at the version before the present one; doing it again goes one further back."""
    past = _past(ws, name, alias)
    if not past:
        raise NotFound(f'Model "{name}" has no alias "{alias}".{nearest(alias, aliases_of(ws, name))}')
    earlier = next((one for one in reversed(past) if one not in (None, past[-1])), None)
    if earlier is None:
        raise Conflict(
            f'There is nothing to roll back to: alias "{alias}" of model "{name}" points at {shown(past[-1])}, the first it had.'
        )
    if ws.tx.first(versions_of(ws, name).where(model_version.c.version == earlier)) is None:
        raise Conflict(
            f'{name}@{earlier}, where alias "{alias}" was before, is deleted. Promote another: trine models promote'
        )
    if rule := protections_of(ws, name).get(alias.lower()):
        refuse_pickle(rule, find_version(ws, name, str(earlier)))
    return _move(ws, name, alias, "rolled_back", earlier, reason, "")


def _past(ws: Workspace, name: str, alias: str) -> list[int | None]:
    """Where the alias points, and before that, ignoring what was rolled back: the last is the present."""
    model_row(ws, name)
    past: list[int | None] = []
    for row in ws.tx.all(events_of(ws, name, alias).order_by(model_alias_event.c.number)):
        if row.kind == "rolled_back":
            while past[-1] != row.version:
                past.pop()
        elif not past or past[-1] != row.version:
            past.append(row.version)
    return past


@operation("DELETE /models/{name}/aliases/{alias}", allows="models.promote", state=_present, holds=hold_removal)
def remove_alias(ws: Workspace, *, name: str, alias: str, reason: str = "") -> AliasEvent:
    """Let an alias point at nothing; its history stays, and a rollback brings it back."""
    aliases = aliases_of(ws, name)
    if alias not in aliases:
        raise NotFound(f'Model "{name}" has no alias "{alias}".{nearest(alias, aliases)}')
    return _move(ws, name, alias, "removed", None, reason, "")


@operation("GET /models/{name}/aliases/{alias}", allows="models.read")
def alias_at(ws: Workspace, *, name: str, alias: str, at_us: int) -> ModelVersion | None:
    """The version an alias pointed at at a time, or null."""
    aliases = aliases_of(ws, name)
    query = events_of(ws, name, alias).where(model_alias_event.c.time_us <= at_us)
    row = ws.tx.first(query.order_by(model_alias_event.c.number.desc()).limit(1))
    if row is None or row.version is None:
        return None
    return to_version(version_row(ws, name, row.version), aliases)


@operation("GET /models/{name}/alias-events", allows="models.read")
def list_alias_events(
    ws: Workspace, *, name: str, alias: str = "", limit: Limit = 100, page: str = ""
) -> Page[AliasEvent]:
    """Moves of a model's aliases, newest first."""
    model_row(ws, name)
    query = events_of(ws, name, alias).order_by(model_alias_event.c.number.desc()).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(model_alias_event.c.number < start)
    return page_of([to_event(row) for row in ws.tx.all(query)], limit, lambda one: one.number)


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
    last = tx.first(events_of(ws, name).order_by(model_alias_event.c.number.desc()).limit(1))
    before = aliases_of(ws, name).get(alias)
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
