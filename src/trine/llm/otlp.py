"""OpenTelemetry's trace export (OTLP 1.x) as spans, from protobuf and from JSON.

JSON needs nothing; protobuf is read by OpenTelemetry's own messages (`pip install 'trine[otlp]'`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import msgspec

from trine.errors import InvalidInput, TooLarge
from trine.extras import need
from trine.llm.spans import Span, SpanEvent, SpanLink, SpanState

LARGEST_UNPACKED = 64 << 20
"""Bytes that a compressed export may unpack to."""
STATES: tuple[SpanState, ...] = ("unknown", "ok", "error")
DEEPEST = 32
"""How deep values are nested that are read."""


class Received(NamedTuple):
    """The spans of an export, how many could not be taken, and why the first of them (or, of none, a warning)."""

    spans: list[Span]
    rejected: int
    problem: str


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body without its compression (gzip, deflate or none). Raises InvalidInput and TooLarge."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidInput(f'The encoding "{encoding}" is not known here: send gzip, deflate or none.')
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32 if body[:1] in (b"\x1f", b"\x78") else -zlib.MAX_WBITS)
    try:
        found = stream.decompress(body, LARGEST_UNPACKED)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInput(f"The body is not {encoding}: {error}.") from None
    if stream.unconsumed_tail:
        raise TooLarge(f"The body unpacks to more than {LARGEST_UNPACKED >> 20} MB. Send it in parts.")
    if not stream.eof:
        raise InvalidInput(f"The body is not whole: its {encoding} stream does not end.")
    return found


def read_protobuf(body: bytes) -> Received:
    """The spans of an ExportTraceServiceRequest. Raises InvalidInput when it is none, or its library is not installed."""
    service = need("opentelemetry.proto.collector.trace.v1.trace_service_pb2", extra="otlp", purpose="OTLP in protobuf")
    message = need("google.protobuf.message", extra="otlp", purpose="OTLP in protobuf")
    request = service.ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except message.DecodeError:
        raise InvalidInput("The body is no trace export in protobuf (ExportTraceServiceRequest).") from None
    return _received(request.resource_spans, _plain, lambda id: id.hex())


def read_json(body: bytes) -> Received:
    """The spans of an export in JSON: ids in hex, 64-bit numbers as text or numbers. Raises InvalidInput when it is none."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is no trace export in JSON: {error}.") from None
    return _received(request.resource_spans, _plain_json, str.lower)


def response(received: Received, *, as_json: bool) -> bytes:
    """The answer to an export: empty, or with what was rejected."""
    if as_json:
        partial = {"rejectedSpans": str(received.rejected), "errorMessage": received.problem}
        return msgspec.json.encode({"partialSuccess": partial} if received.problem else {})
    service = need("opentelemetry.proto.collector.trace.v1.trace_service_pb2", extra="otlp", purpose="OTLP in protobuf")
    answer = service.ExportTraceServiceResponse()
    if received.problem:
        answer.partial_success.rejected_spans = received.rejected
        answer.partial_success.error_message = received.problem
    return answer.SerializeToString()


def _received(groups: Iterable[Any], plain: Callable[[Any], Any], hexadecimal: Callable[[Any], str]) -> Received:
    spans: list[Span] = []
    rejected, problem = 0, ""
    for group in groups:
        for scope in group.scope_spans:
            for one in scope.spans:
                try:
                    resource = _attributes(group.resource.attributes, plain) if group.resource else {}
                    made = _span(one, plain, hexadecimal)
                except (ValueError, msgspec.ValidationError) as error:
                    rejected += 1
                    problem = problem or f'Span "{one.name[:100]}": {error}.'
                    continue
                name = scope.scope.name if scope.scope else ""
                spans.append(msgspec.structs.replace(made, resource=resource, scope=name))
    return Received(spans, rejected, problem)


