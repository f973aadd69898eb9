"""The door's part on runs whose process is alive: it says so now and then, and a run that nobody hears of any more ends.

A process that was only asleep, or cut off from the network, gives its run back its life with the next thing it sends.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, update

from trine.errors import InvalidInput
from trine.ids import now_us
from trine.operations import Done, operation
from trine.tracking import ledger_runs
from trine.tracking.runs import RunId
from trine.tracking.tables import run
from trine.workspace import Workspace

SILENT_S = 900.0
"""How long nothing is heard of a run's process until the run counts as killed (it says something every `outbox.ALIVE_S`)."""


def signs_of_life(ws: Workspace) -> dict[str, Any]:
    """What changes in the row of a run whose process is heard of: it runs, whatever was thought of it."""
    return {"seen_us": ws.tx.now_us, "state": "running", "reason": "", "ended_us": None}


@operation("POST /runs/{id}/alive", allows="tracking.write")
def keep_open(ws: Workspace, *, id: RunId, session: str) -> Done:
    """Say that the process with this session still keeps a run open; changes nothing when another does, or the run has ended."""
    row = ledger_runs.row_of(ws, id)
    mine = bool(session) and row.session == session
    if mine:
        ws.tx.execute(update(run).where(run.c.id == row.id).values(signs_of_life(ws)))
    ws.tx.touch(f"run:{row.id}")
    return Done(f"run:{row.id}", mine)


@operation("POST /runs/silent/end", allows="tracking.write")
def end_silent_runs(ws: Workspace, *, silent_s: float = SILENT_S) -> list[str]:
    """End the runs of the project whose process was not heard of for that long (at least a minute); gives their ids."""
    if not 60 <= silent_s < 1e10:
        raise InvalidInput("A process is silent after a minute at least: silent_s is 60 or more.")
    tx = ws.tx
    limit = tx.now_us - int(silent_s * 1e6)
    query = select(run.c.id, run.c.seen_us, run.c.started_us).where(
        run.c.project == ws.project, run.c.state == "running", run.c.seen_us < limit
    )
    rows = tx.all(query)
    for row in rows:
        heard = dt.datetime.fromtimestamp(row.seen_us / 1e6, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
        reason = f"Nothing was heard of its process since {heard} UTC."
        changes = {"state": "killed", "reason": reason, "ended_us": max(row.started_us, row.seen_us)}
        tx.execute(update(run).where(run.c.id == row.id).values(changes))  # its session stays: it may come back
    tx.touch("runs", after=[row.id for row in rows])
    return [row.id for row in rows]


def silent_projects(ws: Workspace, *, silent_s: float = SILENT_S) -> list[str]:
    """The projects of a local workspace that have such runs, for the server that looks after all of them."""
    limit = now_us() - int(silent_s * 1e6)
    with ws.ledger.transaction(write=False) as connection:
        query = select(run.c.project).where(run.c.state == "running", run.c.seen_us < limit).distinct()
        return list(connection.execute(query).scalars())
