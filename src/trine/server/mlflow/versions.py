"""Versions of registered models. What MLflow keeps of where one came from, and Trine does not, is in tags of the version."""

from __future__ import annotations

import re
from typing import Any

from trine.errors import InvalidInput, NotFound
from trine.models import operations as door
from trine.models.names import fitting_name, told_name
from trine.models.receiving import receive_version
from trine.models.versions import ModelVersion, Stored
from trine.operations import every
from trine.server.mlflow import filters, limits
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import invalid, missing
from trine.server.mlflow.paging import page_of
from trine.server.mlflow.places import SCHEME, Place, files_at, part_of, place_of
from trine.tracking import logged_models as logged
from trine.workspace import Workspace

SOURCE, MODEL_ID, LINK = "mlflow.version.source", "mlflow.version.model_id", "mlflow.version.run_link"
PROMPT = "mlflow.prompt.is_prompt"
LONGEST_TAG = 100_000


def version_of(call: Call) -> ModelVersion:
    """The version that a call is about. Raises WireError."""
    name, told = limits.check_model_name(call.text("name")), call.get("version")
    if told is None or told == "":
        raise invalid(
            "Missing value for required parameter 'version'. See the API docs for more information about request parameters."
        )
    try:
        number = int(told)
    except (TypeError, ValueError):
        raise invalid(f"Parameter 'version' must be an integer, got '{told}'.") from None
    try:
        return door.get_version(call.ws, name=name, ref=str(max(number, 0)))
    except (NotFound, InvalidInput):
        raise missing(f"Model Version (name={told_name(name)}, version={number}) not found") from None


def source_of(one: ModelVersion) -> str:
    """Where a version was made from, as it was said."""
    return one.tags.get(SOURCE) or place(one)


def place(one: ModelVersion) -> str:
    """Where the registry has the files of a version."""
    return f"{SCHEME}versions/{part_of(one.name)}/{one.version}/artifacts"