def _span(one: Any, plain: Callable[[Any], Any], hexadecimal: Callable[[Any], str]) -> Span:
    parent = hexadecimal(one.parent_span_id)
    code = int(one.status.code) if one.status else 0
    made = Span(
        trace=hexadecimal(one.trace_id),
        id=hexadecimal(one.span_id),
        parent="" if not parent.strip("0") else parent,
        name=one.name,
        start_ns=int(one.start_time_unix_nano),
        end_ns=int(one.end_time_unix_nano),
        state=STATES[code] if 0 <= code < 3 else "unknown",
        message=one.status.message if one.status else "",
        kind=int(one.kind),
        attributes=_attributes(one.attributes, plain),
        events=[SpanEvent(it.name, int(it.time_unix_nano), _attributes(it.attributes, plain)) for it in one.events],
        links=[
            SpanLink(hexadecimal(it.trace_id), hexadecimal(it.span_id), _attributes(it.attributes, plain))
            for it in one.links
        ],
    )
    if not made.trace.strip("0") or not made.id.strip("0"):
        raise ValueError("it has no trace id or no span id")
    return msgspec.convert(msgspec.to_builtins(made, builtin_types=(bytes,)), Span)  # its ids and times are looked at


def _attributes(pairs: Iterable[Any], plain: Callable[[Any], Any]) -> dict[str, Any]:
    return {one.key: plain(one.value) for one in pairs}


def _plain(value: Any, depth: int = 0) -> Any:
    """An AnyValue of protobuf as a Python value."""
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which in ("array_value", "kvlist_value"):
        if depth >= DEEPEST:
            return str(value)
        if which == "array_value":
            return [_plain(one, depth + 1) for one in value.array_value.values]
        return {one.key: _plain(one.value, depth + 1) for one in value.kvlist_value.values}
    return getattr(value, which)


# -- JSON -------------------------------------------------------------------------------------------------------------------


class _Form(msgspec.Struct, rename="camel"):
    """A message of OTLP in JSON."""


class _Pair(_Form):
    key: str
    value: dict[str, Any] | None = None


class _Resource(_Form):
    attributes: list[_Pair] = []


class _Status(_Form):
    message: str = ""
    code: int | str = 0


class _Event(_Form):
    time_unix_nano: int | str = 0
    name: str = ""
    attributes: list[_Pair] = []


class _Link(_Form):
    trace_id: str
    span_id: str
    attributes: list[_Pair] = []


class _Span(_Form):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Pair] = []
    events: list[_Event] = []
    links: list[_Link] = []
    status: _Status | None = None


class _Scope(_Form):
    name: str = ""


class _ScopeSpans(_Form):
    scope: _Scope | None = None
    spans: list[_Span] = []


class _ResourceSpans(_Form):
    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] = []


class _Request(_Form):
    resource_spans: list[_ResourceSpans] = []


_KINDS: dict[str, tuple[type, ...]] = {
    "stringValue": (str,), "boolValue": (bool,), "intValue": (int, str), "doubleValue": (int, float, str),
    "bytesValue": (str,), "arrayValue": (dict,), "kvlistValue": (dict,),
}  # fmt: skip


def _plain_json(value: Any, depth: int = 0) -> Any:
    """An AnyValue of JSON as a Python value. Raises ValueError for what is none."""
    if not isinstance(value, dict) or not value:
        return None
    which, found = next(iter(cast(dict[str, Any], value).items()))
    if found is None or which not in _KINDS:
        return None
    if not isinstance(found, _KINDS[which]):
        raise ValueError(f"{which} cannot be {type(found).__name__}")
    if which == "intValue":
        number = int(found)
        return number if -(2**63) <= number < 2**63 else str(number)
    if which == "doubleValue":
        return float(found)
    if which in ("arrayValue", "kvlistValue"):
        items: Any = found.get("values") or []
        if depth >= DEEPEST or not isinstance(items, list):
            return msgspec.json.encode(found).decode()
        if which == "arrayValue":
            return [_plain_json(one, depth + 1) for one in cast(list[Any], items)]
        pairs = msgspec.convert(items, list[_Pair])
        return {one.key: _plain_json(one.value, depth + 1) for one in pairs}
    return found
