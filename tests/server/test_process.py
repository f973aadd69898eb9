"""`trine server` as a process: where it keeps things, how the first admin comes in, how it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import trine
from trine.access import audit
from trine.access import operations as access
from trine.errors import Unauthenticated
from trine.settings import resolve
from trine.workspace import connect

PASSWORD = "correct horse battery"


class Server:
    def __init__(self, *arguments: str, env: dict[str, str] | None = None, setup: str = "") -> None:
        code = f"{setup}\nfrom trine.cli import main\nmain(prog_name='trine')"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "server", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.secret = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"--secret (\S+)", line):
                self.secret = found[1]
            if found := re.search(r"listening on (\S+)", line):
                self.url = found[1]
                return
        raise AssertionError(self.process.communicate()[1])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextlib.contextmanager
def serving(*arguments: str, **options: Any) -> Iterator[Server]:
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


def trine_command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trine.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **env})


def test_from_an_empty_folder_to_a_team(tmp_path: Path) -> None:
    with serving("--workspace", str(tmp_path)) as server:
        assert httpx.get(f"{server.url}/health").json()["status"] == "ok"
        assert httpx.get(f"{server.url}/openapi.json").json()["openapi"] == "3.1.0"
        with pytest.raises(Unauthenticated), connect(server.url) as nobody:
            access.whoami(nobody)

        signed = trine_command("login", server.url, "--name", "user:ana", "--secret", server.secret, "--json")
        assert signed.returncode == 0, signed.stderr
        assert json.loads(signed.stdout)["principal"] == "user:ana"
        again = trine_command("login", server.url, "--name", "user:eve", "--secret", server.secret)
        assert again.returncode == 4
        assert "one-time secret" in again.stderr

        with trine.connect(server.url) as ana:  # with the token that login kept
            assert access.whoami(ana).roles == ["admin"]
            access.create_principal(ana, name="user:ben", password=PASSWORD)
            access.grant_role(ana, principal_name="user:ben", role="viewer")
        listed = trine_command("access", "ls", "--json", TRINE_WORKSPACE=server.url)
        assert [one["name"] for one in json.loads(listed.stdout)["items"]] == ["user:ana", "user:ben"]
        printed = trine_command("login", server.url, "--name", "user:ben", "--password", PASSWORD, "--print")
        with trine.connect(server.url, token=printed.stdout.strip()) as ben:
            assert access.whoami(ben).name == "user:ben"
        wrong = trine_command("login", server.url, "--name", "user:ben", "--password", "wrong password")
        assert (wrong.returncode, wrong.stdout) == (4, "")
        assert resolve(tmp_path, workspace=server.url)["token"]
        code, errors = server.stop()
        assert (code, errors.strip()) == (0, "stopped")
    with serving("--workspace", str(tmp_path)) as server:
        assert server.secret == ""  # there are users now


def test_on_a_database_and_a_bucket(postgres_url: str, bucket_url: str) -> None:
    with serving("--workspace", postgres_url, "--store", bucket_url) as server:
        trine_command("login", server.url, "--name", "user:ana", "--secret", server.secret)
        with trine.connect(server.url) as ana:
            name = ana.store.put(b"in the bucket")
            access.create_principal(ana, name="user:ben")
            server.stop()
    with connect(postgres_url) as again:  # the workspace remembers where its objects are
        assert again.store.get(name) == b"in the bucket"
        assert "s3://" in repr(again.store)
        assert [event.object for event in audit.list_events(again, newest_first=True, limit=1).items] == ["user:ben"]


SLOW = """
import time
from trine import rooms
from trine.operations import operation
load = rooms.load

def load_more():
    load()
    def slow(ws):
        "Take a while."
        print("begun", flush=True)
        time.sleep(1.5)
        ws.tx.touch("thing:slow")
        return "done"
    slow.__annotations__ = {"return": str}
    slow.__module__ = "test.slow"
    operation("POST /test-slow", allows="door.write")(slow)

rooms.load = load_more
"""


def test_it_drains_before_it_leaves(tmp_path: Path) -> None:
    """A call in flight is answered, an open stream is let go, and both within the time of that call."""
    with serving("--workspace", str(tmp_path), setup=SLOW) as server:
        token = json.loads(
            trine_command(
                "login", server.url, "--name", "user:ana", "--secret", server.secret, "--print", "--json"
            ).stdout
        )["text"]
        headers = {"authorization": f"Bearer {token}"}
        answers: list[Any] = []
        streamed: list[str] = []
        opened = threading.Event()

        def call() -> None:
            answers.append(httpx.post(f"{server.url}/api/v1/test-slow", headers=headers, timeout=30).json())

        def listen() -> None:
            with httpx.stream("GET", f"{server.url}/api/v1/events/stream", headers=headers, timeout=30) as answer:
                for line in answer.iter_lines():
                    streamed.append(line)
                    opened.set()

        threads = [threading.Thread(target=listen), threading.Thread(target=call)]
        threads[0].start()
        assert opened.wait(30)
        threads[1].start()
        assert server.process.stdout is not None
        assert server.process.stdout.readline().strip() == "begun"
        code, errors = server.stop()
        for thread in threads:
            thread.join(30)
        assert answers == ["done"]
        assert any(line.startswith("data: ") for line in streamed)
        assert (code, errors.strip()) == (0, "stopped")
    with connect(tmp_path) as ws:
        assert audit.list_events(ws, newest_first=True, limit=1).items[0].object == "thing:slow"


def test_ctrl_c_is_a_calm_end(tmp_path: Path) -> None:
    with serving("--workspace", str(tmp_path)) as server:
        code, errors = server.stop(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with serving("--workspace", str(tmp_path)) as server:
        port = server.url.rpartition(":")[2]
        second = trine_command("server", "--workspace", str(tmp_path), "--port", port)
    assert second.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in second.stderr


def test_events_are_followed_through_a_server_from_any_place(tmp_path: Path) -> None:
    """`trine audit tail` on a server: what is there, and what comes, in order, each once."""
    with serving("--workspace", str(tmp_path)) as server:
        trine_command("login", server.url, "--name", "user:ana", "--secret", server.secret)
        tail = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trine.cli",
                "audit",
                "tail",
                "-w",
                server.url,
                "--after",
                "1",
                "--stop-after",
                "6",
                "--json",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline()) for _ in range(2)]  # the rest of how the first admin came in
        with trine.connect(server.url) as ana:
            access.create_principal(ana, name="user:by-server")
        with connect(tmp_path) as local:  # another process writes to the same workspace
            access.create_principal(local, name="user:by-file")
            access.create_principal(local.for_project("other"), name="user:elsewhere")
            access.grant_role(local, principal_name="user:by-file", role="viewer")
            access.grant_role(local, principal_name="user:by-file", role="auditor")
        seen += [json.loads(line) for line in tail.communicate(timeout=30)[0].splitlines()]
        assert tail.returncode == 0
    assert [one["seq"] for one in seen] == [2, 3, 4, 5, 7, 8]
    assert [one["object"] for one in seen[2:4]] == ["user:by-server", "user:by-file"]
