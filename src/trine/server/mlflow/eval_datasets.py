"""Evaluation datasets of `mlflow.genai.datasets`: made, searched, tagged, given to experiments; their records merged by inputs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import msgspec

from trine.errors import NotFound
from trine.llm import eval_data as door
from trine.llm.eval_data import EvalDataset, EvalRecord, NewRecord
from trine.server.mlflow import filters, limits
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import WireError, invalid, missing, needed, wrong_type
from trine.server.mlflow.experiments import by_id, number_of
from trine.server.mlflow.paging import page_of
from trine.tracking import operations as tracking
from trine.workspace import Workspace

_KINDS = {"TRACE", "HUMAN", "DOCUMENT", "CODE"}


def _numbers(ws: Workspace) -> dict[str, str]:
    return {one.name: number_of(one) for one in tracking.all_experiments(ws)}


def shown(one: EvalDataset, numbers: dict[str, str]) -> Json:
    """An evaluation dataset as MLflow says it."""
    found: Json = {
        "dataset_id": one.id,
        "name": one.name,
        "digest": one.digest,
        "created_time": one.created_us // 1_000,
        "last_update_time": one.updated_us // 1_000,
        "tags": msgspec.json.encode(one.tags).decode(),
        "created_by": one.author,
        "last_updated_by": one.changed_by,
    }
    if one.schema:
        found["schema"] = msgspec.json.encode(one.schema).decode()
    if one.records:
        found["profile"] = msgspec.json.encode({"num_records": one.records}).decode()
    if one.experiments:
        found["experiment_ids"] = [numbers[name] for name in one.experiments]
    return found


def _find(call: Call) -> EvalDataset:
    id = call.text("dataset_id")
    try:
        found = door.get_eval_dataset(call.ws, id=id)
    except NotFound:
        found = None
    if found is None or found.id != id:
        raise missing(f"Evaluation dataset with id '{id}' not found")
    return found


def _decoded(call: Call, name: str, kind: type) -> Any:
    """A parameter that is JSON in a text."""
    text = call.text(name)
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise invalid(f"Invalid value for parameter '{name}' supplied: it is not JSON: {error}.") from None
    if not isinstance(found, kind):
        raise wrong_type(name, found)
    return found


@route("POST datasets/create")
def create(call: Call) -> Json:
    """Make one."""
    tags = {str(key): str(value) for key, value in _decoded(call, "tags", dict).items()} if call.get("tags") else {}
    names = [by_id(call.ws, id).name for id in call.texts("experiment_ids")]
    name = limits.check_length("name", limits.LONGEST_EXPERIMENT, call.text("name"))
    made = door.create_eval_dataset(call.ws, name=name, tags=tags, experiments=names)
    return {"dataset": shown(made, _numbers(call.ws))}


_VALUES = {
    "name": lambda one: one.name,
    "dataset_id": lambda one: one.id,
    "created_by": lambda one: one.author,
    "last_updated_by": lambda one: one.changed_by,
    "created_time": lambda one: one.created_us // 1_000,
    "last_update_time": lambda one: one.updated_us // 1_000,
}


def _value_of(one: EvalDataset, kind: str, key: str) -> Any:
    if kind == "tag":
        return one.tags.get(key)
    if kind != "attribute" or key not in _VALUES:
        raise invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{set(_VALUES)}'")
    return _VALUES[key](one)


@route("POST datasets/search", "GET datasets/search")
def search(call: Call) -> Json:
    """Those of some experiments, by name, tags and times; the newest first unless an order is given."""
    numbers, wanted = _numbers(call.ws), set(call.texts("experiment_ids"))
    found = [
        one
        for one in door.list_eval_datasets(call.ws)
        if not wanted or wanted & {numbers[name] for name in one.experiments}
    ]
    found = filters.chosen(found, filters.parse(call.text("filter_string", "")), _value_of)
    order = call.texts("order_by") or ["created_time DESC", "dataset_id ASC"]
    found = filters.sort(found, filters.parse_order(order), _value_of)
    page, token = page_of(found, call.results(1_000), call.text("page_token", ""))
    answer: Json = {"datasets": [shown(one, numbers) for one in page]} if page else {}
    return answer | ({"next_page_token": token} if token else {})


@route("GET datasets/{dataset_id}")
def get(call: Call) -> Json:
    """One of them, without its records."""
    return {"dataset": shown(_find(call), _numbers(call.ws))}


@route("DELETE datasets/{dataset_id}")
def delete(call: Call) -> Json:
    """Delete one; what is not there is gone already."""
    with suppress(WireError):
        door.delete_eval_dataset(call.ws, id=_find(call).id)
    return {}


@route("PATCH datasets/{dataset_id}/tags")
def set_tags(call: Call) -> Json:
    """Set tags."""
    id = call.text("dataset_id")
    told = _decoded(call, "tags", dict)
    try:
        one = _find(call)
    except WireError:
        raise missing(f"Could not find evaluation dataset with ID {id}") from None
    tags: dict[str, str | None] = {str(key): str(value) for key, value in told.items() if value is not None}
    after = door.update_eval_dataset(call.ws, id=one.id, tags=tags)
    return {"dataset": shown(after, _numbers(call.ws))}


@route("DELETE datasets/{dataset_id}/tags/{key}")
def delete_tag(call: Call) -> Json:
    """Remove a tag; one that is not there is gone already."""
    with suppress(WireError):
        door.update_eval_dataset(call.ws, id=_find(call).id, tags={call.text("key"): None})
    return {}


@route("GET datasets/{dataset_id}/experiment-ids")
def experiment_ids(call: Call) -> Json:
    """The experiments it belongs to."""
    numbers = _numbers(call.ws)
    return {"experiment_ids": [numbers[name] for name in _find(call).experiments]}


@route("POST datasets/{dataset_id}/add-experiments")
def add_experiments(call: Call) -> Json:
    """Add it to experiments."""
    names = [by_id(call.ws, id).name for id in call.texts("experiment_ids")]
    after = door.update_eval_dataset(call.ws, id=_find(call).id, add=names)
    return {"dataset": shown(after, _numbers(call.ws))}


@route("POST datasets/{dataset_id}/remove-experiments")
def remove_experiments(call: Call) -> Json:
    """Take it out of experiments."""
    ids = set(call.texts("experiment_ids"))
    names = [name for name, number in _numbers(call.ws).items() if number in ids]
    after = door.update_eval_dataset(call.ws, id=_find(call).id, remove=names)
    return {"dataset": shown(after, _numbers(call.ws))}


# -- records ----------------------------------------------------------------------------------------------------------------


@route("POST datasets/{dataset_id}/records")
def merge(call: Call) -> Json:
    """Add records, or merge them into those with the same inputs."""
    one = _find(call)
    records = [_record_in(index, it) for index, it in enumerate(_decoded(call, "records", list))]
    done = door.merge_eval_records(call.ws, id=one.id, records=records)
    return {"inserted_count": done.inserted, "updated_count": done.updated}


def _record_in(index: int, told: Any) -> NewRecord:
    if not isinstance(told, dict):
        raise wrong_type(f"records[{index}]", told)
    one = cast(Json, told)
    inputs = one.get("inputs")
    if not isinstance(inputs, dict):
        raise needed(f"records[{index}].inputs")
    tags = one.get("tags")
    made = {name: one.get(name) for name in ("inputs", "outputs", "expectations", "source")}
    if made["outputs"] == {}:
        made["outputs"] = None
    try:
        return msgspec.convert(
            made | {"tags": {str(key): str(it) for key, it in tags.items()} if isinstance(tags, dict) else None},
            NewRecord,
        )
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid record {index}: {error}") from None


@route("GET datasets/{dataset_id}/records")
def records(call: Call) -> Json:
    """A page of its records, as JSON in a text."""
    one = _find(call)
    limit = call.whole("max_results") or 1_000
    if not 1 <= limit <= 1_000:
        raise invalid(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be at most 1000 and at least 1"
        )
    page = door.list_eval_records(call.ws, id=one.id, limit=limit, page=call.text("page_token", ""))
    found: Json = {"records": msgspec.json.encode([_record_form(it, one.id) for it in page.items]).decode()}
    return found | ({"next_page_token": page.next} if page.next else {})


def _record_form(one: EvalRecord, dataset: str) -> Json:
    found: Json = {
        "dataset_record_id": one.id,
        "dataset_id": dataset,
        "inputs": one.inputs,
        "expectations": one.expectations or None,
        "tags": one.tags,
        "created_time": one.created_us // 1_000,
        "last_update_time": one.updated_us // 1_000,
        "created_by": one.author,
        "last_updated_by": one.changed_by,
    }
    if one.outputs is not None:
        found["outputs"] = one.outputs
    if one.source is not None:
        found["source"] = one.source
        kind = str(one.source.get("source_type") or "").upper()
        data: Any = one.source.get("source_data") or {}
        found["source_type"] = kind if kind in _KINDS else "SOURCE_TYPE_UNSPECIFIED"
        if isinstance(data, dict) and (id := cast(Json, data).get("trace_id") or cast(Json, data).get("source_id")):
            found["source_id"] = str(id)
    return found


@route("DELETE datasets/{dataset_id}/records")
def delete_records(call: Call) -> Json:
    """Delete some of its records."""
    ids = call.texts("dataset_record_ids")
    return {"deleted_count": door.delete_eval_records(call.ws, id=_find(call).id, ids=ids)}
