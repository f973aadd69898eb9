"""Registered models and their aliases. (Prompts are registered models with a tag that says so.)"""

from __future__ import annotations

from typing import Any

from trine.errors import Conflict, InvalidInput, NotFound
from trine.models import operations as door
from trine.models.names import told_name
from trine.models.receiving import create_model
from trine.models.versions import ModelInfo, ModelVersion
from trine.operations import every
from trine.server.mlflow import filters, limits, versions
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import exists, from_trine, invalid, missing
from trine.server.mlflow.paging import page_of
from trine.workspace import Workspace

PROMPT = "mlflow.prompt.is_prompt"
LONGEST_TAG = 100_000


def model_of(call: Call, name: str = "") -> ModelInfo:
    """The registered model that a call is about. Raises WireError."""
    name = name or limits.check_model_name(call.text("name"))
    try:
        return door.get_model(call.ws, name=name)
    except (NotFound, InvalidInput):
        raise missing(f"Registered Model with name={told_name(name)} not found") from None


def shown(ws: Workspace, one: ModelInfo) -> Json:
    """A registered model as MLflow says it."""
    newest = door.latest_versions(ws, name=one.name)
    found: Json = {
        "name": told_name(one.name),
        "creation_timestamp": one.created_us // 1_000,
        "last_updated_timestamp": max([one.created_us, *(it.created_us for it in newest)]) // 1_000,
        "description": one.description,
    }
    if newest:
        found["latest_versions"] = [versions.shown(it) for it in newest]
    if one.tags:
        found["tags"] = [{"key": key, "value": value} for key, value in one.tags.items()]
    if one.aliases:
        found["aliases"] = [{"alias": alias, "version": str(number)} for alias, number in one.aliases.items()]
    return found


def check_tag(key: str, value: str) -> None:
    limits.check_key(key, "key")
    limits.check_length("key", limits.LONGEST_KEY, key)
    limits.check_length("value", LONGEST_TAG, value)


@route("POST registered-models/create")
def create(call: Call) -> Json:
    """Make a model without versions."""
    name = limits.check_model_name(call.text("name"))
    tags = call.pairs("tags")
    for key, value in tags.items():
        check_tag(key, value)
    try:
        made = create_model(call.ws, name=name, description=call.text("description", ""), tags=tags)
    except Conflict:
        kind = "Prompt" if tags.get(PROMPT) else "Registered Model"
        raise exists(f"{kind} (name={told_name(name)}) already exists.") from None
    return {"registered_model": shown(call.ws, made)}


@route("GET registered-models/get")
def get(call: Call) -> Json:
    """A model."""
    return {"registered_model": shown(call.ws, model_of(call))}


@route("PATCH registered-models/update", "POST registered-models/update")
def update(call: Call) -> Json:
    """Describe a model."""
    one = model_of(call)
    after = door.update_model(call.ws, name=one.name, description=call.text("description", ""))
    return {"registered_model": shown(call.ws, after)}


@route("POST registered-models/rename")
def rename(call: Call) -> Json:
    """Give a model another name."""
    one = model_of(call)
    if not call.text("new_name", "").strip():
        raise invalid("Missing value for required parameter 'new_name'.")
    name = limits.check_model_name(call.text("new_name"))
    try:
        after = door.rename_model(call.ws, name=one.name, new_name=name)
    except Conflict as error:
        raise exists(f"Registered Model (name={told_name(name)}) already exists. {error.message}") from None
    return {"registered_model": shown(call.ws, after)}


@route("DELETE registered-models/delete")
def delete(call: Call) -> Json:
    """Delete a model with its versions and aliases."""
    one = model_of(call)
    for alias in one.aliases:
        door.remove_alias(call.ws, name=one.name, alias=alias)
    door.delete_model(call.ws, name=one.name)
    return {}


@route("POST registered-models/set-tag")
def set_tag(call: Call) -> Json:
    """Set a tag."""
    one, key, value = model_of(call), call.text("key"), call.text("value", "")
    check_tag(key, value)
    door.update_model(call.ws, name=one.name, tags={key: value})
    return {}


@route("DELETE registered-models/delete-tag")
def delete_tag(call: Call) -> Json:
    """Remove a tag; one that is not there is no error."""
    one, key = model_of(call), call.text("key")
    if key in one.tags:
        door.update_model(call.ws, name=one.name, tags={key: None})
    return {}


@route("POST registered-models/get-latest-versions", "GET registered-models/get-latest-versions")
def latest_versions(call: Call) -> Json:
    """The newest version in each stage."""
    one = model_of(call)
    stages = {stage.lower() for stage in call.texts("stages")}
    for stage in stages:
        versions.check_stage(call.ws, stage)
    newest = door.latest_versions(call.ws, name=one.name)
    found = [it for it in newest if not stages or (it.stage or "None").lower() in stages]
    return {"model_versions": [versions.shown(it) for it in found]} if found else {}


@route("POST registered-models/alias")
def set_alias(call: Call) -> Json:
    """Point an alias at a version. Protected ones ask for a gate and an approval, as everywhere."""
    name, alias = limits.check_model_name(call.text("name")), limits.check_alias(call.text("alias"))
    version = versions.version_of(call)
    try:
        door.promote_model(call.ws, name=name, alias=alias, version=version.version)
    except InvalidInput as error:
        raise from_trine(error) from None
    return {}


@route("DELETE registered-models/alias")
def delete_alias(call: Call) -> Json:
    """Let an alias point at nothing; one that does not is no error."""
    one, alias = model_of(call), limits.check_alias(call.text("alias"))
    if alias in one.aliases:
        door.remove_alias(call.ws, name=one.name, alias=alias)
    return {}


@route("GET registered-models/alias")
def get_alias(call: Call) -> Json:
    """The version that an alias points at."""
    one, alias = model_of(call), call.text("alias")
    if alias not in one.aliases:
        raise invalid(f"Registered model alias {alias} not found.")
    return {"model_version": versions.shown(_version(call.ws, one.name, one.aliases[alias]))}


def _version(ws: Workspace, name: str, number: int) -> ModelVersion:
    return door.get_version(ws, name=name, ref=str(number))


def _value_of(one: ModelInfo, kind: str, key: str) -> Any:
    if kind == "tag":
        return one.tags.get(key)
    if kind == "attribute" and key in ("timestamp", "last_updated_timestamp", "creation_timestamp"):
        return one.created_us // 1_000
    if kind != "attribute" or key != "name":
        raise invalid(f"Invalid attribute name: {key}")
    return told_name(one.name)


@route("GET registered-models/search", "POST registered-models/search", "GET registered-models/list")
def search(call: Call) -> Json:
    """Models by name and tags; prompts only when the filter says so."""
    clauses = filters.parse(call.text("filter", ""))
    asked = [one for one in clauses if one.kind == "tag" and one.key == PROMPT]
    clauses = [one for one in clauses if one not in asked]
    wanted = any((one.comparator == "=") == (one.value == "true") for one in asked)
    found = [one for one in every(door.list_models, call.ws) if (one.tags.get(PROMPT) == "true") == wanted]
    found = filters.chosen(found, clauses, _value_of)
    found = filters.sort(found, filters.parse_order(call.texts("order_by")), _value_of)
    page, token = page_of(found, call.results(100, 1_000), call.text("page_token", ""))
    answer: Json = {"registered_models": [shown(call.ws, one) for one in page]} if page else {}
    return answer | ({"next_page_token": token} if token else {})
