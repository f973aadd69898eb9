"""What a run ran in: packages, Python and platform, how it was called, and the states of the random generators."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import random
import socket
import sys
from typing import Any

import msgspec

from trine.ids import canonical_json, digest
from trine.tracking.runs import Context
from trine.workspace import Workspace, current_workspace


class Environment(msgspec.Struct, frozen=True):
    """The software under a run; two runs with the same one share it. `packages` are names and versions."""

    python: str
    implementation: str
    platform: str
    machine: str
    packages: dict[str, str]


@functools.cache
def read_environment() -> Environment:
    """The environment of this process; packages that are installed later do not show."""
    from importlib.metadata import distributions

    packages = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    return Environment(
        platform.python_version(),
        platform.python_implementation(),
        platform.platform(),
        platform.machine(),
        dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    )


_stored: set[tuple[str, str]] = set()
"""Environments this process has stored: workspace and hash."""


def capture_environment(*, ws: Workspace | None = None) -> str:
    """The object that holds this process's environment."""
    ws = ws or current_workspace()
    encoded = canonical_json(read_environment())
    mark = ws.location, digest(encoded)
    if mark not in _stored:
        ws.store.put(encoded)
        _stored.add(mark)
    return mark[1]


def environment_of(hash: str, *, ws: Workspace | None = None) -> Environment:
    """The environment that `RunInfo.environment` names."""
    return msgspec.json.decode((ws or current_workspace()).store.get(hash), type=Environment)


def read_context(problem: str = "") -> Context:
    """How this process was called, and the state its random generators are in."""
    return Context(
        arguments=[*sys.argv],
        folder=os.getcwd(),
        host=socket.gethostname(),
        user=_user(),
        pid=os.getpid(),
        python=platform.python_version(),
        seeds=_seeds(),
        problem=problem,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _seeds() -> dict[str, str]:
    """The state of each random generator that is loaded, as a short digest: equal states give equal numbers."""
    seeds = {"python": _short(random.getstate())}
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        kind, words, *rest = numpy.get_state(legacy=True)
        seeds["numpy"] = _short([kind, words.tolist(), *rest])
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        seeds["torch"] = _short(torch.get_rng_state().tolist())
    if set_hash := os.environ.get("PYTHONHASHSEED"):
        seeds["PYTHONHASHSEED"] = set_hash
    return seeds


def _short(state: Any) -> str:
    return digest(canonical_json(state))[:16]
