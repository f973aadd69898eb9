"""Pages as browsers get them: from a real server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from trine.workspace import Workspace


@pytest.fixture(scope="module")
def site() -> Iterator[Callable[..., str]]:
    """Start a server of a workspace; gives its URL. With `embedded=True` as `trine ui` does."""
    with contextlib.ExitStack() as stack:

        def start(ws: Workspace, *, embedded: bool = False) -> str:
            return stack.enter_context(_serving(ws, embedded))

        yield start


@contextlib.contextmanager
def _serving(ws: Workspace, embedded: bool) -> Iterator[str]:
    import uvicorn

    from trine.server.app import create_app

    app = create_app(ws, embedded=embedded)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
