"""The S3 gateway as an ASGI application: whose call it is, what it asks, and the answer's form.

A request that is signed is one of S3's, whatever its path: the first part of the path, or of the host name, is the dataset. Its
project is that of the key; with keys of every project, the default one, or the one in an endpoint `…/s3/PROJECT`.
"""

from __future__ import annotations

import datetime as dt
import inspect
import logging as log_of
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trine.access.principals import by_key
from trine.errors import TrineError, Unauthenticated
from trine.ids import new_id, now_us
from trine.server import guard
from trine.server.s3 import listing, objects, parts, signing
from trine.server.s3.calls import Call
from trine.server.s3.errors import S3Error, from_trine
from trine.server.s3.signing import Chain
from trine.server.s3.xml import answer, problem
from trine.settings import check_project
from trine.workspace import Workspace

log = log_of.getLogger("trine.server")

ROOT = "/s3/"
Handler = Callable[[Call], Response | Awaitable[Response]]

OF_SERVICE: dict[tuple[str, str], Handler] = {("GET", ""): listing.list_buckets}
OF_BUCKET: dict[tuple[str, str], Handler] = {
    ("GET", ""): listing.list_objects,
    ("GET", "list-type"): listing.list_objects_v2,
    ("GET", "location"): listing.bucket_location,
    ("GET", "versioning"): listing.bucket_versioning,
    ("GET", "uploads"): parts.list_uploads,
    ("HEAD", ""): listing.head_bucket,
    ("PUT", ""): listing.create_bucket,
    ("POST", "delete"): objects.delete_objects,
}
OF_OBJECT: dict[tuple[str, str], Handler] = {
    ("GET", ""): objects.get_object,
    ("GET", "uploadId"): parts.list_parts,
    ("GET", "tagging"): lambda _: answer("Tagging", [("TagSet", [])]),
    ("HEAD", ""): objects.get_object,
    ("PUT", ""): objects.put_object,
    ("PUT", "copy"): objects.copy_object,
    ("PUT", "uploadId"): parts.put_part,
    ("POST", "uploads"): parts.begin,
    ("POST", "uploadId"): parts.complete,
    ("DELETE", ""): objects.delete_object,
    ("DELETE", "uploadId"): parts.give_up,
}
SUBRESOURCES = frozenset(
    [
        "accelerate",
        "acl",
        "analytics",
        "attributes",
        "cors",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "list-type",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "select",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versioning",
        "versions",
        "website",
    ]
)
"""What turns a request into another one by its presence in the query."""


class S3:
    """Answers S3's clients, and hands all other requests on. Embedded, who signs nothing acts as the owner of the workspace."""

    def __init__(self, app: ASGIApp, ws: Workspace, hosts: frozenset[str], *, embedded: bool = False) -> None:
        self.app = app
        self.ws = ws
        self.hosts = hosts
        self.embedded = embedded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        waiting = _has_body(scope)

        async def receiving() -> Message:
            nonlocal waiting
            message = await receive()
            waiting = message.get("more_body", False)
            return message

        request = Request(scope, receiving)
        if not (scope["path"].startswith(ROOT) or signing.is_signed(request)):
            await self.app(scope, receive, send)
            return
        response = await self._guarded(request)
        if waiting:  # who waits for `100 Continue` never sends a body that was not asked for
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    async def _guarded(self, request: Request) -> Response:
        request_id = new_id()
        try:
            response = await self._answer(request)
        except S3Error as error:
            response = _problem(request, error, request_id)
        except TrineError as error:
            if error.status >= 500:
                log.error("%s %s: %s", request.method, request.url.path, error.message)
            response = _problem(request, from_trine(error), request_id)
        except ClientDisconnect:
            response = Response(status_code=400)
        except Exception as error:
            log.error("%s %s failed, incident %s", request.method, request.url.path, request_id, exc_info=error)
            told = f"This is a fault of the server; it is logged as incident {request_id}."
            response = _problem(request, S3Error("InternalError", told), request_id)
        response.headers["x-amz-request-id"] = request_id
        return response

    async def _answer(self, request: Request) -> Response:
        bucket = self._bucket_of_host(request)
        project, path = _split(request)
        ws, chain = await to_thread.run_sync(self._caller, request, project)
        if not bucket:
            bucket, _, path = path.partition("/")
        call = Call(ws, request, bucket, path, chain)
        handler = _handler(call)
        if inspect.iscoroutinefunction(handler):
            return await handler(call)
        return await to_thread.run_sync(partial(handler, call))  # type: ignore[arg-type, return-value]

    def _bucket_of_host(self, request: Request) -> str:
        """The dataset that stands before a host name of this server, if any. Raises Refused for a host that is not ours."""
        name = request.headers.get("host", "").rsplit(":", 1)[0].lower()
        own = next((host for host in self.hosts if name.endswith(f".{host}") and not host.startswith("[")), "")
        if own and name not in self.hosts and not own.replace(".", "").isdecimal():
            return name.removesuffix(f".{own}")
        guard.check_host(request, self.hosts)
        return ""

    def _caller(self, request: Request, project: str) -> tuple[Workspace, Chain | None]:
        """The workspace as seen by whoever is asking, and what signs the chunks of the body."""
        if not signing.is_signed(request):
            there = self.ws.for_project(check_project(project or "default"))
            if self.embedded and not guard.credentials(request):
                return there, None
            try:
                return there.acting_as(guard.identify(self.ws, request)), None
            except Unauthenticated as error:
                raise S3Error("AccessDenied", error.message) from None
        signed = signing.read(request, dt.datetime.now(dt.UTC))
        with self.ws.ledger.transaction(write=False) as connection:
            who, secret = by_key(connection, signed.key_id, now_us())
        chain = signing.check(request, signed, secret)
        own = who.project if who.project != "*" else "default"
        return self.ws.for_project(check_project(project or own)).acting_as(who), chain


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _split(request: Request) -> tuple[str, str]:
    """The project in the path, if it names one, and what follows: decoded once, as it was sent."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        path = unquote_to_bytes(raw.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidRequest", "The key is not valid UTF-8.") from None
    if "\0" in path:
        raise S3Error("InvalidRequest", "A key has no NUL character.")
    if not path.startswith(ROOT):
        return "", path.removeprefix("/")
    project, _, rest = path.removeprefix(ROOT).partition("/")
    return project, rest


def _handler(call: Call) -> Handler:
    """What a request asks for."""
    handlers = OF_OBJECT if call.key else OF_BUCKET if call.bucket else OF_SERVICE
    found = sorted(SUBRESOURCES & set(call.query))
    kind = found[0] if found else ""
    if len(found) > 1 and "uploadId" in found:
        kind = "uploadId"
    if not kind and call.request.method == "PUT" and "x-amz-copy-source" in call.headers:
        kind = "copy"
    handler = handlers.get((call.request.method, kind))
    if handler is None:
        told = f"?{kind}" if kind else "here"
        raise S3Error("NotImplemented", f"{call.request.method} {told} is not offered by this gateway.")
    return handler


def _problem(request: Request, error: S3Error, request_id: str) -> Response:
    if request.method == "HEAD":
        return Response(status_code=error.status)
    body = problem(error, request.url.path, request_id)
    return Response(body, error.status, media_type="application/xml")
