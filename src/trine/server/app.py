"""One process, one port: REST from the operations' signatures, objects, the event stream, health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from trine import __version__, rooms
from trine.access.operations import create_first_admin, login
from trine.access.principals import authorise
from trine.errors import Failure, InvalidInput, NotFound, TrineError
from trine.ids import new_id
from trine.ledger.events import Event
from trine.operations import REGISTRY, Operation, perform
from trine.remote import API, MSGPACK
from trine.server import guard, openapi
from trine.workspace import Workspace

log = logging.getLogger("trine.server")

Handler = Callable[[Request], Awaitable[Response]]
PROJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


def create_app(ws: Workspace, *, allow_hosts: tuple[str, ...] = ()) -> Starlette:
    """The ASGI application of a local workspace."""
    rooms.load()
    face = _Face(ws, guard.LOCAL_HOSTS | {host.lower() for host in allow_hosts})
    document = msgspec.json.encode(openapi.document())

    async def health(_: Request) -> Response:
        return _json({"status": "ok", "version": __version__})

    async def describe(_: Request) -> Response:
        return Response(document, media_type="application/json")

    routes = [
        Route("/health", health),
        Route("/openapi.json", describe),
        Route(f"{API}/login", face.safe(face.login), methods=["POST"]),
        Route(f"{API}/bootstrap", face.safe(face.bootstrap), methods=["POST"]),
        Route(f"{API}/events/stream", face.safe(face.stream)),
        Route(f"{API}/objects", face.safe(face.put_objects), methods=["POST"]),
        Route(f"{API}/objects", face.safe(face.put_object), methods=["PUT"]),
        Route(f"{API}/objects/has", face.safe(face.has_objects), methods=["POST"]),
        Route(f"{API}/objects/{{hash}}", face.safe(face.get_object), methods=["GET"]),
        *_operation_routes(face),
    ]
    return Starlette(
        routes=routes,
        lifespan=face.lifespan,
        exception_handlers={HTTPException: face.on_http_error, Exception: face.on_error},
    )


def _operation_routes(face: _Face) -> list[Route]:
    """One route per path; fixed paths come before those with parameters, so `/models/ls` is never a model's name."""
    by_path: dict[str, dict[str, Operation]] = {}
    for one in REGISTRY.values():
        known = by_path.setdefault(one.path, {})
        if one.method in known:
            raise Failure(f"{one.name} and {known[one.method].name} have the same route {one.method} {one.path}.")
        known[one.method] = one
    paths = sorted(by_path, key=lambda path: [part.startswith("{") for part in path.split("/")] + [False])
    return [
        Route(API + path, face.safe(partial(face.operate, by_path[path])), methods=list(by_path[path]))
        for path in paths
    ]


