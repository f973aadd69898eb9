"""Pages as browsers get them: from a real server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from trine.workspace import Workspace, connect

PATIENCE_MS = 60_000
"""How long a browser's test waits for what it expects: as long as a crowded machine may take, for it is not what is tested."""

expect.set_options(timeout=PATIENCE_MS)


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Workspace]:
    """A workspace in which every page has something to show; the tests of a module share it."""
    found = importlib.util.spec_from_file_location("ui_world", Path(__file__).parent / "world.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    root = tmp_path_factory.mktemp("world") / ".trine"
    root.mkdir()
    shutil.copy(sqlite_template, root / "ledger.db")
    with connect(root.parent) as ws:
        module.build(ws)
        yield ws


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium: that of the system."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    assert path, "There is no Chromium. Install it (apt-get install chromium), or name it in the variable CHROMIUM."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
