"""Traces, assessments and evaluation datasets over MLflow's wire: what the client does not try, and what is wrong."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trine import llm
from trine.llm import operations as door
from trine.llm.spans import Span, pack
from trine.workspace import Workspace

Begin = Callable[..., str]
ID = "4bf92f3577b34da6a3ce929d0e0e4736"
THEIRS = f"tr-{ID}"
FILE = f"/api/2.0/mlflow-artifacts/artifacts/0/traces/{THEIRS}/artifacts"
SPAN = {
    "trace_id": base64.b64encode(bytes.fromhex(ID)).decode(),
    "span_id": base64.b64encode(bytes(7) + b"\1").decode(),
}


def info(**more: Any) -> dict[str, Any]:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    when = {"request_time": "2026-03-01T12:00:00.123456789Z", "execution_duration": "1.5s", "state": "OK"}
    return {"trace": {"trace_info": {"trace_id": THEIRS, "trace_location": place, **when} | more}}


def start(wire: Any, **more: Any) -> dict[str, Any]:
    return wire("POST /api/3.0/mlflow/traces", **info(**more))["trace"]["trace_info"]


def spans() -> bytes:
    attributes = {
        "mlflow.traceRequestId": f'"{THEIRS}"',
        "mlflow.spanInputs": '{"q": "when?"}',
        "mlflow.spanType": '"LLM"',
    }
    status = {"code": "STATUS_CODE_ERROR", "message": "no"}
    times = {"start_time_unix_nano": 1_772_366_400_000_000_000, "end_time_unix_nano": 1_772_366_401_000_000_000}
    event = {"name": "e", "time_unix_nano": 5, "attributes": {"a": 1}}
    one = {**SPAN, "parent_span_id": None, "name": "chat", **times, "events": [event], "status": status}
    return json.dumps({"spans": [{**one, "attributes": attributes, "links": []}]}).encode()


def test_spans_may_come_as_a_file_and_are_read_as_one(wire: Any, local_ws: Workspace) -> None:
    sizes = {
        "mlflow.trace.sizeStats": '{"num_spans": 1}',
        "mlflow.trace.tokenUsage": '{"input_tokens": 3, "total_tokens": 4}',
    }
    told = start(wire, trace_metadata=sizes, tags={"mlflow.traceName": "mine", "a": "b"}, request_preview="when?")
    assert "mlflow.trace.spansLocation" not in told["tags"], "the client has to send the file"
    assert (told["request_time"], told["execution_duration"]) == ("2026-03-01T12:00:00.123456Z", "1.500000s")
    assert wire.refused("GET /api/3.0/mlflow/traces/get", trace_id=THEIRS)[1:] == (
        "RESOURCE_DOES_NOT_EXIST",
        f"Trace with ID {THEIRS} is not fully exported yet, please try again later.",
    )
    assert wire("GET /api/3.0/mlflow/traces/get", trace_id=THEIRS, allow_partial="true")["trace"]["spans"] == []
    assert wire.client.put(f"{FILE}/traces.json", content=spans()).json() == {}
    assert wire.client.put(f"{FILE}/attachments/x", content=b"png").json() == {}
    trace = llm.get_trace(ID, ws=local_ws)
    assert (trace.info.name, trace.info.state, trace.info.total_tokens, trace.info.tags) == (
        "mine",
        "ok",
        4,
        {"a": "b"},
    )
    (span,) = trace.spans
    assert (span.state, span.type, span.inputs, span.events[0].attributes) == ("error", "llm", {"q": "when?"}, {"a": 1})
    again = wire.client.get(f"{FILE}/traces.json").json()["spans"][0]
    assert again["attributes"]["mlflow.spanInputs"] == '{"q":"when?"}' and again["span_id"] == SPAN["span_id"]
    assert wire.client.get(f"{FILE}/attachments/x").content == b"png"
    assert start(wire, trace_metadata=sizes)["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    found = wire("GET /api/3.0/mlflow/traces/batchGet", trace_ids=[THEIRS, "tr-" + "0" * 32])["traces"]
    assert [len(one["spans"]) for one in found] == [1]
    assert wire.client.put(f"{FILE}/traces.json", content=b'{"spans": [{}]}').status_code == 400
    assert wire.client.put(f"{FILE.replace(ID, '0' * 32)}/traces.json", content=spans()).status_code == 404


def test_without_the_library_for_protobuf_the_client_is_told_to_send_files(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    answer = wire.client.post("/v1/traces", content=b"", headers={"content-type": "application/x-protobuf"})
    assert answer.status_code == 501 and "REST OTLP span logging is not supported" in answer.json()["message"]
    assert "pip install 'trine[otlp]'" in answer.json()["message"]


def test_what_is_wrong_is_said_as_mlflow_says_it(wire: Any) -> None:
    start(wire)
    traces = "/api/3.0/mlflow/traces"
    locations = [{"mlflow_experiment": {"experiment_id": "0"}}]
    assert wire.refused(f"GET {traces}/nothing")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.refused(f"GET {traces}/tr-{'0' * 32}")[2] == f"Trace with ID 'tr-{'0' * 32}' not found."
    assert "Missing value for required parameter 'trace'" in wire.refused(f"POST {traces}")[2]
    for wrong in (
        {"trace_id": "x"},
        {"state": "NO"},
        {"request_time": "noon"},
        {"execution_duration": "1h"},
        {"tags": 5},
    ):
        assert wire.refused(f"POST {traces}", **info(**wrong))[0] == 400, wrong
    assert wire.refused(f"POST {traces}/search", locations=locations, max_results=501)[1] == "INVALID_PARAMETER_VALUE"
    assert wire.refused(f"POST {traces}/search", locations=locations, order_by=["span.name"])[0] == 400
    assert "immutable" in wire.refused(f"PATCH {traces}/{THEIRS}/tags", key="mlflow.artifactLocation", value="x")[2]
    many = {"trace_ids": ["x"] * 101, "run_id": "0" * 32}
    assert "Cannot link more than 100" in wire.refused(f"POST {traces}/link-to-run", **many)[2]
    assert "must be specified" in wire.refused(f"POST {traces}/delete-traces", experiment_id="0")[2]
    said = f"{traces}/{THEIRS}/assessments"
    both = {"assessment_name": "a", "feedback": {"value": 1}, "expectation": {"value": 1}}
    assert "Exactly one of" in wire.refused(f"POST {said}", assessment=both)[2]
    assert (
        wire.refused(f"POST {said}", assessment={"assessment_name": "a", "feedback": {}, "overrides": "a-1"})[0] == 404
    )
    made = wire(f"POST {said}", assessment={"assessment_name": "a", "expectation": {"value": 1}})["assessment"]
    update = {"assessment": {"feedback": {"value": 2}}, "update_mask": "feedback"}
    told = wire.refused(f"PATCH {said}/{made['assessment_id']}", **update)[2]
    assert told == "Cannot update feedback value on an Expectation assessment."


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something in nested values."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places(one, (*at, key))


def test_whatever_is_odd_in_a_message_is_refused_or_taken(wire: Any) -> None:
    said = {
        "assessment_name": "a",
        "feedback": {"value": 1, "error": {"error_code": "x"}},
        "source": {"source_type": "HUMAN"},
    }
    told = info(
        tags={"a": "b"},
        trace_metadata={"mlflow.trace.tokenUsage": "{}"},
        assessments=[{**said, "metadata": {"k": "v"}}],
    )
    traces, odd = "/api/3.0/mlflow/traces", itertools.cycle([5, "x", [], {"a": [1]}, None, 10**30, True, ["x"], "\0"])
    for at in list(places(told))[1:]:
        body = copy.deepcopy(told)
        inside: Any = body
        for key in at[:-1]:
            inside = inside[key]
        inside[at[-1]] = next(odd)
        assert wire.send(f"POST {traces}", **body).status_code in (200, 400, 404), body
        if "assessments" in at[:-1]:
            one = body["trace"]["trace_info"]["assessments"][0]
            assert wire.send(f"POST {traces}/{THEIRS}/assessments", assessment=one).status_code in (200, 400, 404), one


def test_clients_before_3_tell_of_a_trace_twice(wire: Any, local_ws: Workspace) -> None:
    begun = wire(
        "POST traces",
        experiment_id="0",
        timestamp_ms=1_000,
        request_metadata=[{"key": "m", "value": "1"}],
        tags=[{"key": "mlflow.traceName", "value": "old"}],
    )["trace_info"]
    id = begun["request_id"]
    assert begun["status"] == "IN_PROGRESS"
    ended = wire(f"PATCH traces/{id}", timestamp_ms=1_250, status="OK", tags=[{"key": "t", "value": "2"}])["trace_info"]
    assert (ended["status"], ended["execution_time_ms"]) == ("OK", 250)
    found = wire("GET traces", experiment_ids="0", filter="tags.t = '2'")["traces"]
    assert [one["request_id"] for one in found] == [id] and wire(f"GET traces/{id}/info")["trace_info"] == ended
    info = llm.get_trace(id.removeprefix("tr-"), ws=local_ws).info
    assert (info.name, info.metadata["m"], info.state) == ("old", "1", "ok")


def test_what_other_conventions_say_is_said_in_mlflows(wire: Any, local_ws: Workspace) -> None:
    attributes = {
        "input.value": "when?",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.request.model": "small-1",
        "list": [1, None],
    }
    one = Span(trace=ID, id="0" * 15 + "1", name="chat", start_ns=1, end_ns=2_000_001, attributes=attributes)
    door.record_spans(local_ws, spans=pack([one]))
    (span,) = wire("GET /api/3.0/mlflow/traces/get", trace_id=THEIRS)["trace"]["spans"]
    told = {one["key"]: one["value"] for one in span["attributes"]}
    assert told["mlflow.spanInputs"] == {"string_value": "when?"} and told["mlflow.llm.model"] == {
        "string_value": "small-1"
    }
    usage = {one["key"]: one["value"]["int_value"] for one in told["mlflow.chat.tokenUsage"]["kvlist_value"]["values"]}
    assert usage == {"input_tokens": "3", "total_tokens": "3"}
    assert told["list"] == {"array_value": {"values": [{"int_value": "1"}, {}]}}


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("execution_time = 1500", 1), ("execution_time > 1500", 0), ("execution_time_ms <= 1500", 1),
        ("timestamp_ms = 1772366400123", 1), ("timestamp_ms != 1772366400123", 0), ("end_time >= 1772366401623", 1),
        ("request_id = 'tr-4bf92f3577b34da6a3ce929d0e0e4736'", 1), ("status IN ('OK', 'ERROR')", 1),
        ("status != 'OK'", 0), ("metadata.m LIKE 'v%' and tags.a IS NOT NULL", 1), ("tags.`a` ILIKE 'B'", 1),
        ("client_request_id = 'c'", 1), ("name NOT IN ('mine')", 0), ("feedback.x = 'true'", 0),
    ],
)  # fmt: skip
def test_filters(wire: Any, filter: str, count: int) -> None:
    tags = {"mlflow.traceName": "mine", "a": "b"}
    start(wire, tags=tags, trace_metadata={"m": "v"}, client_request_id="c")
    found = wire(
        "POST /api/3.0/mlflow/traces/search", locations=[{"mlflow_experiment": {"experiment_id": "0"}}], filter=filter
    )
    assert len(found.get("traces", [])) == count


def test_how_much_two_filters_go_together(wire: Any, local_ws: Workspace) -> None:
    for n in range(20):
        state: Any = "error" if n < 8 else "ok"
        door.record_trace(local_ws, id=f"{n + 1:032x}", state=state, started_us=n, tags={"slow": str(n < 6 or n == 19)})

    def found(first: str, second: str, **more: str) -> dict[str, Any]:
        filters = {"filter_string1": first, "filter_string2": second, "experiment_ids": ["0"]}
        return wire("POST /api/3.0/mlflow/traces/calculate-filter-correlation", **filters, **more)

    told = found("status = 'ERROR'", "tags.slow = 'True'")
    assert [told[f"{name}_count"] for name in ("filter1", "filter2", "joint", "total")] == [8, 7, 6, 20]
    joint, one, other = 6 / 20, 8 / 20, 7 / 20
    assert told["npmi"] == pytest.approx(math.log(joint / (one * other)) / -math.log(joint))
    assert told["npmi_smoothed"] == pytest.approx(math.log(6.5 * 22 / (9 * 8)) / -math.log(6.5 / 22))
    assert found("status = 'OK'", "status = 'ERROR'")["npmi"] == -1.0
    assert found("status = 'OK'", "tags.none = 'x'")["npmi"] == "NaN"
    assert found("status = 'ERROR'", "status = 'ERROR'", base_filter="status = 'ERROR'")["npmi"] == 1.0


def test_evaluation_datasets_say_what_is_wrong(wire: Any) -> None:
    sets = "/api/3.0/mlflow/datasets"
    id = wire(f"POST {sets}/create", name="q", tags='{"a": "b"}')["dataset"]["dataset_id"]
    assert wire.refused(f"GET {sets}/d-nothing")[2] == "Evaluation dataset with id 'd-nothing' not found"
    assert "Missing value" in wire.refused(f"POST {sets}/create")[2]
    for wrong in ("{", "5", '[{"inputs": 5}]', '["x"]', '[{"inputs": {"a": 1}, "expectations": 7}]'):
        assert wire.refused(f"POST {sets}/{id}/records", records=wrong)[0] == 400, wrong
    done = wire(f"POST {sets}/{id}/records", records='[{"inputs": {"a": 1}}, {"inputs": {"a": 1}, "outputs": "x"}]')
    assert done == {"inserted_count": 1, "updated_count": 1}
    wire(f"POST {sets}/{id}/records", records='[{"inputs": {"a": 2}}, {"inputs": {"a": 3}}]')
    page = wire(f"GET {sets}/{id}/records", max_results=2)
    rest = wire(f"GET {sets}/{id}/records", max_results=2, page_token=page["next_page_token"])
    records = json.loads(page["records"]) + json.loads(rest["records"])
    assert [one["inputs"] for one in records] == [{"a": 1}, {"a": 2}, {"a": 3}] and records[0]["outputs"] == "x"
    assert wire.refused(f"GET {sets}/{id}/records", max_results=5_000)[0] == 400
    assert wire(f"DELETE {sets}/{id}/records", dataset_record_ids=[records[0]["dataset_record_id"], "dr-x"]) == {
        "deleted_count": 1
    }
    assert json.loads(wire(f"GET {sets}/{id}")["dataset"]["profile"]) == {"num_records": 2}
    assert wire(f"DELETE {sets}/{id}") == wire(f"DELETE {sets}/{id}") == {}


def test_a_metric_of_many_runs_between_steps(wire: Any, begin: Begin) -> None:
    run = begin()
    for step in range(20):
        wire("POST runs/log-metric", run_id=run, key="m", value=step / 2, timestamp=step, step=step)
    between = "GET metrics/get-history-bulk-interval"
    found = wire(between, run_ids=run, metric_key="m", start_step=4, end_step=14, max_results=3)["metrics"]
    assert [one["step"] for one in found] == [4, 9, 14] and found[0]["run_id"] == run
    assert len(wire(between, run_ids=run, metric_key="m")["metrics"]) == 20
    assert wire(between, run_ids=run, metric_key="none") == {}
    assert "both must be specified" in wire.refused(between, run_ids=run, metric_key="m", start_step=1)[2]
    assert "end_step must be" in wire.refused(between, run_ids=run, metric_key="m", start_step=5, end_step=1)[2]


def test_a_file_of_a_run_by_the_old_address(wire: Any, begin: Begin) -> None:
    run = begin()
    wire.client.put(f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a/b.txt", content=b"one")
    assert wire.client.get("/get-artifact", params={"run_id": run, "path": "a/b.txt"}).content == b"one"
    assert wire.client.get("/get-artifact", params={"run_uuid": run, "path": "c"}).status_code == 404
    assert wire.client.get("/get-artifact", params={"run_id": run, "path": "../x"}).status_code == 400
