"""Assessments of traces: created, read, changed, deleted."""

from __future__ import annotations

from typing import Any

import msgspec

from trine.errors import NotFound
from trine.llm import operations as door
from trine.llm.assessment import Assessment
from trine.llm.assessments import Said
from trine.server.mlflow.assessment_forms import AssessmentForm, assessment_form, assessment_in, value_in
from trine.server.mlflow.calls import Call, Json, route
from trine.server.mlflow.errors import invalid, missing, needed
from trine.server.mlflow.trace_words import read
from trine.server.mlflow.traces import info_of


@route("POST traces/{trace_id}/assessments")
def create(call: Call) -> Json:
    """Say something of a trace."""
    if call.get("assessment") is None:
        raise needed("assessment")
    id = call.text("trace_id")
    info = info_of(call, id)
    told = assessment_in(read(call.get("assessment"), AssessmentForm, "assessment"), info.id)
    values = {name: getattr(told, name) for name in _SAID}
    try:
        made = door.create_assessment(call.ws, trace=info.id, source_id=told.source_id or "default", **values)
    except NotFound:
        raise missing(f"Assessment with ID '{told.overrides}' not found for trace '{id}'") from None
    return {"assessment": assessment_form(made)}


_SAID = ("name", "value", "kind", "problem", "rationale", "source", "span", "run", "metadata", "overrides")


def _find(call: Call) -> Assessment:
    id, wanted = call.text("trace_id"), call.text("assessment_id")
    info = info_of(call, id)
    try:
        return door.get_assessment(call.ws, trace=info.id, id=wanted)
    except NotFound:
        raise missing(f"Assessment with ID '{wanted}' not found for trace '{id}'") from None


@route("GET traces/{trace_id}/assessments/{assessment_id}")
def get(call: Call) -> Json:
    """One assessment."""
    return {"assessment": assessment_form(_find(call))}


class _Mask(msgspec.Struct):
    paths: list[str] = []


@route("PATCH traces/{trace_id}/assessments/{assessment_id}")
def update(call: Call) -> Json:
    """Change what the mask names."""
    told, mask = call.get("assessment"), call.get("update_mask")
    if told is None:
        raise needed("assessment")
    if mask is None:
        raise needed("update_mask")
    one = read(told, AssessmentForm, "assessment")
    before = _find(call)
    changes: dict[str, Any] = {}
    paths = mask.split(",") if isinstance(mask, str) else read(mask, _Mask, "update_mask").paths
    for path in paths:
        match path.strip():
            case "assessment_name" | "assessmentName":
                changes["name"] = one.assessment_name
            case "feedback" | "expectation" as kind:
                if kind != before.kind:
                    shown = {"feedback": "Feedback", "expectation": "Expectation"}
                    an = "an" if before.kind == "expectation" else "a"
                    raise invalid(
                        f"Cannot update {kind} value on {an} {shown.get(before.kind, before.kind)} assessment."
                    )
                _, value, problem = value_in(one)
                changes["said"] = Said(value, problem)
            case "rationale":
                changes["rationale"] = one.rationale or ""
            case "metadata":
                changes["metadata"] = one.metadata or {}
            case _:
                continue
    after = door.update_assessment(call.ws, trace=before.trace, id=before.id, **changes)
    return {"assessment": assessment_form(after)}


@route("DELETE traces/{trace_id}/assessments/{assessment_id}")
def delete(call: Call) -> Json:
    """Take it back; what it overrode is valid again."""
    info = info_of(call, call.text("trace_id"))
    door.delete_assessment(call.ws, trace=info.id, id=call.text("assessment_id"))
    return {}
