"""The door's part on pipelines: runs, the moves of their steps, and what can be taken from earlier runs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Row, bindparam, insert, or_, select, update

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json
from trine.ledger import upsert
from trine.operations import Limit, Name, Page, operation, page_of, page_start
from trine.pipelines.graph import Graph
from trine.pipelines.hits import look_up
from trine.pipelines.records import (
    Lease,
    Log,
    Lookup,
    Parts,
    PipelineRunInfo,
    RunState,
    StepError,
    StepMove,
    StepRun,
    shown_params,
)
from trine.pipelines.tables import pipeline_run, step_run
from trine.pipelines.values import Value
from trine.workspace import Workspace

LEASE_S = 180
"""How long a run belongs to its owner after each write; then another process may take it over."""

RunId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="32 hexadecimal digits")]
Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
End = Literal["succeeded", "failed", "cancelled", "interrupted"]

_OPEN = ("running", "retrying")
_NEW = ("running", "cached", "upstream_failed")

# The statements of every move, built once: building them costs more than running them.
_ADD_STEPS = upsert(step_run)
_CLOSE_STEP = update(step_run).where(
    step_run.c.project == bindparam("b_project"),
    step_run.c.run == bindparam("b_run"),
    step_run.c.key == bindparam("b_key"),
    step_run.c.epoch == bindparam("b_epoch"),
    # its own state is among the former ones: a move that is sent again after its answer was lost changes nothing
    step_run.c.state.in_([*_OPEN, bindparam("b_state")]),
)
_OWN_RUN = update(pipeline_run).where(
    pipeline_run.c.project == bindparam("b_project"),
    pipeline_run.c.id == bindparam("b_id"),
    pipeline_run.c.epoch == bindparam("b_epoch"),
    pipeline_run.c.state == "running",
)
_WHOSE_RUN = select(pipeline_run.c.pipeline, pipeline_run.c.cancelled_by).where(
    pipeline_run.c.project == bindparam("b_project"), pipeline_run.c.id == bindparam("b_id")
)


# -- the life of a run --------------------------------------------------------------------------------------------


@operation("POST /pipelines/{pipeline}/runs", allows="pipelines.run")
def start_pipeline_run(
    ws: Workspace,
    *,
    pipeline: Name,
    id: RunId,
    version: str,
    graph: Graph,
    owner: str,
    entry: str = "",
    params: dict[str, Any] = {},  # noqa: B006 (copied by the door)
    code: str = "",
    uses: list[str] = [],  # noqa: B006 (copied by the door)
    producer: str = "",
) -> PipelineRunInfo:
    """Begin a run; it belongs to `owner` for as long as that keeps writing."""
    tx = ws.tx
    node = f"pipeline_run:{id}"
    if tx.first(select(pipeline_run.c.id).where(*_is(ws, id))):
        raise Conflict(f"There is a pipeline run {id} already.")
    tx.execute(
        insert(pipeline_run).values(
            project=ws.project,
            id=id,
            pipeline=pipeline,
            version=version,
            entry=entry,
            params=canonical_json(params).decode(),
            graph=msgspec.json.encode(graph).decode(),
            code=code,
            state="running",
            epoch=1,
            owner=owner,
            lease_until_us=tx.now_us + LEASE_S * 1_000_000,
            cancelled_by="",
            error="",
            author=ws.on_behalf_of or ws.principal.name,
            created_us=tx.now_us,
        )
    )
    _link_code(ws, node, pipeline, version, code)
    for use in uses:
        tx.link(node, "used", use)
    if producer:
        tx.link(producer, "triggered", node)
    tx.touch(node, after="running")
    tx.note(pipeline=pipeline, run=id, state="running", version=version)
    return _info(_row(ws, id))


def _link_code(ws: Workspace, node: str, pipeline: str, version: str, code: str) -> None:
    ws.tx.link(node, "used", f"pipeline:{pipeline}@{version[:12]}")
    if code:
        ws.tx.link(node, "used", code)


@operation("POST /pipeline-runs/{id}/claim", allows="pipelines.run")
def claim_pipeline_run(
    ws: Workspace,
    *,
    id: RunId,
    epoch: Epoch,
    owner: str,
    version: str,
    code: str = "",
    gone: bool = False,
    again: list[str] = [],  # noqa: B006 (copied by the door)
) -> PipelineRunInfo:
    """Become the owner of a run that has ended without success, or whose owner is away; of two claims one wins.

    `epoch` is the one the run was read with; `gone` says that the caller knows the former owner's process to be dead.
    The steps in `again` are to be done once more even if they had succeeded; with them a run that succeeded can be claimed.
    """
    tx = ws.tx
    row = _row(ws, id)
    for step in again:
        _check_step(row, step)
    if row.epoch != epoch:
        raise Conflict(f"Pipeline run {id} was taken over by somebody else just now.")
    if row.state == "succeeded" and not again:
        raise Conflict(f"Pipeline run {id} has succeeded; there is nothing to resume. Start a new one.")
    if row.state == "running" and row.lease_until_us > tx.now_us and not gone:
        raise Conflict(
            f"Pipeline run {id} is being run by {_owner(row)}. If that process is dead, its claim ends in "
            f"{(row.lease_until_us - tx.now_us) // 1_000_000} s.",
            owner=row.owner,
        )
    values: dict[str, Any] = {
        "state": "running",
        "epoch": epoch + 1,
        "owner": owner,
        "version": version,
        "code": code,
        "lease_until_us": tx.now_us + LEASE_S * 1_000_000,
        "cancelled_by": "",
        "error": "",
        "ended_us": None,
    }
    tx.execute(update(pipeline_run).where(*_is(ws, id)).values(values))
    undone = or_(~step_run.c.state.in_(("succeeded", "cached")), step_run.c.key.in_(again))
    tx.execute(update(step_run).where(*_step_is(ws, id), undone).values(state="pending", retry_at_us=None))
    _link_code(ws, f"pipeline_run:{id}", row.pipeline, version, code)
    tx.touch(f"pipeline_run:{id}", before=row.state, after="running")
    tx.note(pipeline=row.pipeline, run=id, state="running", epoch=epoch + 1, **({"again": again} if again else {}))
    return _info(_row(ws, id))


@operation("POST /pipeline-runs/{id}/moves", allows="pipelines.run")
def move_steps(ws: Workspace, *, id: RunId, epoch: Epoch, moves: list[StepMove]) -> Lease:
    """Write what steps of a run came to, with their edges. Only the owner can: an older epoch changes nothing."""
    tx = ws.tx
    pipeline, lease = _own(ws, id, epoch)
    fresh = [_new_row(ws, id, epoch, move) for move in moves if move.state in _NEW]
    if fresh:
        tx.execute(_ADD_STEPS, fresh)
    for move in moves:
        if move.state not in _NEW:
            _close(ws, id, epoch, move)
        _link_step(ws, id, move)
    tx.touch(f"pipeline_run:{id}", after={move.key: move.state for move in moves})
    tx.note(pipeline=pipeline, run=id, steps={move.key: move.state for move in moves})
    return lease


def _new_row(ws: Workspace, id: str, epoch: Epoch, move: StepMove) -> dict[str, Any]:
    ended = move.state != "running"
    return {
        "project": ws.project,
        "run": id,
        "key": move.key,
        "step": move.step,
        "state": move.state,
        "attempt": move.attempt,
        "epoch": epoch,
        "cache_key": move.cache_key,
        "parts": _text(move.parts) if move.parts else "",
        "outputs": _text(move.outputs),
        "uses": "[]",
        "resolved": "{}",
        "hit": move.hit,
        "reason": move.reason,
        "error": "",
        "log": move.log,
        "log_object": move.log_object,
        "started_us": None if move.state == "upstream_failed" else ws.tx.now_us,
        "ended_us": ws.tx.now_us if ended else None,
        "duration_us": None,
        "retry_at_us": None,
    }


def _close(ws: Workspace, id: str, epoch: Epoch, move: StepMove) -> None:
    now = ws.tx.now_us
    row = {"b_project": ws.project, "b_run": id, "b_key": move.key, "b_epoch": epoch, "b_state": move.state}
    values = {
        "state": move.state,
        "attempt": move.attempt,
        "outputs": _text(move.outputs),
        "uses": _text(move.uses),
        "resolved": _text(move.resolved),
        "error": _text(move.error) if move.error else "",
        "log": move.log,
        "log_object": move.log_object,
        "ended_us": now,
        "duration_us": move.duration_us,
        "retry_at_us": None if move.retry_in_us is None else now + move.retry_in_us,
    }
    if not ws.tx.execute(_CLOSE_STEP, row | values).rowcount:
        raise Conflict(f'Step "{move.key}" of pipeline run {id} is not running; it cannot become {move.state}.')


def _link_step(ws: Workspace, id: str, move: StepMove) -> None:
    node = f"step_run:{id}/{move.key}"
    if move.state in ("running", "cached"):
        ws.tx.link(f"pipeline_run:{id}", "triggered", node)
        for need in move.needs:
            ws.tx.link(node, "used", f"step_run:{id}/{need}")
    if move.hit:
        ws.tx.link(node, "derived", move.hit)
    for use in move.uses:
        ws.tx.link(node, "used", use)


class LogSoFar(msgspec.Struct, frozen=True):
    """What a running step has printed until now."""

    key: Name
    text: str = ""
    object: str = ""


@operation("POST /pipeline-runs/{id}/lease", allows="pipelines.run")
def renew_lease(ws: Workspace, *, id: RunId, epoch: Epoch, logs: list[LogSoFar] = []) -> Lease:  # noqa: B006
    """Say that the owner is still there, and keep what its steps have printed so far."""
    pipeline, lease = _own(ws, id, epoch)
    for one in logs:
        mine = (*_step_is(ws, id), step_run.c.key == one.key, step_run.c.epoch == epoch)
        ws.tx.execute(update(step_run).where(*mine).values(log=one.text, log_object=one.object))
    ws.tx.touch(f"pipeline_run:{id}")
    ws.tx.note(pipeline=pipeline, run=id)
    return lease


@operation("POST /pipeline-runs/{id}/end", allows="pipelines.run")
def finish_pipeline_run(
    ws: Workspace, *, id: RunId, epoch: Epoch, state: End, error: StepError | None = None
) -> PipelineRunInfo:
    """End a run, or leave it interrupted for somebody to resume."""
    row = _row(ws, id)
    if row.epoch == epoch and row.state == state:
        return _info(row)  # said before, and the answer was lost
    _own(ws, id, epoch)
    return _end(ws, id, state, error)


def _end(ws: Workspace, id: str, state: str, error: StepError | None = None) -> PipelineRunInfo:
    tx = ws.tx
    row = _row(ws, id)
    values = {
        "state": state,
        "error": _text(error) if error else "",
        "ended_us": tx.now_us,
        "lease_until_us": tx.now_us,
    }
    tx.execute(update(pipeline_run).where(*_is(ws, id)).values(values))
    stopped = "cancelled" if state == "cancelled" else "interrupted"
    tx.execute(update(step_run).where(*_step_is(ws, id), step_run.c.state.in_(_OPEN)).values(state=stopped))
    tx.touch(f"pipeline_run:{id}", before=row.state, after=state)
    tx.note(
        pipeline=row.pipeline,
        run=id,
        state=state,
        version=row.version,
        duration_us=tx.now_us - row.created_us,
        **({"error": error.text, "step": error.step} if error else {}),
    )
    return _info(_row(ws, id))


@operation("POST /pipeline-runs/{id}/cancel", allows="pipelines.run")
def cancel_pipeline_run(ws: Workspace, *, id: str, gone: bool = False) -> PipelineRunInfo:
    """Ask a run's owner to end it; a run whose owner is away (`gone`: known to be dead) ends at once."""
    tx = ws.tx
    row = _find(ws, id)
    if row.state not in ("running", "interrupted"):
        raise Conflict(f"Pipeline run {row.id} is {row.state}; there is nothing to cancel.")
    by = ws.on_behalf_of or ws.principal.name
    if row.state == "running" and row.lease_until_us > tx.now_us and not gone:
        tx.execute(update(pipeline_run).where(*_is(ws, row.id)).values(cancelled_by=by))
        tx.touch(f"pipeline_run:{row.id}", before=row.cancelled_by, after=by)
        tx.note(pipeline=row.pipeline, run=row.id)
        return _info(_row(ws, row.id))
    # the epoch goes up, so that an owner that was only slow changes nothing any more
    tx.execute(update(pipeline_run).where(*_is(ws, row.id)).values(cancelled_by=by, epoch=row.epoch + 1))
    return _end(ws, row.id, "cancelled")


