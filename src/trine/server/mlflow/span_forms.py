"""Spans as MLflow's clients say them: OpenTelemetry's messages, and the file `traces.json`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from trine.llm.spans import Span, SpanEvent, SpanLink, SpanState
from trine.server.mlflow.calls import Json
from trine.server.mlflow.errors import invalid
from trine.server.mlflow.runs import number
from trine.server.mlflow.trace_words import PREFIX, REQUEST, id_of

_CODES = {"unknown": "STATUS_CODE_UNSET", "ok": "STATUS_CODE_OK", "error": "STATUS_CODE_ERROR"}


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
