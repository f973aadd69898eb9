"""Traces as MLflow's clients before 3.0 tell of them: when they begin, and again when they end."""

from __future__ import annotations

from typing import Any, cast

from trine.ids import new_id
from trine.llm import operations as door
from trine.llm.traces import TraceInfo
from trine.server.mlflow import trace_forms as forms
from trine.server.mlflow import traces
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import wrong_type
from trine.server.mlflow.experiments import by_id, number_of
from trine.server.mlflow.traces import experiments_of, facts_in, info_of, page_of_traces, texts_in

_STATES = {"UNSPECIFIED": "unknown", "OK": "ok", "ERROR": "error", "IN_PROGRESS": "running"}


def _form(one: TraceInfo, experiment: str) -> Json:
    """A trace's info as clients before 3.0 know it."""
    new = forms.shown(one, experiment)
    found: Json = {
        "request_id": new["trace_id"],
        "experiment_id": experiment,
        "timestamp_ms": one.started_us // 1_000,
        "status": {ours: theirs for theirs, ours in _STATES.items()}[one.state],
        "request_metadata": [{"key": key, "value": value} for key, value in new["trace_metadata"].items()],
        "tags": [{"key": key, "value": value} for key, value in new["tags"].items()],
    }
    return found if one.duration_us is None else found | {"execution_time_ms": one.duration_us // 1_000}


@route("POST traces")
def start(call: Call) -> Json:
    """Say that a trace begins; or, as clients since 3.0 do, that it has ended."""
    if call.get("trace") is not None or call.get("timestamp_ms") is None:
        return traces.start(call)
    group = by_id(call.ws, call.text("experiment_id"))
    tags, metadata = texts_in(call.get("tags"), "tags"), texts_in(call.get("request_metadata"), "request_metadata")
    started = call.whole("timestamp_ms") or 0
    made = door.record_trace(
        call.ws,
        id=new_id(),
        experiment_name=group.name,
        state="running",
        started_us=max(0, started) * 1_000,
        **facts_in(tags, metadata),
    )
    return {"trace_info": _form(made, number_of(group))}


@route("PATCH traces/{trace_id}")
def end(call: Call) -> Json:
    """Say that a trace has ended."""
    info = info_of(call, call.text("trace_id"))
    ended = (call.whole("timestamp_ms") or 0) * 1_000
    status = str(call.get("status") or "UNSPECIFIED")
    if status not in _STATES:
        raise wrong_type("status", status)
    tags, metadata = texts_in(call.get("tags"), "tags"), texts_in(call.get("request_metadata"), "request_metadata")
    made = door.record_trace(
        call.ws,
        id=info.id,
        experiment_name=info.experiment,
        state=cast(Any, _STATES[status]),
        started_us=info.started_us,
        duration_us=max(0, ended - info.started_us),
        **facts_in(tags, metadata),
    )
    return {"trace_info": _form(made, experiments_of(call.ws, [made])[made.experiment])}


@route("GET traces/{trace_id}/info")
def info(call: Call) -> Json:
    """What is known of a trace."""
    info = info_of(call, call.text("trace_id"))
    return {"trace_info": _form(info, experiments_of(call.ws, [info])[info.experiment])}


@route("GET traces")
def search(call: Call) -> Json:
    """A page of traces."""
    return page_of_traces(call, call.texts("experiment_ids"), "traces", _form)