# -- reading ------------------------------------------------------------------------------------------------------


@operation("GET /pipeline-runs/{id}", allows="pipelines.read")
def get_pipeline_run(ws: Workspace, *, id: str) -> PipelineRunInfo:
    """A run by its id, the beginning of its id (six digits or more), or the newest run of a pipeline by that name."""
    return _info(_find(ws, id), ws.tx.now_us)


@operation("GET /pipeline-runs", allows="pipelines.read")
def list_pipeline_runs(
    ws: Workspace, *, pipeline: str = "", limit: Limit = 100, page: str = ""
) -> Page[PipelineRunInfo]:
    """Runs, newest first."""
    query = select(pipeline_run).where(pipeline_run.c.project == ws.project)
    query = query.order_by(pipeline_run.c.id.desc()).limit(limit + 1)
    if pipeline:
        query = query.where(pipeline_run.c.pipeline == pipeline)
    if start := page_start(page, fields=str):
        query = query.where(pipeline_run.c.id < start)
    return page_of([_info(row, ws.tx.now_us) for row in ws.tx.all(query)], limit, lambda one: one.id)


@operation("GET /pipeline-runs/{id}/graph", allows="pipelines.read")
def get_run_graph(ws: Workspace, *, id: str) -> Graph:
    """The steps of a run with their arguments, and the document of its result."""
    return msgspec.json.decode(_find(ws, id).graph, type=Graph)


