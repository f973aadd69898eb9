"""`trine ui` as a process: it says where it listens, shows the workspace, and leaves when told."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path


def test_ui_serves_the_workspace_and_leaves_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "trine.cli", "ui", "--port", "0", "--no-browser", "-w", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = process.stdout.readline() + process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert url, told
        asked = urllib.request.Request(url[0] + "/", headers={"accept": "text/html"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert b"This workspace is empty" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_ui_of_a_folder_without_a_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trine.cli", "ui", "--no-browser", "-w", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 3 and "trine init" in done.stderr
