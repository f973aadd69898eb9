"""Traces: told by MLflow's clients when they end, read, searched, tagged, linked, deleted. Their spans come by OTLP or as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from trine.errors import InvalidInput, NotFound
from trine.llm import operations as door
from trine.llm.traces import Trace, TraceInfo
from trine.models import operations as models
from trine.server.mlflow import limits
from trine.server.mlflow import trace_forms as forms
from trine.server.mlflow import trace_words as words
from trine.server.mlflow.assessment_forms import assessment_in
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import WireError, invalid, missing, needed, wrong_type
from trine.server.mlflow.experiments import by_id, number_of
from trine.server.mlflow.span_forms import span_form
from trine.server.mlflow.trace_filters import trace_expression, trace_order
from trine.tracking import operations as tracking
from trine.workspace import Workspace

MOST_RESULTS, MOST_LINKS = 500, 100
LONGEST_TAG = 8_000


def experiments_of(ws: Workspace, infos: Sequence[TraceInfo]) -> dict[str, str]:
    """The numbers of the experiments of traces, by name."""
    names = {one.experiment for one in infos}
    if len(names) == 1:
        (name,) = names
        return {name: number_of(tracking.find_experiment(ws, name=name))}
    return {one.name: number_of(one) for one in tracking.all_experiments(ws)} if names else {}


def shown(ws: Workspace, infos: Sequence[TraceInfo]) -> list[Json]:
    numbers = experiments_of(ws, infos)
    return [forms.shown(one, numbers[one.experiment]) for one in infos]


def info_of(call: Call, id: str) -> TraceInfo:
    """What is known of a trace. Raises WireError."""
    try:
        return door.get_trace_info(call.ws, id=words.id_of(id))
    except NotFound:
        raise missing(f"Trace with ID '{id}' not found.") from None


# -- told -------------------------------------------------------------------------------------------------------------------


def start(call: Call) -> Json:
    """Say what a trace is, when it has ended."""
    told: Any = call.get("trace")
    info: Any = cast(Json, told).get("trace_info") if isinstance(told, dict) else None
    if info is None:
        raise needed("trace")
    one = words.read(info, forms.InfoForm, "trace.trace_info")
    number = (one.trace_location or forms.Location()).experiment or "0"
    state = one.state or "STATE_UNSPECIFIED"
    if state not in words.STATES:
        raise wrong_type("state", state)
    group = by_id(call.ws, number)
    if group.deleted_us is not None:
        raise invalid(f"The experiment {number} must be in the 'active' state. Current state is deleted.")
    try:
        ours = words.id_of(one.trace_id or "")
    except WireError:
        raise invalid(f"Invalid trace ID '{one.trace_id}': it is tr- and 32 hexadecimal digits.") from None
    tags, metadata = texts_in(one.tags, "tags"), texts_in(one.trace_metadata, "trace_metadata")
    made = door.record_trace(
        call.ws,
        id=ours,
        experiment_name=group.name,
        state=words.STATES[state],
        started_us=words.us_of(one.request_time, "request_time"),
        duration_us=words.seconds_of(one.execution_duration, "execution_duration"),
        request=one.request_preview,
        response=one.response_preview,
        client_request=(one.client_request_id or "")[:500],
        assessments=[assessment_in(it, ours) for it in one.assessments or ()],
        **facts_in(tags, metadata),
    )
    answer = shown(call.ws, [made])[0]
    if not forms.is_whole(made):
        answer["tags"].pop(words.SPANS, None)  # the client then sends its spans as a file
    return {"trace": {"trace_info": answer}}


def texts_in(told: Any, where: str) -> dict[str, str]:
    """Tags or metadata: an object of texts, or (of old clients) a list of pairs."""
    if told is None:
        return {}
    if isinstance(told, list):
        pairs = cast(list[Any], told)
        told = {str(one.get("key")): one.get("value") for one in pairs if isinstance(one, dict)}
    if not isinstance(told, dict):
        raise wrong_type(where, told)
    found: dict[str, str] = {}
    for key, value in cast(Json, told).items():
        limits.check_key(key, f"{where}.key")
        limits.check_length("key", limits.LONGEST_KEY, key)
        found[key] = str(value)[:LONGEST_TAG]
    return found


def facts_in(tags: dict[str, str], metadata: dict[str, str]) -> dict[str, Any]:
    """What tags and metadata say that Trine keeps apart, beside the rest of them."""
    usage, cost = _object(metadata.get(words.USAGE)), _object(metadata.get(words.COST))
    found: dict[str, Any] = {
        "name": tags.pop(words.NAME, "")[:500],
        "session": metadata.get(words.SESSION, "")[:250],
        "user": metadata.get(words.USER, "")[:250],
        "run": metadata.get(words.RUN, ""),
        "tags": {key: value for key, value in tags.items() if key not in words.FIXED or key == "mlflow.user"},
        "metadata": metadata,
    }
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        if isinstance(value := usage.get(name), int) and value >= 0:
            found[name] = value
    if isinstance(value := cost.get("total_cost"), (int, float)):
        found["cost"] = float(value)
    return found


def _object(text: str | None) -> Json:
    try:
        found: Any = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return cast(Json, found) if isinstance(found, dict) else {}


# -- read -------------------------------------------------------------------------------------------------------------------


@route("GET traces/get")
def get(call: Call) -> Json:
    """A trace with its spans."""
    id = call.text("trace_id")
    info = info_of(call, id)
    if not forms.is_whole(info) and not call.flag("allow_partial"):
        raise missing(f"Trace with ID {id} is not fully exported yet, please try again later.")
    return {"trace": _whole(call.ws, door.get_traces(call.ws, ids=[info.id]))[0]}


def _whole(ws: Workspace, traces: Sequence[Trace]) -> list[Json]:
    infos = shown(ws, [one.info for one in traces])
    return [
        {"trace_info": info, "spans": [span_form(span) for span in one.spans]}
        for one, info in zip(traces, infos, strict=True)
    ]


@route("GET traces/batchGet", "POST traces/batchGet")
def get_many(call: Call) -> Json:
    """Those of some traces that are there and whole, with their spans."""
    ids = [one.id for one in _infos(call) if forms.is_whole(one)]
    parts = [
        door.get_traces(call.ws, ids=ids[start : start + MOST_RESULTS]) for start in range(0, len(ids), MOST_RESULTS)
    ]
    traces = [one for some in parts for one in some]
    return {"traces": _whole(call.ws, traces)} if traces else {}


@route("POST traces/batchGetInfos", "GET traces/batchGetInfos")
def get_infos(call: Call) -> Json:
    """Those of some traces that are there, without their spans."""
    infos = _infos(call)
    return {"trace_infos": shown(call.ws, infos)} if infos else {}


def _infos(call: Call) -> list[TraceInfo]:
    told = call.texts("trace_ids")
    if not told:
        raise needed("trace_ids")
    ids = [one.removeprefix(words.PREFIX) for one in told]
    found = door.get_trace_infos(call.ws, ids=ids)
    if call.get("experiment_ids") is None:
        return found
    numbers, wanted = experiments_of(call.ws, found), set(call.texts("experiment_ids"))
    return [one for one in found if numbers[one.experiment] in wanted]


@route("POST traces/search")
def search(call: Call) -> Json:
    """A page of traces, the newest first unless an order is given."""
    told = call.list("locations")
    if not told:
        raise needed("locations")
    places = words.read(told, list[forms.Location], "locations")
    return page_of_traces(call, [one.experiment for one in places], "traces", forms.shown)


def page_of_traces(call: Call, ids: list[str], name: str, form: Any) -> Json:
    limit = call.whole("max_results") or 100
    if not 1 <= limit <= MOST_RESULTS:
        raise invalid(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be at most {MOST_RESULTS} and at least 1"
        )
    known = {number_of(one): one.name for one in tracking.all_experiments(call.ws)}
    names = [known[id] for id in ids if id in known]
    if not names:
        return {}
    page = door.list_traces(
        call.ws,
        expression=trace_expression(call.text("filter", "")),
        experiments=names,
        order_by=trace_order(call.texts("order_by")),
        limit=limit,
        page=call.text("page_token", ""),
    )
    numbers = {name: id for id, name in known.items()}
    found: Json = {name: [form(one, numbers[one.experiment]) for one in page.items]} if page.items else {}
    return found | ({"next_page_token": page.next} if page.next else {})


# -- changed ----------------------------------------------------------------------------------------------------------------


@route("PATCH traces/{trace_id}/tags")
def set_tag(call: Call) -> Json:
    """Set one tag."""
    id, key, value = call.text("trace_id"), call.text("key"), call.text("value", "")
    limits.check_key(key, "key")
    limits.check_length("key", limits.LONGEST_KEY, key)
    if key in words.FIXED:
        raise invalid(f"Tag '{key}' is immutable and cannot be set on a trace.")
    info = info_of(call, id)
    if key == words.NAME:
        door.rename_trace(call.ws, id=info.id, name=value[:500])
    else:
        door.set_trace_tags(call.ws, id=info.id, tags={key: value[:LONGEST_TAG]})
    if key == words.PROMPTS:
        _use_prompts(call.ws, info.id, _prompts_in(value))
    return {}


@route("DELETE traces/{trace_id}/tags")
def delete_tag(call: Call) -> Json:
    """Remove one tag."""
    id, key = call.text("trace_id"), call.text("key")
    info = info_of(call, id)
    if key in words.FIXED:
        raise invalid(f"Tag '{key}' is immutable and cannot be deleted on a trace.")
    if key == words.NAME and info.name:
        door.rename_trace(call.ws, id=info.id, name="")
        return {}
    if key not in info.tags:
        raise missing(f"No trace tag with key '{key}' for trace with ID '{id}'")
    door.set_trace_tags(call.ws, id=info.id, tags={key: None})
    return {}


@route("POST traces/delete-traces")
def delete(call: Call) -> Json:
    """Delete traces: some, or those that started until a time."""
    group = by_id(call.ws, call.text("experiment_id"))
    until, most, ids = call.whole("max_timestamp_millis"), call.whole("max_traces"), call.texts("request_ids")
    if bool(until) == bool(ids):
        told = "Either" if not until else "Only one of"
        raise invalid(f"{told} `max_timestamp_millis` or `trace_ids` must be specified.")
    if ids and most is not None:
        raise invalid("`max_traces` can't be specified if `trace_ids` is specified.")
    if most is not None and most < 1:
        raise invalid(f"`max_traces` must be a positive integer, received {most}.")
    values: dict[str, Any] = {"ids": [one.removeprefix(words.PREFIX) for one in ids]} if ids else {}
    if until:
        values |= {"until_us": until * 1_000 + 999, "most": min(most or door.MOST_TRACES, door.MOST_TRACES)}
    gone = door.delete_traces(call.ws, experiment_name=group.name, **values)
    count = gone.traces
    while gone.more and most is None and until:
        gone = door.delete_traces(call.ws, experiment_name=group.name, **values)
        count += gone.traces
    return {"traces_deleted": count}


@route("POST traces/link-to-run")
def link(call: Call) -> Json:
    """Say that traces belong to a run."""
    ids, run = call.texts("trace_ids"), call.text("run_id")
    if not ids:
        raise needed("trace_ids")
    if len(ids) > MOST_LINKS:
        raise invalid(
            f"Cannot link more than {MOST_LINKS} traces to a run in a single request. Provided {len(ids)} traces."
        )
    try:
        door.link_traces(call.ws, run=run, traces=[one.removeprefix(words.PREFIX) for one in ids])
    except NotFound:
        raise missing(f"Run with id={run} not found") from None
    return {}


@route("POST traces/link-prompts")
def link_prompts(call: Call) -> Json:
    """Say which versions of prompts a trace used."""
    info = info_of(call, call.text("trace_id"))
    told = call.list("prompt_versions")
    if not told:
        raise needed("prompt_versions")
    said = [{"name": str(one.get("name")), "version": str(one.get("version"))} for one in told if isinstance(one, dict)]
    known = _prompts_in(info.tags.get(words.PROMPTS, ""))
    text = json.dumps([*known, *(one for one in said if one not in known)], ensure_ascii=False)  # spaced as clients do
    door.set_trace_tags(call.ws, id=info.id, tags={words.PROMPTS: text})
    _use_prompts(call.ws, info.id, said)
    return {}


def _prompts_in(text: str) -> list[Json]:
    """The versions of prompts that the tag names."""
    try:
        return msgspec.json.decode(text or "[]", type=list[dict[str, str]])
    except msgspec.DecodeError:
        return []


def _use_prompts(ws: Workspace, id: str, said: list[Json]) -> None:
    """Have it in the graph that a trace used versions of prompts."""
    nodes: list[str] = []
    for one in said:
        try:
            nodes.append(models.get_version(ws, name=one["name"], ref=one["version"]).node)
        except (NotFound, InvalidInput, KeyError):
            continue
    if nodes:
        door.link_uses(ws, id=id, nodes=nodes)


@route("GET traces/{trace_id}")
def get_info(call: Call) -> Json:
    """What is known of a trace."""
    return {"trace": {"trace_info": shown(call.ws, [info_of(call, call.text("trace_id"))])[0]}}
