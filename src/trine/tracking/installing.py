"""Installing: the recorded packages of a run as an environment of their own, built by uv, or by venv and pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from trine.errors import Failure
from trine.tracking.environment import Environment


def differences(before: Environment, after: Environment) -> dict[str, tuple[str, str]]:
    """What is not the same in two environments, Python and the platform with it: both versions, "" where there is none."""
    found: dict[str, tuple[str, str]] = {}
    for name in ("python", "implementation", "machine"):
        one, two = getattr(before, name), getattr(after, name)
        if one != two:
            found[name] = one, two
    for name in sorted({*before.packages, *after.packages}, key=str.lower):
        one, two = (
            " ".join(filter(None, (env.packages.get(name, ""), env.origins.get(name, "")))) for env in (before, after)
        )
        if one != two:
            found[name] = one, two
    return found


def requirements(environment: Environment) -> list[str]:
    """The packages as lines of a requirements file, each at its version or from where it came."""
    lines: list[str] = []
    for name, version in environment.packages.items():
        origin = environment.origins.get(name, "")
        if origin.startswith("editable "):
            lines.append(f"-e {_path(origin.removeprefix('editable '))}")
        elif origin:
            lines.append(f"{name} @ {origin}")
        else:
            lines.append(f"{name}=={version}")
    return lines


def _path(url: str) -> str:
    return url.removeprefix("file://")


def build(environment: Environment, folder: Path) -> Path:
    """An environment with these packages in a folder; gives its interpreter. Raises Failure with what the installer said."""
    listed = folder.with_name(f"{folder.name}.txt")
    listed.write_text("\n".join(requirements(environment)) + "\n")
    python = folder / "bin" / "python"
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--python", environment.python, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python), "-r", str(listed)])
        return python
    wanted = ".".join(environment.python.split(".")[:2])
    own = ".".join(map(str, sys.version_info[:2]))
    interpreter = sys.executable if wanted == own else shutil.which(f"python{wanted}")
    if interpreter is None:
        raise Failure(
            f"The run had Python {environment.python}, and there is no python{wanted} here. Install it, or uv."
        )
    has_pip = importlib.util.find_spec("pip") is not None
    _run([interpreter, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if has_pip else [str(python), "-m", "pip"]
    _run([*pip, "install", "--quiet", "--no-deps", "-r", str(listed)])
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise Failure("The environment could not be built. " + " ".join(told))
