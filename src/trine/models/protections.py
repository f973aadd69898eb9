"""Protected aliases: moving one needs a gate that the version passed, and an approval by somebody else.

A stage of the same name is protected with it, so that there is no second way to the same place.
"""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, select

from trine.access.approvals import Rule
from trine.errors import CheckFailed, Conflict, NotFound, Refused, nearest
from trine.ledger import upsert
from trine.ledger.lineage import walk
from trine.models.rows import aliases_of, find_version, model_row, shown
from trine.models.tables import model_protection
from trine.models.versions import ModelVersion, Protection, check_alias
from trine.operations import Done, Name, operation
from trine.workspace import Workspace


@operation("PUT /models/{name}/protections/{alias}", allows="models.manage")
def protect_alias(
    ws: Workspace,
    *,
    name: str,
    alias: Name,
    gate: bool = True,
    approvals: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1,
    pickles: bool = False,
    expires_s: Annotated[int, msgspec.Meta(ge=60, le=31_536_000)] = 7 * 86_400,
) -> Protection:
    """Let an alias move only to versions that passed a gate against what it points at, once `approvals` others approve.

    Pickled versions are refused unless `pickles`. Rolling back to where it was before needs no approval.
    """
    check_alias(alias)
    model_row(ws, name)
    before = protections_of(ws, name).get(alias.lower())
    found = Protection(
        name, alias, gate, approvals, pickles, expires_s, ws.on_behalf_of or ws.principal.name, ws.tx.now_us
    )
    row = msgspec.structs.asdict(found) | {"project": ws.project, "model": name, "alias": alias.lower()}
    del row["name"]
    ws.tx.execute(upsert(model_protection), row)
    ws.tx.touch(f"model:{name}", before=before, after=found)
    ws.tx.note(model=name, alias=alias, gate=gate, approvals=approvals, pickles=pickles)
    return found


@operation("DELETE /models/{name}/protections/{alias}", allows="models.manage")
def unprotect_alias(ws: Workspace, *, name: str, alias: str) -> Done:
    """Let an alias move freely again."""
    known = protections_of(ws, name)
    before = known.get(alias.lower())
    if before is None:
        raise NotFound(f'Alias "{alias}" of model "{name}" is not protected.{nearest(alias, known)}')
    ws.tx.execute(
        delete(model_protection).where(
            model_protection.c.project == ws.project,
            model_protection.c.model == name,
            model_protection.c.alias == alias.lower(),
        )
    )
    ws.tx.touch(f"model:{name}", before=before)
    ws.tx.note(model=name, alias=alias)
    return Done(f"model:{name}")


@operation("GET /models/{name}/protections", allows="models.read")
def list_protections(ws: Workspace, *, name: str) -> list[Protection]:
    """The protected aliases of a model."""
    model_row(ws, name)
    return list(protections_of(ws, name).values())


def protections_of(ws: Workspace, name: str) -> dict[str, Protection]:
    query = select(model_protection).where(model_protection.c.project == ws.project, model_protection.c.model == name)
    return {
        row.alias: Protection(
            row.model, row.alias, row.gate, row.approvals, row.pickles, row.expires_s, row.author, row.created_us
        )
        for row in ws.tx.all(query.order_by(model_protection.c.alias))
    }


def hold_move(ws: Workspace, *, name: str, alias: str, version: int, gate: str = "", **given: Any) -> Rule | None:
    """What a move asks for. What the body would refuse, or the protection, is refused here: nobody is asked in vain."""
    check_expected(ws, name, alias, given.get("expect"))
    rule = protections_of(ws, name).get(alias.lower())
    if rule is None:
        return None
    found = find_version(ws, name, str(version))
    refuse_pickle(rule, found)
    if rule.gate:
        passed_gate(ws, rule, found, gate)
    return _rule(rule)


def hold_removal(ws: Workspace, *, name: str, alias: str, **_: Any) -> Rule | None:
    """What taking an alias away asks for: the approvals alone."""
    rule = protections_of(ws, name).get(alias.lower())
    return _rule(rule) if rule else None


def _rule(rule: Protection) -> Rule | None:
    if not rule.approvals:
        return None
    return Rule(f"protection of {rule.name}@{rule.alias}", rule.approvals, rule.expires_s)


def check_expected(ws: Workspace, name: str, alias: str, expect: int | None) -> None:
    """Raise Conflict when the alias does not point where the caller expects."""
    before = aliases_of(ws, name).get(alias)
    if expect is not None and expect != (before or 0):
        raise Conflict(
            f'Alias "{alias}" of model "{name}" points at {shown(before)}, not at {shown(expect)}: '
            "somebody moved it meanwhile. Look at trine models history, and decide again.",
            expected=expect,
            now=before,
        )


def refuse_pickle(rule: Protection, version: ModelVersion) -> None:
    """Raise Refused for a pickled version, unless the protection lets those through."""
    if version.pickled and not rule.pickles:
        raise Refused(
            f'{version.ref} is kept as a pickle, and alias "{rule.alias}" of model "{rule.name}" is protected from those. '
            "Register it in a safe form, or have an admin allow them: "
            f"trine models protect {quote(rule.name)} {rule.alias} --allow-pickles"
        )


def passed_gate(ws: Workspace, rule: Protection, version: ModelVersion, gate: str) -> str:
    """The node of a gate that the version passed against what the alias points at now: the one given, else the newest."""
    now = next((at for alias, at in aliases_of(ws, version.name).items() if alias.lower() == rule.alias), None)
    judged = {f"model:{version.name}@{now}"} - {version.node} if now else set[str]()
    against = f"against {version.name}@{now}" if judged else "yet"
    candidates = [check_gate(ws, gate, version)] if gate else gates_of(ws, version)
    for node in candidates:
        if judged <= _used(ws, node):
            return node
    if gate:
        raise CheckFailed(
            f"{candidates[0]} did not judge {version.ref} {against}, which is what {rule.alias} points at now. "
            f"Run the gate again: trine models gate {quote(version.ref)} DATASET --label COLUMN",
            gate=candidates[0],
        )
    raise CheckFailed(
        f'Alias "{rule.alias}" of model "{rule.name}" is protected, and {version.ref} has passed no gate {against}. '
        f"Run one: trine models gate {quote(version.ref)} DATASET --label COLUMN"
    )


def check_gate(ws: Workspace, gate: str, version: ModelVersion) -> str:
    """The gate's node, when the graph says that this version passed it (evaluation writes that edge with the report)."""
    node = gate if gate.startswith("gate:") else f"gate:{gate}"
    graph = walk(ws.tx.connection, ws.project, node, direction="up", depth=1)
    if not any(one.kind == "approved" and one.source == node and one.target == version.node for one in graph.edges):
        raise CheckFailed(
            f"{version.ref} did not pass {node}, or that was on rows that are no dataset commit, which is a note and no gate. "
            f"See: trine models report {node}",
            gate=node,
        )
    return node


def gates_of(ws: Workspace, version: ModelVersion) -> list[str]:
    """The gates that a version passed, newest first."""
    graph = walk(ws.tx.connection, ws.project, version.node, direction="down", depth=1)
    return sorted(
        (one.source for one in graph.edges if one.kind == "approved" and one.source.startswith("gate:")), reverse=True
    )


def _used(ws: Workspace, gate: str) -> set[str]:
    graph = walk(ws.tx.connection, ws.project, gate, direction="up", depth=1)
    return {one.target for one in graph.edges if one.kind == "used" and one.source == gate}
