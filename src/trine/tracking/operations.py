"""The door's part on experiments, runs and their metric points."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import delete, func, select, update

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, new_id
from trine.ledger import upsert
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.tracking import ledger_runs, series
from trine.tracking import logged_models as logged_models
from trine.tracking.artifact_files import check_path
from trine.tracking.cutting import copy_points
from trine.tracking.experiment import all_experiments as all_experiments
from trine.tracking.experiment import create_experiment as create_experiment
from trine.tracking.experiment import delete_experiment as delete_experiment
from trine.tracking.experiment import find_experiment as find_experiment
from trine.tracking.experiment import get_experiment as get_experiment
from trine.tracking.experiment import restore_experiment as restore_experiment
from trine.tracking.experiment import update_experiment as update_experiment
from trine.tracking.finding import find_runs
from trine.tracking.folding import fold
from trine.tracking.frames import Ending
from trine.tracking.liveness import end_silent_runs as end_silent_runs
from trine.tracking.liveness import keep_open as keep_open
from trine.tracking.liveness import signs_of_life
from trine.tracking.recording import add_run, experiment_of, write_texts
from trine.tracking.revising import delete_run as delete_run
from trine.tracking.revising import derive_run as derive_run
from trine.tracking.revising import purge_runs as purge_runs
from trine.tracking.revising import restore_run as restore_run
from trine.tracking.revising import rewind_run as rewind_run
from trine.tracking.revising import update_run as update_run
from trine.tracking.runs import (
    Artifact,
    CodeVersion,
    Context,
    Ended,
    Experiment,
    Key,
    Natural,
    ParamText,
    RunId,
    RunInfo,
    TagText,
    Title,
    Value,
)
from trine.tracking.series import Series
from trine.tracking.tables import (
    code_version,
    experiment,
    metric_direction,
    run,
    run_artifact,
    run_metric,
    run_param,
    run_points,
    run_segment,
    run_tag,
)
from trine.tracking.texts import run_state as run_state
from trine.tracking.texts import set_texts as set_texts
from trine.tracking.trials import add_points as add_points
from trine.tracking.trials import add_trials as add_trials
from trine.tracking.trials import append_journal as append_journal
from trine.tracking.trials import read_journal as read_journal
from trine.types import Micros
from trine.workspace import Workspace

SegmentId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
Better = Literal["less", "more"]
PointLimit = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class Opened(msgspec.Struct, frozen=True):
    """A run that goes on, and whether the caller now keeps it open (somebody else does when it was running)."""

    run: RunInfo
    owner: bool


class PointsPage(msgspec.Struct, frozen=True):
    """Points of one metric in order of arrival, with times in microseconds; `next` is where to go on, or None."""

    steps: list[int]
    times_us: list[int]
    values: list[Value]
    next: int | None


# -- runs -------------------------------------------------------------------------------------------------------


@operation("POST /runs", allows="tracking.write")
def create_run(
    ws: Workspace,
    *,
    experiment_name: Title = "default",
    id: RunId | None = None,
    name: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", max_length=250)] = "",
    params: dict[Key, ParamText] = {},  # noqa: B006 (copied by the door)
    tags: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
    parent: str = "",
    session: str = "",
    code: str = "",
    environment: str = "",
    context: Context = Context(),
    producer: str = "",
    started_us: Micros | None = None,
    forked_from: str = "",
    fork_step: int | None = None,
) -> RunInfo:
    """Start a run; the experiment is made when it is new. Without a name it is called after its experiment and number.

    A fork begins with the params of another run, where none are given, and its points up to a step (without one: all).
    """
    tx = ws.tx
    identity = id or new_id()
    if tx.first(select(run.c.id).where(run.c.id == identity)):
        raise Conflict(f"There is a run {identity} already. Go on with it: trine.run(resume={identity!r})")
    above = ledger_runs.row_of(ws, parent).id if parent else None
    group = experiment_of(ws, experiment_name)
    name = name or _free_name(ws, experiment_name, group)
    origin = ledger_runs.row_of(ws, forked_from) if forked_from else None
    node = f"run:{identity}"
    values = add_run(
        ws,
        id=identity,
        experiment=group,
        name=name,
        parent=above,
        author=ws.on_behalf_of or ws.principal.name,
        session=session[:32],
        seen_us=tx.now_us if session else None,
        code=code or None,
        environment=environment[:64],
        context=msgspec.json.encode(context).decode(),
        started_us=tx.now_us if started_us is None else started_us,
    )
    inherited = _texts(ws, run_param, origin.id) if origin else {}
    write_texts(ws, run_param, identity, inherited | params)
    write_texts(ws, run_tag, identity, tags)
    if origin:
        copy_points(ws, origin.id, identity, fork_step)
        tx.link(node, "derived", f"run:{origin.id}")
        tx.note(forked_from=origin.id, step=fork_step)
    for source in dict.fromkeys((producer, f"run:{above}" if above else "")):
        if source:
            tx.link(source, "produced", node)
    if code:
        tx.link(node, "used", code)
    tx.make(node)
    tx.touch(node, after=values)
    tx.note(run=identity, experiment=experiment_name, name=name, parent=above or "")
    return get_run(ws, id=identity)


def _free_name(ws: Workspace, experiment_name: str, group: int) -> str:
    """`experiment-N`; N goes on where names are taken, since runs before it may be gone."""
    number = 1 + ws.tx.scalar(select(func.count()).select_from(run).where(run.c.experiment == group))
    while ws.tx.first(
        select(run.c.id).where(run.c.project == ws.project, run.c.name == f"{experiment_name[:230]}-{number}")
    ):
        number += 1
    return f"{experiment_name[:230]}-{number}"


@operation("GET /runs/{id}", allows="tracking.read")
def get_run(ws: Workspace, *, id: str) -> RunInfo:
    """A run by its id, the beginning of it (six digits or more), or its name."""
    return ledger_runs.load(ws, [ledger_runs.row_of(ws, id).id])[0]


@operation("GET /run", allows="tracking.read")
def find_run(ws: Workspace, *, name: str) -> RunInfo:
    """The same for any name, one with slashes too: the id comes as a query parameter, not in the path."""
    return get_run(ws, id=name)


@operation("GET /runs", allows="tracking.read")
def search_runs(
    ws: Workspace,
    *,
    expression: str = "",
    experiment_name: str = "",
    order_by: str = "",
    deleted: bool = False,
    with_deleted: bool = False,
    limit: Limit = 100,
    page: str = "",
) -> Page[RunInfo]:
    """Runs for which an expression is true, newest first or in the order asked for (there or in `order_by`): those that are
    not deleted, with `deleted` those that are, `with_deleted` all."""
    group = _known_experiment(ws, experiment_name) if experiment_name else None
    after = page_start(page, fields=list[str | int])
    hidden = None if with_deleted else deleted
    keys = find_runs(ws, expression, order_by, experiment=group, deleted=hidden, limit=limit + 1, after=after)
    return page_of(ledger_runs.load(ws, list(keys)), limit, lambda one: keys[one.id])


@operation("PUT /metrics/direction", allows="tracking.write")
def declare_metric(ws: Workspace, *, key: Key, better: Better) -> Done:
    """Say whether less or more of a metric is better, for all runs of the project: what `best` means in search and summaries."""
    row = {"project": ws.project, "key": key, "better": better}
    ws.tx.execute(upsert(metric_direction), row)
    ws.tx.touch(f"metric:{key}", after=better)
    return Done(f"metric:{key}")


@operation("GET /experiments", allows="tracking.read")
def list_experiments(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[Experiment]:
    """Experiments by name, with how many runs each has."""
    count, last = func.count(run.c.id), func.max(run.c.started_us)
    query = (
        select(experiment.c.id, experiment.c.name, experiment.c.created_us, count.label("runs"), last.label("last"))
        .select_from(experiment.outerjoin(run, (run.c.experiment == experiment.c.id) & run.c.deleted_us.is_(None)))
        .where(experiment.c.project == ws.project)
        .group_by(experiment.c.id, experiment.c.name, experiment.c.created_us)
        .order_by(experiment.c.name)
        .limit(limit + 1)
    )
    if start := page_start(page, fields=str):
        query = query.where(experiment.c.name > start)
    found = [Experiment(row.id, row.name, row.runs, row.created_us, row.last) for row in ws.tx.all(query)]
    return page_of(found, limit, lambda one: one.name)


@operation("POST /runs/{id}/params", allows="tracking.write")
def set_params(ws: Workspace, *, id: str, params: dict[Key, ParamText]) -> Done:
    """Add params. A param is written once: the same value again changes nothing, another is a conflict."""
    row = _writable(ws, id)
    known = _texts(ws, run_param, row.id)
    for name, value in params.items():
        if known.get(name, value) != value:
            raise Conflict(
                f'Param "{name}" of run {row.name} is {known[name]!r} already and cannot become {value!r}: a param is written '
                "once. Use a tag for what changes, or start another run.",
                param=name,
            )
    fresh = {name: value for name, value in params.items() if name not in known}
    write_texts(ws, run_param, row.id, fresh)
    ws.tx.touch(f"run:{row.id}", after=fresh)
    return Done(f"run:{row.id}", bool(fresh))


@operation("POST /runs/{id}/tags", allows="tracking.write")
def set_tags(ws: Workspace, *, id: str, tags: dict[Key, TagText]) -> Done:
    """Set tags; the last value stays."""
    row = _writable(ws, id)
    before = _texts(ws, run_tag, row.id)
    write_texts(ws, run_tag, row.id, tags)
    ws.tx.touch(f"run:{row.id}", before=before, after=before | tags)
    return Done(f"run:{row.id}", before | tags != before)


@operation("DELETE /runs/{id}/tags", allows="tracking.write")
def delete_tag(ws: Workspace, *, id: str, tag: str) -> Done:
    """Remove a tag."""
    row = _writable(ws, id)
    before = _texts(ws, run_tag, row.id)
    if tag not in before:
        raise NotFound(f'Run {row.name} has no tag "{tag}".{nearest(tag, before)}')
    ws.tx.execute(delete(run_tag).where(run_tag.c.run == row.id, run_tag.c.key == tag))
    ws.tx.touch(f"run:{row.id}", before=before)
    return Done(f"run:{row.id}")


@operation("POST /runs/{id}/end", allows="tracking.write")
def end_run(
    ws: Workspace,
    *,
    id: str,
    state: Ended = "finished",
    reason: str = "",
    session: str = "",
    ended_us: Micros | None = None,
    lost: Natural = 0,
) -> Done:
    """Say how a run ended. With a session: only if that session still keeps the run open."""
    row = ledger_runs.row_of(ws, id)
    tx = ws.tx
    if session and row.session != session:
        return Done(f"run:{row.id}", changed=False)
    ended = max(row.started_us, tx.now_us if ended_us is None else ended_us)
    changes = {"state": state, "reason": reason[:4_000].replace("\0", ""), "ended_us": ended, "lost": row.lost + lost}
    tx.execute(update(run).where(run.c.id == row.id).values(session="", **changes))
    tx.touch(f"run:{row.id}", before=row.state, after=state)
    tx.note(run=row.id, experiment=row.experiment_name, name=row.name, state=state, duration_us=ended - row.started_us)
    return Done(f"run:{row.id}")


@operation("POST /runs/{id}/reopen", allows="tracking.write", keeps=False)
def reopen_run(ws: Workspace, *, id: str, session: str = "") -> Opened:
    """Go on with a run: one that had ended runs again, kept open by this session; a running one stays as it is."""
    row = _writable(ws, id)
    owner = row.state != "running" or bool(
        session and row.session == session
    )  # the same call again gets the same answer
    if row.state != "running":
        seen_us = ws.tx.now_us if session else None
        changes = {
            "state": "running", "reason": "", "ended_us": None, "session": session[:32], "seen_us": seen_us,
        }  # fmt: skip
        ws.tx.execute(update(run).where(run.c.id == row.id).values(changes))
    ws.tx.touch(f"run:{row.id}", before=row.state, after="running")
    return Opened(get_run(ws, id=row.id), owner)


def _known_experiment(ws: Workspace, name: str) -> int:
    rows = ws.tx.all(select(experiment.c.id, experiment.c.name).where(experiment.c.project == ws.project))
    known = {row.name: row.id for row in rows}
    if name not in known:
        raise NotFound(f'No experiment "{name}" in project "{ws.project}".{nearest(name, known)}')
    return known[name]


def _writable(ws: Workspace, id: str) -> Any:
    row = ledger_runs.row_of(ws, id)
    if row.deleted_us is not None:
        raise Conflict(f"Run {row.name} ({row.id}) is deleted; restore it before you change it.")
    return row


def _texts(ws: Workspace, table: Any, id: str) -> dict[str, str]:
    return {row.key: row.value for row in ws.tx.all(select(table.c.key, table.c.value).where(table.c.run == id))}


# -- points -----------------------------------------------------------------------------------------------------


@operation("POST /runs/{id}/segments/{segment}", allows="tracking.write", keeps=False)
def fold_segment(
    ws: Workspace,
    *,
    id: RunId,
    segment: SegmentId,
    start: Natural,
    stop: Natural,
    points: list[Series] = [],  # noqa: B006 (copied by the door)
    uses: list[str] = [],  # noqa: B006 (copied by the door)
    lost: Natural = 0,
    ending: Ending | None = None,
    session: str = "",
) -> int:
    """Take what a process wrote to its segment from byte `start` to `stop`, exactly once.

    Gives the offset up to which the segment is in the ledger now; when that was not `start`, nothing was taken.
    """
    tx = ws.tx
    row = ledger_runs.row_of(ws, id)
    at = segment_offset(ws, segment=segment)
    if at != start:
        tx.touch(f"run:{id}")
        return at
    if len({one.key for one in points}) < len(points):
        raise InvalidInput("A metric is there twice: send its points as one series.")
    if stop <= start:
        raise InvalidInput(f"A part of a segment ends after it begins: {stop} is not after {start}.")
    tx.execute(upsert(run_segment), {"id": segment, "run": id, "offset": stop})
    if session and row.session == session:
        tx.execute(update(run).where(run.c.id == id).values(signs_of_life(ws)))
    fold(ws, id, {one.key: series.unpack(one) for one in points})
    if lost:
        tx.execute(update(run).where(run.c.id == id).values(lost=row.lost + lost))
    for node in uses:
        tx.link(f"run:{id}", "used", node)
    if ending is not None and ending.state:
        ended_us = ending.ended_us or None
        end_run(ws, id=id, state=ending.state, reason=ending.reason, session=session, ended_us=ended_us)
    tx.touch(f"run:{id}")
    tx.note(run=id, points=sum(len(one.steps) // 8 for one in points), metrics=len(points))
    return stop


@operation("GET /segments/{segment}", allows="tracking.read")
def segment_offset(ws: Workspace, *, segment: str) -> int:
    """The offset up to which a segment is in the ledger; 0 for one that is not known."""
    return ws.tx.scalar(select(run_segment.c.offset).where(run_segment.c.id == segment)) or 0


@operation("GET /runs/{id}/points", allows="tracking.read")
def read_points(
    ws: Workspace, *, id: str, key: str, start: Natural = 0, limit: PointLimit = 10_000, thin: Natural = 0
) -> PointsPage:
    """Points of a metric from the `start`-th on, in order of arrival.

    With `thin`: all of them at once as at most that many (two or more), in order of step and time, drawing the same picture.
    """
    row = ledger_runs.row_of(ws, id)
    known = ws.tx.scalar(select(run_metric.c.points).where(run_metric.c.run == row.id, run_metric.c.key == key))
    if known is None:
        raise _no_metric(ws, row, key)
    query = select(run_points).where(run_points.c.run == row.id, run_points.c.key == key).order_by(run_points.c.start)
    if thin:
        whole = series.ordered(series.join([series.decode(one.data) for one in ws.tx.all(query)]))
        return _points_page(series.thin(whole, max(2, min(thin, 100_000))), None)
    stop = start + limit
    query = query.where(run_points.c.start < stop, run_points.c.start + run_points.c.points > start)
    chunks = ws.tx.all(query)
    if not chunks:
        return PointsPage([], [], [], None)
    base = chunks[0].start
    found = series.join([series.decode(one.data) for one in chunks])
    return _points_page(found.take(slice(start - base, stop - base)), stop if stop < known else None)


Step = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Chart(msgspec.Struct, frozen=True):
    """A metric as vertical strokes: for each the first of its steps, how many points it stands for, their least, greatest and
    last value; of the whole, the last step and the number of points."""

    steps: list[int]
    counts: list[int]
    low: list[Value]
    high: list[Value]
    last: list[Value]
    last_step: int
    points: int


@operation("GET /runs/{id}/chart", allows="tracking.read")
def read_chart(
    ws: Workspace,
    *,
    id: str,
    key: str,
    pixels: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 1_000,
    since: Step | None = None,
    until: Step | None = None,
) -> Chart:
    """A metric as a line chart of that many pixels shows it, whatever it has of points; of the steps from `since` to `until`
    (both included) when they are given."""
    row = ledger_runs.row_of(ws, id)
    query = select(run_points.c.data).where(run_points.c.run == row.id, run_points.c.key == key)
    parts = [series.decode(one.data) for one in ws.tx.all(query.order_by(run_points.c.start))]
    if not parts:
        raise _no_metric(ws, row, key)
    whole = series.ordered(series.join(parts))
    part = series.between(whole, since, until)
    columns = [one.tolist() for one in series.buckets(part, pixels)] if len(part.steps) else [[]] * 5
    return Chart(*columns, last_step=int(whole.steps[-1]), points=len(whole.steps))


def _no_metric(ws: Workspace, row: Any, key: str) -> NotFound:
    keys = [one.key for one in ws.tx.all(select(run_metric.c.key).where(run_metric.c.run == row.id).limit(1000))]
    return NotFound(f'Run {row.name} has no metric "{key}".{nearest(key, keys)}')


def _points_page(points: series.Points, following: int | None) -> PointsPage:
    return PointsPage(points.steps.tolist(), points.times.tolist(), points.values.tolist(), following)


# -- artifacts and code -----------------------------------------------------------------------------------------


@operation("POST /runs/{id}/artifacts", allows="tracking.write")
def record_artifacts(ws: Workspace, *, id: str, artifacts: list[Artifact]) -> Done:
    """Name objects that are stored already as files of a run; a path that is there gets the new content."""
    row = _writable(ws, id)
    missing = {one.hash for one in artifacts} - ws.store.has({one.hash for one in artifacts})
    if missing:
        raise NotFound(f"There is no object {min(missing)} in the store. Store the bytes before you name them.")
    rows = [
        {
            "run": row.id,
            "path": check_path(one.path),
            "hash": one.hash,
            "size_bytes": one.size_bytes,
            "created_us": ws.tx.now_us,
        }
        for one in artifacts
    ]
    if rows:
        ws.tx.execute(upsert(run_artifact), rows)
    ws.tx.touch(f"run:{row.id}", after=[(one.path, one.hash) for one in artifacts])
    ws.tx.note(run=row.id, artifacts=len(rows))
    return Done(f"run:{row.id}", bool(rows))


@operation("GET /runs/{id}/artifacts", allows="tracking.read")
def list_artifacts(ws: Workspace, *, id: str, prefix: str = "", limit: Limit = 1000, page: str = "") -> Page[Artifact]:
    """A run's files by path; `prefix` keeps those below a folder or at a path."""
    row = ledger_runs.row_of(ws, id)
    path = run_artifact.c.path
    query = select(run_artifact).where(run_artifact.c.run == row.id).order_by(path).limit(limit + 1)
    if prefix:
        query = query.where((path == prefix) | path.startswith(prefix.rstrip("/") + "/", autoescape=True))
    if start := page_start(page, fields=str):
        query = query.where(path > start)
    found = [Artifact(one.path, one.hash, one.size_bytes, one.created_us) for one in ws.tx.all(query)]
    return page_of(found, limit, lambda one: one.path)


@operation("PUT /code", allows="tracking.write")
def record_code(ws: Workspace, *, code: CodeVersion) -> Done:
    """Keep what is known of a state of the code under its node; what is there stays."""
    if not re.fullmatch(r"code:[0-9a-f]{40,64}(\+[0-9a-f]{12})?", code.node):
        raise InvalidInput(f'"{code.node}" is no node of code: write code:COMMIT or code:COMMIT+TREE.')
    body = canonical_json(code).decode()
    row = {"project": ws.project, "node": code.node, "body": body, "created_us": ws.tx.now_us}
    done = ws.tx.execute(upsert(code_version, keep=True), row)
    ws.tx.touch(code.node, after=code)
    return Done(code.node, done.rowcount > 0)


@operation("GET /code/{node}", allows="tracking.read")
def get_code(ws: Workspace, *, node: str) -> CodeVersion:
    """What is known of a state of the code: commit, branch, remote, and the patch of what was not committed."""
    mine = code_version.c.project == ws.project
    body = ws.tx.scalar(select(code_version.c.body).where(mine, code_version.c.node == node))
    if body is None:
        raise NotFound(f'Nothing is known of "{node}": no run of project "{ws.project}" recorded it.')
    return msgspec.json.decode(body, type=CodeVersion)
