"""Running the server as a process."""

from __future__ import annotations

import sys

import uvicorn

from trine.access.operations import bootstrap_secret
from trine.server.app import create_app
from trine.server.listening import listen, url_of
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
    with listen(host, port) as listener:
        url = url_of(listener, host)
        if secret := bootstrap_secret(ws):
            print(
                f"No users yet. Make the first admin:\n  trine login {url} --name user:YOU --secret {secret}",
                flush=True,
            )
        print(f"listening on {url} (workspace {ws.location})", flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    print("stopped", file=sys.stderr)
