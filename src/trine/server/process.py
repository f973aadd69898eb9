"""Running the server as a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType

import msgspec
import uvicorn
from starlette.applications import Starlette

from trine.access.signing_in import bootstrap_secret
from trine.server.app import create_app
from trine.server.listening import listen, url_of
from trine.workspace import connect


class Started(msgspec.Struct, frozen=True):
    """Where a server listens. `secret` makes the first admin: there is one while a workspace has no users."""

    url: str
    workspace: str
    secret: str


def run(
    location: str | None,
    *,
    host: str,
    port: int,
    tell: Callable[[Started], None],
    store: str | None = None,
    allow_hosts: tuple[str, ...] = (),
    embedded: bool = False,
    allow_pickle: bool = False,
) -> None:
    """Serve a workspace until stopped; `tell` is called once, when it listens. Embedded, pages need no signing in.

    On SIGTERM or Ctrl-C calls in flight are answered, streams are let go, and the process ends.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _leave)  # while uvicorn runs it has its own, and raises this one when it has drained
    with (
        contextlib.suppress(KeyboardInterrupt, SystemExit),
        listen(host, port) as listener,
        connect(location, store=store) as ws,
    ):
        app = create_app(ws, allow_hosts=(host, *allow_hosts), embedded=embedded, allow_pickle=allow_pickle)
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws="none",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
        )
        tell(Started(url_of(listener, host), ws.location, "" if embedded else bootstrap_secret(ws)))
        _Server(config, app).run(sockets=[listener])
    print("stopped", file=sys.stderr)


def _leave(*_: object) -> None:
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Lets streams go as soon as it is told to leave: they would keep it from draining."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def serve(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._app.state.stop()))
