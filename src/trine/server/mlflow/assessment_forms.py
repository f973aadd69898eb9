"""Assessments as MLflow's clients say them."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from trine.llm.assessment import Assessment, Kind, Problem, Source
from trine.server.mlflow.calls import Json
from trine.server.mlflow.errors import invalid, needed, wrong_type
from trine.server.mlflow.runs import number
from trine.server.mlflow.trace_words import PREFIX, time_of, us_of

_SOURCES: dict[Source, str] = {
    "human": "HUMAN",
    "llm": "LLM_JUDGE",
    "code": "CODE",
    "unknown": "SOURCE_TYPE_UNSPECIFIED",
}


def assessment_form(one: Assessment) -> Json:
    """An assessment."""
    found: Json = {
        "assessment_id": one.id,
        "assessment_name": one.name,
        "trace_id": PREFIX + one.trace,
        "source": {"source_type": _SOURCES[one.source], "source_id": one.source_id},
        "create_time": time_of(one.created_us),
        "last_update_time": time_of(one.updated_us),
        "valid": one.valid,
    }
    if one.kind == "feedback":
        value: Json = {"value": _finite(one.value)}
        if one.problem is not None:
            told = {"error_code": one.problem.code, "error_message": one.problem.message}
            value["error"] = told | ({"stack_trace": one.problem.trace_back} if one.problem.trace_back else {})
        found["feedback"] = value
    elif one.kind == "issue":
        found["issue"] = {"issue_name": str(one.value)}
    elif isinstance(one.value, (str, int, float, bool)):
        found["expectation"] = {"value": _finite(one.value)}
    else:
        text = msgspec.json.encode(one.value).decode()
        found["expectation"] = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": text}}
    for name, text in (("rationale", one.rationale), ("span_id", one.span), ("overrides", one.overrides)):
        if text:
            found[name] = text
    metadata = dict(one.metadata)
    if one.run:
        metadata.setdefault("mlflow.assessment.sourceRunId", one.run)
    return found | ({"metadata": metadata} if metadata else {})


def _finite(value: Any) -> Any:
    return number(value) if isinstance(value, float) else value


class _Source(msgspec.Struct):
    source_type: str | None = None
    source_id: str | None = None


class _Error(msgspec.Struct):
    error_code: str | None = None
    error_message: str | None = None
    stack_trace: str | None = None


class _Packed(msgspec.Struct):
    value: str = ""


class _Value(msgspec.Struct):
    value: Any = None
    error: _Error | None = None
    serialized_value: _Packed | None = None
    issue_name: str | None = None


class AssessmentForm(msgspec.Struct):
    """An assessment as clients send it; null is what is not said."""

    assessment_id: str | None = None
    assessment_name: str | None = None
    span_id: str | None = None
    source: _Source | None = None
    create_time: str | None = None
    last_update_time: str | None = None
    feedback: _Value | None = None
    expectation: _Value | None = None
    issue: _Value | None = None
    rationale: str | None = None
    error: _Error | None = None
    metadata: dict[str, str] | None = None
    overrides: str | None = None
    valid: bool | None = None


def assessment_in(one: AssessmentForm, trace: str) -> Assessment:
    """An assessment that a client sends. Raises WireError."""
    if not one.assessment_name:
        raise needed("assessment.assessment_name")
    kind, value, problem = value_in(one)
    source = one.source or _Source()
    theirs = source.source_type or "SOURCE_TYPE_UNSPECIFIED"
    theirs = "LLM_JUDGE" if theirs == "AI_JUDGE" else theirs
    ours: Source | None = next((ours for ours, shown in _SOURCES.items() if shown == theirs), None)
    if ours is None:
        raise wrong_type("assessment.source.source_type", theirs)
    metadata = one.metadata or {}
    return Assessment(
        id=one.assessment_id or "",
        trace=trace,
        kind=kind,
        name=one.assessment_name,
        value=value,
        problem=problem,
        rationale=one.rationale or "",
        source=ours,
        source_id=source.source_id or "",
        span=one.span_id or "",
        run=metadata.get("mlflow.assessment.sourceRunId", ""),
        metadata=metadata,
        overrides=one.overrides or "",
        valid=one.valid is not False,
        created_us=us_of(one.create_time, "create_time") if one.create_time else 0,
        updated_us=us_of(one.last_update_time, "last_update_time") if one.last_update_time else 0,
    )


def value_in(one: AssessmentForm) -> tuple[Kind, Any, Problem | None]:
    """What an assessment says: its kind, its value, the problem there was. Raises WireError unless it is exactly one thing."""
    kinds: tuple[Kind, ...] = ("expectation", "feedback", "issue")
    there = [(kind, found) for kind in kinds if (found := getattr(one, kind)) is not None]
    if len(there) != 1:
        raise invalid("Exactly one of `expectation`, `feedback`, or `issue` should be specified.")
    kind, said = cast(tuple[Kind, _Value], there[0])
    if kind == "issue":
        return kind, said.issue_name or "", None
    if said.serialized_value is not None:
        try:
            return kind, msgspec.json.decode(said.serialized_value.value), None
        except msgspec.DecodeError:
            raise invalid("serialized_value is not JSON.") from None
    error = said.error or one.error
    told = (error.error_code or "", error.error_message or "", error.stack_trace or "") if error else None
    return kind, said.value, Problem(*told) if told else None
