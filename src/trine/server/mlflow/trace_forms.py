"""Traces as MLflow says them: infos, spans in OpenTelemetry's form, assessments; and read back from what its clients send.

MLflow's id of a trace is ours with `tr-` before it. Messages are proto-JSON: times as text, 64-bit numbers as text or numbers.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec

from trine.ids import to_datetime
from trine.llm.assessment import Assessment, Kind, Problem, Source
from trine.llm.spans import Span, SpanEvent, SpanLink, SpanState
from trine.llm.traces import State, TraceInfo
from trine.server.mlflow.calls import Json
from trine.server.mlflow.errors import invalid, missing, needed, wrong_type
from trine.server.mlflow.runs import number

PREFIX = "tr-"
NAME, LOCATION, SPANS = "mlflow.traceName", "mlflow.artifactLocation", "mlflow.trace.spansLocation"
USAGE, COST, SIZES = "mlflow.trace.tokenUsage", "mlflow.trace.cost", "mlflow.trace.sizeStats"
SESSION, USER, RUN, REQUEST = "mlflow.trace.session", "mlflow.trace.user", "mlflow.sourceRun", "mlflow.traceRequestId"
PROMPTS = "mlflow.linkedPrompts"
FIXED = frozenset({LOCATION, SPANS, "mlflow.trace.archiveLocation", "mlflow.user"})
"""Tags that nobody sets or deletes."""

STATES: dict[str, State] = {"OK": "ok", "ERROR": "error", "IN_PROGRESS": "running", "STATE_UNSPECIFIED": "unknown"}
_SHOWN = {ours: theirs for theirs, ours in STATES.items()}
_CODES = {"unknown": "STATUS_CODE_UNSET", "ok": "STATUS_CODE_OK", "error": "STATUS_CODE_ERROR"}
_SOURCES: dict[Source, str] = {
    "human": "HUMAN",
    "llm": "LLM_JUDGE",
    "code": "CODE",
    "unknown": "SOURCE_TYPE_UNSPECIFIED",
}


def id_of(text: str) -> str:
    """Our id of a trace. Raises WireError when no trace can have that one."""
    found = text.removeprefix(PREFIX)
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise missing(f"Trace with ID '{text}' not found.")
    return found


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


def time_of(us: int) -> str:
    return to_datetime(us).isoformat().replace("+00:00", "Z")


def us_of(text: Any, where: str) -> int:
    """Microseconds of a Timestamp."""
    if text is None:
        raise needed(where)
    try:
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text)
        when = dt.datetime.fromisoformat(trimmed)
        return max(0, (when - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1))
    except (TypeError, ValueError):
        raise wrong_type(where, text) from None


def seconds_of(text: Any, where: str) -> int | None:
    """Microseconds of a Duration ("1.5s")."""
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,12}(\.\d{1,9})?s", text):
        raise wrong_type(where, text)
    return round(float(text[:-1]) * 1e6)


# -- spans ------------------------------------------------------------------------------------------------------------------


def span_form(one: Span) -> Json:
    """A span as OpenTelemetry's message says it."""
    found: Json = {
        "trace_id": _bytes(one.trace),
        "span_id": _bytes(one.id),
        "name": one.name,
        "kind": one.kind,
        "start_time_unix_nano": one.start_ns,
        "end_time_unix_nano": one.end_ns,
        "attributes": _pairs(_told(one)),
        "status": {"code": _CODES[one.state], "message": one.message},
    }
    if one.parent:
        found["parent_span_id"] = _bytes(one.parent)
    if one.events:
        found["events"] = [
            {"name": it.name, "time_unix_nano": it.time_ns, "attributes": _pairs(it.attributes)} for it in one.events
        ]
    if one.links:
        found["links"] = [
            {"trace_id": _bytes(it.trace), "span_id": _bytes(it.span), "attributes": _pairs(it.attributes)}
            for it in one.links
        ]
    return found