def shown(one: ModelVersion) -> Json:
    """A version as MLflow says it."""
    found: Json = {
        "name": told_name(one.name),
        "version": str(one.version),
        "creation_timestamp": one.created_us // 1_000,
        "last_updated_timestamp": one.created_us // 1_000,
        "user_id": one.author.removeprefix("user:"),
        "current_stage": one.stage or "None",
        "description": one.description,
        "source": source_of(one),
        "run_id": one.run,
        "status": "READY",
        "run_link": one.tags.get(LINK, ""),
    }
    if MODEL_ID in one.tags:
        found["model_id"] = one.tags[MODEL_ID]
    if tags := [{"key": key, "value": value} for key, value in one.tags.items() if key not in (SOURCE, MODEL_ID, LINK)]:
        found["tags"] = tags
    if one.metrics:
        found["metrics"] = [
            {"key": key, "value": value, "timestamp": one.created_us // 1_000, "step": 0}
            for key, value in one.metrics.items()
        ]
    if one.aliases:
        found["aliases"] = list(one.aliases)
    return found


@route("POST model-versions/create")
def create(call: Call) -> Json:
    """Register the files that a run, a logged model or another version has."""
    name = limits.check_model_name(call.text("name"))
    source, run, model = call.text("source"), call.text("run_id", ""), call.text("model_id", "")
    tags = call.pairs("tags")
    for key, value in tags.items():
        check_tag(key, value)
    try:
        door.get_model(call.ws, name=name)
    except (NotFound, InvalidInput):
        raise missing(f"Registered Model with name={told_name(name)} not found") from None
    if found := re.fullmatch(r"models:/(m-[0-9a-f]{32})", source):
        model = model or found[1]
    made_from = _files(call.ws, source, model)
    facts = {SOURCE: source, MODEL_ID: model, LINK: call.text("run_link", "")}
    metrics: dict[str, float] = {}
    producer = ""
    if model:
        try:
            known = logged.get_logged_model(call.ws, id=model)
        except NotFound:
            raise missing(f"Logged model with ID '{model}' not found.") from None
        run = run or known.run
        metrics = {it.key: it.value for it in known.metrics if it.value - it.value == 0}
        producer = known.node
    if run and not limits.is_run_id(run):
        raise missing(f"Run with id={run} not found")
    made = receive_version(
        call.ws,
        name=name,
        files=made_from,
        run=run,
        producer=producer,
        description=call.text("description", ""),
        tags=tags | {key: value for key, value in facts.items() if value},
        metrics=metrics,
    )
    return {"model_version": shown(made)}


def check_tag(key: str, value: str) -> None:
    limits.check_key(key, "key")
    limits.check_length("key", limits.LONGEST_KEY, key)
    limits.check_length("value", LONGEST_TAG, value)


def _files(ws: Workspace, source: str, model: str) -> list[Stored]:
    """The files at a source, when they are ours: paths from there. Others stay where they are."""
    at: Place | None = None
    if source.startswith(SCHEME) or "/mlflow-artifacts/artifacts/" in source:
        at = place_of(
            source.removeprefix(SCHEME)
            if source.startswith(SCHEME)
            else source.split("/mlflow-artifacts/artifacts/")[1]
        )
    elif found := re.fullmatch(r"runs:/([0-9a-f]{32})/(.*)", source):
        at = Place("run", found[1], found[2].strip("/"))
    elif found := re.fullmatch(r"models:/([^/]+)/(\d+)", source):
        at = Place("version", f"{fitting_name(found[1])}/{found[2]}", "")
    elif model:
        at = Place("model", model, "")
    elif source.startswith(("/", "file:", ".")):
        raise invalid(
            f"Invalid model version source: '{source}'. To use a local path as a model version source, log the files to a run: "
            "the server does not read the disks of its machine for clients."
        )
    if at is None:
        return []
    files = files_at(ws, at)
    if not files and at.kind == "run" and model:  # log_model names the run's path, the files are the logged model's
        at = Place("model", model, "")
        files = files_at(ws, at)
    start = len(at.path) + 1 if at.path else 0
    return [Stored(one.path[start:], one.hash, one.size_bytes) for one in files if one.path[start:]]


@route("GET model-versions/get")
def get(call: Call) -> Json:
    """A version."""
    return {"model_version": shown(version_of(call))}


@route("PATCH model-versions/update", "POST model-versions/update")
def update(call: Call) -> Json:
    """Describe a version."""
    one = version_of(call)
    after = door.update_version(call.ws, name=one.name, version=one.version, description=call.text("description", ""))
    return {"model_version": shown(after)}


@route("DELETE model-versions/delete")
def delete(call: Call) -> Json:
    """Delete a version with the aliases that point at it."""
    one = version_of(call)
    for alias in one.aliases:
        door.remove_alias(call.ws, name=one.name, alias=alias)
    door.delete_version(call.ws, name=one.name, version=one.version)
    return {}


@route("POST model-versions/transition-stage")
def transition(call: Call) -> Json:
    """Put a version into a stage, and those that are there into Archived when asked."""
    one, stage = version_of(call), call.text("stage")
    check_stage(call.ws, stage)
    alone = call.flag("archive_existing_versions")
    if alone and stage.lower() not in ("staging", "production"):
        raise invalid(
            "Model version transition cannot archive existing model versions because "
            f"'{stage}' is not an Active stage. Valid stages are Staging, Production"
        )
    after = door.set_stage(call.ws, name=one.name, version=one.version, stage=stage, alone=alone)
    return {"model_version": shown(after)}


def check_stage(ws: Workspace, stage: str) -> None:
    """Raise WireError for a stage that the project has not."""
    known = door.list_stages(ws)
    if stage.lower() not in {"none", *(one.lower() for one in known)}:
        raise invalid(f"Invalid Model Version stage: {stage}. Value must be one of None, {', '.join(known)}.")


@route("GET model-versions/get-download-uri")
def download_uri(call: Call) -> Json:
    """Where the files of a version are: in the registry, which never changes them; or where they always were."""
    one = version_of(call)
    return {"artifact_uri": place(one) if one.size_bytes else source_of(one)}


@route("POST model-versions/set-tag")
def set_tag(call: Call) -> Json:
    """Set a tag."""
    one, key, value = version_of(call), call.text("key"), call.text("value", "")
    check_tag(key, value)
    door.update_version(call.ws, name=one.name, version=one.version, tags={key: value})
    return {}


@route("DELETE model-versions/delete-tag")
def delete_tag(call: Call) -> Json:
    """Remove a tag; one that is not there is no error."""
    one, key = version_of(call), call.text("key")
    if key in one.tags:
        door.update_version(call.ws, name=one.name, version=one.version, tags={key: None})
    return {}


_VALUES: dict[str, Any] = {
    "name": lambda one: told_name(one.name),
    "version": lambda one: one.version,
    "version_number": lambda one: one.version,
    "run_id": lambda one: one.run,
    "source_path": source_of,
    "creation_timestamp": lambda one: one.created_us // 1_000,
    "last_updated_timestamp": lambda one: one.created_us // 1_000,
}


def _value_of(one: ModelVersion, kind: str, key: str) -> Any:
    if kind == "tag":
        return one.tags.get(key)
    if kind != "attribute" or key not in _VALUES:
        raise invalid(f"Invalid attribute name: {key}")
    return _VALUES[key](one)


@route("GET model-versions/search", "POST model-versions/search")
def search(call: Call) -> Json:
    """Versions of all models by name, run, source and tags; the newest first unless an order is given."""
    clauses = filters.parse(call.text("filter", ""))
    name = next(
        (one.value for one in clauses if one.kind == "attribute" and one.key == "name" and one.comparator == "="), None
    )
    if isinstance(name, str):
        try:
            everything = list(every(door.list_versions, call.ws, name=fitting_name(name)))
        except (NotFound, InvalidInput):
            everything = []
    else:
        everything = list(every(door.find_versions, call.ws))
    prompts = any(one.kind == "tag" and one.key == PROMPT for one in clauses)
    found = [one for one in everything if prompts or PROMPT not in one.tags]
    found = filters.chosen(found, clauses, _value_of)
    order = call.texts("order_by")
    if order:
        found = filters.sort(found, filters.parse_order(order), _value_of)
    page, token = page_of(found, call.results(10_000, 200_000), call.text("page_token", ""))
    answer: Json = {"model_versions": [shown(one) for one in page]} if page else {}
    return answer | ({"next_page_token": token} if token else {})
