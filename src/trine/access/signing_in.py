"""Signing in to a server: the first admin from a one-time secret, everybody after that by password.

Plain functions of the server, since there is no principal yet who could be authorised; what they change, they change
through operations in one transaction.
"""

from __future__ import annotations

import hmac
import secrets

from sqlalchemy import delete, func, select

from trine.access.operations import LOGIN, TokenInfo, create_principal, create_token, grant_role
from trine.access.passwords import is_password
from trine.access.principals import Principal, hash_secret
from trine.access.tables import principal
from trine.errors import Unauthenticated
from trine.ledger import upsert
from trine.ledger.tables import about
from trine.workspace import Workspace, transaction


def bootstrap_secret(ws: Workspace) -> str:
    """A new one-time secret that makes the first admin, or nothing when there are principals. It replaces an older one."""
    with ws.ledger.transaction(write=True) as connection:
        if connection.execute(select(func.count()).select_from(principal)).scalar():
            return ""
        secret = secrets.token_hex(24)
        connection.execute(upsert(about), {"key": "bootstrap", "value": hash_secret(secret)})
        return secret


def create_first_admin(ws: Workspace, *, secret: str, name: str, password: str) -> TokenInfo:
    """Use the one-time secret of `bootstrap_secret`: makes an admin of every project and answers with its token."""
    first = ws.acting_as(Principal("service:bootstrap", local=True), on_behalf_of=name)
    with transaction(first, write=True) as tx:
        kept = tx.scalar(select(about.c.value).where(about.c.key == "bootstrap")) or ""
        if not kept or not hmac.compare_digest(kept, hash_secret(secret)):
            raise Unauthenticated(
                "The one-time secret is not valid or was used. Restart the server to print a new one."
            )
        create_principal(first, name=name, password=password)
        grant_role(first, principal_name=name, role="admin", everywhere=True)
        made = create_token(first, principal_name=name, everywhere=True, description="first admin")
        tx.execute(delete(about).where(about.c.key == "bootstrap"))
    return made


def login(ws: Workspace, *, name: str, password: str, expires_s: int = 12 * 3600) -> TokenInfo:
    """A short-lived token for a user with a password; the answer never says which part was wrong."""
    with ws.ledger.transaction(write=False) as connection:
        row = connection.execute(select(principal).where(principal.c.name == name)).first()
    kept = row.password if row and not row.disabled else ""
    if not is_password(kept, password):
        raise Unauthenticated("The name or the password is wrong.")
    door = ws.acting_as(Principal("service:login", local=True), on_behalf_of=name)
    return create_token(door, principal_name=name, everywhere=True, expires_s=expires_s, description=LOGIN)
