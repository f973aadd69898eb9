"""The door's part on moving in: runs of other tools, many in one transaction, each exactly once.

A run comes with the digest of all that it is (`checksum`), so the ledger knows whether it has that run, a part of it, or an
older state. Points are numbered through the run, metric after metric in order of their names; what is taken is counted, so
whoever was interrupted goes on behind the last transaction.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import Table, delete, func, insert, select, update

from trine.errors import InvalidInput, NotFound
from trine.ids import canonical_json, check_hash, digest
from trine.ledger import upsert
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.tracking import series
from trine.tracking.artifact_files import check_path
from trine.tracking.folding import fold
from trine.tracking.logged_models import Digits, ModelMetric, ModelState, RunInput
from trine.tracking.recording import experiment_of, run_row, text_rows
from trine.tracking.runs import (
    Artifact,
    CodeVersion,
    Context,
    Key,
    Natural,
    ParamText,
    RunId,
    RunName,
    State,
    TagText,
    Title,
)
from trine.tracking.series import Points, Series
from trine.tracking.tables import (
    code_version,
    experiment,
    logged_model,
    run,
    run_artifact,
    run_import,
    run_input,
    run_metric,
    run_model,
    run_param,
    run_points,
    run_tag,
)
from trine.types import Micros
from trine.workspace import Workspace

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="64 hex digits")]
Source = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]*$(?!\n)", max_length=40, description="the tool it comes from")
]
Outcome = Literal["added", "updated", "continued", "unchanged", "kept", "changed", "behind"]


class ForeignModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run wrote, at a step, with its files, whether or not it was registered."""

    id: Digits
    name: RunName
    kind: str = ""
    state: ModelState = "ready"
    step: Natural = 0
    params: dict[Key, str] = {}
    tags: dict[Key, str] = {}
    metrics: list[ModelMetric] = []
    files: list[Artifact] = []
    created_us: Micros
    updated_us: Micros


class ForeignExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment as another tool kept it."""

    name: Title
    tags: dict[Key, TagText] = {}
    created_us: Micros
    hidden: bool = False


class ForeignRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as another tool kept it, with the data it said it read; `hidden` says that it was deleted there."""

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
    inputs: list[RunInput] = []
    models: list[ForeignModel] = []
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
    facts["artifacts"] = _paths(one.artifacts)
    facts["inputs"] = sorted((put.name, put.digest) for put in one.inputs)
    facts["models"] = sorted((made.id, _paths(made.files)) for made in one.models)
    facts["metrics"] = dict(metrics)
    return digest(facts)


def _paths(files: list[Artifact]) -> list[tuple[str, str]]:
    return sorted((file.path, file.hash) for file in files)


def points_digest(points: Points) -> str:
    """The digest of a metric's points: how many, then their columns."""
    from blake3 import blake3

    hasher = blake3(f"{len(points.values)}:".encode())
    for column in points.to_bytes():
        hasher.update(column)
    return hasher.hexdigest()


@operation("POST /imports/experiments", allows="tracking.write")
def import_experiments(ws: Workspace, *, source: Source, experiments: list[ForeignExperiment]) -> Done:
    """Make the experiments that are not there; one of that name stays as it is."""
    tx = ws.tx
    known = {row.name for row in tx.all(select(experiment.c.name).where(experiment.c.project == ws.project))}
    fresh = {one.name: one for one in experiments if one.name not in known}
    for one in fresh.values():
        row = {"tags": canonical_json(one.tags).decode(), "created_us": one.created_us}
        hidden = tx.now_us if one.hidden else None
        tx.execute(insert(experiment).values(project=ws.project, name=one.name, deleted_us=hidden, **row))
    tx.touch(f"import:{source}", after=sorted(fresh))
    return Done(f"import:{source}", bool(fresh))


