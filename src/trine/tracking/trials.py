"""The door's part on trials: the child runs of a search, and the journal from which its sampler goes on."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from sqlalchemy import func, insert, select

from trine.errors import Conflict, InvalidInput
from trine.ids import new_id
from trine.ledger import upsert
from trine.operations import Done, Limit, operation
from trine.tracking import ledger_runs
from trine.tracking.recording import add_run, write_texts
from trine.tracking.runs import Ended, Key, Natural, ParamText, TagText, Title, Value
from trine.tracking.series import Series
from trine.tracking.tables import run_metric, run_param, run_points, run_tag, sweep_entry
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


@operation("POST /runs/{id}/points", allows="tracking.write")
def add_points(ws: Workspace, *, id: str, points: list[Series]) -> Done:
    """Add points to a run at once: for what tells of a run from outside. A training logs through its own segment."""
    from trine.tracking import series
    from trine.tracking.folding import fold

    row = ledger_runs.row_of(ws, id)
    if row.deleted_us is not None:
        raise Conflict(f"Run {row.name} ({row.id}) is deleted; restore it before you change it.")
    if len({one.key for one in points}) < len(points):
        raise InvalidInput("A metric is there twice: send its points as one series.")
    fold(ws, row.id, {one.key: series.unpack(one) for one in points})
    ws.tx.touch(f"run:{row.id}")
    ws.tx.note(run=row.id, metrics=len(points))
    return Done(f"run:{row.id}", bool(points))


@operation("POST /sweeps/{sweep}/journal", allows="tracking.write")
def append_journal(ws: Workspace, *, sweep: Title, entries: list[str]) -> int:
    """Append entries (JSON) to the journal of a sweep, in one piece; gives how many there are now."""
    mine = sweep_entry.c.project == ws.project, sweep_entry.c.sweep == sweep
    start = ws.tx.scalar(select(func.count()).select_from(sweep_entry).where(*mine))
    rows = [
        {"project": ws.project, "sweep": sweep, "number": start + at, "body": body} for at, body in enumerate(entries)
    ]
    if rows:
        ws.tx.execute(insert(sweep_entry), rows)
    ws.tx.touch(f"sweep:{sweep}")
    return start + len(rows)


@operation("GET /sweeps/{sweep}/journal", allows="tracking.read")
def read_journal(ws: Workspace, *, sweep: str, start: Natural = 0, limit: Limit = 1000) -> list[str]:
    """Entries of the journal of a sweep from a number on; none for a sweep that is not known."""
    query = select(sweep_entry.c.body).where(
        sweep_entry.c.project == ws.project, sweep_entry.c.sweep == sweep, sweep_entry.c.number >= start
    )
    return [row.body for row in ws.tx.all(query.order_by(sweep_entry.c.number).limit(limit))]


def _point(value: float | None, now_us: int) -> Any:
    import numpy as np

    from trine.tracking.series import Points

    number = math.nan if value is None else value
    return Points(np.array([0]), np.array([now_us]), np.array([float(number)]))
