"""Four eyes at the door: a policy holds an operation until somebody else approves exactly this call in exactly this state."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.engine import Connection

from trine.access.tables import approval, policy
from trine.ids import canonical_json, digest, new_id


class Hold(msgspec.Struct, frozen=True):
    """What has to be asked for before a held call may go on."""

    policy: str
    operation: str
    digest: str
    arguments: str
    needed: int
    expires_s: int


class Rule(NamedTuple):
    """Who says that a call is held, how many others have to approve it, and for how long that is good."""

    name: str
    approvals: int
    expires_s: int


class Held(Exception):
    """Raised inside the door's transaction, so that nothing of the held call stays; the door then files the request."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold


_POLICIES = select(policy).where(policy.c.project.in_((bindparam("in_project"), "*"))).order_by(policy.c.name)


def find_hold(
    connection: Connection,
    project: str,
    operation: str,
    arguments: dict[str, Any],
    state: Callable[[], Any] | None,
    own: Rule | None = None,
) -> Hold | None:
    """What the policies that match this call, and the operation's `own` rule, ask for together: the most approvals, the
    shortest time.

    The digest an approval is bound to covers operation, arguments, state and the number of approvals.
    """
    found = [
        Rule(row.name, row.approvals, row.expires_s)
        for row in connection.execute(_POLICIES, {"in_project": project})
        if _holds(row, operation, arguments)
    ]
    if own is not None:
        found.append(own)
    if not found:
        return None
    needed = max(row.approvals for row in found)
    bound = digest([project, operation, arguments, state() if state else None, needed])
    name = next(row.name for row in found if row.approvals == needed)
    shown = canonical_json(arguments).decode()
    return Hold(name, operation, bound, shown, needed, min(row.expires_s for row in found))


def _holds(row: Row[Any], operation: str, arguments: dict[str, Any]) -> bool:
    wanted: dict[str, Any] = msgspec.json.decode(row.when_arguments)
    return fnmatch.fnmatchcase(operation, row.operation) and all(
        arguments.get(name) == value for name, value in wanted.items()
    )


def use_approval(connection: Connection, hold: Hold, requester: str, now_us: int) -> str:
    """The id of the approval that lets this call through, spent by this call; raises Held when there is none."""
    query = select(approval).where(
        approval.c.digest == hold.digest,
        approval.c.state == "approved",
        approval.c.requester == requester,
        approval.c.expires_us > now_us,
    )
    row = connection.execute(query.limit(1)).first()
    if row is None:
        raise Held(hold)
    connection.execute(update(approval).where(approval.c.id == row.id).values(state="used"))
    return row.id


def file_request(
    connection: Connection, hold: Hold, project: str, object_: str, requester: str, now_us: int
) -> tuple[str, bool]:
    """The id of the pending request for this very call, and whether it is new. Older ones on another state become void."""
    query = select(approval).where(
        approval.c.project == project,
        approval.c.requester == requester,
        approval.c.operation == hold.operation,
        approval.c.object == object_,
        approval.c.state.in_(("pending", "approved")),
    )
    for row in connection.execute(query).all():
        if row.digest == hold.digest and row.state == "pending" and row.expires_us > now_us:
            return row.id, False
        after = "expired" if row.expires_us <= now_us else "void"
        connection.execute(update(approval).where(approval.c.id == row.id).values(state=after))
    identity = new_id()
    connection.execute(
        approval.insert().values(
            id=identity,
            project=project,
            policy=hold.policy,
            operation=hold.operation,
            object=object_,
            arguments=hold.arguments,
            digest=hold.digest,
            requester=requester,
            reason="",
            state="pending",
            decided_by="[]",
            needed=hold.needed,
            created_us=now_us,
            expires_us=now_us + hold.expires_s * 1_000_000,
        )
    )
    return identity, True
