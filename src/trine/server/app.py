"""One process, one port: REST from the operations' signatures, objects, the event stream, health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trine import __version__, rooms
from trine.access.deliveries import deliver
from trine.access.operations import TokenInfo
from trine.access.principals import authorise
from trine.access.signing_in import create_first_admin, login
from trine.errors import Failure, InvalidInput, NotFound, TrineError, Unavailable
from trine.ids import new_id
from trine.operations import REGISTRY, perform
from trine.remote import API
from trine.server import guard, openapi
from trine.server.answers import answer, decoded, json_answer, problem
from trine.server.arguments import arguments_of
from trine.server.digests import Digests
from trine.server.folding import fold_spool
from trine.server.mlflow import LOGGING, Mlflow
from trine.server.objects import Objects
from trine.server.routing import split, tree_of
from trine.server.s3 import S3
from trine.server.stream import Stream
from trine.server.ui import Site
from trine.settings import check_project
from trine.storage import ObjectStore
from trine.workspace import Workspace

log = logging.getLogger("trine.server")

Handler = Callable[[Request], Awaitable[Response]]
_BELOW = f"{API}/".encode()
TELL_EVERY_S = 2
"""Seconds between looks for what webhooks are to be told."""
MOST_LOGINS = 20
"""Logins that may wait: each costs a tenth of a second and 64 MiB, two go at once, and no other call waits for them."""


def create_app(
    ws: Workspace, *, allow_hosts: tuple[str, ...] = (), embedded: bool = False, allow_pickle: bool = False
) -> Starlette:
    """The ASGI application of a local workspace. `app.state.stop` is a coroutine that lets streams go before it ends.

    Embedded, its pages ask nobody to sign in: whoever reaches them acts as the owner of the workspace. Only on loopback.
    Pickled models are loaded here, for gates, only with `allow_pickle`: that runs code which came with them.
    """
    rooms.load()
    if not allow_pickle:
        ws = ws.refusing_pickles()
    hosts = guard.hosts_of(allow_hosts)
    api = Api(ws)
    assert isinstance(ws.store, ObjectStore)
    objects = Objects(ws.store, ws.spool, api.allowed)
    digests = Digests(ws)
    stream = Stream(ws, api.allowed)
    document = msgspec.json.encode(openapi.document())
    site = Site(ws, stream, hosts, sign_in=api.sign_in, embedded=embedded)
    mlflow = Mlflow(ws, hosts, embedded=embedded)

    async def health(_: Request) -> Response:
        return json_answer({"status": "ok", "version": __version__})

    async def describe(_: Request) -> Response:
        return Response(document, media_type="application/json")

    def route(path: str, handler: Handler, *methods: str, below: str = API) -> Route:
        return Route(below + path, partial(_guarded, hosts, handler), methods=list(methods))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        watcher = asyncio.create_task(stream.watch())
        teller = asyncio.create_task(_tell_webhooks(ws))
        await to_thread.run_sync(mlflow.start)
        folder = asyncio.create_task(fold_spool(ws))
        yield
        watcher.cancel()
        folder.cancel()
        teller.cancel()
        await to_thread.run_sync(mlflow.logger.close)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/openapi.json", describe),
            route("/login", api.login, "POST"),
            route("/bootstrap", api.bootstrap, "POST"),
            route("/events/stream", stream.follow, "GET"),
            route("/objects", objects.put_many, "POST"),
            route("/objects", objects.put_one, "PUT"),
            route("/objects/has", objects.has, "POST"),
            route("/objects/get", objects.get_many, "POST"),
            route("/objects/{hash}", objects.get, "GET"),
            route("/dvc/{project}/{path:path}", digests.dvc, "GET", "PUT", "POST", below=""),
            route("/lfs/{project}/objects/batch", digests.lfs_batch, "POST", below=""),
            route("/lfs/{project}/objects/{oid}", digests.lfs_object, "GET", "PUT", below=""),
        ],
        lifespan=lifespan,
        middleware=[Middleware(_Logging, mlflow=mlflow), Middleware(S3, ws=ws, hosts=hosts, embedded=embedded)],
        exception_handlers={HTTPException: _on_http_error, Exception: _on_error},
    )
    app.router.redirect_slashes = False
    app.router.default = _Operations(api, hosts, site, mlflow)
    app.state.stop = stream.stop
    return app


async def _tell_webhooks(ws: Workspace) -> None:
    """Send what is due to webhooks, for as long as the server runs; costs a small read every few seconds when there is none."""
    while True:
        try:
            await to_thread.run_sync(deliver, ws, abandon_on_cancel=True)
        except Exception:  # the next round tries again, and a server without webhooks is still a server
            log.warning("Webhooks could not be told.", exc_info=True)
        await asyncio.sleep(TELL_EVERY_S)


class Api:
    """Who is asking, and what they ask of operations."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.tree = tree_of(REGISTRY.values())
        self.logins = CapacityLimiter(2)

    async def operate(self, request: Request) -> Response:
        """Find the operation of a request, call it, answer with its result."""
        path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        below = path.startswith(_BELOW)
        found = self.tree.find(split(path.removeprefix(_BELOW))) if below else None
        if found is None:
            raise NotFound(f"There is nothing at {request.method} {request.url.path}. See /openapi.json")
        node, in_path = found
        one = node.operations.get("GET" if request.method == "HEAD" else request.method)
        if one is None:
            raise HTTPException(405, headers={"allow": ", ".join(node.operations)})
        body = await guard.read_body(request)
        call = partial(
            perform,
            one,
            values=arguments_of(one, request, in_path, body),
            idempotency_key=guard.key_of(request, "idempotency-key"),
            request_id=guard.key_of(request, "x-request-id"),
        )
        return answer(request, await to_thread.run_sync(lambda: call(ws=self._workspace(request))))

    def _workspace(self, request: Request) -> Workspace:
        """The workspace as seen by whoever is asking."""
        project = check_project(request.headers.get("trine-project", "default"))
        return self.ws.for_project(project).acting_as(guard.identify(self.ws, request))

    async def allowed(self, request: Request, permission: str) -> Workspace:
        """The workspace as seen by whoever is asking. Raises Refused when they may not do that."""

        def check() -> Workspace:
            ws = self._workspace(request)
            with ws.ledger.transaction(write=False) as connection:
                authorise(connection, ws.principal, ws.project, permission)
            return ws

        return await to_thread.run_sync(check)

    async def login(self, request: Request) -> Response:
        """Name and password; answers with a short-lived token."""
        wanted = decoded(await guard.read_body(request), _Login)
        return json_answer(await self.sign_in(wanted.name, wanted.password))

    async def bootstrap(self, request: Request) -> Response:
        """The one-time secret of a new server, with the name and password of the first admin."""
        wanted = decoded(await guard.read_body(request), _Bootstrap)
        return json_answer(await self.sign_in(wanted.name, wanted.password, wanted.secret))

    async def sign_in(self, name: str, password: str, secret: str = "") -> TokenInfo:
        """A short-lived token for a name and password, or, for the one-time secret of a new server, the first admin's."""
        if self.logins.statistics().tasks_waiting >= MOST_LOGINS:
            raise Unavailable("Too many people sign in at once. Try again.")
        call = partial(create_first_admin, secret=secret) if secret else login
        return await to_thread.run_sync(partial(call, self.ws, name=name, password=password), limiter=self.logins)


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str


