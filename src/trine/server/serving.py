"""`trine serve` as a process: the serving room's application behind the guard, on one socket."""

from __future__ import annotations

import ipaddress
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import uvicorn
from anyio import to_thread
from starlette.requests import Request

from trine.access.principals import by_token
from trine.errors import TrineError, Unauthenticated
from trine.ids import digest, now_us
from trine.remote import Remote
from trine.server import guard
from trine.server.listening import listen, url_of
from trine.serving import operations
from trine.serving.app import Application
from trine.serving.log import Durability
from trine.workspace import Workspace

TRUSTED_S = 5.0
"""How long a token that was looked at is taken without looking again: a revoked one works for so long at most."""

MOST_TOKENS = 10_000

OPEN_PATHS = frozenset({"/ping", "/health", "/v2/health/live", "/v2/health/ready"})
"""What a load balancer asks without a token."""

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


def run(
    ws: Workspace,
    names: Sequence[str],
    *,
    host: str,
    port: int,
    token_required: bool = False,
    allow_hosts: Sequence[str] = (),
    durability: Durability = "os",
    log_age_s: float = 60.0,
    allow_pickle: bool = False,
) -> None:
    """Serve endpoints until stopped; prints one line when it listens. On SIGTERM or Ctrl-C requests in flight are
    answered, the prediction log is closed and shipped, and the process ends."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    application = Application(ws, names, durability=durability, log_age_s=log_age_s, allow_pickle=allow_pickle)
    tokens = token_required or not is_loopback(host)
    config = uvicorn.Config(
        Guarded(application, ws, tokens=tokens, allow_hosts=(host, *allow_hosts)),
        log_level="warning",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )
    server = uvicorn.Server(config)

    def leave(*_: object) -> None:
        server.should_exit = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, leave)  # before uvicorn has its own, and after: it raises again what it got
    with listen(host, port) as listener:
        application.start()
        told = ", ".join(f"{name}: {application.describe(name)}" for name in application.names)
        locked = " · tokens required" if tokens else ""
        print(f"listening on {url_of(listener, host)} ({told}){locked}", flush=True)
        try:
            server.run(sockets=[listener])
        finally:
            application.close()
    print("stopped", file=sys.stderr)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guarded:
    """Asks who is calling before a prediction is made: a token where one is needed, else only this machine's own names
    as host (DNS rebinding) and no other site's page as origin."""

    def __init__(self, app: App, ws: Workspace, *, tokens: bool, allow_hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.ws = ws
        self.tokens = tokens
        self.hosts = guard.hosts_of(allow_hosts)
        self._known: dict[str, tuple[float, TrineError | None]] = {}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                if self.tokens:
                    await self._check_token(guard.credentials(Request(scope)))
                else:
                    guard.check_host(Request(scope), self.hosts)
            except TrineError as error:
                await _refuse(send, error)
                return
        await self.app(scope, receive, send)

    async def _check_token(self, token: str) -> None:
        if not token:
            raise Unauthenticated("This server needs a token: send the header Authorization: Bearer trn_…")
        name = digest(token.encode())
        until, refusal = self._known.get(name, (0.0, None))
        if time.monotonic() >= until:
            refusal = await to_thread.run_sync(self._look_up, token)
            if len(self._known) >= MOST_TOKENS:
                self._known.clear()
            self._known[name] = (time.monotonic() + TRUSTED_S, refusal)
        if refusal is not None:
            raise refusal

    def _look_up(self, token: str) -> TrineError | None:
        """Why a token may not ask for predictions, or None. The workspace it is for decides, here or on its server."""
        try:
            operations.may_predict(self._as_caller(token))
        except TrineError as error:
            return error
        return None

    def _as_caller(self, token: str) -> Workspace:
        if self.ws.remote is not None:
            remote = Remote(self.ws.remote.url, token=token, project=self.ws.project, client=self.ws.remote.client)
            return Workspace(
                location=self.ws.location,
                project=self.ws.project,
                principal=self.ws.principal,
                spool=self.ws.spool,
                remote=remote,
            )
        with self.ws.ledger.transaction(write=False) as connection:
            return self.ws.acting_as(by_token(connection, token, now_us()))


async def _refuse(send: Any, error: TrineError) -> None:
    body = msgspec.json.encode({"error": error.message, "code": error.code, "details": {}, "message": error.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
