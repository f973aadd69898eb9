"""Evaluation datasets: what a language model is asked to be judged on, and what should be answered; the door's part on them.

A record is known by its inputs: one with the same inputs is merged into it. Records are rows that anybody may add to and correct
one by one, often from traces; data that is versioned as a whole is a dataset of `trine.data`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, digest, new_id
from trine.llm.ledger_traces import experiment_number
from trine.llm.tables import eval_dataset, eval_record
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.tracking.runs import Key, TagText, Title
from trine.tracking.tables import experiment
from trine.workspace import Workspace

MOST_AT_ONCE = 10_000
"""Records that are merged in one call."""


class EvalDataset(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation dataset without its records. `schema` has the kinds of the fields of inputs, outputs and expectations,
    `digest` changes with every change."""

    id: str
    name: str
    tags: dict[str, str]
    experiments: list[str]
    schema: dict[str, Any]
    records: int
    digest: str
    author: str
    changed_by: str
    created_us: int
    updated_us: int


class NewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record to merge; `source` says where it is from: `{"trace": ID}`, `{"file": …}`, a person."""

    inputs: dict[str, Any]
    outputs: Any = None
    expectations: dict[str, Any] | None = None
    tags: dict[str, TagText] | None = None
    source: dict[str, Any] | None = None


class EvalRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record: what is asked, what was answered once, what should be."""

    id: str
    inputs: dict[str, Any]
    outputs: Any = None
    expectations: dict[str, Any] = {}
    tags: dict[str, str] = {}
    source: dict[str, Any] | None = None
    author: str = ""
    changed_by: str = ""
    created_us: int
    updated_us: int


class Merged(msgspec.Struct, frozen=True):
    """How many records were new, and how many were merged into one that was there."""

    inserted: int
    updated: int


@operation("POST /eval-datasets", allows="llm.write")
def create_eval_dataset(
    ws: Workspace,
    *,
    name: Title,
    tags: dict[Key, TagText] = {},  # noqa: B006 (copied by the door)
    experiments: list[str] = [],  # noqa: B006 (copied by the door)
    distinct: bool = False,
) -> EvalDataset:
    """Make an evaluation dataset. Several may have one name (MLflow's way), unless it is to be `distinct`."""
    tx = ws.tx
    if distinct and tx.first(_mine(ws).where(eval_dataset.c.name == name)):
        raise Conflict(f'There is an evaluation dataset "{name}" already.', name=name)
    groups = [experiment_number(ws, one) for one in dict.fromkeys(experiments)]
    author = tags.get("mlflow.user") or ws.on_behalf_of or ws.principal.name
    id = f"d-{new_id()}"
    row = {
        "id": id,
        "project": ws.project,
        "name": name,
        "tags": canonical_json(tags).decode(),
        "experiments": canonical_json(groups).decode(),
        "schema": "{}",
        "records": 0,
        "author": author,
        "changed_by": author,
        "created_us": tx.now_us,
        "updated_us": tx.now_us,
    }
    tx.execute(insert(eval_dataset).values(**row))
    made = get_eval_dataset(ws, id=id)
    tx.touch(f"eval_dataset:{made.id}", after=made)
    return made


def _mine(ws: Workspace) -> Any:
    return select(eval_dataset).where(eval_dataset.c.project == ws.project)


def _row(ws: Workspace, id: str) -> Any:
    """A dataset's row by its id, or by its name when only one has it. Raises NotFound."""
    rows = ws.tx.all(_mine(ws).where((eval_dataset.c.id == id) | (eval_dataset.c.name == id)).limit(2))
    if not rows:
        known = [row.name for row in ws.tx.all(_mine(ws).limit(500))]
        raise NotFound(f'No evaluation dataset "{id}" in project "{ws.project}".{nearest(id, known)}')
    if len(rows) > 1:
        raise InvalidInput(
            f'Several evaluation datasets are called "{id}": {rows[0].id} and {rows[1].id}. Give the id.'
        )
    return rows[0]


def _info(rows: list[Any], names: dict[int, str]) -> list[EvalDataset]:
    return [
        EvalDataset(
            id=row.id,
            name=row.name,
            tags=msgspec.json.decode(row.tags),
            experiments=[names[one] for one in msgspec.json.decode(row.experiments) if one in names],
            schema=msgspec.json.decode(row.schema),
            records=row.records,
            digest=digest([row.id, row.name, row.updated_us])[:8],
            author=row.author,
            changed_by=row.changed_by,
            created_us=row.created_us,
            updated_us=row.updated_us,
        )
        for row in rows
    ]


