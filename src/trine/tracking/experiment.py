"""The door's part on experiments: made, found, renamed, tagged, hidden and brought back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from trine.errors import Conflict, NotFound, nearest
from trine.ids import canonical_json
from trine.operations import operation
from trine.tracking.runs import Key, TagText, Title
from trine.tracking.tables import experiment
from trine.workspace import Workspace


class ExperimentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment: its number, its name, what is said of it. A deleted one is hidden until it is restored."""

    id: int
    name: str
    tags: dict[str, str]
    created_us: int
    updated_us: int
    deleted_us: int | None


@operation("POST /experiments", allows="tracking.write")
def create_experiment(
    ws: Workspace,
    *,
    name: Title,
    tags: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
) -> ExperimentInfo:
    """Make an experiment. Raises Conflict when there is one of that name, a deleted one too."""
    tx = ws.tx
    if known := tx.first(_mine(ws).where(experiment.c.name == name)):
        state = "is deleted: restore it, or take another name" if known.deleted_us else "is there already"
        raise Conflict(f'Experiment "{name}" {state}.', name=name)
    row = {"project": ws.project, "name": name, "tags": canonical_json(tags).decode(), "created_us": tx.now_us}
    tx.execute(insert(experiment).values(**row))
    made = find_experiment(ws, name=name)
    tx.touch(f"experiment:{made.id}", after=made)
    return made


@operation("GET /experiments/{id}", allows="tracking.read")
def get_experiment(ws: Workspace, *, id: int) -> ExperimentInfo:
    """An experiment by its number."""
    row = ws.tx.first(_mine(ws).where(experiment.c.id == id))
    if row is None:
        raise NotFound(f'No experiment {id} in project "{ws.project}". See: trine runs experiments')
    return _info(row)


@operation("GET /experiment", allows="tracking.read")
def find_experiment(ws: Workspace, *, name: str) -> ExperimentInfo:
    """An experiment by its name."""
    row = ws.tx.first(_mine(ws).where(experiment.c.name == name))
    if row is None:
        known = [one.name for one in ws.tx.all(_mine(ws).limit(500))]
        raise NotFound(f'No experiment "{name}" in project "{ws.project}".{nearest(name, known)}')
    return _info(row)


@operation("GET /all-experiments", allows="tracking.read")
def all_experiments(ws: Workspace) -> list[ExperimentInfo]:
    """All experiments, the newest first, hidden ones too."""
    return [_info(row) for row in ws.tx.all(_mine(ws).order_by(experiment.c.created_us.desc(), experiment.c.id.desc()))]


@operation("PATCH /experiments/{id}", allows="tracking.write")
def update_experiment(
    ws: Workspace,
    *,
    id: int,
    name: Title | None = None,
    tags: dict[Key, TagText | None] = {},  # noqa: B006 (copied by the door)
) -> ExperimentInfo:
    """Give an experiment another name, set tags; a tag set to null goes."""
    before = get_experiment(ws, id=id)
    if name and name != before.name and ws.tx.first(_mine(ws).where(experiment.c.name == name)):
        raise Conflict(f'Experiment "{name}" is there already.', name=name)
    kept = {key: value for key, value in {**before.tags, **tags}.items() if value is not None}
    return _change(ws, before, name=name or before.name, tags=canonical_json(kept).decode())


@operation("POST /experiments/{id}/hide", allows="tracking.delete")
def delete_experiment(ws: Workspace, *, id: int) -> ExperimentInfo:
    """Hide an experiment; its runs stay. `restore_experiment` brings it back."""
    return _change(ws, get_experiment(ws, id=id), deleted_us=ws.tx.now_us)


@operation("POST /experiments/{id}/restore", allows="tracking.delete")
def restore_experiment(ws: Workspace, *, id: int) -> ExperimentInfo:
    """Bring a hidden experiment back."""
    return _change(ws, get_experiment(ws, id=id), deleted_us=None)


def _change(ws: Workspace, before: ExperimentInfo, **values: Any) -> ExperimentInfo:
    mine = experiment.c.project == ws.project, experiment.c.id == before.id
    ws.tx.execute(update(experiment).where(*mine).values(updated_us=ws.tx.now_us, **values))
    after = get_experiment(ws, id=before.id)
    ws.tx.touch(f"experiment:{before.id}", before=before, after=after)
    return after


def _mine(ws: Workspace) -> Any:
    return select(experiment).where(experiment.c.project == ws.project)


def _info(row: Any) -> ExperimentInfo:
    return ExperimentInfo(
        id=row.id,
        name=row.name,
        tags=msgspec.json.decode(row.tags),
        created_us=row.created_us,
        updated_us=row.updated_us or row.created_us,
        deleted_us=row.deleted_us,
    )