def _told(one: Span) -> dict[str, Any]:
    """A span's attributes, with those in which MLflow looks for what other conventions say elsewhere."""
    usage = {name: value for name, value in one.usage._asdict().items() if value is not None and name != "cost"}
    known: dict[str, Any] = {
        "mlflow.spanInputs": one.inputs,
        "mlflow.spanOutputs": one.outputs,
        "mlflow.spanType": one.type.upper() or None,
        "mlflow.llm.model": one.model or None,
        "mlflow.chat.tokenUsage": usage or None,
    }
    missing = {key: value for key, value in known.items() if value is not None and key not in one.attributes}
    return {**one.attributes, **missing, REQUEST: PREFIX + one.trace}


def _bytes(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _pairs(attributes: dict[str, Any]) -> list[Json]:
    return [{"key": key, "value": _any(value)} for key, value in attributes.items()]


def _any(value: Any) -> Json:
    """A value as an AnyValue."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, int):
        return {"int_value": str(value)} if -(2**63) <= value < 2**63 else {"string_value": str(value)}
    if isinstance(value, float):
        return {"double_value": number(value)}
    if isinstance(value, bytes):
        return {"bytes_value": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return {"array_value": {"values": [_any(one) for one in cast(list[Any], value)]}}
    if isinstance(value, dict):
        return {"kvlist_value": {"values": _pairs(cast(dict[str, Any], value))}}
    return {"string_value": str(value)}


def spans_json(spans: Iterable[Span]) -> bytes:
    """Spans as the file `traces.json` holds them: attributes are JSON inside JSON."""
    found: list[Json] = []
    for one in spans:
        form = span_form(one)
        attributes = {key: msgspec.json.encode(value, enc_hook=repr).decode() for key, value in _told(one).items()}
        events = [{"name": it.name, "time_unix_nano": it.time_ns, "attributes": it.attributes} for it in one.events]
        parent = form.pop("parent_span_id", None)
        found.append({**form, "parent_span_id": parent, "attributes": attributes, "events": events, "links": []})
    return msgspec.json.encode({"spans": found}, enc_hook=repr)


def spans_in(data: bytes, trace: str) -> list[Span]:
    """The spans of a file `traces.json`, of any version of MLflow's client. Raises WireError."""
    try:
        told: Any = msgspec.json.decode(data)
        return [_span_in(cast(Json, one), trace) for one in told["spans"]]
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise invalid(f"traces.json is not as MLflow writes it: {type(error).__name__}: {error}") from None


def _span_in(one: Json, trace: str) -> Span:
    old: Json = one.get("context") or {}
    parent = one.get("parent_span_id") or one.get("parent_id") or ""
    status: Json = one.get("status") or {"code": one.get("status_code"), "message": one.get("status_message")}
    code = str(status.get("code") or "").removeprefix("STATUS_CODE_")
    states: dict[str, SpanState] = {"OK": "ok", "ERROR": "error"}
    made = Span(
        trace=trace,
        id=_hexadecimal(one.get("span_id") or old["span_id"]),
        parent=_hexadecimal(parent) if parent else "",
        name=str(one["name"]),
        start_ns=int(one.get("start_time_unix_nano") or one.get("start_time") or 0),
        end_ns=int(one.get("end_time_unix_nano") or one.get("end_time") or 0),
        state=states.get(code, "unknown"),
        message=str(status.get("message") or ""),
        attributes={key: _unquoted(value) for key, value in (one.get("attributes") or {}).items() if key != REQUEST},
        events=[
            SpanEvent(
                str(it["name"]), int(it.get("time_unix_nano") or it.get("timestamp") or 0), it.get("attributes") or {}
            )
            for it in one.get("events") or ()
        ],
        links=[
            SpanLink(id_of(it["trace_id"]), _hexadecimal(it["span_id"]), it.get("attributes") or {})
            for it in one.get("links") or ()
        ],
    )
    return msgspec.convert(msgspec.to_builtins(made), Span)


def _hexadecimal(id: str) -> str:
    """A span's id: 16 hex digits (with 0x before them, in old files), or base64 of 8 bytes."""
    plain = id.removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]{16}", plain):
        return plain
    return base64.b64decode(id).hex()


def _unquoted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


# -- assessments -----------------------------------------------------------------------------------------------------------


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


F = TypeVar("F")


def read(told: Any, kind: type[F], where: str) -> F:
    """A message that a client sends. Raises WireError naming the field that is wrong."""
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid value for parameter '{where}' supplied: {error}") from None


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
