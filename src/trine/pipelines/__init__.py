"""Pipelines: steps that are plain typed functions, run as a DAG that survives kill -9 and does nothing twice.

@step
def train(rows: pl.DataFrame, depth: int) -> str: ...

@pipeline
def churn(month: str, depth: int = 3) -> str:
    return train(prepare(month), depth)

churn("2026-01")              # a plain call
churn.run(month="2026-01")    # a durable run: parallel, cached, resumable
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.pipelines.executors import Executor, executor
    from trine.pipelines.graph import Graph
    from trine.pipelines.pipelines import Pipeline, pipeline
    from trine.pipelines.records import PipelineRunInfo, StepRun
    from trine.pipelines.runs import (
        PipelineRun,
        cancel,
        get_pipeline_run,
        list_pipeline_runs,
        read_log,
        resume,
        retry,
        run,
    )
    from trine.pipelines.steps import Step, step

_HOMES = {
    "executors": ("Executor", "executor"),
    "graph": ("Graph",),
    "pipelines": ("Pipeline", "pipeline"),
    "records": ("PipelineRunInfo", "StepRun"),
    "runs": ("PipelineRun", "cancel", "get_pipeline_run", "list_pipeline_runs", "read_log", "resume", "retry", "run"),
    "steps": ("Step", "step"),
}
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "Executor",
    "Graph",
    "Pipeline",
    "PipelineRun",
    "PipelineRunInfo",
    "Step",
    "StepRun",
    "cancel",
    "executor",
    "get_pipeline_run",
    "list_pipeline_runs",
    "pipeline",
    "read_log",
    "resume",
    "retry",
    "run",
    "step",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
