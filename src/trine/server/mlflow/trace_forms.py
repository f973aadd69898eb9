"""Traces without their spans, as MLflow's clients say them."""

from __future__ import annotations

from typing import Any

import msgspec

from trine.llm.traces import TraceInfo
from trine.server.mlflow.assessment_forms import AssessmentForm, assessment_form
from trine.server.mlflow.calls import Json
from trine.server.mlflow.trace_words import (
    COST,
    LOCATION,
    NAME,
    PREFIX,
    RUN,
    SESSION,
    SIZES,
    SPANS,
    STATES,
    USAGE,
    USER,
    time_of,
)

_SHOWN = {ours: theirs for theirs, ours in STATES.items()}


def shown(one: TraceInfo, experiment: str) -> Json:
    """A trace's info."""
    found: Json = {
        "trace_id": PREFIX + one.id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": time_of(one.started_us),
        "state": _SHOWN[one.state],
        "trace_metadata": _metadata(one),
        "tags": tags_of(one, experiment),
        "assessments": [assessment_form(it) for it in one.assessments],
    }
    if one.duration_us is not None:
        found["execution_duration"] = f"{one.duration_us / 1e6:.6f}s"
    for name, value in (
        ("request_preview", one.request),
        ("response_preview", one.response),
        ("client_request_id", one.client_request),
    ):
        if value:
            found[name] = value
    return found


def location_of(id: str, experiment: str) -> str:
    """Where the files of a trace are."""
    return f"mlflow-artifacts:/{experiment}/traces/{PREFIX}{id}/artifacts"


def tags_of(one: TraceInfo, experiment: str) -> dict[str, str]:
    """A trace's tags, with those by which MLflow knows what Trine keeps apart. Its spans are with us as soon as there are any."""
    found = {**one.tags, LOCATION: location_of(one.id, experiment)}
    if one.name:
        found[NAME] = one.name
    if one.spans:
        found[SPANS] = "TRACKING_STORE"
    return found


def _metadata(one: TraceInfo) -> dict[str, str]:
    found = dict(one.metadata)
    tokens = {
        name: value
        for name, value in (
            ("input_tokens", one.input_tokens),
            ("output_tokens", one.output_tokens),
            ("total_tokens", one.total_tokens),
        )
        if value is not None
    }
    if tokens:
        found.setdefault(USAGE, msgspec.json.encode(tokens).decode())
    if one.cost is not None:
        found.setdefault(COST, msgspec.json.encode({"total_cost": one.cost}).decode())
    for key, value in ((SESSION, one.session), (USER, one.user), (RUN, one.runs[0] if one.runs else "")):
        if value:
            found.setdefault(key, value)
    return found


def is_whole(one: TraceInfo) -> bool:
    """Whether all spans that a trace's client counted have arrived."""
    try:
        told: Any = msgspec.json.decode(one.metadata.get(SIZES) or "{}")
        expected = int(told.get("num_spans") or 0) if isinstance(told, dict) else 0
    except (msgspec.DecodeError, TypeError, ValueError):
        expected = 0
    return one.spans >= max(1, expected)


class _Experiment(msgspec.Struct):
    experiment_id: str = ""


class Location(msgspec.Struct):
    """Where traces are."""

    mlflow_experiment: _Experiment | None = None

    @property
    def experiment(self) -> str:
        return self.mlflow_experiment.experiment_id if self.mlflow_experiment else ""


class InfoForm(msgspec.Struct):
    """A trace's info as clients send it; null is what is not said."""

    trace_id: str | None = None
    client_request_id: str | None = None
    trace_location: Location | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | None = None
    trace_metadata: Any = None
    tags: Any = None
    assessments: list[AssessmentForm] | None = None