@operation("POST /imports", allows="tracking.write", keeps=False)
def import_runs(ws: Workspace, *, source: Source, parts: list[Part]) -> list[Taken]:
    """Take in runs of another tool, each exactly once: one that is there already, in the same state, stays as it is; one whose
    state there is another replaces what was imported, unless it was changed here."""
    taking = _Taking(ws, source, parts)
    found = [taking.take(part) for part in parts]
    taking.write()
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
    return checksums(ws, runs)


LARGEST_LOOK = 1_000_000
"""Points that are in memory at once while checksums are computed, about."""


def checksums(ws: Workspace, ids: list[str]) -> dict[str, str]:
    """The checksums of those of the runs that are in the project, from all that is here of them."""
    tx = ws.tx
    source = run.join(experiment, run.c.experiment == experiment.c.id)
    query = select(run, experiment.c.name.label("experiment_name")).select_from(source)
    rows = tx.all(query.where(run.c.project == ws.project, run.c.id.in_(ids)))
    here = [row.id for row in rows]
    texts: dict[str, dict[str, dict[str, str]]] = {}
    for table in (run_param, run_tag):
        for row in tx.all(select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(here))):
            texts.setdefault(row.run, {}).setdefault(table.name, {})[row.key] = row.value
    files: dict[str, list[Artifact]] = {}
    for row in tx.all(select(run_artifact).where(run_artifact.c.run.in_(here))):
        files.setdefault(row.run, []).append(Artifact(row.path, row.hash, row.size_bytes))
    metrics = _metrics_here(ws, here)
    inputs: dict[str, list[RunInput]] = {}
    for row in tx.all(select(run_input.c.run, run_input.c.name, run_input.c.digest).where(run_input.c.run.in_(here))):
        inputs.setdefault(row.run, []).append(RunInput(name=row.name, digest=row.digest))
    models = _models_here(ws, here)
    found: dict[str, str] = {}
    for row in rows:
        one = ForeignRun(
            id=row.id,
            experiment=row.experiment_name,
            name=row.name,
            state=row.state,
            reason=row.reason,
            parent=row.parent,
            started_us=row.started_us,
            ended_us=row.ended_us,
            params=texts.get(row.id, {}).get("run_param", {}),
            tags=texts.get(row.id, {}).get("run_tag", {}),
            artifacts=files.get(row.id, []),
            inputs=inputs.get(row.id, []),
            models=models.get(row.id, []),
        )
        found[row.id] = checksum(one, metrics.get(row.id, {}))
    return found


def _models_here(ws: Workspace, ids: list[str]) -> dict[str, list[ForeignModel]]:
    """The logged models that runs made, with their files."""
    source = run_model.outerjoin(run_artifact, run_artifact.c.run == run_model.c.model)
    columns = run_model.c.run, run_model.c.model, run_artifact.c.path, run_artifact.c.hash
    query = select(*columns).select_from(source).where(run_model.c.run.in_(ids), run_model.c.role == "output")
    files: dict[tuple[str, str], list[Artifact]] = {}
    for row in ws.tx.all(query):
        mine = files.setdefault((row.run, row.model), [])
        if row.path is not None:
            mine.append(Artifact(row.path, row.hash, 0))
    found: dict[str, list[ForeignModel]] = {}
    for (id, made), paths in files.items():
        found.setdefault(id, []).append(ForeignModel(id=made, name=made, files=paths, created_us=0, updated_us=0))
    return found


def _metrics_here(ws: Workspace, ids: list[str]) -> dict[str, dict[str, str]]:
    """The digest of each metric of each run; so many runs at once that their points fit into memory."""
    counted = select(run_metric.c.run, func.sum(run_metric.c.points).label("size")).where(run_metric.c.run.in_(ids))
    sizes: dict[str, int] = {row.run: int(row.size) for row in ws.tx.all(counted.group_by(run_metric.c.run))}
    found: dict[str, dict[str, str]] = {}
    some: list[str] = []
    for at, id in enumerate(sizes):
        some.append(id)
        if sum(sizes[one] for one in some) < LARGEST_LOOK and at < len(sizes) - 1:
            continue
        columns = run_points.c.run, run_points.c.key, run_points.c.data
        query = select(*columns).where(run_points.c.run.in_(some)).order_by(run_points.c.run, run_points.c.key)
        for (run_, key), rows in itertools.groupby(
            ws.tx.execute(query.order_by(run_points.c.start)), key=lambda row: (row.run, row.key)
        ):
            whole = series.join([series.decode(row.data) for row in rows])
            found.setdefault(run_, {})[key] = points_digest(whole)
        some = []
    return found