@operation("GET /pipeline-runs/{id}/params", allows="pipelines.read")
def get_run_params(ws: Workspace, *, id: str) -> dict[str, Any]:
    """The documents of a run's parameters."""
    return msgspec.json.decode(_find(ws, id).params)


@operation("GET /pipeline-runs/{id}/steps", allows="pipelines.read")
def list_step_runs(ws: Workspace, *, id: str) -> list[StepRun]:
    """All steps of a run in the order of its body, those that have not begun too."""
    run = _find(ws, id)
    graph = msgspec.json.decode(run.graph, type=Graph)
    rows = {row.key: row for row in ws.tx.all(select(step_run).where(*_step_is(ws, run.id)))}
    waiting = "cancelled" if run.state == "cancelled" else "pending"
    return [
        _step(rows[one.key], one.needs)
        if one.key in rows
        else StepRun(run=run.id, key=one.key, step=one.step, state=waiting, needs=one.needs)
        for one in graph.steps
    ]


@operation("GET /pipeline-runs/{id}/parts", allows="pipelines.read")
def get_run_parts(ws: Workspace, *, id: str) -> dict[str, Parts]:
    """What the cache keys of a run's steps are made of."""
    rows = ws.tx.all(select(step_run.c.key, step_run.c.parts).where(*_step_is(ws, _find(ws, id).id)))
    return {row.key: msgspec.json.decode(row.parts, type=Parts) for row in rows if row.parts}


