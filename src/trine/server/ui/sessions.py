"""Who looks at a page: signed in by a cookie that holds a short-lived token, or, embedded, whoever owns the workspace.

The cookie is HttpOnly and SameSite=Strict, and only pages read it: the REST routes do not, so no page of another site can
use them with it. Every form carries a key made from the cookie's token, which nobody without the token can make.
"""

from __future__ import annotations

import hmac
import secrets

import msgspec
from sqlalchemy import select
from starlette.requests import Request

from trine.access.operations import LOGIN, revoke_token
from trine.access.principals import PREFIX, Principal, by_token, roles_of
from trine.access.roles import ROLES, covers, verb_of
from trine.access.tables import token as tokens
from trine.errors import InvalidInput, NotFound, Refused, Unauthenticated
from trine.ids import digest, now_us
from trine.server import guard
from trine.settings import check_project
from trine.workspace import Workspace

COOKIE = "trine_session"
PROJECT = "trine_project"
FORM_KEY = "form_key"


class Viewer(msgspec.Struct, frozen=True):
    """Who looks, and what they may do in this project: pages offer nothing else."""

    name: str
    project: str
    principal: Principal
    verbs: frozenset[str]
    signed_in: bool

    def may(self, permission: str) -> bool:
        return verb_of(permission) in self.verbs and any(covers(scope, permission) for scope in self.principal.scopes)


class Sessions:
    """Cookies and form keys of one server."""

    def __init__(self, ws: Workspace, *, embedded: bool) -> None:
        self.ws = ws
        self.embedded = embedded
        self._secret = secrets.token_hex(16)

    def open(self, request: Request) -> tuple[Workspace, Viewer]:
        """The workspace as who is asking sees it. Raises Unauthenticated."""
        project = request.cookies.get(PROJECT) or self.ws.project
        try:
            check_project(project)
        except InvalidInput:
            project = self.ws.project
        token = guard.credentials(request) or request.cookies.get(COOKIE, "")
        with self.ws.ledger.transaction(write=False) as connection:
            if token:
                who = by_token(connection, token, now_us())
            elif self.embedded:
                who = self.ws.principal
            else:
                raise Unauthenticated("Sign in to see this.")
            if not who.local and who.project not in ("*", project):
                project = who.project
            held = set(ROLES) if who.local else roles_of(connection, who.name, project)
        verbs = frozenset(verb for role in held for verb in ROLES[role])
        viewer = Viewer(who.name, project, who, verbs, bool(token))
        return self.ws.for_project(project).acting_as(who), viewer

    def check_token(self, token: str) -> None:
        """Raises Unauthenticated for a token that is not valid."""
        with self.ws.ledger.transaction(write=False) as connection:
            by_token(connection, token, now_us())

    def form_key(self, request: Request) -> str:
        """What a form on a page for this browser has to carry."""
        return digest(f"form:{self._secret}:{request.cookies.get(COOKIE, '')}".encode())[:32]

    def check_form(self, request: Request, given: str) -> None:
        """Raises Refused for a form that is not of a page of this server for this browser."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused("A page of another site may not change anything here.")
        if not hmac.compare_digest(self.form_key(request), given):
            raise Refused(
                "This form is too old: the server was started anew, or you signed in since. Load its page again."
            )

    def end(self, token: str) -> None:
        """Revoke the token that a browser's signing in made; one that was pasted is its owner's."""
        identity = token.removeprefix(PREFIX).partition("_")[0]
        try:
            with self.ws.ledger.transaction(write=False) as connection:
                who = by_token(connection, token, now_us())
                made_for = connection.execute(select(tokens.c.description).where(tokens.c.id == identity)).scalar()
            if made_for != LOGIN:
                return
            door = self.ws.acting_as(Principal("service:login", local=True), on_behalf_of=who.name)
            revoke_token(door, id=identity)
        except (Unauthenticated, NotFound):
            return
