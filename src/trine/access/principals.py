"""Who is acting, and whether they may."""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import secrets
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, select
from sqlalchemy.engine import Connection

from trine.access.roles import ROLES, covers, verb_of
from trine.access.tables import access_grant, principal, token
from trine.errors import Refused, Unauthenticated

PREFIX = "trn_"


class Principal(msgspec.Struct, frozen=True):
    """Who acts: a user or a service. `local` is the operating-system user of an embedded workspace, who owns its files."""

    name: str
    local: bool = False
    project: str = "*"
    scopes: tuple[str, ...] = ("*",)


def local_principal() -> Principal:
    """The operating-system user: in embedded mode whoever can write the files may do everything, and is named in the log."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Principal(f"user:{name}", local=True)


def new_token_secret() -> tuple[str, str, str]:
    """A fresh token: its id, the text to hand out once, and the hash to keep."""
    identity, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return identity, f"{PREFIX}{identity}_{secret}", hash_secret(secret)


def hash_secret(secret: str) -> str:
    """SHA-256 suffices: the secret has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_key(hashed: str) -> str:
    """The secret access key of a token that signs requests, from the hash that is kept of its secret.

    A signature can only be checked with what made it, so whoever reads the table of tokens can sign: only tokens that were
    made for it are taken.
    """
    return base64.b64encode(hmac.digest(bytes.fromhex(hashed), b"secret access key", "sha256"))[:40].decode()


_TOKEN = (
    select(token, principal.c.disabled)
    .join_from(token, principal, token.c.principal == principal.c.name)
    .where(token.c.id == bindparam("token_id"))
)
_ROLES = select(access_grant.c.role).where(
    access_grant.c.principal == bindparam("who"), access_grant.c.project.in_((bindparam("in_project"), "*"))
)


def by_token(connection: Connection, text: str, now_us: int) -> Principal:
    """The principal a token stands for. Raises Unauthenticated; the answer does not say which part was wrong.

    One indexed query and one SHA-256: a token that is revoked is refused from the next call on.
    """
    wrong = Unauthenticated("The token is not valid, expired or revoked. Make a new one: trine access token create …")
    identity, _, secret = text.removeprefix(PREFIX).partition("_")
    if not (text.startswith(PREFIX) and len(identity) == 16 and secret and text.isascii()):
        raise wrong
    row = _valid(connection, identity, now_us)
    if row is None or not hmac.compare_digest(row.hash, hash_secret(secret)):
        raise wrong
    return _principal_of(row)


def by_key(connection: Connection, key_id: str, now_us: int) -> tuple[Principal, str]:
    """The principal that an access key id stands for, and the secret that has to have signed. Raises Unauthenticated."""
    row = _valid(connection, key_id, now_us) if key_id.isascii() and len(key_id) == 16 else None
    if row is None or not row.signs:
        raise Unauthenticated(
            "The access key is not valid, expired or revoked. Make a key pair: trine access token create … --keys"
        )
    return _principal_of(row), secret_key(row.hash)


def _valid(connection: Connection, identity: str, now_us: int) -> Row[Any] | None:
    row = connection.execute(_TOKEN, {"token_id": identity}).first()
    if row is None or row.revoked_us is not None or row.disabled:
        return None
    return row if row.expires_us is None or row.expires_us > now_us else None


def _principal_of(row: Row[Any]) -> Principal:
    return Principal(row.principal, project=row.project, scopes=tuple(msgspec.json.decode(row.scopes)))


def roles_of(connection: Connection, name: str, project: str) -> set[str]:
    """The roles a principal holds in a project, those granted for every project included."""
    return set(connection.execute(_ROLES, {"who": name, "in_project": project}).scalars())


def authorise(connection: Connection, who: Principal, project: str, permission: str) -> None:
    """Raise Refused unless `who` may do `permission` in `project`."""
    if who.local:
        return
    if who.project not in ("*", project):
        raise Refused(f'This token is for project "{who.project}", not "{project}".')
    if not any(covers(scope, permission) for scope in who.scopes):
        raise Refused(f"This token's scopes ({', '.join(who.scopes)}) do not cover {permission}.")
    verb = verb_of(permission)
    held = roles_of(connection, who.name, project)
    if not any(verb in ROLES[role] for role in held):
        able = [role for role, verbs in ROLES.items() if verb in verbs]
        raise Refused(
            f'{who.name} may not {permission} in project "{project}": it needs the role '
            f"{' or '.join(able)}, and holds {', '.join(sorted(held)) or 'none'}."
        )