@operation("GET /pipeline-runs/{id}/log", allows="pipelines.read")
def get_step_log(ws: Workspace, *, id: str, step: str) -> Log:
    """A step's log as far as it was kept."""
    run = _find(ws, id)
    row = ws.tx.first(select(step_run).where(*_step_is(ws, run.id), step_run.c.key == step))
    if row is not None:
        return Log(row.state, row.log, row.log_object)
    _check_step(run, step)
    return Log("cancelled" if run.state == "cancelled" else "pending", "", "")


@operation("GET /pipeline-cache", allows="pipelines.read")
def find_hits(ws: Workspace, *, keys: list[str], steps: list[str]) -> list[Lookup]:
    """For each cache key the newest step run with that key whose named inputs still stand for the same versions.

    Where there is none: what has moved, or the parts of the latest success of the step with that key in `steps`.
    """
    if len(keys) != len(steps):
        raise InvalidInput("find_hits takes as many steps as keys.")
    return look_up(ws, keys, steps)


# -- rows ---------------------------------------------------------------------------------------------------------


def _is(ws: Workspace, id: str) -> tuple[Any, ...]:
    return pipeline_run.c.project == ws.project, pipeline_run.c.id == id


def _step_is(ws: Workspace, run: str) -> tuple[Any, ...]:
    return step_run.c.project == ws.project, step_run.c.run == run


