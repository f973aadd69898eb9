"""Verbs, roles and what each role may do. Deny by default: what no role's verb covers is refused."""

from __future__ import annotations

from trine.errors import InvalidInput, nearest

VERBS: dict[str, str] = {
    "read": "see what is there",
    "write": "record: runs, data commits, features, labels, evaluations",
    "register": "register model versions",
    "run": "start, resume and cancel pipelines and monitors",
    "promote": "move an alias of a model",
    "deploy": "change what an endpoint serves",
    "approve": "approve or reject a held operation",
    "audit": "read and export the event log",
    "delete": "delete runs, datasets, versions, endpoints",
    "manage": "principals, roles, tokens, policies, settings",
}

STORE = "store"
"""The room of the permissions `store.read` and `store.write`, which the object store asks for."""

_VIEW = frozenset({"read"})
_CONTRIBUTE = _VIEW | {"write", "register", "run"}

ROLES: dict[str, frozenset[str]] = {
    "viewer": _VIEW,
    "contributor": _CONTRIBUTE,
    "maintainer": _CONTRIBUTE | {"promote", "deploy", "delete"},
    "approver": _VIEW | {"approve"},
    "auditor": _VIEW | {"audit"},
    "admin": frozenset(VERBS),
}


def verb_of(permission: str) -> str:
    """The verb of a permission `room.verb`. Raises InvalidInput for a form or verb that does not exist."""
    room, dot, verb = permission.partition(".")
    if not (room and dot and verb in VERBS):
        raise InvalidInput(
            f'"{permission}" is no permission: write room.verb with a verb of {", ".join(VERBS)}.{nearest(verb, VERBS)}'
        )
    return verb


def covers(scope: str, permission: str) -> bool:
    """Whether a token's scope (`*`, `models.*`, `*.read`, `models.promote`) covers a permission.

    Objects belong to no room: every scope that reads, or writes, covers reading, or writing, them.
    """
    room, _, verb = permission.partition(".")
    scope_room, _, scope_verb = scope.partition(".")
    return scope == "*" or ((scope_room in ("*", room) or room == STORE) and scope_verb in ("*", verb))


def includes(scope: str, other: str) -> bool:
    """Whether a scope covers all that another one does."""
    if scope == "*" or other == "*":
        return scope == "*"
    (room, _, verb), (other_room, _, other_verb) = scope.partition("."), other.partition(".")
    return room in ("*", other_room) and verb in ("*", other_verb)