class _Bootstrap(msgspec.Struct, forbid_unknown_fields=True):
    secret: str
    name: str
    password: str = ""


class _Logging:
    """Calls of MLflow's that log come by the thousand: they go past everything that looks at a request one by one."""

    def __init__(self, app: ASGIApp, mlflow: Mlflow) -> None:
        self.app = app
        self.mlflow = mlflow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        logs = scope["type"] == "http" and scope["path"] in LOGGING
        await (self.mlflow if logs else self.app)(scope, receive, send)


class _Operations:
    """What has no route of its own: an operation, a call of MLflow's, or a page. (Starlette's own routes are patterns, tried one by one.)"""

    def __init__(self, api: Api, hosts: frozenset[str], site: Site, mlflow: Mlflow) -> None:
        self.handle = partial(_guarded, hosts, api.operate)
        self.site = site
        self.mlflow = mlflow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if not scope["path"].startswith(API):
            await (self.mlflow if self.mlflow.is_for(scope["path"]) else self.site)(scope, receive, send)
            return
        response = await self.handle(Request(scope, receive))
        await response(scope, receive, send)


async def _guarded(hosts: frozenset[str], handler: Handler, request: Request) -> Response:
    """Host and origin are checked before anything else; a TrineError becomes its answer."""
    try:
        guard.check_host(request, hosts)
        return await handler(request)
    except TrineError as error:
        if error.status >= 500:
            log.error("%s %s: %s", request.method, request.url.path, error.message)
        return problem(error)
    except ClientDisconnect:
        return Response(status_code=400)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(NotFound(f"There is nothing at {request.method} {request.url.path}. See /openapi.json"))
    headers = dict(error.headers or {})
    allowed = f" It takes {headers['allow']}." if "allow" in headers else ""
    told = InvalidInput(f"{request.method} {request.url.path}: {error.detail.lower()}.{allowed}")
    found = problem(told, error.status_code)
    found.headers.update(headers)
    return found


async def _on_error(request: Request, error: Exception) -> Response:
    incident = new_id()
    log.error("%s %s failed, incident %s", request.method, request.url.path, incident, exc_info=error)
    return problem(Failure(f"This is a fault of the server; it is logged as incident {incident}.", incident=incident))