def _check_step(run: Row[Any], step: str) -> None:
    known = [one.key for one in msgspec.json.decode(run.graph, type=Graph).steps]
    if step not in known:
        raise NotFound(f'Pipeline run {run.id} has no step "{step}".{nearest(step, known)} It has: {", ".join(known)}.')


def _row(ws: Workspace, id: str) -> Row[Any]:
    row = ws.tx.first(select(pipeline_run).where(*_is(ws, id)))
    if row is None:
        raise NotFound(f'No pipeline run "{id}" in project "{ws.project}". See: trine pipeline ls')
    return row


def _find(ws: Workspace, name: str) -> Row[Any]:
    mine = select(pipeline_run).where(pipeline_run.c.project == ws.project)
    if re.fullmatch(r"[0-9a-f]{6,32}", name):
        rows = ws.tx.all(mine.where(pipeline_run.c.id.startswith(name)).limit(2))
        if len(rows) == 2:
            raise InvalidInput(f'"{name}" is the beginning of several pipeline runs; give more digits.')
        if rows:
            return rows[0]
    row = ws.tx.first(mine.where(pipeline_run.c.pipeline == name).order_by(pipeline_run.c.id.desc()).limit(1))
    if row is not None:
        return row
    names = ws.tx.connection.execute(
        select(pipeline_run.c.pipeline).where(pipeline_run.c.project == ws.project).distinct()
    ).scalars()
    raise NotFound(
        f'No pipeline run "{name}" in project "{ws.project}", and no pipeline of that name has run.{nearest(name, names)} '
        "See: trine pipeline ls"
    )


def _own(ws: Workspace, id: str, epoch: int) -> tuple[str, Lease]:
    """Go on owning a run. Raises Conflict when it is somebody else's by now."""
    until = ws.tx.now_us + LEASE_S * 1_000_000
    mine = {"b_project": ws.project, "b_id": id}
    if not ws.tx.execute(_OWN_RUN, {**mine, "b_epoch": epoch, "lease_until_us": until}).rowcount:
        row = _row(ws, id)
        raise Conflict(
            f"Pipeline run {id} is no longer this process's: it is {row.state}, taken over by {_owner(row)}."
            if row.epoch != epoch
            else f"Pipeline run {id} is {row.state}; nothing can be written to it.",
            state=row.state,
        )
    row = ws.tx.execute(_WHOSE_RUN, mine).one()
    return row.pipeline, Lease(until, row.cancelled_by)


def _owner(row: Row[Any]) -> str:
    from trine.pipelines.owners import shown

    return shown(row.owner)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _error(text: str) -> StepError | None:
    return msgspec.json.decode(text, type=StepError) if text else None


def _info(row: Row[Any], now_us: int | None = None) -> PipelineRunInfo:
    state: RunState = row.state
    if now_us is not None and state == "running" and row.lease_until_us < now_us:
        state = "interrupted"
    return PipelineRunInfo(
        id=row.id,
        pipeline=row.pipeline,
        version=row.version,
        entry=row.entry,
        params=shown_params(msgspec.json.decode(row.params)),
        code=row.code,
        state=state,
        epoch=row.epoch,
        owner=row.owner,
        lease_until_us=row.lease_until_us,
        cancelled_by=row.cancelled_by,
        error=_error(row.error),
        author=row.author,
        created_us=row.created_us,
        ended_us=row.ended_us,
    )


def _step(row: Row[Any], needs: list[str]) -> StepRun:
    return StepRun(
        run=row.run,
        key=row.key,
        step=row.step,
        state=row.state,
        needs=needs,
        attempt=row.attempt,
        outputs=msgspec.json.decode(row.outputs, type=list[Value]),
        uses=msgspec.json.decode(row.uses),
        resolved=msgspec.json.decode(row.resolved),
        hit=row.hit,
        reason=row.reason,
        error=_error(row.error),
        cache_key=row.cache_key,
        started_us=row.started_us,
        ended_us=row.ended_us,
        duration_us=row.duration_us,
        retry_at_us=row.retry_at_us,
    )
