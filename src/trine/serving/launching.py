"""A serving process for a while: what notebooks, tests and examples want of `trine serve`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

from trine.errors import Failure
from trine.serving.client import Client
from trine.workspace import Workspace, current_workspace

READY = "listening on "


@contextmanager
def running(*endpoints: str, port: int = 0, ws: Workspace | None = None) -> Generator[Client]:
    """Serve endpoints in a process of their own on this machine while the block runs, and give a client of it.

    `port` 0 takes a free one. Raises Failure with what the process said when it does not start. At the end it drains and stops.
    """
    ws = ws or current_workspace()
    command = [sys.executable, "-m", "trine.cli", "serve", *endpoints, "--port", str(port)]
    environment = os.environ | {"TRINE_WORKSPACE": ws.location, "TRINE_PROJECT": ws.project, "PYTHONUNBUFFERED": "1"}
    if ws.remote is not None:
        environment["TRINE_TOKEN"] = ws.remote.token
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,  # Ctrl-C is the caller's: the process is stopped by us, after it has drained
        )  # fmt: skip
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            if not said.startswith(READY):
                errors.seek(0)
                raise Failure(f"{' '.join(command[2:])} did not start: {said}{errors.read()[-2000:]}".rstrip())
            with Client(said.removeprefix(READY).split()[0]) as client:
                yield client
        finally:
            process.terminate()
            process.communicate()
