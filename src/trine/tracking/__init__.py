"""Experiments and runs: params, tags, metrics, artifacts, and what each run ran on.

with trine.run("churn", params={"depth": 6}) as run:
    run.log("loss", 0.31)

search("metrics.loss.best < 0.4 and params.depth > 4", order_by="metrics.loss.best")
history(run, "loss")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.tracking.artifact_files import artifacts, download_artifacts, read_artifact
    from trine.tracking.callbacks import (
        keras_callback,
        lightgbm_callback,
        lightning_logger,
        transformers_callback,
        xgboost_callback,
    )
    from trine.tracking.code import capture_code, code_of
    from trine.tracking.comparison import Comparison, compare
    from trine.tracking.environment import Environment, capture_environment, environment_of
    from trine.tracking.estimators import autolog
    from trine.tracking.live import Run, active_run, run
    from trine.tracking.loops import TrainingLoop
    from trine.tracking.patches import code_difference
    from trine.tracking.reading import chart, declare_metric, experiments, get_run, history, rewind, search
    from trine.tracking.reproduction import Agreement, Reproduction, compare_metrics, reproduce
    from trine.tracking.results import Runs
    from trine.tracking.runs import Artifact, CodeVersion, Context, Experiment, MetricSummary, RunInfo
    from trine.tracking.suggestions import suggested
    from trine.tracking.sweeps import optuna_storage, read_sweep, run_sweep

__all__ = [
    "Agreement",
    "Artifact",
    "CodeVersion",
    "Comparison",
    "Context",
    "Environment",
    "Experiment",
    "MetricSummary",
    "Reproduction",
    "Run",
    "RunInfo",
    "Runs",
    "TrainingLoop",
    "active_run",
    "artifacts",
    "autolog",
    "capture_code",
    "capture_environment",
    "chart",
    "code_difference",
    "code_of",
    "compare",
    "compare_metrics",
    "declare_metric",
    "download_artifacts",
    "environment_of",
    "experiments",
    "get_run",
    "history",
    "keras_callback",
    "lightgbm_callback",
    "lightning_logger",
    "optuna_storage",
    "read_artifact",
    "read_sweep",
    "reproduce",
    "rewind",
    "run",
    "run_sweep",
    "search",
    "suggested",
    "transformers_callback",
    "xgboost_callback",
]

_PLACES = {
    "Agreement": "reproduction",
    "Comparison": "comparison",
    "Environment": "environment",
    "Reproduction": "reproduction",
    "Run": "live",
    "Runs": "results",
    "TrainingLoop": "loops",
    "active_run": "live",
    "artifacts": "artifact_files",
    "autolog": "estimators",
    "capture_code": "code",
    "capture_environment": "environment",
    "chart": "reading",
    "code_difference": "patches",
    "code_of": "code",
    "compare": "comparison",
    "compare_metrics": "reproduction",
    "declare_metric": "reading",
    "download_artifacts": "artifact_files",
    "environment_of": "environment",
    "experiments": "reading",
    "get_run": "reading",
    "history": "reading",
    "keras_callback": "callbacks",
    "lightgbm_callback": "callbacks",
    "lightning_logger": "callbacks",
    "optuna_storage": "sweeps",
    "read_artifact": "artifact_files",
    "read_sweep": "sweeps",
    "reproduce": "reproduction",
    "rewind": "reading",
    "run": "live",
    "run_sweep": "sweeps",
    "search": "reading",
    "suggested": "suggestions",
    "transformers_callback": "callbacks",
    "xgboost_callback": "callbacks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES.get(name, 'runs')}"), name)
