"""Logged models: what a run wrote as a model, with files, params, tags and metrics, before anybody registers it."""

from __future__ import annotations

import re
from typing import Any

from trine.errors import Conflict, NotFound
from trine.server.mlflow import filters, limits
from trine.server.mlflow.calls import Call, Json, pairs, route
from trine.server.mlflow.errors import invalid, missing, wrong_type
from trine.server.mlflow.experiments import by_id, number_of
from trine.server.mlflow.filters import Term
from trine.server.mlflow.paging import page_of
from trine.server.mlflow.places import SCHEME, listing, place_of
from trine.server.mlflow.runs import number
from trine.tracking import logged_models as door
from trine.tracking import operations as tracking
from trine.tracking.logged_models import LoggedModel, ModelMetric, ModelState

STATES: dict[Any, ModelState] = {
    "LOGGED_MODEL_PENDING": "pending", "LOGGED_MODEL_READY": "ready", "LOGGED_MODEL_UPLOAD_FAILED": "failed",
    1: "pending", 2: "ready", 3: "failed",
}  # fmt: skip
_SAID = {"pending": "LOGGED_MODEL_PENDING", "ready": "LOGGED_MODEL_READY", "failed": "LOGGED_MODEL_UPLOAD_FAILED"}


def model_of(call: Call, *, deleted: bool = False) -> LoggedModel:
    """The logged model that a call is about. Raises WireError."""
    id = call.text("model_id")
    try:
        one = door.get_logged_model(call.ws, id=id)
    except NotFound:
        raise _unknown(id) from None
    if one.deleted_us is not None and not deleted:
        raise _unknown(id)
    return one


def _unknown(id: str) -> Exception:
    return missing(f"Logged model with ID '{id}' not found.")


def uri_of(one: LoggedModel, experiment: str) -> str:
    return f"{SCHEME}{experiment}/models/{one.id}/artifacts"


def shown(call: Call, one: LoggedModel) -> Json:
    """A logged model as MLflow says it."""
    experiment = number_of(tracking.get_experiment(call.ws, id=one.experiment))
    info: Json = {
        "model_id": one.id,
        "experiment_id": experiment,
        "name": one.name,
        "creation_timestamp_ms": one.created_us // 1_000,
        "last_updated_timestamp_ms": one.updated_us // 1_000,
        "artifact_uri": uri_of(one, experiment),
        "status": _SAID[one.state],
        "model_type": one.kind,
        "source_run_id": one.run,
        "status_message": one.reason,
        "tags": [{"key": key, "value": value} for key, value in one.tags.items()],
    }
    data: Json = {}
    if one.params:
        data["params"] = [{"key": key, "value": value} for key, value in one.params.items()]
    if one.metrics:
        data["metrics"] = [_metric(one, it) for it in one.metrics]
    return {"info": info, "data": data}


