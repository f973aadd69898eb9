"""OpenTelemetry's own exporter against a server, and exports that are wrong."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import tracking
from trine.errors import InvalidInput, TooLarge
from trine.llm import get_trace, otlp, search_traces, span_exporter
from trine.llm.spans import pack, unpack
from trine.llm.traces import summary_of
from trine.workspace import Workspace

ID, ROOT, CHILD = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"


@pytest.fixture
def client(
    local_ws: Workspace, serve: Callable[[Workspace], str], admin_token: Callable[[Workspace], str]
) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {admin_token(local_ws)}"}
    with httpx.Client(base_url=serve(local_ws), headers=headers, timeout=30) as found:
        yield found


def test_the_exporter_of_opentelemetry_sends_what_a_program_did(client: httpx.Client) -> None:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Link, Status, StatusCode

    provider = TracerProvider(resource=Resource({"service.name": "desk"}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(
        f"{client.base_url}/v1/traces".replace("//v1", "/v1"),
        headers={"authorization": client.headers["authorization"], "trine-experiment": "desk"},
        compression=Compression.Gzip,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("desk.code")
    with tracer.start_as_current_span("answer", attributes={"session.id": "s-1"}) as root:
        linked = Link(root.get_span_context(), {"why": "again"})
        with tracer.start_as_current_span("chat", links=[linked]) as inner:
            inner.set_attributes({"gen_ai.usage.input_tokens": 7, "list": ["a", "b"], "yes": True, "half": 0.5})
            inner.add_event("token", {"n": 1})
            inner.set_status(Status(StatusCode.ERROR, "cut off"))
    provider.shutdown()
    (info,) = search_traces()
    assert (info.name, info.state, info.spans, info.experiment, info.session) == ("answer", "ok", 2, "desk", "s-1")
    assert info.tags["service.name"] == "desk" and info.total_tokens == 7
    found, chat = get_trace(info.id).spans
    assert found.id == f"{root.get_span_context().span_id:016x}" and found.scope == "desk.code"
    assert (chat.state, chat.message, chat.events[0].name, chat.links[0].span) == (
        "error",
        "cut off",
        "token",
        found.id,
    )
    assert (chat.attributes["list"], chat.attributes["yes"], chat.attributes["half"]) == (["a", "b"], True, 0.5)


def test_the_sdk_writes_into_a_workspace_without_a_server(local_ws: Workspace) -> None:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace import Link, SpanKind

    provider = TracerProvider(resource=Resource({"service.name": "desk"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(span_exporter(ws=local_ws)))
    tracer = provider.get_tracer("desk.code")
    with tracking.run("desk") as run, tracer.start_as_current_span("answer", kind=SpanKind.SERVER) as root:
        linked = Link(root.get_span_context())
        with (
            pytest.raises(KeyError),
            tracer.start_as_current_span("chat", attributes={"list": ["a"]}, links=[linked]),
        ):
            raise KeyError("x")
    (info,) = search_traces()
    assert (info.name, info.state, info.spans, info.runs, info.tags["service.name"]) == (
        "answer",
        "ok",
        2,
        [run.id],
        "desk",
    )
    found, chat = get_trace(info.id).spans
    assert (found.kind, found.scope, chat.parent, chat.state) == (2, "desk.code", found.id, "error")
    assert (chat.attributes["list"], chat.events[0].name, chat.links[0].span) == (["a"], "exception", found.id)


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "js"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def a_span(**more: Any) -> dict[str, Any]:
    times = {"startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1700000000500000000}
    return {"traceId": ID, "spanId": ROOT, "name": "page", "kind": 2} | times | more


def test_json_is_read_with_ids_in_hex_and_numbers_as_text(client: httpx.Client) -> None:
    nested = {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"intValue": "5"}, {}]}}}]}}
    attributes = [{"key": "n", "value": nested}, {"key": "d", "value": {"doubleValue": 1}}, {"key": "none"}]
    child = a_span(
        spanId=CHILD, parentSpanId=ROOT, name="inner", attributes=attributes, status={"code": 2, "message": "no"}
    )
    answer = client.post("/v1/traces", json=export(a_span(), child))
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    _, inner = get_trace(ID).spans
    assert inner.attributes == {"n": {"a": [5, None]}, "d": 1.0, "none": None} and inner.state == "error"
    assert get_trace(ID).info.duration_us == 500_000 and get_trace(ID).info.experiment == "default"


def test_spans_that_cannot_be_taken_are_counted_and_the_others_kept(client: httpx.Client) -> None:
    wrong = [a_span(traceId="0" * 32), a_span(spanId="xyz", name="bad id"), a_span(startTimeUnixNano="-5")]
    answer = client.post("/v1/traces", json=export(*wrong, a_span()))
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "3" and "no trace id" in partial["errorMessage"]
    assert get_trace(ID).info.spans == 1


def test_exports_that_are_none_are_refused_and_say_why(client: httpx.Client) -> None:
    body = msgspec.json.encode(export(a_span()))
    as_json, as_protobuf = {"content-type": "application/json"}, {"content-type": "application/x-protobuf"}
    cases = [
        (b"{", as_json, 400, "no trace export in JSON"),
        (b'{"resourceSpans": 5}', as_json, 400, "no trace export in JSON"),
        (b"\xff\xff\xff", as_protobuf, 400, "no trace export in protobuf"),
        (body, {"content-type": "text/plain"}, 400, "text/plain"),
        (body, as_json | {"content-encoding": "br"}, 400, "br"),
        (body, as_json | {"content-encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(body)[:-5], as_json | {"content-encoding": "gzip"}, 400, "does not end"),
        (body, as_json | {"x-mlflow-experiment-id": "99"}, 404, "No Experiment with id=99 exists"),
        (body, as_json | {"authorization": "Bearer no"}, 401, ""),
    ]
    for content, headers, status, told in cases:
        answer = client.post("/v1/traces", content=content, headers=headers)
        assert (answer.status_code, told in answer.text) == (status, True), (headers, answer.text)
    assert search_traces() == []
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        answer = client.post("/v1/traces", content=packed, headers=as_json | {"content-encoding": encoding})
        assert answer.status_code == 200


def test_exports_at_once_are_kept_together_and_each_is_told_its_own(client: httpx.Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def send(at: int) -> int:
        headers = {"x-mlflow-experiment-id": "0", "trine-experiment": "a"} if at % 2 else {}
        headers |= {"x-mlflow-experiment-id": "99"} if at % 5 == 4 else {}
        wrong = {"spanId": f"{at + 1:016x}", "parentSpanId": ROOT if at else ""}
        return client.post("/v1/traces", json=export(a_span(**wrong)), headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(40)))
    assert statuses == [404 if at % 5 == 4 else 200 for at in range(40)]
    assert get_trace(ID).info.spans == 32


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something in nested values."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*at, key))


WHOLE = export(
    a_span(
        attributes=[
            {"key": "a", "value": {"arrayValue": {"values": [{"intValue": "5"}, {"kvlistValue": {"values": []}}]}}},
            {
                "key": "mlflow.chat.tokenUsage",
                "value": {"kvlistValue": {"values": [{"key": "x", "value": {"intValue": 5}}]}},
            },
            {"key": "trine.uses", "value": {"arrayValue": {"values": [{"stringValue": "model:a@1"}]}}},
        ],
        events=[{"name": "e", "timeUnixNano": "5", "attributes": [{"key": "d", "value": {"doubleValue": 1.5}}]}],
        links=[{"traceId": ID, "spanId": CHILD}],
        status={"code": 2, "message": "m"},
    )
)
ODD = st.sampled_from(
    [None, 5, -1, 10**30, 1.5, "x", "", "\0", "-5", "0" * 32, [], {}, True, {"values": 5}, {"intValue": {}}]
)


@given(st.lists(st.tuples(st.sampled_from(list(places(WHOLE))[1:]), ODD), min_size=1, max_size=3))
def test_whatever_is_odd_in_an_export_is_refused_or_taken(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    told = msgspec.json.decode(msgspec.json.encode(WHOLE))
    for at, value in changes:
        inside: Any = told
        try:
            for key in at[:-1]:
                inside = inside[key]
            inside[at[-1]] = copy.deepcopy(value)  # a later change may reach into it
        except (TypeError, KeyError, IndexError):
            continue  # what an earlier change took away
    try:
        received = otlp.read_json(json.dumps(told).encode())
    except InvalidInput:
        return
    assert unpack(pack(received.spans)) == received.spans
    for one in received.spans:
        summary_of([one])


def test_spans_go_to_the_run_that_a_header_names(client: httpx.Client) -> None:
    with tracking.run("desk") as run:
        pass
    client.post("/v1/traces", json=export(a_span()), headers={"x-mlflow-run-id": run.id})
    assert get_trace(ID).info.runs == [run.id] and get_trace(ID).info.experiment == "desk"
    answer = client.post("/v1/traces", json=export(a_span(traceId="5" * 32)), headers={"x-mlflow-run-id": "0" * 32})
    partial = answer.json()["partialSuccess"]
    assert (
        answer.status_code == 200 and partial["rejectedSpans"] == "0" and "belong to no run" in partial["errorMessage"]
    )
    assert get_trace("5" * 32).info.runs == []


def test_a_body_that_unpacks_to_too_much_is_not_unpacked() -> None:
    with pytest.raises(TooLarge, match="64 MB"):
        otlp.unpacked(gzip.compress(bytes(65 << 20), 1), "gzip")
    with pytest.raises(InvalidInput, match="zstd"):
        otlp.unpacked(b"", "zstd")
