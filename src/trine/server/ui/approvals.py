"""Approvals: what is held, what it would do, and deciding on it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from starlette.responses import Response

from trine.access import operations as door
from trine.errors import NotFound, Refused
from trine.evaluation import operations as evaluations
from trine.operations import REGISTRY, perform
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, action, page

STATES: tuple[str, ...] = get_args(door.ApprovalState)


@page("/approvals")
def approvals(asked: Asked) -> Response:
    """Requests for approval, newest first."""
    state: Any = asked.text("state") if asked.text("state") in STATES else ""
    found = door.list_approvals(asked.ws, state=state, limit=50, page=asked.text("page"))
    return asked.show("approvals.html", found=found, state=state, states=STATES, policies=door.list_policies(asked.ws))


@page("/approvals/{id}")
def approval(asked: Asked) -> Response:
    """One request, with what there is to read before deciding."""
    found = door.get_approval(asked.ws, id=asked.path["id"])
    name, version = found.arguments.get("name"), found.arguments.get("version")
    is_model = found.operation.startswith("models.") and isinstance(name, str) and isinstance(version, int)
    gates = evaluations.list_gates(asked.ws, model=f"{name}@{version}", limit=10).items if is_model else []
    return asked.show(
        "approval.html",
        approval=found,
        gates=[one for one in gates if one.candidate == f"{name}@{version}"],
        version=(name, version) if is_model else None,
        is_mine=found.requester == asked.viewer.name,
        has_decided=asked.viewer.name in found.decided_by,
        summary=REGISTRY[found.operation].summary if found.operation in REGISTRY else "",
    )


@action("/approvals/{id}/approve")
def approve(asked: Asked) -> Response:
    found = door.approve(asked.ws, id=asked.path["id"], reason=asked.form.get("reason", ""))
    left = found.needed - len(found.decided_by)
    told = f"Approved. {found.requester} may make the call now." if left <= 0 else f"Approved; {left} more are needed."
    return asked.back(path("approvals", found.id), told)


@action("/approvals/{id}/reject")
def reject(asked: Asked) -> Response:
    found = door.reject(asked.ws, id=asked.path["id"], reason=asked.form.get("reason", ""))
    return asked.back(path("approvals", found.id), "Rejected.")


@action("/approvals/{id}/call")
def call(asked: Asked) -> Response:
    """Make the approved call: exactly as it was asked for."""
    found = door.get_approval(asked.ws, id=asked.path["id"])
    one = REGISTRY.get(found.operation)
    if one is None or one.secrets:
        raise NotFound(f"{found.operation} cannot be called from here.")
    if found.requester != asked.viewer.name:
        raise Refused(f"Only {found.requester} may make this call.")
    perform(one, asked.ws, dict(msgspec.to_builtins(found.arguments)))
    return asked.back(path("approvals", found.id), f"Done: {one.name}.")