class _Face:
    """The handlers, bound to one workspace."""

    def __init__(self, ws: Workspace, hosts: frozenset[str]) -> None:
        self.ws = ws
        self.hosts = hosts
        self.head = 0
        self.moved = asyncio.Condition()

    # -- errors ---------------------------------------------------------------------------------------------------

    def safe(self, handler: Handler) -> Handler:
        """Host and origin are checked before anything else; a TrineError becomes its answer."""

        async def handle(request: Request) -> Response:
            try:
                guard.check_host(request, self.hosts)
                return await handler(request)
            except TrineError as error:
                return _problem(error)
            except ClientDisconnect:
                return Response(status_code=400)

        return handle

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return _problem(NotFound(f"There is nothing at {request.method} {request.url.path}. See /openapi.json"))
        body = {"error": {"code": "http", "message": error.detail, "details": {}}}
        return Response(
            msgspec.json.encode(body),
            error.status_code,
            media_type="application/json",
            headers=dict(error.headers or {}),
        )

    async def on_error(self, request: Request, error: Exception) -> Response:
        incident = new_id()
        log.exception("%s %s failed, incident %s", request.method, request.url.path, incident, exc_info=error)
        return _problem(
            Failure(f"This is a fault of the server; it is logged as incident {incident}.", incident=incident)
        )

    # -- operations -----------------------------------------------------------------------------------------------

    async def operate(self, methods: dict[str, Operation], request: Request) -> Response:
        one = methods.get(request.method) or methods["GET"]
        raw = await guard.read_body(request)
        ws = await self._workspace(request)
        values = _arguments(one, request, raw)
        key = request.headers.get("idempotency-key", "")[:200]
        result = await to_thread.run_sync(
            partial(
                perform,
                one,
                ws,
                values,
                idempotency_key=key,
                request_id=request.headers.get("x-request-id", "")[:200],
            )
        )
        if MSGPACK in request.headers.get("accept", ""):
            return Response(msgspec.msgpack.encode(result, enc_hook=str), media_type=MSGPACK)
        return Response(msgspec.json.encode(result, enc_hook=str), media_type="application/json")

    async def _workspace(self, request: Request) -> Workspace:
        principal = await to_thread.run_sync(guard.identify, self.ws, request)
        return self.ws.for_project(_project(request)).acting_as(principal)

    async def _allowed(self, request: Request, permission: str) -> Workspace:
        ws = await self._workspace(request)

        def check() -> None:
            with ws.ledger.transaction(write=False) as connection:
                authorise(connection, ws.principal, ws.project, permission)

        await to_thread.run_sync(check)
        return ws

    # -- signing in -----------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        wanted = _decode(await guard.read_body(request), _Login)
        return _json(await to_thread.run_sync(partial(login, self.ws, name=wanted.name, password=wanted.password)))

    async def bootstrap(self, request: Request) -> Response:
        wanted = _decode(await guard.read_body(request), _Bootstrap)
        made = partial(create_first_admin, self.ws, secret=wanted.secret, name=wanted.name, password=wanted.password)
        return _json(await to_thread.run_sync(made))

    # -- objects --------------------------------------------------------------------------------------------------

    async def put_objects(self, request: Request) -> Response:
        ws = await self._allowed(request, "data.write")
        raw = await guard.read_body(request)
        try:
            items = msgspec.msgpack.decode(raw, type=list[bytes])
        except msgspec.DecodeError as error:
            raise InvalidInput(f"POST /objects takes a MessagePack list of byte strings: {error}.") from None
        return _json(await to_thread.run_sync(ws.store.put_many, items))

    async def put_object(self, request: Request) -> Response:
        ws = await self._allowed(request, "data.write")
        handle, name = tempfile.mkstemp(dir=ws.spool if ws.spool.is_dir() else None)
        try:
            with os.fdopen(handle, "wb") as file:
                async for part in request.stream():
                    await to_thread.run_sync(file.write, part)
            return _json(await to_thread.run_sync(ws.store.put_file, Path(name)))
        finally:
            Path(name).unlink(missing_ok=True)

    async def has_objects(self, request: Request) -> Response:
        ws = await self._allowed(request, "data.read")
        hashes = _decode(await guard.read_body(request), list[str])
        return _json(sorted(await to_thread.run_sync(ws.store.has, [_hash(one) for one in hashes])))

    async def get_object(self, request: Request) -> Response:
        ws = await self._allowed(request, "data.read")
        name = _hash(request.path_params["hash"])
        if request.method == "HEAD":
            size = await to_thread.run_sync(ws.store.size, name)
            return Response(headers={"trine-size": str(size)})
        data = await to_thread.run_sync(ws.store.get, name)
        return Response(data, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})

    # -- events ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()

    async def _watch(self) -> None:
        """One look at the head of the log for all streams together."""
        while True:
            try:
                head = await to_thread.run_sync(self._read_head)
            except TrineError as error:
                log.warning("the event log cannot be read: %s", error)
                head = self.head
            if head != self.head:
                async with self.moved:
                    self.head = head
                    self.moved.notify_all()
            await to_thread.run_sync(self.ws.ledger.wait_for_change, 0.25, abandon_on_cancel=True)

    def _read_head(self) -> int:
        from trine.ledger.events import checkpoint

        with self.ws.ledger.transaction(write=False) as connection:
            return checkpoint(connection).seq

    async def stream(self, request: Request) -> Response:
        """Server-sent events after a sequence number (`after`, or `Last-Event-ID`)."""
        ws = await self._allowed(request, "access.read")
        asked = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        if not asked.isdigit():
            raise InvalidInput(f'"{asked}" is no sequence number of an event.')

        async def events() -> AsyncIterator[bytes]:
            after = int(asked)
            while not await request.is_disconnected():
                batch = await to_thread.run_sync(self._read_events, ws, after)
                for one in batch:
                    yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                        one.seq,
                        one.operation.encode(),
                        msgspec.json.encode(one),
                    )
                    after = one.seq
                if not batch:
                    async with self.moved:
                        try:
                            await asyncio.wait_for(self.moved.wait(), 15)
                        except TimeoutError:
                            yield b": still here\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    @staticmethod
    def _read_events(ws: Workspace, after: int) -> list[Event]:
        from trine.access.audit import list_events

        return list_events(ws, after=after, limit=500).items


class _Login(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str


class _Bootstrap(msgspec.Struct, forbid_unknown_fields=True):
    secret: str
    name: str
    password: str = ""


def _arguments(one: Operation, request: Request, raw: bytes) -> dict[str, Any]:
    """A call's arguments from path, query and body. The door checks them; here text only becomes values."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(one.arguments)}
    values: dict[str, Any] = {}
    if one.method in ("GET", "DELETE"):
        for name in request.query_params:
            if name not in kinds:
                values[name] = request.query_params[name]  # refused at the door, with the nearest name
                continue
            values[name] = _from_text(one, name, kinds[name], request.query_params.getlist(name))
    elif raw:
        packed = MSGPACK in request.headers.get("content-type", "")
        try:
            found = msgspec.msgpack.decode(raw) if packed else msgspec.json.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise InvalidInput(
                f"The body of {one.name} is not valid {'MessagePack' if packed else 'JSON'}: {error}."
            ) from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise InvalidInput(
                f"The body of {one.name} must be an object with its arguments, not {type(found).__name__}."
            )
        values = found
    for name in one.path_parameters:
        values[name] = _from_text(one, name, kinds[name], [request.path_params[name]])
    return values


def _from_text(one: Operation, name: str, kind: Any, texts: list[str]) -> Any:
    for given in (texts, texts[-1]):
        try:
            return msgspec.convert(given, kind, strict=False)
        except msgspec.ValidationError as error:
            problem = str(error)
    raise InvalidInput(f'{one.name}: wrong value for "{name}": {problem[:1].lower()}{problem[1:]}.', argument=name)


def _decode(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not what is expected here: {error}.") from None


def _project(request: Request) -> str:
    name = request.headers.get("trine-project", "default")
    if not PROJECT.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a project: letters, digits, '_', '.' and '-'.")
    return name


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidInput(f"{text[:80]!r} is no object's hash: 64 hexadecimal digits.")
    return text


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json")


def _problem(error: TrineError) -> Response:
    body = {"error": {"code": error.code, "message": error.message, "details": error.details}}
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    return Response(
        msgspec.json.encode(body, enc_hook=str), error.status, media_type="application/json", headers=headers
    )
