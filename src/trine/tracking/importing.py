"""The door's part on moving in: runs of other tools, many in one transaction, each exactly once.

A run comes with the digest of all that it is (`checksum`), so the ledger knows whether it has that run, a part of it, or an
older state. Points are numbered through the run, metric after metric in order of their names; what is taken is counted, so
whoever was interrupted goes on behind the last transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import delete, insert, select, update

from trine.errors import InvalidInput, NotFound
from trine.ids import canonical_json, digest
from trine.ledger import upsert
from trine.operations import Limit, Page, operation, page_of, page_start
from trine.tracking import ledger_runs, series
from trine.tracking.artifact_files import check_path
from trine.tracking.folding import fold
from trine.tracking.recording import add_run, experiment_of, write_texts
from trine.tracking.runs import Artifact, CodeVersion, Context, Key, Natural, ParamText, RunId, State, TagText, Title
from trine.tracking.series import Points, Series
from trine.tracking.tables import (
    code_version,
    run,
    run_artifact,
    run_import,
    run_metric,
    run_param,
    run_points,
    run_tag,
)
from trine.workspace import Workspace

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", description="64 hex digits")]
Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999, description="microseconds since the epoch, UTC")]
Source = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40, description="the tool it comes from")
]
RunName = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=250)]
Outcome = Literal["added", "updated", "continued", "unchanged", "kept", "changed", "behind"]


class ForeignRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as another tool kept it. `inputs` are nodes it used; `hidden` says that it was deleted there."""

    id: RunId
    experiment: Title
    name: RunName
    state: State
    reason: Annotated[str, msgspec.Meta(max_length=4_000)] = ""
    parent: RunId | None = None
    author: Annotated[str, msgspec.Meta(max_length=250)] = ""
    started_us: Micros
    ended_us: Micros | None = None
    hidden: bool = False
    params: dict[Key, ParamText] = {}
    tags: dict[Key, TagText] = {}
    artifacts: list[Artifact] = []
    inputs: list[str] = []
    code: CodeVersion | None = None
    context: Context = Context()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Points of a run from the `start`-th on. `points` is how many the run has, `digest` its checksum."""

    run: ForeignRun
    digest: Digest
    points: Natural
    start: Natural = 0
    series: list[Series] = []


class Taken(msgspec.Struct, frozen=True):
    """What became of a part: `kept` when a run of that id is there that was not imported, `changed` when the imported one was
    changed here since, `behind` when the points before `start` are not there yet. `points` is how many are there now."""

    run: str
    outcome: Outcome
    points: int


class Import(msgspec.Struct, frozen=True):
    """A run that was imported: its checksum there, how many points it has there, and how many of them are here."""

    run: str
    source: str
    digest: str
    points: int
    taken: int
    time_us: int


def checksum(one: ForeignRun, metrics: Mapping[str, str]) -> str:
    """The digest of all that a run is: its facts, params, tags, files, and the digest of each metric (`points_digest`)."""
    facts: dict[str, Any] = {
        name: getattr(one, name)
        for name in (
            "id",
            "experiment",
            "name",
            "state",
            "reason",
            "parent",
            "started_us",
            "ended_us",
            "params",
            "tags",
        )
    }
    facts["artifacts"] = sorted((file.path, file.hash) for file in one.artifacts)
    facts["metrics"] = dict(metrics)
    return digest(facts)


def points_digest(points: Points) -> str:
    """The digest of a metric's points: how many, then their columns."""
    from blake3 import blake3

    hasher = blake3(f"{len(points.values)}:".encode())
    for column in points.to_bytes():
        hasher.update(column)
    return hasher.hexdigest()


@operation("POST /imports", allows="tracking.write", keeps=False)
def import_runs(ws: Workspace, *, source: Source, parts: list[Part]) -> list[Taken]:
    """Take in runs of another tool, each exactly once: one that is there already, in the same state, stays as it is; one whose
    state there is another replaces what was imported, unless it was changed here."""
    found = [_take(ws, source, part) for part in parts]
    fresh = [one for one in found if one.outcome in ("added", "updated", "continued")]
    ws.tx.touch(f"import:{source}", after=[(one.run, one.points) for one in fresh])
    ws.tx.note(source=source, runs=[one.run for one in fresh][:100], count=len(fresh))
    return found


@operation("GET /imports", allows="tracking.read")
def list_imports(ws: Workspace, *, source: str = "", limit: Limit = 100, page: str = "") -> Page[Import]:
    """Runs that were imported, by id."""
    query = select(run_import).where(run_import.c.project == ws.project).order_by(run_import.c.run).limit(limit + 1)
    if source:
        query = query.where(run_import.c.source == source)
    if start := page_start(page, fields=str):
        query = query.where(run_import.c.run > start)
    found = [Import(row.run, row.source, row.digest, row.points, row.taken, row.time_us) for row in ws.tx.all(query)]
    return page_of(found, limit, lambda one: one.run)


@operation("GET /imports/checksums", allows="tracking.read")
def import_checksums(ws: Workspace, *, runs: list[RunId]) -> dict[str, str]:
    """The checksums of runs, computed anew from all that is here of them; of a run that is not here, none."""
    if len(runs) > 100:
        raise InvalidInput("At most 100 runs are checked in one call.")
    mine = select(run.c.id).where(run.c.project == ws.project, run.c.id.in_(runs))
    return {row.id: _checksum_here(ws, row.id) for row in ws.tx.all(mine)}


