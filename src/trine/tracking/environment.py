"""What a run ran in: packages, Python and platform, how it was called, and the states of the random generators."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import random
import re
import socket
import sys
from typing import Any, cast

import msgspec

from trine.ids import canonical_json, digest
from trine.tracking.runs import Context
from trine.workspace import Workspace, current_workspace


class Environment(msgspec.Struct, frozen=True, omit_defaults=True):
    """The software under a run; two runs with the same one share it. `packages` are names and versions, `origins` where those
    come from that are from no index (a folder, a repository at a commit, a file), `gpu` the driver and the cards."""

    python: str
    implementation: str
    platform: str
    machine: str
    packages: dict[str, str]
    origins: dict[str, str] = {}
    gpu: list[str] = []


@functools.cache
def read_environment() -> Environment:
    """The environment of this process; packages that are installed later do not show."""
    from importlib.metadata import distributions

    from trine.tracking.machines import describe_gpus

    packages: dict[str, str] = {}
    origins: dict[str, str] = {}
    for one in distributions():
        if name := one.metadata["Name"]:
            packages[name] = one.version
            if origin := _origin(one.read_text("direct_url.json")):
                origins[name] = origin
    return Environment(
        platform.python_version(),
        platform.python_implementation(),
        platform.platform(),
        platform.machine(),
        dict(sorted(packages.items(), key=lambda item: item[0].lower())),
        dict(sorted(origins.items())),
        describe_gpus(),
    )


def _origin(text: str | None) -> str:
    """Where a package was installed from, as `pip install` takes it (PEP 610); nothing for one from an index."""
    if not text:
        return ""
    found = msgspec.json.decode(text, type=dict[str, Any])
    url = re.sub(r"(?<=://)[^/@]*@", "", str(found.get("url", "")))  # a password has no place here
    if (info := found.get("vcs_info")) and (commit := info.get("commit_id")):
        return f"{info.get('vcs', 'git')}+{url}@{commit}"
    return ("editable " if found.get("dir_info", {}).get("editable") else "") + url


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


def read_context(problem: str = "", *, ws: Workspace | None = None, number: int = 0) -> Context:
    """How this process was called, and the state its random generators are in; with a workspace, it keeps the state there."""
    from trine.tracking.code import repository_of_here

    return Context(
        arguments=[*sys.argv],
        command=[*sys.orig_argv],
        repository=str(repository_of_here() or ""),
        number=number,
        states=ws.store.put(read_states()) if ws else "",
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
    seeds = {name: digest(canonical_json(state))[:16] for name, state in _generators().items()}
    if set_hash := os.environ.get("PYTHONHASHSEED"):
        seeds["PYTHONHASHSEED"] = set_hash
    return seeds


def _generators() -> dict[str, Any]:
    """The states of the global random generators, in plain values."""
    states: dict[str, Any] = {"python": random.getstate()}
    if "numpy" in sys.modules:
        import numpy as np  # its generator comes into being when it is first touched: now, rather than after the capture

        kind, words, *rest = cast(Any, np.random.get_state(legacy=True))
        states["numpy"] = [kind, words.tolist(), *rest]
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state().tolist()
        if torch.cuda.is_available():
            states["torch.cuda"] = [one.tolist() for one in torch.cuda.get_rng_state_all()]
    return states


def read_states() -> bytes:
    """The states of the random generators, to be set again by `set_states`."""
    return canonical_json(_generators())


def set_states(kept: bytes) -> None:
    """Bring the random generators that are loaded here into the states that were kept."""
    states = msgspec.json.decode(kept, type=dict[str, Any])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    if "numpy" in states:
        import numpy as np

        kind, numbers, *rest = states["numpy"]
        np.random.set_state((kind, np.array(numbers, np.uint32), *rest))
    torch: Any = sys.modules.get("torch")
    if torch is not None and "torch" in states:
        torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
        if torch.cuda.is_available() and "torch.cuda" in states:
            torch.cuda.set_rng_state_all([torch.tensor(one, dtype=torch.uint8) for one in states["torch.cuda"]])
