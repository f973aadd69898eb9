"""All pages together: who is asking, which page, and what a browser is shown when that goes wrong."""

from __future__ import annotations

import importlib
import logging
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from trine.access.audit import list_events
from trine.access.operations import TokenInfo
from trine.errors import ApprovalRequired, Failure, NotFound, TrineError, Unauthenticated
from trine.ids import new_id
from trine.server import guard
from trine.server.answers import problem
from trine.server.stream import Stream
from trine.server.ui import live
from trine.server.ui.assets import Assets
from trine.server.ui.pages import PAGES, Asked, Handler
from trine.server.ui.rendering import SECURITY, Rendering
from trine.server.ui.sessions import COOKIE, FORM_KEY, PROJECT, Sessions, Viewer
from trine.settings import check_project
from trine.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("trine.server")

FILES = (
    "home", "runs", "comparing", "series", "models", "gates", "approvals", "data", "features", "pipelines",
    "endpoints", "monitors", "lineage", "governance", "search",
)  # fmt: skip
"""The files of pages, in this folder."""

SIGN_IN = "/sign-in"


class Site:
    """The ASGI application of the pages. Embedded, whoever reaches it acts as the owner of the workspace: only on loopback."""

    def __init__(
        self, ws: Workspace, stream: Stream, hosts: frozenset[str], *, sign_in: SignIn, embedded: bool
    ) -> None:
        for name in FILES:
            importlib.import_module(f"trine.server.ui.{name}")
        self.stream = stream
        self.hosts = hosts
        self.sign_in = sign_in
        self.sessions = Sessions(ws, embedded=embedded)
        self.assets = Assets()
        self.rendering = Rendering(self.assets, self.sessions)
        routes = [
            Route(path, self._safe(partial(self._page, one)), methods=[how]) for (how, path), one in PAGES.items()
        ]
        routes += [
            Route("/static/{name}", self._safe(self._file), methods=["GET"]),
            Route("/live", self._safe(self._live), methods=["GET"]),
            Route(SIGN_IN, self._safe(self._sign_in_page), methods=["GET"]),
            Route(SIGN_IN, self._safe(self._sign_in), methods=["POST"]),
            Route("/sign-out", self._safe(self._sign_out), methods=["POST"]),
            Route("/project", self._safe(self._choose_project), methods=["POST"]),
        ]
        self.router = Router(routes, redirect_slashes=False, default=self._nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.router(scope, receive, send)

    def _safe(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Host and origin first; every error is a page with its own address and status."""

        async def answer(request: Request) -> Response:
            try:
                guard.check_host(request, self.hosts)
                return await handler(request)
            except Unauthenticated as error:
                if request.method == "GET" and _is_browser(request) and request.url.path != SIGN_IN:
                    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                    return RedirectResponse(f"{SIGN_IN}?back={quote(back, safe='')}", 303)
                return await self._failed(request, error)
            except ApprovalRequired as error:
                return RedirectResponse(f"/approvals/{quote(error.details['approval'])}", 303)
            except TrineError as error:
                return await self._failed(request, error)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                incident = new_id()
                log.error("%s %s failed, incident %s", request.method, request.url.path, incident, exc_info=error)
                told = f"This is a fault of the server; it is logged as incident {incident}."
                return await self._failed(request, Failure(told, incident=incident))

        return answer

    async def _failed(self, request: Request, error: TrineError) -> Response:
        if not _is_browser(request):
            return problem(error)
        viewer = await to_thread.run_sync(self._viewer, request)
        return self.rendering.page(request, viewer, "error.html", {"error": error}, error.status)

    def _viewer(self, request: Request) -> Viewer | None:
        try:
            return self.sessions.open(request)[1]
        except TrineError:
            return None

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def nothing(request: Request) -> Response:
            raise NotFound(f"There is nothing at {request.method} {request.url.path}. See /openapi.json")

        response = await self._safe(nothing)(Request(scope, receive))
        await response(scope, receive, send)

    async def _page(self, handler: Handler, request: Request) -> Response:
        form: dict[str, str] = {}
        if request.method == "POST":
            form = await self._form(request)

        def call() -> Response:
            ws, viewer = self.sessions.open(request)
            return handler(Asked(request, ws, viewer, form, self.rendering))

        return await to_thread.run_sync(call)

    async def _form(self, request: Request) -> dict[str, str]:
        """The fields of a form of ours; the last of several with one name."""
        body = await guard.read_body(request)
        fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000))
        self.sessions.check_form(request, fields.pop(FORM_KEY, ""))
        return fields

    async def _file(self, request: Request) -> Response:
        return self.assets.answer(request, request.path_params["name"])

    async def _live(self, request: Request) -> Response:
        await to_thread.run_sync(
            lambda: list_events(self.sessions.open(request)[0], limit=1)
        )  # raises before it begins
        return live.follow(request, self.stream, lambda: self.sessions.open(request)[0])

    # -- signing in -----------------------------------------------------------------------------------------------

    async def _sign_in_page(self, request: Request) -> Response:
        viewer = await to_thread.run_sync(self._viewer, request)
        back = request.query_params.get("back", "/")
        return self.rendering.page(request, viewer, "sign_in.html", {"back": back, "error": None})

    async def _sign_in(self, request: Request) -> Response:
        fields = await self._form(request)
        back = fields.get("back") or "/"
        if not back.startswith("/") or back.startswith(("//", "/\\")):
            back = "/"
        try:
            made = await self._session(fields)
        except TrineError as error:
            values = {"back": back, "error": error}
            return self.rendering.page(request, None, "sign_in.html", values, error.status)
        answer = RedirectResponse(back, 303, headers=SECURITY)
        answer.set_cookie(COOKIE, made, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    async def _session(self, fields: dict[str, str]) -> str:
        """The token a session stands on. Raises Unauthenticated."""
        if token := fields.get("token", "").strip():
            await to_thread.run_sync(self.sessions.check_token, token)
            return token
        name = fields.get("name", "").strip()
        made = await self.sign_in(
            name if ":" in name else f"user:{name}", fields.get("password", ""), fields.get("secret", "")
        )
        return made.text

    async def _sign_out(self, request: Request) -> Response:
        await self._form(request)
        await to_thread.run_sync(self.sessions.end, request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/" if self.sessions.embedded else SIGN_IN, 303, headers=SECURITY)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _choose_project(self, request: Request) -> Response:
        fields = await self._form(request)
        name = check_project(fields.get("project", "").strip())
        answer = RedirectResponse("/", 303, headers=SECURITY)
        answer.set_cookie(PROJECT, name, httponly=True, samesite="strict", max_age=365 * 86_400)
        return answer


if TYPE_CHECKING:
    SignIn = Callable[[str, str, str], Awaitable[TokenInfo]]


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
