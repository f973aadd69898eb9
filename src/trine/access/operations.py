"""The door's part on access: principals, grants, tokens, policies, approvals, the event log, lineage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Select, and_, delete, insert, not_, or_, select, update

from trine import rooms
from trine.access.passwords import hash_password
from trine.access.principals import authorise, new_token_secret, roles_of, secret_key
from trine.access.roles import VERBS, includes
from trine.access.tables import access_grant, approval, policy, principal, token
from trine.errors import Conflict, InvalidInput, NotFound, Refused, nearest
from trine.ids import now_us
from trine.ledger import upsert
from trine.operations import REGISTRY, Done, Limit, Name, Page, operation, page_of, page_start
from trine.types import Secret
from trine.workspace import Workspace

LOGIN = "login"
"""The description of tokens that signing in made."""

PrincipalName = Annotated[
    str, msgspec.Meta(pattern=r"^(user|service|pipeline):[A-Za-z0-9_][A-Za-z0-9_.@\-]*$(?!\n)", max_length=200)
]
ApprovalState = Literal["pending", "approved", "rejected", "used", "void", "expired"]
Role = Literal["viewer", "contributor", "maintainer", "approver", "auditor", "admin"]


class PrincipalInfo(msgspec.Struct, frozen=True):
    """A user or service, and the roles it holds in this project."""

    name: str
    disabled: bool
    roles: list[str]
    created_us: int


class TokenInfo(msgspec.Struct, frozen=True):
    """A token without its secret. `text` is filled once, in the answer that created it, and so is `secret_key`, when it
    signs requests: the access key id is its `id`."""

    id: str
    principal: str
    project: str
    scopes: list[str]
    description: str
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    text: str = ""
    signs: bool = False
    secret_key: str = ""


class Policy(msgspec.Struct, frozen=True):
    """Operations that are held until others approve."""

    name: str
    operation: str
    when: dict[str, Any]
    approvals: int
    expires_s: int


class Approval(msgspec.Struct, frozen=True):
    """A request to let one held call through, and what became of it."""

    id: str
    policy: str
    operation: str
    object: str
    arguments: dict[str, Any]
    requester: str
    reason: str
    state: str
    decided_by: list[str]
    needed: int
    created_us: int
    expires_us: int
    decided_us: int | None


# -- principals and roles ---------------------------------------------------------------------------------------


@operation("GET /me", allows="access.read")
def whoami(ws: Workspace) -> PrincipalInfo:
    """Who this call acts as, and the roles held in this project."""
    who = ws.principal
    roles = ["admin"] if who.local else sorted(roles_of(ws.tx.connection, who.name, ws.project))
    return PrincipalInfo(who.name, False, roles, 0)


@operation("POST /principals", allows="access.manage")
def create_principal(ws: Workspace, *, name: PrincipalName, password: Secret = "") -> PrincipalInfo:
    """Add a user or service; a password (argon2id) is needed only to log in on a server."""
    tx = ws.tx
    if tx.first(select(principal.c.name).where(principal.c.name == name)):
        raise Conflict(f'"{name}" exists already. Grant roles with: trine access grant {name} ROLE')
    hashed = hash_password(password) if password else ""
    tx.execute(insert(principal).values(name=name, password=hashed, disabled=False, created_us=tx.now_us))
    tx.touch(name, after=name)
    return PrincipalInfo(name, False, [], tx.now_us)


@operation("PUT /principals/{name}/password", allows="access.read")
def set_password(ws: Workspace, *, name: str, password: Secret) -> Done:
    """Give a user a new password: the user itself, or an admin of every project. Its logins end."""
    if name != ws.principal.name:
        require_everywhere(ws, f"changing the password of {name}")
    _principal(ws, name)
    tx = ws.tx
    tx.execute(update(principal).where(principal.c.name == name).values(password=hash_password(password)))
    logins = update(token).where(token.c.principal == name, token.c.description == LOGIN, token.c.revoked_us.is_(None))
    tx.execute(logins.values(revoked_us=tx.now_us))
    tx.touch(name)
    return Done(name)


@operation("GET /principals", allows="access.read")
def list_principals(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[PrincipalInfo]:
    """Users and services by name, with their roles in this project."""
    query = select(principal).order_by(principal.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(principal.c.name > start)
    rows = ws.tx.all(query)
    found = [
        PrincipalInfo(r.name, r.disabled, sorted(roles_of(ws.tx.connection, r.name, ws.project)), r.created_us)
        for r in rows
    ]
    return page_of(found, limit, lambda one: one.name)


@operation("PATCH /principals/{name}", allows="access.manage")
def disable_principal(ws: Workspace, *, name: str, disabled: bool = True) -> Done:
    """Switch a principal off in every project (its tokens stop at once), or on again."""
    require_everywhere(ws, f"switching {name} off or on")
    _principal(ws, name)
    ws.tx.execute(update(principal).where(principal.c.name == name).values(disabled=disabled))
    ws.tx.touch(name, before=not disabled, after=disabled)
    return Done(name)


@operation("PUT /grants/{principal_name}/{role}", allows="access.manage")
def grant_role(ws: Workspace, *, principal_name: str, role: Role, everywhere: bool = False) -> Done:
    """Give a principal a role in this project, or in every project."""
    if everywhere:
        require_everywhere(ws, "granting a role everywhere")
    _principal(ws, principal_name)
    project = "*" if everywhere else ws.project
    row = {"project": project, "principal": principal_name, "role": role, "time_us": ws.tx.now_us}
    changed = ws.tx.execute(upsert(access_grant, keep=True), row).rowcount > 0
    ws.tx.touch(principal_name, after=[project, role])
    return Done(principal_name, changed)


@operation("DELETE /grants/{principal_name}/{role}", allows="access.manage")
def revoke_role(ws: Workspace, *, principal_name: str, role: Role, everywhere: bool = False) -> Done:
    """Take a role away."""
    if everywhere:
        require_everywhere(ws, "revoking a role everywhere")
    _principal(ws, principal_name)
    gone = ws.tx.execute(
        delete(access_grant).where(
            access_grant.c.project == ("*" if everywhere else ws.project),
            access_grant.c.principal == principal_name,
            access_grant.c.role == role,
        )
    )
    ws.tx.touch(principal_name, before=role)
    return Done(principal_name, gone.rowcount > 0)


def _principal(ws: Workspace, name: str) -> None:
    known = [row.name for row in ws.tx.all(select(principal.c.name))]
    if name not in known:
        raise NotFound(f'No principal "{name}".{nearest(name, known)} Add it with: trine access add {name}')


def _may_everywhere(ws: Workspace) -> bool:
    """Whether who acts here manages access in every project, not only in this one."""
    try:
        authorise(ws.tx.connection, ws.principal, "*", "access.manage")
    except Refused:
        return False
    return True


def require_everywhere(ws: Workspace, what: str) -> None:
    """Raise Refused unless who acts here manages access in every project."""
    if not _may_everywhere(ws):
        raise Refused(f"{ws.principal.name} is no admin of every project: {what} reaches beyond {ws.project}.")


# -- tokens -----------------------------------------------------------------------------------------------------


@operation("POST /tokens", allows="access.manage", keeps=False)
def create_token(
    ws: Workspace,
    *,
    principal_name: str,
    scopes: list[str] = ["*"],  # noqa: B006 (copied by the door)
    everywhere: bool = False,
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=10 * 366 * 86_400)] = 90 * 86_400,
    description: str = "",
    signs: bool = False,
) -> TokenInfo:
    """A new token for a principal; its text is in this answer only. `expires_s` 0 means it never expires. With `signs` it is
    also a key pair, for clients of S3."""
    _principal(ws, principal_name)
    _check_scopes(scopes)
    if everywhere:
        require_everywhere(ws, "a token for every project")
    if wider := [scope for scope in scopes if not any(includes(own, scope) for own in ws.principal.scopes)]:
        raise Refused(f"A token cannot make one that may do more: it has no scope that includes {', '.join(wider)}.")
    info = _new_token(ws, principal_name, scopes, "*" if everywhere else ws.project, expires_s, description, signs)
    ws.tx.touch(f"token:{info.id}", after=[principal_name, scopes])
    return info


def _new_token(
    ws: Workspace, name: str, scopes: list[str], project: str, expires_s: int, description: str, signs: bool
) -> TokenInfo:
    tx = ws.tx
    identity, text, hashed = new_token_secret()
    info = TokenInfo(
        identity,
        name,
        project,
        scopes,
        description,
        tx.now_us,
        tx.now_us + expires_s * 1_000_000 if expires_s else None,
        None,
        text,
        signs,
        secret_key(hashed) if signs else "",
    )
    row = msgspec.structs.asdict(info) | {"hash": hashed, "scopes": msgspec.json.encode(scopes).decode()}
    del row["text"], row["secret_key"]
    tx.execute(insert(token).values(row))
    return info


@operation("GET /tokens", allows="access.manage")
def list_tokens(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[TokenInfo]:
    """Tokens of this project (for an admin of every project: all tokens) by id, without their secrets."""
    query = _visible_tokens(ws).order_by(token.c.id).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(token.c.id > start)
    return page_of([_token(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


@operation("DELETE /tokens/{id}", allows="access.manage")
def revoke_token(ws: Workspace, *, id: str) -> Done:
    """Revoke a token; the next call with it is refused."""
    row = ws.tx.first(_visible_tokens(ws).where(token.c.id == id))
    if row is None:
        raise NotFound(f'No token "{id}". See: trine access token ls')
    ws.tx.execute(update(token).where(token.c.id == id, token.c.revoked_us.is_(None)).values(revoked_us=ws.tx.now_us))
    ws.tx.touch(f"token:{id}", before="valid", after="revoked")
    return Done(f"token:{id}", row.revoked_us is None)


def _visible_tokens(ws: Workspace) -> Select[Any]:
    return select(token) if _may_everywhere(ws) else select(token).where(token.c.project == ws.project)


def _token(row: Any) -> TokenInfo:
    return TokenInfo(
        row.id,
        row.principal,
        row.project,
        msgspec.json.decode(row.scopes),
        row.description,
        row.created_us,
        row.expires_us,
        row.revoked_us,
        signs=row.signs,
    )


def _check_scopes(scopes: list[str]) -> None:
    if not scopes:
        raise InvalidInput('A token needs at least one scope, for instance "*" or "models.read".')
    for scope in scopes:
        room, dot, verb = scope.partition(".")
        if scope != "*" and not (room and dot and verb in {*VERBS, "*"}):
            raise InvalidInput(f'"{scope}" is no scope: write "*", "models.*", "*.read" or "models.promote".')


# -- policies and approvals -------------------------------------------------------------------------------------


@operation("PUT /policies/{name}", allows="access.manage")
def set_policy(
    ws: Workspace,
    *,
    name: Name,
    operation: str,
    when: dict[str, Any] = {},  # noqa: B006 (copied by the door)
    approvals: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1,
    expires_s: Annotated[int, msgspec.Meta(ge=60, le=31_536_000)] = 7 * 86_400,
) -> Policy:
    """Hold an operation (`models.promote_model`, `serving.*`) whose arguments equal `when` until `approvals` others approve."""
    rooms.load()
    known = [one.name for one in REGISTRY.values() if one.changes]
    if "*" not in operation and operation not in known:
        raise NotFound(f'No operation "{operation}" that changes anything.{nearest(operation, known)}')
    if operation.startswith("access.") or operation in ("*", "*.*"):
        raise InvalidInput("Operations of access itself cannot be held: nobody could approve any more.")
    tx = ws.tx
    row = {
        "project": ws.project,
        "name": name,
        "operation": operation,
        "when_arguments": msgspec.json.encode(when).decode(),
        "approvals": approvals,
        "expires_s": expires_s,
        "created_us": tx.now_us,
    }
    tx.execute(upsert(policy), row)
    tx.touch(f"policy:{name}", after=row)
    return Policy(name, operation, when, approvals, expires_s)


@operation("GET /policies", allows="access.read")
def list_policies(ws: Workspace) -> list[Policy]:
    """The approval policies of this project."""
    rows = ws.tx.all(select(policy).where(policy.c.project == ws.project).order_by(policy.c.name))
    return [Policy(r.name, r.operation, msgspec.json.decode(r.when_arguments), r.approvals, r.expires_s) for r in rows]


@operation("DELETE /policies/{name}", allows="access.manage")
def delete_policy(ws: Workspace, *, name: str) -> Done:
    """Remove a policy; calls it held go through from now on."""
    gone = ws.tx.execute(delete(policy).where(policy.c.project == ws.project, policy.c.name == name))
    if not gone.rowcount:
        raise NotFound(f'No policy "{name}" in project "{ws.project}".')
    ws.tx.touch(f"policy:{name}", before=name)
    return Done(f"policy:{name}")


@operation("GET /approvals", allows="access.read")
def list_approvals(
    ws: Workspace, *, state: ApprovalState | Literal[""] = "", limit: Limit = 100, page: str = ""
) -> Page[Approval]:
    """Requests for approval, newest first."""
    query = select(approval).where(approval.c.project == ws.project).order_by(approval.c.id.desc()).limit(limit + 1)
    if state:
        open_ = approval.c.state.in_(("pending", "approved"))
        late = approval.c.expires_us <= ws.tx.now_us
        wanted = approval.c.state == state
        query = query.where(
            or_(wanted, and_(open_, late)) if state == "expired" else and_(wanted, not_(and_(open_, late)))
        )
    if start := page_start(page, fields=str):
        query = query.where(approval.c.id < start)
    return page_of([_approval(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


@operation("GET /approvals/{id}", allows="access.read")
def get_approval(ws: Workspace, *, id: str) -> Approval:
    """One request for approval."""
    row = ws.tx.first(select(approval).where(approval.c.project == ws.project, approval.c.id == id))
    if row is None:
        raise NotFound(f'No approval "{id}" in project "{ws.project}". See: trine approvals ls')
    return _approval(row)


@operation("POST /approvals/{id}/approve", allows="access.approve")
def approve(ws: Workspace, *, id: str, reason: str = "") -> Approval:
    """Approve a held call of somebody else; when enough have, its requester may make exactly that call once."""
    return _decide(ws, id, "approved", reason)


@operation("POST /approvals/{id}/reject", allows="access.approve")
def reject(ws: Workspace, *, id: str, reason: str = "") -> Approval:
    """Reject a held call of somebody else."""
    return _decide(ws, id, "rejected", reason)


def _decide(ws: Workspace, id: str, decision: str, reason: str) -> Approval:
    tx = ws.tx
    found = get_approval(ws, id=id)
    who = ws.principal.name
    if found.state != "pending":
        raise Conflict(f"Approval {id} is {found.state} already.")
    if found.expires_us <= tx.now_us:
        raise Conflict(f"Approval {id} expired. {found.requester} has to make the call again.")
    if who == found.requester:
        raise Refused(f"{who} asked for this and cannot decide it: somebody else has to (four eyes).")
    if who in found.decided_by:
        raise Conflict(f"{who} has approved this already; {found.needed} different people are needed.")
    if decision == "approved":
        _check_state(ws, found)
    deciders = [*found.decided_by, who]
    state = "rejected" if decision == "rejected" else "approved" if len(deciders) >= found.needed else "pending"
    tx.execute(
        update(approval)
        .where(approval.c.id == id)
        .values(
            state=state,
            decided_by=msgspec.json.encode(deciders).decode(),
            decided_us=tx.now_us,
            reason=reason,
        )
    )
    tx.touch(f"approval:{id}", before=found.state, after=state)
    tx.note(held_operation=found.operation, held_object=found.object, state=state)
    return get_approval(ws, id=id)


def _check_state(ws: Workspace, found: Approval) -> None:
    """An approval is for one state of the world: approving after that changed is refused."""
    rooms.load()
    one = REGISTRY.get(found.operation)
    if one is None:
        return
    hold = one.hold(ws, one.bind(found.arguments))
    kept = ws.tx.scalar(select(approval.c.digest).where(approval.c.id == found.id))
    if hold is None or hold.digest != kept:
        raise Conflict(
            f"What approval {found.id} was asked on has changed since. {found.requester} has to make the call again."
        )


def _approval(row: Any) -> Approval:
    state = "expired" if row.state in ("pending", "approved") and row.expires_us <= now_us() else row.state
    return Approval(
        row.id,
        row.policy,
        row.operation,
        row.object,
        msgspec.json.decode(row.arguments),
        row.requester,
        row.reason,
        state,
        msgspec.json.decode(row.decided_by),
        row.needed,
        row.created_us,
        row.expires_us,
        row.decided_us,
    )