def _metric(one: LoggedModel, it: ModelMetric) -> Json:
    found: Json = {"key": it.key, "value": number(it.value), "timestamp": it.time_us // 1_000, "step": it.step}
    found |= {"model_id": one.id, "run_id": it.run}
    return found | ({"dataset_name": it.dataset, "dataset_digest": it.digest} if it.dataset else {})


@route("POST logged-models")
def create(call: Call) -> Json:
    """Begin a model; its files follow."""
    group = by_id(call.ws, call.text("experiment_id"))
    name = call.text("name", "")
    if name and re.search(r"[/:.%\"']", name):
        raise invalid(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
            "following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )
    run = call.text("source_run_id", "")
    try:
        made = door.create_logged_model(
            call.ws,
            experiment=group.id,
            name=name,
            run=run,
            kind=call.text("model_type", ""),
            params=_params(call),
            tags=call.pairs("tags"),
        )
    except NotFound:
        raise missing(f"Run with id={run} not found") from None
    return {"model": shown(call, made)}


def _params(call: Call) -> dict[str, str]:
    found = call.pairs("params")
    for key, value in found.items():
        limits.check_length("Param key", limits.LONGEST_KEY, key)
        limits.check_length("Param value", limits.LONGEST_PARAM, value)
    return found


@route("GET logged-models/{model_id}")
def get(call: Call) -> Json:
    """A logged model."""
    return {"model": shown(call, model_of(call, deleted=call.flag("allow_deleted")))}


@route("PATCH logged-models/{model_id}")
def finish(call: Call) -> Json:
    """Say that all files are there, or that it failed."""
    one, state = model_of(call), call.get("status")
    if state not in STATES:
        raise wrong_type("status", state)
    return {"model": shown(call, door.finish_logged_model(call.ws, id=one.id, state=STATES[state]))}


@route("DELETE logged-models/{model_id}")
def delete(call: Call) -> Json:
    """Hide a logged model."""
    door.delete_logged_model(call.ws, id=model_of(call).id)
    return {}


@route("PATCH logged-models/{model_id}/tags")
def set_tags(call: Call) -> Json:
    """Set tags."""
    one, tags = model_of(call), call.pairs("tags")
    for key, value in tags.items():
        limits.check_length("key", limits.LONGEST_KEY, key)
        limits.check_length("value", limits.LONGEST_TAG, value)
    return {"model": shown(call, door.update_logged_model(call.ws, id=one.id, tags={**tags}))}


@route("DELETE logged-models/{model_id}/tags/{key}")
def delete_tag(call: Call) -> Json:
    """Remove a tag."""
    one, key = model_of(call), call.text("key")
    if key not in one.tags:
        raise missing(f"No tag with key {key!r} found for model with ID {one.id!r}.")
    door.update_logged_model(call.ws, id=one.id, tags={key: None})
    return {}


@route("POST logged-models/{model_id}/params")
def log_params(call: Call) -> Json:
    """Add params."""
    one, params = model_of(call), pairs(call.list("params"), "params")
    try:
        door.update_logged_model(call.ws, id=one.id, params=params)
    except Conflict as error:
        raise invalid(error.message) from None
    return {}


@route("GET logged-models/{model_id}/artifacts/directories")
def list_files(call: Call) -> Json:
    """What is in a folder of a model."""
    one = model_of(call)
    root = uri_of(one, number_of(tracking.get_experiment(call.ws, id=one.experiment)))
    path = call.text("artifact_directory_path", "").strip("/")
    place = place_of(f"{root.removeprefix(SCHEME)}/{path}".rstrip("/"))
    start = f"{path}/" if path else ""
    files = [{**it, "path": start + it["path"]} for it in listing(call.ws, place)]
    return {"root_uri": root} | ({"files": files} if files else {})


_VALUES: dict[str, Any] = {
    "name": lambda one: one.name,
    "model_id": lambda one: one.id,
    "model_type": lambda one: one.kind,
    "status": lambda one: _SAID[one.state].removeprefix("LOGGED_MODEL_"),
    "source_run_id": lambda one: one.run,
    "creation_timestamp": lambda one: one.created_us // 1_000,
    "creation_time": lambda one: one.created_us // 1_000,
    "last_updated_timestamp": lambda one: one.updated_us // 1_000,
}


@route("POST logged-models/search")
def search(call: Call) -> Json:
    """Logged models by name, state, params, tags and metrics; the newest first unless an order is given."""
    ids = [by_id(call.ws, id).id for id in call.texts("experiment_ids")]
    found: list[LoggedModel] = []
    token = ""
    while ids:
        page = door.list_logged_models(call.ws, experiments=ids, limit=1_000, page=token)
        found += page.items
        token = page.next
        if not token:
            break
    on = [(str(it.get("dataset_name")), str(it.get("dataset_digest") or "")) for it in call.list("datasets")]

    def value_of(one: LoggedModel, kind: str, key: str) -> Any:
        if kind == "metric":
            values = [
                it
                for it in one.metrics
                if it.key == key
                and (not on or any(it.dataset == name and digest in ("", it.digest) for name, digest in on))
            ]
            return max(values, key=lambda it: (it.step, it.time_us)).value if values else None
        if kind in ("parameter", "tag"):
            return (one.params if kind == "parameter" else one.tags).get(key)
        if key not in _VALUES:
            raise invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{set(_VALUES)}'")
        return _VALUES[key](one)

    found = filters.chosen(found, filters.parse(call.text("filter", "")), value_of)
    order: list[Term] = []
    for it in call.list("order_by"):
        (term,) = filters.parse_order([str(it.get("field_name") or "")])
        order.append(term._replace(descending=it.get("ascending") is False))
    found = filters.sort(found, order, value_of)
    page, token = page_of(found, call.results(100, 1_000), call.text("page_token", ""))
    return {"models": [shown(call, one) for one in page]} | ({"next_page_token": token} if token else {})
