"""Trine keeps machine-learning systems true: code, data and models in one lineage graph, and the loop that keeps them so."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trine import (
        access,
        data,
        evaluation,
        features,
        governance,
        insights,
        llm,
        loop,
        models,
        monitoring,
        pipelines,
        serving,
        tracking,
    )
    from trine.data import dataset, load
    from trine.features import Entity, FeatureService, FeatureView
    from trine.llm import trace
    from trine.pipelines import pipeline, step
    from trine.tracking import autolog, run
    from trine.workspace import Workspace, connect, current_workspace, init, using

_ROOMS = (
    "access", "data", "evaluation", "features", "governance", "insights", "llm", "loop", "models", "monitoring", "pipelines",
    "serving", "tracking",
)  # fmt: skip

_NAMES = {
    "data": ("dataset", "load"),
    "features": ("Entity", "FeatureService", "FeatureView"),
    "llm": ("trace",),
    "pipelines": ("pipeline", "step"),
    "tracking": ("autolog", "run"),
    "workspace": ("Workspace", "connect", "current_workspace", "init", "using"),
}
_HOME_OF = {name: home for home, names in _NAMES.items() for name in names}

__all__ = [
    "Entity",
    "FeatureService",
    "FeatureView",
    "Workspace",
    "access",
    "autolog",
    "connect",
    "current_workspace",
    "data",
    "dataset",
    "evaluation",
    "features",
    "governance",
    "init",
    "insights",
    "llm",
    "load",
    "loop",
    "models",
    "monitoring",
    "pipeline",
    "pipelines",
    "run",
    "serving",
    "step",
    "trace",
    "tracking",
    "using",
]


def __getattr__(name: str) -> Any:
    """Rooms and their names are imported when they are first used, so that `import trine` costs nothing."""
    if name in _ROOMS:
        return importlib.import_module(f"trine.{name}")
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"trine.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'trine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
