"""The door's part on logged models: what a run wrote as a model, with its files, before anybody registers it; and the data
and models that a run says it read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import ColumnElement, insert, select, update

from trine.errors import Conflict, InvalidInput, NotFound
from trine.ids import canonical_json, new_id
from trine.ledger import upsert
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.tracking import ledger_runs
from trine.tracking.artifact_files import check_path
from trine.tracking.runs import Artifact, Key, ParamText, TagText
from trine.tracking.tables import logged_model, run, run_artifact, run_input, run_model
from trine.workspace import Workspace

Digits = Annotated[str, msgspec.Meta(pattern=r"^m-[0-9a-f]{32}$(?!\n)", description="m- and 32 hex digits")]
ModelState = Literal["pending", "ready", "failed"]


class ModelMetric(msgspec.Struct, frozen=True):
    """The last point of a metric of a model, on a dataset when that is said."""

    key: str
    value: float
    time_us: int
    step: int
    run: str = ""
    dataset: str = ""
    digest: str = ""


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run wrote."""

    id: str
    experiment: int
    name: str
    run: str
    kind: str
    state: ModelState
    reason: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[ModelMetric]
    created_us: int
    updated_us: int
    deleted_us: int | None

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"logged_model:{self.id}"


class RunInput(msgspec.Struct, frozen=True, kw_only=True):
    """Data that a run read, as the run described it: where it is, its columns, what it was for (`tags`)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    digest: Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = {}


class RunModel(msgspec.Struct, frozen=True):
    """A logged model that a run read, or made at a step."""

    model: str
    role: Literal["input", "output"]
    step: int = 0


class RunLinks(msgspec.Struct, frozen=True):
    """What one run said of its data and models."""

    run: str
    inputs: list[RunInput]
    models: list[RunModel]


@operation("POST /logged-models", allows="tracking.write")
def create_logged_model(
    ws: Workspace,
    *,
    experiment: int,
    name: str = "",
    run: str = "",
    kind: str = "",
    params: dict[Key, ParamText] = {},  # noqa: B006 (copied by the door)
    tags: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
) -> LoggedModel:
    """Begin a model; its files follow, then `finish_logged_model`."""
    tx = ws.tx
    identity = f"m-{new_id()}"
    source = ledger_runs.row_of(ws, run).id if run else ""
    tx.execute(
        insert(logged_model).values(
            id=identity,
            project=ws.project,
            experiment=experiment,
            name=name or identity,
            run=source,
            kind=kind,
            state="pending",
            reason="",
            params=canonical_json(params).decode(),
            tags=canonical_json(tags).decode(),
            metrics="[]",
            created_us=tx.now_us,
            updated_us=tx.now_us,
        )
    )
    made = get_logged_model(ws, id=identity)
    if source:
        tx.link(f"run:{source}", "produced", made.node)
    tx.make(made.node)
    tx.touch(made.node, after=made)
    return made


@operation("GET /logged-models/{id}", allows="tracking.read")
def get_logged_model(ws: Workspace, *, id: str) -> LoggedModel:
    """A logged model by its id."""
    row = ws.tx.first(select(logged_model).where(*_is(ws, id)))
    if row is None:
        raise NotFound(f'No logged model "{id}" in project "{ws.project}".')
    return _model(row)


@operation("GET /logged-models", allows="tracking.read")
def list_logged_models(
    ws: Workspace,
    *,
    experiments: list[int] = [],  # noqa: B006 (copied by the door)
    run: str = "",
    limit: Limit = 100,
    page: str = "",
) -> Page[LoggedModel]:
    """Logged models, the newest first."""
    query = select(logged_model).where(logged_model.c.project == ws.project, logged_model.c.deleted_us.is_(None))
    if experiments:
        query = query.where(logged_model.c.experiment.in_(experiments))
    if run:
        query = query.where(logged_model.c.run == run)
    if start := page_start(page, fields=tuple[int, str]):
        made, id = logged_model.c.created_us, logged_model.c.id
        query = query.where((made < start[0]) | ((made == start[0]) & (id < start[1])))
    rows = ws.tx.all(query.order_by(logged_model.c.created_us.desc(), logged_model.c.id.desc()).limit(limit + 1))
    return page_of([_model(row) for row in rows], limit, lambda one: [one.created_us, one.id])


@operation("POST /logged-models/{id}/finish", allows="tracking.write")
def finish_logged_model(ws: Workspace, *, id: str, state: ModelState, reason: str = "") -> LoggedModel:
    """Say that all files of a model are there, or that it failed."""
    return _change(ws, get_logged_model(ws, id=id), state=state, reason=reason[:4_000])


@operation("PATCH /logged-models/{id}", allows="tracking.write")
def update_logged_model(
    ws: Workspace,
    *,
    id: str,
    tags: dict[Key, TagText | None] = {},  # noqa: B006 (copied by the door)
    params: dict[Key, ParamText] = {},  # noqa: B006 (copied by the door)
    metrics: list[ModelMetric] = [],  # noqa: B006 (copied by the door)
) -> LoggedModel:
    """Set tags (null removes one), add params, note the last points of metrics."""
    before = get_logged_model(ws, id=id)
    for name, value in params.items():
        if before.params.get(name, value) != value:
            raise Conflict(f'Param "{name}" of model {id} is {before.params[name]!r} already.', param=name)
    kept = {key: value for key, value in {**before.tags, **tags}.items() if value is not None}
    last = {(one.key, one.dataset, one.digest): one for one in (*before.metrics, *metrics)}
    return _change(
        ws,
        before,
        tags=canonical_json(kept).decode(),
        params=canonical_json({**before.params, **params}).decode(),
        metrics=msgspec.json.encode(list(last.values())).decode(),
    )


@operation("DELETE /logged-models/{id}", allows="tracking.delete")
def delete_logged_model(ws: Workspace, *, id: str) -> Done:
    """Hide a logged model; versions that were registered from it stay."""
    before = get_logged_model(ws, id=id)
    _change(ws, before, deleted_us=ws.tx.now_us)
    return Done(before.node, before.deleted_us is None)


@operation("POST /logged-models/{id}/files", allows="tracking.write")
def record_model_files(ws: Workspace, *, id: str, files: list[Artifact]) -> Done:
    """Name files of a model; their bytes are in the store. A path that has a file gets the new one, until it is finished."""
    one = get_logged_model(ws, id=id)
    hashes = {file.hash for file in files}
    if missing := hashes - (ws.store.has(hashes) if hashes else set()):
        raise NotFound(f"There is no object {min(missing)} in the store. Store the bytes before you name them.")
    rows = [
        {"run": id, "path": check_path(file.path), "hash": file.hash, "size_bytes": file.size_bytes}
        | {"created_us": ws.tx.now_us}
        for file in files
    ]
    if rows:
        ws.tx.execute(upsert(run_artifact), rows)
    ws.tx.touch(one.node, after=[(file.path, file.hash) for file in files])
    return Done(one.node, bool(rows))


@operation("GET /logged-models/{id}/files", allows="tracking.read")
def list_model_files(ws: Workspace, *, id: str) -> list[Artifact]:
    """The files of a logged model by path."""
    get_logged_model(ws, id=id)
    query = select(run_artifact).where(run_artifact.c.run == id).order_by(run_artifact.c.path)
    return [Artifact(row.path, row.hash, row.size_bytes, row.created_us) for row in ws.tx.all(query)]


# -- what a run read and made -----------------------------------------------------------------------------------------


@operation("POST /runs/{id}/links", allows="tracking.write")
def record_links(
    ws: Workspace,
    *,
    id: str,
    inputs: list[RunInput] = [],  # noqa: B006 (copied by the door)
    models: list[RunModel] = [],  # noqa: B006 (copied by the door)
) -> Done:
    """Say what data a run read, and what logged models it read and made; each becomes an edge of the graph."""
    row = ledger_runs.row_of(ws, id)
    tx, node = ws.tx, f"run:{row.id}"
    for one in inputs:
        body = canonical_json(msgspec.to_builtins(one)).decode()
        tx.execute(upsert(run_input), {"run": row.id, "name": one.name, "digest": one.digest, "body": body})
        tx.link(node, "used", f"dataset:{one.name}@{one.digest}")
    for one in models:
        known = get_logged_model(ws, id=one.model)
        values = {"run": row.id, "model": one.model, "role": one.role, "step": one.step}
        tx.execute(upsert(run_model), values)
        tx.link(node, "used" if one.role == "input" else "produced", known.node)
    tx.touch(node, after=[len(inputs), len(models)])
    return Done(node, bool(inputs or models))


@operation("GET /run-links", allows="tracking.read")
def list_links(ws: Workspace, *, runs: list[str]) -> list[RunLinks]:
    """What runs said of their data and models."""
    if len(runs) > 1_000:
        raise InvalidInput("At most 1,000 runs in one call.")
    mine = select(run.c.id).where(run.c.project == ws.project, run.c.id.in_(runs))
    inputs: dict[str, list[RunInput]] = {}
    models: dict[str, list[RunModel]] = {}
    for row in ws.tx.all(select(run_input).where(run_input.c.run.in_(mine))):
        inputs.setdefault(row.run, []).append(msgspec.json.decode(row.body, type=RunInput))
    for row in ws.tx.all(select(run_model).where(run_model.c.run.in_(mine)).order_by(run_model.c.model)):
        models.setdefault(row.run, []).append(RunModel(row.model, row.role, row.step))
    return [RunLinks(one, inputs.get(one, []), models.get(one, [])) for one in runs]


@operation("GET /run-inputs", allows="tracking.read")
def list_inputs(ws: Workspace, *, experiments: list[int] = []) -> list[RunLinks]:  # noqa: B006 (copied by the door)
    """What runs of experiments (of all, without any) said of the data they read."""
    query = select(run_input).join(run, run.c.id == run_input.c.run).where(run.c.project == ws.project)
    if experiments:
        query = query.where(run.c.experiment.in_(experiments))
    found: dict[str, list[RunInput]] = {}
    for row in ws.tx.all(query.order_by(run_input.c.run, run_input.c.name, run_input.c.digest)):
        found.setdefault(row.run, []).append(msgspec.json.decode(row.body, type=RunInput))
    return [RunLinks(one, inputs, []) for one, inputs in found.items()]


def _is(ws: Workspace, id: str) -> tuple[ColumnElement[bool], ...]:
    return logged_model.c.project == ws.project, logged_model.c.id == id


def _change(ws: Workspace, before: LoggedModel, **values: Any) -> LoggedModel:
    ws.tx.execute(update(logged_model).where(*_is(ws, before.id)).values(updated_us=ws.tx.now_us, **values))
    after = get_logged_model(ws, id=before.id)
    ws.tx.touch(before.node, before=before, after=after)
    return after


def _model(row: Any) -> LoggedModel:
    return LoggedModel(
        id=row.id,
        experiment=row.experiment,
        name=row.name,
        run=row.run,
        kind=row.kind,
        state=row.state,
        reason=row.reason,
        params=msgspec.json.decode(row.params),
        tags=msgspec.json.decode(row.tags),
        metrics=msgspec.json.decode(row.metrics, type=list[ModelMetric]),
        created_us=row.created_us,
        updated_us=row.updated_us,
        deleted_us=row.deleted_us,
    )
