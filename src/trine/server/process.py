"""Running the server as a process."""

from __future__ import annotations

import socket
import sys

import uvicorn

from trine.access.operations import bootstrap_secret
from trine.errors import Failure
from trine.server.app import create_app
from trine.workspace import connect


def run(
    location: str | None, *, host: str, port: int, store: str | None = None, allow_hosts: tuple[str, ...] = ()
) -> None:
    """Serve a workspace until stopped. Prints one line with the address when it listens.

    On a workspace without principals a one-time secret is printed: whoever reads this terminal makes the first admin.
    """
    ws = connect(location, store=store)
    config = uvicorn.Config(
        create_app(ws, allow_hosts=(host, *allow_hosts)),
        log_level="warning",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    with _listen(host, port) as listener:
        bound = listener.getsockname()[1]
        url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        if secret := bootstrap_secret(ws):
            print(
                f"No users yet. Make the first admin:\n  trine login {url} --name user:YOU --secret {secret}",
                flush=True,
            )
        print(f"listening on {url} (workspace {ws.location})", flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    print("stopped", file=sys.stderr)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Failure(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another with --port.") from error
    listener.listen(2048)
    return listener