class _Taking:
    """One call's runs: what is known of them is looked up at once, and what is new of them written at once."""

    def __init__(self, ws: Workspace, source: str, parts: list[Part]) -> None:
        self.ws, self.source = ws, source
        ids = list({part.run.id for part in parts})
        wanted = select(run_import).where(run_import.c.project == ws.project, run_import.c.run.in_(ids))
        self.known: dict[str, tuple[str, int, int]] = {
            row.run: (row.digest, row.points, row.taken) for row in ws.tx.all(wanted)
        }
        self.here = {row.id: row.project for row in ws.tx.all(select(run.c.id, run.c.project).where(run.c.id.in_(ids)))}
        self.experiments: dict[str, int] = {}
        self.rows: dict[Table, list[dict[str, Any]]] = {}

    def take(self, part: Part) -> Taken:
        one, known = part.run, self.known.get(part.run.id)
        if known is None:
            return Taken(one.id, "kept", 0) if one.id in self.here else self._begin(part, "added")
        digest_, points, taken = known
        if digest_ == part.digest:
            return Taken(one.id, "unchanged", taken) if taken >= part.points else self._go_on(part, taken)
        if part.start:
            return Taken(one.id, "behind", 0)
        mine = self.here.get(one.id) == self.ws.project
        if not mine or (taken == points and checksums(self.ws, [one.id]).get(one.id) != digest_):
            return Taken(one.id, "changed", taken)
        _forget(self.ws, one.id)
        return self._begin(part, "updated")

    def _begin(self, part: Part, outcome: Outcome) -> Taken:
        """A run that is new here, or is made anew."""
        ws, tx, one = self.ws, self.ws.tx, part.run
        if part.start:
            return Taken(one.id, "behind", 0)
        node, columns = f"run:{one.id}", _columns(part)
        if one.experiment not in self.experiments:
            self.experiments[one.experiment] = experiment_of(ws, one.experiment)
        row = run_row(
            ws,
            id=one.id,
            experiment=self.experiments[one.experiment],
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
        self._add(run, [row])
        self._add(run_param, text_rows(one.id, one.params))
        self._add(run_tag, text_rows(one.id, one.tags))
        self._add(run_artifact, _file_rows(one.id, one.artifacts, one.ended_us or one.started_us))
        summaries = [{"run": one.id, "key": key, **series.summarise(line)} for key, line in columns.items()]
        self._add(run_metric, summaries)
        for key, line in columns.items():
            chunk = {"start": 0, "points": len(line.values), "data": series.encode(line)}
            self._add(run_points, [{"run": one.id, "key": key, **chunk}])
        taken = sum(len(line.values) for line in columns.values())
        about = {"run": one.id, "project": ws.project, "source": self.source, "digest": part.digest}
        self._add(run_import, [about | {"points": part.points, "taken": taken, "time_us": tx.now_us}])
        self.known[one.id] = part.digest, part.points, taken
        if one.parent:
            tx.link(f"run:{one.parent}", "produced", node)
        if one.code:
            body = {"project": ws.project, "node": one.code.node, "body": canonical_json(one.code).decode()}
            tx.execute(upsert(code_version, keep=True), body | {"created_us": tx.now_us})
            tx.link(node, "used", one.code.node)
        for put in one.inputs:
            body = canonical_json(msgspec.to_builtins(put)).decode()
            self._add(run_input, [{"run": one.id, "name": put.name, "digest": put.digest, "body": body}])
            tx.link(node, "used", f"dataset:{put.name}@{put.digest}")
        for made in one.models:
            self._model(made, one, self.experiments[one.experiment])
        tx.make(node)
        return Taken(one.id, outcome, taken)

    def _model(self, made: ForeignModel, one: ForeignRun, experiment: int) -> None:
        about = {
            "id": made.id,
            "project": self.ws.project,
            "experiment": experiment,
            "name": made.name,
            "run": one.id,
            "kind": made.kind,
            "state": made.state,
            "reason": "",
            "params": canonical_json(made.params).decode(),
            "tags": canonical_json(made.tags).decode(),
            "metrics": msgspec.json.encode(made.metrics).decode(),
            "created_us": made.created_us,
            "updated_us": made.updated_us,
        }
        self._add(logged_model, [about])
        self._add(run_model, [{"run": one.id, "model": made.id, "role": "output", "step": made.step}])
        self._add(run_artifact, _file_rows(made.id, made.files, made.created_us))
        self.ws.tx.link(f"run:{one.id}", "produced", f"logged_model:{made.id}")
        self.ws.tx.make(f"logged_model:{made.id}")

    def _go_on(self, part: Part, taken: int) -> Taken:
        """Points that follow on those that are there."""
        columns = _columns(part)
        if part.start != taken:
            return Taken(part.run.id, "continued" if part.start < taken else "behind", taken)
        if columns:
            self.write()
            fold(self.ws, part.run.id, columns)
            taken += sum(len(one.values) for one in columns.values())
            mine = run_import.c.project == self.ws.project, run_import.c.run == part.run.id
            self.ws.tx.execute(update(run_import).where(*mine).values(taken=taken))
            self.known[part.run.id] = part.digest, part.points, taken
        return Taken(part.run.id, "continued", taken)

    def _add(self, table: Table, rows: list[dict[str, Any]]) -> None:
        self.rows.setdefault(table, []).extend(rows)

    def write(self) -> None:
        """Write what was gathered."""
        hashes = {row["hash"] for row in self.rows.get(run_artifact, ())}
        if missing := hashes - (self.ws.store.has(hashes) if hashes else set()):
            raise NotFound(f"There is no object {min(missing)} in the store. Store the bytes before you name them.")
        for table, rows in self.rows.items():
            if rows:
                keep = table in (logged_model, run_model, run_input)  # a model can be there already, by another way
                again = table in (run_import, run_artifact) or keep
                self.ws.tx.execute(upsert(table, keep=keep) if again else insert(table), rows)
        self.rows = {}


def _columns(part: Part) -> dict[str, Points]:
    """The points of a part by metric. Raises InvalidInput when there are more than the run says it has."""
    columns = {one.key: series.unpack(one) for one in part.series}
    if len(columns) < len(part.series):
        raise InvalidInput("A metric is there twice: send its points as one series.")
    if part.start + sum(len(one.values) for one in columns.values()) > part.points:
        raise InvalidInput(f"Run {part.run.id} has {part.points} points, and more are sent.")
    return columns


def _file_rows(id: str, files: list[Artifact], time_us: int) -> list[dict[str, Any]]:
    rows = {
        check_path(file.path): {"hash": check_hash(file.hash), "size_bytes": file.size_bytes, "created_us": time_us}
        for file in files
    }
    return [{"run": id, "path": path, **row} for path, row in rows.items()]


def _forget(ws: Workspace, id: str) -> None:
    """What was imported of a run, to make room for its new state."""
    made = select(run_model.c.model).where(run_model.c.run == id, run_model.c.role == "output")
    ids = [row.model for row in ws.tx.all(made)]
    ws.tx.execute(delete(run_artifact).where(run_artifact.c.run.in_(ids)))
    ws.tx.execute(delete(logged_model).where(logged_model.c.id.in_(ids), logged_model.c.project == ws.project))
    for table in (run_param, run_tag, run_metric, run_points, run_artifact, run_input, run_model):
        ws.tx.execute(delete(table).where(table.c.run == id))
    ws.tx.execute(delete(run).where(run.c.id == id))
