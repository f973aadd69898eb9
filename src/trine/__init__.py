"""Trine keeps machine-learning systems true: code, data and models in one lineage graph, and the loop that keeps them so."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trine.workspace import Workspace as Workspace
    from trine.workspace import connect as connect
    from trine.workspace import current_workspace as current_workspace
    from trine.workspace import init as init
    from trine.workspace import using as using

_WHERE = {
    "Workspace": "trine.workspace",
    "connect": "trine.workspace",
    "current_workspace": "trine.workspace",
    "init": "trine.workspace",
    "using": "trine.workspace",
    "run": "trine.tracking",
    "autolog": "trine.tracking",
    "load": "trine.data",
    "dataset": "trine.data",
    "step": "trine.pipelines",
    "pipeline": "trine.pipelines",
    "Entity": "trine.features",
    "FeatureView": "trine.features",
    "FeatureService": "trine.features",
}
"""Public names and the rooms they live in; a room is imported when one of its names is first used."""


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'trine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_WHERE, "__version__"]
