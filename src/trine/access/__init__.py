"""Principals, roles, tokens, policies, approvals, the event log and the lineage graph: who may do what, and what was done."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.access.audit import list_events, verify_events
    from trine.access.graph import lineage
    from trine.access.operations import (
        approve,
        create_principal,
        create_token,
        grant_role,
        list_approvals,
        list_policies,
        list_principals,
        reject,
        revoke_role,
        revoke_token,
        set_policy,
        whoami,
    )

__all__ = [
    "approve",
    "create_principal",
    "create_token",
    "grant_role",
    "lineage",
    "list_approvals",
    "list_events",
    "list_policies",
    "list_principals",
    "reject",
    "revoke_role",
    "revoke_token",
    "set_policy",
    "verify_events",
    "whoami",
]

_PLACES = {"lineage": "graph", "list_events": "audit", "verify_events": "audit"}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for: the door itself stands on this room's values."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'operations')}"), name)
