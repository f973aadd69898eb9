"""MLflow: a tracking database (SQLite or PostgreSQL), an `mlruns` folder, or a tracking server.

    trine import mlflow sqlite:///mlflow.db
    trine import mlflow ./mlruns
    trine import mlflow http://127.0.0.1:5000

Run ids are kept; times are milliseconds there. The option `artifacts` names the folder or bucket that stands for
`mlflow-artifacts:/`, or to which the artifacts were moved.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trine.errors import InvalidInput, NotFound
from trine.tracking.importers.source import Source, SourceRun, columns, run_id
from trine.tracking.logged_models import ModelState
from trine.tracking.runs import CodeVersion, Context, State
from trine.tracking.series import Points

STATES: dict[str, State] = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
BY_NUMBER = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""A run's status as `mlruns` folders write it."""

INFINITE = 1.7976931348623157e308
"""How MLflow's databases keep an infinity."""

PARENT = "mlflow.parentRunId"


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """What MLflow kept at a place: a database URI or file, a folder, or a server."""
    artifacts = options.get("artifacts", "")
    if where.startswith(("http://", "https://")):
        from trine.tracking.importers.mlflow_server import Server

        return Server(where, artifacts)
    if re.match(r"(sqlite|postgres(ql)?)(\+\w+)?:", where):
        from trine.tracking.importers.mlflow_database import Database

        return Database(where, artifacts)
    path = Path(where.removeprefix("file://")).expanduser()
    if path.is_file():
        from trine.tracking.importers.mlflow_database import Database

        return Database(f"sqlite:///{path.resolve()}", artifacts)
    if path.is_dir():
        from trine.tracking.importers.mlflow_folder import Folder

        if (path / "mlruns").is_dir():
            path = path / "mlruns"
        if not any(path.glob("*/meta.yaml")):
            raise NotFound(f"{path} is no mlruns folder: it has no experiment (a folder with a meta.yaml).")
        return Folder(path.resolve(), artifacts)
    if "://" in where:
        raise InvalidInput(
            f'"{where}" is no place MLflow keeps runs that can be read here: give sqlite:///…, postgresql://…, a folder, '
            "or http(s)://… of a server."
        )
    raise NotFound(
        f"{where} is not there: give an mlruns folder, a database (sqlite:///mlflow.db) or a server's address."
    )


def made_run(
    *,
    id: str,
    name: str,
    status: str,
    experiment: str,
    start_ms: Any,
    end_ms: Any,
    user: str,
    hidden: bool,
    tags: dict[str, str],
    ids: Mapping[str, str],
    **rest: Any,
) -> SourceRun:
    """A run from its row and tags; `ids` are the runs of this source by their names there, so that a parent that is not
    among them is left out."""
    start = int(start_ms or 0)
    commit = tags.get("mlflow.source.git.commit", "")
    program = tags.get("mlflow.source.name", "")
    return SourceRun(
        id=ids.get(id) or run_id("mlflow", id),
        experiment=experiment,
        name=name or tags.get("mlflow.runName", ""),
        state=STATES.get(status, "running"),
        started_us=start * 1_000,
        ended_us=int(end_ms) * 1_000 if end_ms else None,
        parent=ids.get(tags.get(PARENT, "")),
        author=user or tags.get("mlflow.user", ""),
        hidden=hidden,
        tags=tags,
        code=CodeVersion(
            node=f"code:{commit}",
            commit=commit,
            branch=tags.get("mlflow.source.git.branch", ""),
            remote=tags.get("mlflow.source.git.repoURL", ""),
        )
        if re.fullmatch(r"[0-9a-f]{40}", commit)
        else None,
        context=Context(arguments=[program] if program else [], user=tags.get("mlflow.user", "")),
        **rest,
    )


MODEL_STATES: dict[Any, ModelState] = {
    1: "pending",
    2: "ready",
    3: "failed",
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "failed",
}


def is_model_id(id: str) -> bool:
    """Whether a logged model can keep its id."""
    return re.fullmatch(r"m-[0-9a-f]{32}", id) is not None


def stage_of(stage: Any) -> str:
    """A version's stage, empty for MLflow's "None"."""
    return "" if stage in (None, "None") else str(stage)


def metric_columns(rows: Any) -> dict[str, Points]:
    """Rows of (key, step, milliseconds, value, is NaN), those of a key together, as points by key."""
    import numpy as np

    if not rows:
        return {}
    keys, steps, times, values, nans = zip(*rows, strict=True)
    whole = columns(steps, np.array(times, np.int64) * 1_000, values)
    infinite = np.abs(whole.values) >= INFINITE
    whole.values[infinite] = np.copysign(np.inf, whole.values[infinite])
    whole.values[np.array(nans, bool)] = np.nan
    found: dict[str, Points] = {}
    start = 0
    while start < len(keys):
        key = keys[start]
        stop = bisect.bisect_left(keys, True, start, key=lambda one, key=key: one != key)
        found[key] = whole.take(slice(start, stop))
        start = stop
    return found