def _names(ws: Workspace) -> dict[int, str]:
    query = select(experiment.c.id, experiment.c.name).where(experiment.c.project == ws.project)
    return {row.id: row.name for row in ws.tx.all(query)}


@operation("GET /eval-datasets/{id}", allows="llm.read")
def get_eval_dataset(ws: Workspace, *, id: str) -> EvalDataset:
    """An evaluation dataset by its id or name."""
    return _info([_row(ws, id)], _names(ws))[0]


@operation("GET /eval-datasets", allows="llm.read")
def list_eval_datasets(ws: Workspace) -> list[EvalDataset]:
    """All evaluation datasets, the newest first."""
    its = eval_dataset.c
    return _info(ws.tx.all(_mine(ws).order_by(its.created_us.desc(), its.id.desc())), _names(ws))


@operation("PATCH /eval-datasets/{id}", allows="llm.write")
def update_eval_dataset(
    ws: Workspace,
    *,
    id: str,
    tags: dict[Key, TagText | None] = {},  # noqa: B006 (copied by the door)
    add: list[str] = [],  # noqa: B006 (copied by the door)
    remove: list[str] = [],  # noqa: B006 (copied by the door)
) -> EvalDataset:
    """Set tags (one set to null goes); add it to experiments, or take it out of them, by name."""
    before = get_eval_dataset(ws, id=id)
    kept = {key: value for key, value in {**before.tags, **tags}.items() if value is not None}
    named = [one for one in dict.fromkeys([*before.experiments, *add]) if one not in remove]
    groups = [experiment_number(ws, one) for one in named]
    values = {"tags": canonical_json(kept).decode(), "experiments": canonical_json(groups).decode()}
    _change(ws, before.id, **values)
    after = get_eval_dataset(ws, id=before.id)
    ws.tx.touch(f"eval_dataset:{before.id}", before=before, after=after)
    return after


def _change(ws: Workspace, id: str, **values: Any) -> None:
    ws.tx.execute(update(eval_dataset).where(eval_dataset.c.id == id).values(updated_us=ws.tx.now_us, **values))


@operation("DELETE /eval-datasets/{id}", allows="llm.delete")
def delete_eval_dataset(ws: Workspace, *, id: str) -> Done:
    """Delete an evaluation dataset for good, with its records."""
    row = _row(ws, id)
    ws.tx.execute(delete(eval_record).where(eval_record.c.dataset == row.id))
    ws.tx.execute(delete(eval_dataset).where(eval_dataset.c.id == row.id))
    ws.tx.touch(f"eval_dataset:{row.id}", before=_info([row], {})[0])
    return Done(f"eval_dataset:{row.id}")


# -- records ----------------------------------------------------------------------------------------------------------------


@operation("POST /eval-datasets/{id}/records", allows="llm.write")
def merge_eval_records(ws: Workspace, *, id: str, records: list[NewRecord]) -> Merged:
    """Add records; one with the inputs of a record that is there is merged into that: its outputs replace, its expectations and
    tags are added to."""
    if len(records) > MOST_AT_ONCE:
        raise InvalidInput(f"At most {MOST_AT_ONCE:,} records in one call.")
    row = _row(ws, id)
    keys = [digest(one.inputs) for one in records]
    there = _by_inputs(ws, row.id, keys)
    inserted = updated = 0
    changed: dict[str, EvalRecord] = {}
    fresh: dict[str, EvalRecord] = {}
    for key, one in zip(keys, records, strict=True):
        before = changed.get(key) or fresh.get(key) or there.get(key)
        after = _merged(ws, before, one)
        (fresh if before is None or key in fresh else changed)[key] = after
        inserted, updated = inserted + (before is None), updated + (before is not None)
    if fresh:
        rows = [
            {"dataset": row.id, "id": one.id, "inputs": key, "body": canonical_json(one).decode()}
            for key, one in fresh.items()
        ]
        for start in range(0, len(rows), 500):
            ws.tx.execute(insert(eval_record), rows[start : start + 500])
    for key, one in changed.items():
        mine = eval_record.c.dataset == row.id, eval_record.c.inputs == key
        ws.tx.execute(update(eval_record).where(*mine).values(body=canonical_json(one).decode()))
    who = next((one.tags["mlflow.user"] for one in records if one.tags and "mlflow.user" in one.tags), "")
    _change(
        ws,
        row.id,
        records=row.records + len(fresh),
        schema=canonical_json(_schema(msgspec.json.decode(row.schema), records)).decode(),
        changed_by=who or ws.on_behalf_of or ws.principal.name,
    )
    ws.tx.touch(f"eval_dataset:{row.id}", after=sorted(keys))
    ws.tx.note(inserted=inserted, updated=updated)
    return Merged(inserted, updated)


