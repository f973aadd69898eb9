"""The door's part on changing what there was: rewinding a run to a step, removing it, bringing it back, deleting it for good."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, select, update

from trine.errors import Conflict, InvalidInput
from trine.operations import Done, operation
from trine.tracking import ledger_runs
from trine.tracking.cutting import cut_points
from trine.tracking.runs import RunName, State
from trine.tracking.tables import (
    run,
    run_artifact,
    run_input,
    run_metric,
    run_model,
    run_param,
    run_points,
    run_segment,
    run_tag,
)
from trine.types import Micros
from trine.workspace import Workspace

_OF_A_RUN = (run_artifact, run_input, run_metric, run_model, run_param, run_points, run_segment, run_tag)
Step = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


class Purged(msgspec.Struct, frozen=True):
    """What was deleted for good: runs, their points, and the bytes of their files (freed by the next `trine gc`, as far as
    nothing else has the same content). `more`: there are others, call it again."""

    runs: int
    points: int
    artifact_bytes: int
    more: bool = False


@operation("PATCH /runs/{id}", allows="tracking.write")
def update_run(
    ws: Workspace, *, id: str, name: RunName | None = None, state: State | None = None, ended_us: Micros | None = None
) -> Done:
    """Give a run another name, or say where it stands: a state that is no end opens it again."""
    row = ledger_runs.row_of(ws, id)
    if row.deleted_us is not None:
        raise Conflict(f"Run {row.name} ({row.id}) is deleted; restore it before you change it.")
    values: dict[str, Any] = {} if name is None else {"name": name}
    if state in ("scheduled", "running"):
        values |= {"state": state, "ended_us": None}
    elif state is not None:
        ended = max(row.started_us, ws.tx.now_us if ended_us is None else ended_us)
        values |= {"state": state, "ended_us": ended, "session": ""}
        ws.tx.note(experiment=row.experiment_name, state=state, duration_us=ended - row.started_us)
    elif ended_us is not None:
        values["ended_us"] = max(row.started_us, ended_us)
    if values:
        ws.tx.execute(update(run).where(run.c.id == row.id).values(values))
    ws.tx.touch(f"run:{row.id}", before=[row.name, row.state], after=[name or row.name, state or row.state])
    ws.tx.note(run=row.id, name=name or row.name)
    return Done(f"run:{row.id}", bool(values))


@operation("POST /runs/{id}/rewind", allows="tracking.delete")
def rewind_run(ws: Workspace, *, id: str, step: Step) -> Done:
    """Forget all points of a run after a step; params, tags, files and lineage stay. It goes on from there when resumed."""
    row = ledger_runs.row_of(ws, id)
    if row.deleted_us is not None:
        raise Conflict(f"Run {row.name} ({row.id}) is deleted; restore it before you change it.")
    if row.state == "running":
        raise Conflict(f"Run {row.name} is running and would go on writing after the cut. End it first: trine runs end")
    gone = cut_points(ws, row.id, step)
    ws.tx.touch(f"run:{row.id}", after=step)
    ws.tx.note(run=row.id, step=step, points=gone)
    return Done(f"run:{row.id}", gone > 0)


@operation("POST /runs/{id}/derived", allows="tracking.write")
def derive_run(ws: Workspace, *, id: str, source: str) -> Done:
    """Say in the lineage graph that a run is made after another: one that reproduces it."""
    made, origin = ledger_runs.row_of(ws, id), ledger_runs.row_of(ws, source)
    ws.tx.link(f"run:{made.id}", "derived", f"run:{origin.id}")
    ws.tx.touch(f"run:{made.id}", after=origin.id)
    return Done(f"run:{made.id}")


@operation("DELETE /runs/{id}", allows="tracking.delete")
def delete_run(ws: Workspace, *, id: str) -> Done:
    """Hide a run from every listing; `restore_run` brings it back, until `purge_runs` deletes it for good."""
    row = ledger_runs.row_of(ws, id)
    ws.tx.execute(update(run).where(run.c.id == row.id).values(deleted_us=ws.tx.now_us))
    ws.tx.touch(f"run:{row.id}", before=row.deleted_us, after=ws.tx.now_us)
    return Done(f"run:{row.id}", row.deleted_us is None)


@operation("POST /runs/{id}/restore", allows="tracking.delete")
def restore_run(ws: Workspace, *, id: str) -> Done:
    """Bring a deleted run back."""
    row = ledger_runs.row_of(ws, id)
    ws.tx.execute(update(run).where(run.c.id == row.id).values(deleted_us=None))
    ws.tx.touch(f"run:{row.id}", before=row.deleted_us)
    return Done(f"run:{row.id}", row.deleted_us is not None)


@operation("POST /runs/purge", allows="tracking.delete")
def purge_runs(
    ws: Workspace, *, older_than_s: float = 30 * 86_400, limit: int = 1_000, dry_run: bool = False
) -> Purged:
    """Delete runs for good that were removed longer ago than that, with their points, params, tags and names of files.

    Their nodes stay in the lineage graph, and what was done in the event log: those tell what happened.
    """
    if not 0 <= older_than_s < 1e10 or not 0 < limit <= 10_000:
        raise InvalidInput("older_than_s is a number of seconds, zero or more, and limit from 1 to 10,000.")
    tx = ws.tx
    before = tx.now_us - int(older_than_s * 1e6)
    query = select(run.c.id).where(run.c.project == ws.project, run.c.deleted_us <= before, run.c.state != "running")
    ids = [row.id for row in tx.all(query.order_by(run.c.deleted_us).limit(limit + 1))]
    ids, more = ids[:limit], len(ids) > limit
    points = artifact_bytes = 0
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        points += _sum(ws, run_metric, "points", some)
        artifact_bytes += _sum(ws, run_artifact, "size_bytes", some)
        if dry_run:
            continue
        for table in _OF_A_RUN:
            tx.execute(delete(table).where(table.c.run.in_(some)))
        tx.execute(update(run).where(run.c.parent.in_(some)).values(parent=None))
        tx.execute(delete(run).where(run.c.id.in_(some)))
    tx.touch("runs", after=ids)
    tx.note(runs=len(ids), points=points, artifact_bytes=artifact_bytes, dry_run=dry_run)
    return Purged(len(ids), points, artifact_bytes, more)


def _sum(ws: Workspace, table: Any, column: str, ids: list[str]) -> int:
    values = ws.tx.execute(select(table.c[column]).where(table.c.run.in_(ids))).scalars()
    return sum(values)
