"""What the door adds to a call, beside the raw limits: a query and a durable commit of the same SQLite, an HTTP echo.

    python benchmarks/door.py [--calls N]

A read is a page of tokens; a change grants a role and writes its event. Over HTTP with a token, as a team calls it.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from trine.access import operations as access
from trine.access.principals import by_token
from trine.ids import now_us
from trine.workspace import Workspace, connect

ECHO = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=500)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with connect(root) as ws:
            access.create_principal(ws, name="user:ana")
            access.grant_role(ws, principal_name="user:ana", role="admin")
            token = access.create_token(ws, principal_name="user:ana").text
            raw = sqlite3.connect(root / "raw.db", isolation_level=None)
            raw.execute("PRAGMA journal_mode = WAL")
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
            query = timed(lambda: raw.execute("SELECT * FROM t WHERE id = 1").fetchone(), calls)
            commit = timed(lambda: raw.execute("INSERT INTO t (body) VALUES ('x')"), calls)
            print(f"microseconds a call, medians of {calls}: clock and processor")
            line("raw: one query", query, query)
            line("  operation that reads", timed(reading(ws), calls), query)
            line("  a token looked up", timed(lambda: look_up(ws, token), calls), query)
            line("raw: one durable commit", commit, commit)
            line("  operation that changes", timed(changing(ws), calls), commit)
        with serving("uvicorn", "echo:app", root=root) as url, httpx.Client(base_url=url) as client:
            echo = timed(lambda: client.get("/"), calls)
            line("raw: bare ASGI echo, same client", echo, echo)
        with serving("trine.cli", "server", "-w", folder, root=root) as url, connect(url, token=token) as ws:
            line("  operation that reads", timed(reading(ws), calls), echo)
            line("  operation that changes", timed(changing(ws), calls), echo)


def reading(ws: Workspace) -> Callable[[], object]:
    return lambda: access.list_tokens(ws)


def changing(ws: Workspace) -> Callable[[], object]:
    roles = ("viewer", "auditor")
    turn = iter(range(10**9))
    return lambda: access.grant_role(ws, principal_name="user:ana", role=roles[next(turn) % 2])


def look_up(ws: Workspace, token: str) -> object:
    with ws.ledger.transaction(write=False) as connection:
        return by_token(connection, token, now_us())


def timed(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """Median clock time and mean processor time of this process, in microseconds."""
    for _ in range(10):
        call()
    taken: list[float] = []
    spent = time.process_time()
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6, (time.process_time() - spent) / calls * 1e6


def line(name: str, found: tuple[float, float], floor: tuple[float, float]) -> None:
    print(f"{name:36}{found[0]:9,.0f}{found[1]:9,.0f}   {found[0] / floor[0]:6.1f} x raw")


@contextlib.contextmanager
def serving(module: str, *arguments: str, root: Path) -> Iterator[str]:
    """A server process on a free port, answering."""
    import socket

    (root / "echo.py").write_text(ECHO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=root, **quiet) as process:  # type: ignore[call-overload]
        url = f"http://127.0.0.1:{port}"
        for _ in range(400):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{url}/health")
                break
            time.sleep(0.025)
        yield url
        process.terminate()


if __name__ == "__main__":
    main()
