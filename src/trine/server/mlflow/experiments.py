"""Experiments: MLflow's number 0, named Default, is the experiment that Trine calls default."""

from __future__ import annotations

from typing import Any

from trine.errors import Conflict, NotFound
from trine.server.mlflow import filters, limits
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import exists, invalid, missing
from trine.server.mlflow.paging import page_of
from trine.tracking import operations as door
from trine.tracking.experiment import ExperimentInfo
from trine.workspace import Workspace

DEFAULT, SHOWN = "default", "Default"


def number_of(one: ExperimentInfo) -> str:
    """An experiment's id on the wire."""
    return "0" if one.name == DEFAULT else str(one.id)


def by_id(ws: Workspace, id: str) -> ExperimentInfo:
    """An experiment by its id on the wire. Raises WireError."""
    try:
        number = int(id)
    except ValueError:
        raise invalid(f"Invalid experiment ID '{id}'. Experiment ID must be a valid integer.") from None
    try:
        return by_name(ws, DEFAULT) if number == 0 else door.get_experiment(ws, id=number)
    except NotFound:
        raise missing(f"No Experiment with id={number} exists") from None


def by_name(ws: Workspace, name: str) -> ExperimentInfo:
    """An experiment by its name; the default one is made when it is first asked for."""
    try:
        return door.find_experiment(ws, name=name)
    except NotFound:
        if name == SHOWN:
            return by_name(ws, DEFAULT)
        if name != DEFAULT:
            raise
    try:
        return door.create_experiment(ws, name=DEFAULT)
    except Conflict:  # somebody was quicker
        return door.find_experiment(ws, name=DEFAULT)


def shown(one: ExperimentInfo) -> Json:
    """An experiment as MLflow says it."""
    found: Json = {
        "experiment_id": number_of(one),
        "name": SHOWN if one.name == DEFAULT else one.name,
        "artifact_location": f"mlflow-artifacts:/{number_of(one)}",
        "lifecycle_stage": "active" if one.deleted_us is None else "deleted",
        "creation_time": one.created_us // 1_000,
        "last_update_time": one.updated_us // 1_000,
    }
    if one.tags:
        found["tags"] = [{"key": key, "value": value} for key, value in one.tags.items()]
    return found


@route("POST experiments/create")
def create(call: Call) -> Json:
    """Make an experiment. Files always go through the server, so a place for them is not heeded."""
    name = limits.check_experiment_name(call.text("name"))
    location = call.text("artifact_location", "")
    if location.startswith("runs:"):
        raise invalid(f"Artifact location cannot be a runs:/ URI. Given: '{location}'")
    tags = call.pairs("tags")
    for key, value in tags.items():
        _check_tag(key, value)
    try:
        made = door.create_experiment(call.ws, name=name, tags=tags)
    except Conflict:
        raise exists(f"Experiment(name={name}) already exists.") from None
    return {"experiment_id": number_of(made)}


def _check_tag(key: str, value: str) -> None:
    limits.check_key(key, "key")
    limits.check_length("key", limits.LONGEST_KEY, key)
    limits.check_length("value", limits.LONGEST_TAG, value)


@route("GET experiments/get")
def get(call: Call) -> Json:
    """An experiment by its id."""
    return {"experiment": shown(by_id(call.ws, call.text("experiment_id")))}


@route("GET experiments/get-by-name")
def get_by_name(call: Call) -> Json:
    """An experiment by its name; clients ask before they make one."""
    name = call.text("experiment_name")
    try:
        return {"experiment": shown(by_name(call.ws, name))}
    except NotFound:
        raise missing(f"Could not find experiment with name '{name}'") from None


@route("POST experiments/update")
def update(call: Call) -> Json:
    """Give an experiment another name."""
    one = by_id(call.ws, call.text("experiment_id"))
    name = call.text("new_name", "")
    if one.deleted_us is not None:
        raise _deleted(one)
    if name:
        limits.check_experiment_name(name)
        if number_of(one) == "0":
            raise invalid("The default experiment keeps its name.")
        try:
            door.update_experiment(call.ws, id=one.id, name=name)
        except Conflict:
            raise exists(f"Experiment(name={name}) already exists.") from None
    return {}


def _deleted(one: ExperimentInfo) -> Exception:
    return invalid(f"The experiment {number_of(one)} must be in the 'active' state. Current state is deleted.")


@route("POST experiments/delete")
def delete(call: Call) -> Json:
    """Hide an experiment and its runs."""
    one = by_id(call.ws, call.text("experiment_id"))
    if one.deleted_us is not None:
        raise missing(f"No Experiment with id={number_of(one)} exists")
    door.delete_experiment(call.ws, id=one.id)
    return {}


@route("POST experiments/restore")
def restore(call: Call) -> Json:
    """Bring it back."""
    one = by_id(call.ws, call.text("experiment_id"))
    if one.deleted_us is None:
        raise missing(f"No Experiment with id={number_of(one)} exists")
    door.restore_experiment(call.ws, id=one.id)
    return {}


@route("POST experiments/set-experiment-tag")
def set_tag(call: Call) -> Json:
    """Set one tag."""
    one, key, value = by_id(call.ws, call.text("experiment_id")), call.text("key"), call.text("value", "")
    _check_tag(key, value)
    if one.deleted_us is not None:
        raise _deleted(one)
    door.update_experiment(call.ws, id=one.id, tags={key: value})
    return {}


@route("POST experiments/delete-experiment-tag")
def delete_tag(call: Call) -> Json:
    """Remove one tag."""
    one, key = by_id(call.ws, call.text("experiment_id")), call.text("key")
    if key not in one.tags:
        raise missing(f"No tag with name: {key} in experiment with id {number_of(one)}")
    door.update_experiment(call.ws, id=one.id, tags={key: None})
    return {}


_VALUES = {
    "name": lambda one: SHOWN if one.name == DEFAULT else one.name,
    "experiment_id": lambda one: int(number_of(one)),
    "creation_time": lambda one: one.created_us // 1_000,
    "last_update_time": lambda one: one.updated_us // 1_000,
}


def _value_of(one: ExperimentInfo, kind: str, key: str) -> Any:
    if kind == "tag":
        return one.tags.get(key)
    if kind != "attribute" or key not in _VALUES:
        raise invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{set(_VALUES)}'")
    return _VALUES[key](one)


@route("POST experiments/search", "GET experiments/search", "GET experiments/list")
def search(call: Call) -> Json:
    """Experiments by name, tags and times; the newest first unless an order is given."""
    view = str(call.get("view_type") or "ACTIVE_ONLY")
    by_name(call.ws, DEFAULT)
    everything = [
        one
        for one in door.all_experiments(call.ws)
        if view in ("ALL", "3") or (one.deleted_us is None) == (view in ("ACTIVE_ONLY", "1"))
    ]
    found = filters.chosen(everything, filters.parse(call.text("filter", "")), _value_of)
    order = call.texts("order_by") or ["creation_time DESC", "experiment_id ASC"]
    found = filters.sort(found, filters.parse_order(order), _value_of)
    page, token = page_of(found, call.results(1_000), call.text("page_token", ""))
    answer: Json = {"experiments": [shown(one) for one in page]}
    return answer | ({"next_page_token": token} if token else {})
