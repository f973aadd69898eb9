"""The door's part on trials: many short child runs of a search, each already over, taken in at once."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from sqlalchemy import insert

from trine.errors import Conflict
from trine.ids import new_id
from trine.ledger import upsert
from trine.operations import Done, operation
from trine.tracking import ledger_runs
from trine.tracking.recording import add_run, write_texts
from trine.tracking.runs import Ended, Key, ParamText, TagText, Title, Value
from trine.tracking.tables import run_metric, run_param, run_points, run_tag
from trine.workspace import Workspace


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate: what it was tried with, and what came out, a value per metric."""

    name: Title
    params: dict[Key, ParamText] = {}
    metrics: dict[Key, Value] = {}
    tags: dict[Key, TagText] = {}
    state: Ended = "finished"


@operation("POST /runs/{id}/trials", allows="tracking.write")
def add_trials(ws: Workspace, *, id: str, trials: list[Trial]) -> Done:
    """Add finished child runs to a run, each with its params, tags and the values of its metrics at step 0."""
    from trine.tracking import series

    row = ledger_runs.row_of(ws, id)
    if row.deleted_us is not None:
        raise Conflict(f"Run {row.name} ({row.id}) is deleted; restore it before you change it.")
    tx = ws.tx
    summaries: list[dict[str, Any]] = []
    chunks: list[dict[str, Any]] = []
    for trial in trials:
        identity = new_id()
        add_run(
            ws, id=identity, experiment=row.experiment, name=trial.name, state=trial.state, parent=row.id,
            author=ws.on_behalf_of or ws.principal.name, started_us=tx.now_us, ended_us=tx.now_us, code=row.code,
            environment=row.environment,
        )  # fmt: skip
        write_texts(ws, run_param, identity, trial.params)
        write_texts(ws, run_tag, identity, trial.tags)
        tx.link(f"run:{row.id}", "produced", f"run:{identity}")
        for key, value in trial.metrics.items():
            point = _point(value, tx.now_us)
            summaries.append({"run": identity, "key": key, **series.summarise(point)})
            chunks.append({"run": identity, "key": key, "start": 0, "points": 1, "data": series.encode(point)})
    if summaries:
        tx.execute(upsert(run_metric), summaries)
        tx.execute(insert(run_points), chunks)
    tx.touch(f"run:{row.id}", after=[trial.name for trial in trials])
    tx.note(run=row.id, trials=len(trials))
    return Done(f"run:{row.id}", bool(trials))


def _point(value: float | None, now_us: int) -> Any:
    import numpy as np

    from trine.tracking.series import Points

    number = math.nan if value is None else value
    return Points(np.array([0]), np.array([now_us]), np.array([float(number)]))
