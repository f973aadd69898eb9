"""Endpoints, routes and rollouts; the server of predictions; the prediction log, labels, and the way back from one answer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.serving.client import Client
    from trine.serving.endpoints import (
        create_endpoint,
        delete_endpoint,
        deploy,
        get_endpoint,
        list_endpoints,
        rollback,
        routes,
        set_route,
    )
    from trine.serving.labelling import LabelReport, labels, log_labels
    from trine.serving.launching import running
    from trine.serving.reading import Prediction, find_prediction, predictions
    from trine.serving.rollouts import (
        Canary,
        Finding,
        Rollout,
        abort_rollout,
        advance_rollout,
        get_rollout,
        judge_rollout,
        list_rollouts,
        start_rollout,
    )
    from trine.serving.routing import EndpointInfo, Route, Variant
    from trine.serving.tracing import Trace, trace

_HOMES = {
    "client": ("Client",),
    "endpoints": (
        "create_endpoint", "delete_endpoint", "deploy", "get_endpoint", "list_endpoints", "rollback", "routes", "set_route",
    ),
    "labelling": ("LabelReport", "labels", "log_labels"),
    "launching": ("running",),
    "reading": ("Prediction", "find_prediction", "predictions"),
    "rollouts": (
        "Canary", "Finding", "Rollout", "abort_rollout", "advance_rollout", "get_rollout", "judge_rollout",
        "list_rollouts", "start_rollout",
    ),
    "routing": ("EndpointInfo", "Route", "Variant"),
    "tracing": ("Trace", "trace"),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "Canary",
    "Client",
    "EndpointInfo",
    "Finding",
    "LabelReport",
    "Prediction",
    "Rollout",
    "Route",
    "Trace",
    "Variant",
    "abort_rollout",
    "advance_rollout",
    "create_endpoint",
    "delete_endpoint",
    "deploy",
    "find_prediction",
    "get_endpoint",
    "get_rollout",
    "judge_rollout",
    "labels",
    "list_endpoints",
    "list_rollouts",
    "log_labels",
    "predictions",
    "rollback",
    "routes",
    "running",
    "set_route",
    "start_rollout",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = importlib.import_module(f"{__name__}.{_FILE_OF[name]}")
    return getattr(file, name)