def _by_inputs(ws: Workspace, dataset: str, keys: list[str]) -> dict[str, EvalRecord]:
    found: dict[str, EvalRecord] = {}
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), 500):
        its = eval_record.c
        some = select(its.inputs, its.body).where(its.dataset == dataset, its.inputs.in_(wanted[start : start + 500]))
        found |= {row.inputs: msgspec.json.decode(row.body, type=EvalRecord) for row in ws.tx.all(some)}
    return found


def _merged(ws: Workspace, before: EvalRecord | None, one: NewRecord) -> EvalRecord:
    now, tags = ws.tx.now_us, one.tags or {}
    who = tags.get("mlflow.user") or ws.on_behalf_of or ws.principal.name
    if before is None:
        return EvalRecord(
            id=f"dr-{new_id()}",
            inputs=one.inputs,
            outputs=one.outputs,
            expectations=one.expectations or {},
            tags=tags,
            source=one.source,
            author=who,
            changed_by=who,
            created_us=now,
            updated_us=now,
        )
    return msgspec.structs.replace(
        before,
        outputs=before.outputs if one.outputs is None else one.outputs,
        expectations=before.expectations | (one.expectations or {}),
        tags=before.tags | tags,
        changed_by=who,
        updated_us=now,
    )


_KINDS = ((bool, "boolean"), (int, "integer"), (float, "float"), (str, "string"), (list, "array"), (dict, "object"))


def _schema(known: dict[str, Any], records: Iterable[NewRecord]) -> dict[str, Any]:
    """The kinds of the fields, as they were first seen."""

    def kind_of(value: Any) -> str:
        return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")

    found: dict[str, Any] = {"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"} | known
    for one in records:
        for part, value in (("inputs", one.inputs), ("outputs", one.outputs), ("expectations", one.expectations)):
            if isinstance(value, dict) and isinstance(found[part], dict):
                found[part] = {key: kind_of(it) for key, it in value.items()} | found[part]
            elif value is not None and not found[part]:
                found[part] = kind_of(value)
    return found


@operation("GET /eval-datasets/{id}/records", allows="llm.read")
def list_eval_records(ws: Workspace, *, id: str, limit: Limit = 1_000, page: str = "") -> Page[EvalRecord]:
    """The records of an evaluation dataset in the order in which they came."""
    its = eval_record.c
    query = select(its.row, its.body).where(its.dataset == _row(ws, id).id).order_by(its.row).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(its.row > start)
    found = page_of([(row.row, row.body) for row in ws.tx.all(query)], limit, lambda one: one[0])
    return Page([msgspec.json.decode(body, type=EvalRecord) for _, body in found.items], found.next)


@operation("POST /eval-datasets/{id}/records/delete", allows="llm.write")
def delete_eval_records(
    ws: Workspace, *, id: str, ids: Annotated[list[str], msgspec.Meta(max_length=MOST_AT_ONCE)]
) -> int:
    """Delete some records; gives how many were there."""
    row = _row(ws, id)
    its, gone = eval_record.c, 0
    for start in range(0, len(ids), 500):
        some = delete(eval_record).where(its.dataset == row.id, its.id.in_(ids[start : start + 500]))
        gone += ws.tx.execute(some).rowcount
    count = ws.tx.scalar(select(func.count()).select_from(eval_record).where(its.dataset == row.id))
    _change(ws, row.id, records=count)
    ws.tx.touch(f"eval_dataset:{row.id}", before=sorted(ids))
    ws.tx.note(deleted=gone)
    return gone