def _checksum_here(ws: Workspace, id: str) -> str:
    info = ledger_runs.load(ws, [id])[0]
    files = ws.tx.all(select(run_artifact).where(run_artifact.c.run == id))
    here = ForeignRun(
        id=id,
        experiment=info.experiment,
        name=info.name,
        state=info.state,
        reason=info.reason,
        parent=info.parent,
        started_us=info.started_us,
        ended_us=info.ended_us,
        params=info.params,
        tags=info.tags,
        artifacts=[Artifact(row.path, row.hash, row.size_bytes) for row in files],
    )
    chunks: dict[str, list[Points]] = {}
    query = select(run_points).where(run_points.c.run == id).order_by(run_points.c.key, run_points.c.start)
    for row in ws.tx.execute(query):
        chunks.setdefault(row.key, []).append(series.decode(row.data))
    return checksum(here, {key: points_digest(series.join(parts)) for key, parts in chunks.items()})


def _take(ws: Workspace, source: str, part: Part) -> Taken:
    tx, one = ws.tx, part.run
    known = tx.first(select(run_import).where(run_import.c.project == ws.project, run_import.c.run == one.id))
    if known is None:
        if tx.first(select(run.c.id).where(run.c.id == one.id)) is not None:
            return Taken(one.id, "kept", 0)
        return _begin(ws, source, part, "added")
    if known.digest == part.digest:
        if known.taken >= part.points:
            return Taken(one.id, "unchanged", known.taken)
        return _go_on(ws, part, known.taken, "continued")
    if part.start:
        return Taken(one.id, "behind", 0)
    here = tx.first(select(run.c.id).where(run.c.project == ws.project, run.c.id == one.id))
    if here is None or (known.taken == known.points and _checksum_here(ws, one.id) != known.digest):
        return Taken(one.id, "changed", known.taken)
    _forget(ws, one.id)
    return _begin(ws, source, part, "updated")


def _begin(ws: Workspace, source: str, part: Part, outcome: Outcome) -> Taken:
    tx, one = ws.tx, part.run
    if part.start:
        return Taken(one.id, "behind", 0)
    node = f"run:{one.id}"
    add_run(
        ws,
        id=one.id,
        experiment=experiment_of(ws, one.experiment),
        name=one.name,
        state=one.state,
        reason=one.reason,
        parent=one.parent,
        author=one.author or ws.on_behalf_of or ws.principal.name,
        code=one.code.node if one.code else None,
        context=msgspec.json.encode(one.context).decode(),
        started_us=one.started_us,
        ended_us=one.ended_us,
        deleted_us=tx.now_us if one.hidden else None,
    )
    write_texts(ws, run_param, one.id, one.params)
    write_texts(ws, run_tag, one.id, one.tags)
    _name_files(ws, one)
    if one.parent:
        tx.link(f"run:{one.parent}", "produced", node)
    if one.code:
        body = {"project": ws.project, "node": one.code.node, "body": canonical_json(one.code).decode()}
        tx.execute(upsert(code_version, keep=True), body | {"created_us": tx.now_us})
        tx.link(node, "used", one.code.node)
    for used in one.inputs:
        tx.link(node, "used", used)
    tx.make(node)
    row = {"run": one.id, "project": ws.project, "source": source, "digest": part.digest, "points": part.points}
    tx.execute(upsert(run_import), row | {"taken": 0, "time_us": tx.now_us})
    return _go_on(ws, part, 0, outcome)


def _go_on(ws: Workspace, part: Part, taken: int, outcome: Outcome) -> Taken:
    """Take the points of a part that follow on those that are there."""
    columns = {one.key: series.unpack(one) for one in part.series}
    if len(columns) < len(part.series):
        raise InvalidInput("A metric is there twice: send its points as one series.")
    count = sum(len(one.values) for one in columns.values())
    if part.start + count > part.points:
        raise InvalidInput(f"Run {part.run.id} has {part.points} points, and more are sent.")
    if part.start != taken:
        return Taken(part.run.id, outcome if part.start < taken else "behind", taken)
    if count:
        fold(ws, part.run.id, columns)
        ws.tx.execute(update(run_import).where(run_import.c.run == part.run.id).values(taken=taken + count))
    return Taken(part.run.id, outcome, taken + count)


def _name_files(ws: Workspace, one: ForeignRun) -> None:
    hashes = {file.hash for file in one.artifacts}
    if missing := hashes - (ws.store.has(hashes) if hashes else set()):
        raise NotFound(f"There is no object {min(missing)} in the store. Store the bytes before you name them.")
    time_us = one.ended_us or one.started_us
    rows = {
        check_path(file.path): {"hash": file.hash, "size_bytes": file.size_bytes, "created_us": time_us}
        for file in one.artifacts
    }
    if rows:
        ws.tx.execute(insert(run_artifact), [{"run": one.id, "path": path, **row} for path, row in rows.items()])


def _forget(ws: Workspace, id: str) -> None:
    """What was imported of a run, to make room for its new state."""
    for table in (run_param, run_tag, run_metric, run_points, run_artifact):
        ws.tx.execute(delete(table).where(table.c.run == id))
    ws.tx.execute(delete(run).where(run.c.id == id))
