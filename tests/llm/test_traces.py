"""Traces: taken in in parts, searched, assessed, deleted; the same on every backend."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import tracking
from trine.access import graph
from trine.errors import Damaged, InvalidInput, NotFound
from trine.ids import to_datetime
from trine.llm import (
    delete_traces,
    get_trace,
    log_expectation,
    log_feedback,
    search_traces,
    tag_trace,
    trace_table,
)
from trine.llm import operations as door
from trine.llm.spans import Span, SpanEvent, Usage, pack, read_back, unpack
from trine.llm.traces import preview, total
from trine.workspace import Workspace

START = 1_700_000_000_000_000_000
ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def span(at: int, *, parent: int = 0, trace: str = ID, name: str = "", ms: int = 10, **more: Any) -> Span:
    """The `at`-th span of a trace, which starts so many milliseconds after it."""
    start = START + at * 1_000_000
    identity = {"trace": trace, "id": f"{at:016x}", "parent": f"{parent:016x}" if parent else ""}
    return Span(**identity, name=name or f"span {at}", start_ns=start, end_ns=start + ms * 1_000_000, **more)


def record(ws: Workspace, *spans: Span, **more: Any) -> None:
    door.record_spans(ws, spans=pack(spans), **more)


def a_chat(trace: str = ID, tokens: int = 10, **more: Any) -> list[Span]:
    """A question to a model: a root, a search below it, a call of the model below that."""
    asked = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "When is my flight?"}]}
    used = {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 2, "gen_ai.request.model": "small-1"}
    root = {"mlflow.spanInputs": asked, "mlflow.spanOutputs": "At nine.", "session.id": "s-1"}
    return [
        span(1, trace=trace, name="answer", ms=100, attributes=root, resource={"service.name": "desk"}, **more),
        span(2, trace=trace, parent=1, name="retrieve", attributes={"mlflow.spanType": "RETRIEVER", "k": 3}),
        span(3, trace=trace, parent=1, name="chat", attributes={"mlflow.spanType": "CHAT_MODEL", **used}),
    ]


def test_a_trace_is_the_same_in_whatever_parts_its_spans_arrive(ws: Workspace) -> None:
    whole, parts = ID, "5" * 32
    record(ws, *a_chat(whole))
    root, *others = a_chat(parts)
    record(ws, *others)
    assert (get_trace(parts).info.state, get_trace(parts).info.spans, get_trace(parts).root) == ("running", 2, None)
    record(ws, root)
    record(ws, others[0])
    first, second = get_trace(whole), get_trace(parts)
    assert [one.name for one in second.spans] == ["answer", "retrieve", "chat"]
    assert second.root and second.root.inputs == first.spans[0].inputs
    for name in ("name", "state", "duration_us", "request", "response", "session", "spans", "total_tokens", "tags"):
        assert getattr(first.info, name) == getattr(second.info, name), name
    assert (first.info.request, first.info.response) == ("When is my flight?", "At nine.")
    assert (first.info.duration_us, first.info.total_tokens, first.info.tags) == (100_000, 12, {"service.name": "desk"})


def test_large_spans_are_objects_that_verify_knows_and_that_go_with_their_trace(local_ws: Workspace) -> None:
    from trine import upkeep

    noise = "".join(f"{n * 7_919 % 100_003:x}" for n in range(30_000))
    record(local_ws, span(1, attributes={"text": noise}))
    assert upkeep.verify(local_ws).needed == 1
    assert get_trace(ID).spans[0].attributes["text"] == noise
    gone = door.delete_traces(local_ws, ids=[ID])
    assert gone.traces == 1 and gone.size_bytes > 16_384
    assert upkeep.verify(local_ws).needed == 0
    with pytest.raises(NotFound, match="No trace"):
        get_trace(ID)


def test_a_search_asks_of_traces_spans_tags_and_what_was_said(ws: Workspace) -> None:
    ids = [f"{n:032x}" for n in range(1, 7)]
    for n, id in enumerate(ids):
        record(ws, *a_chat(id, tokens=10 * n), experiment_name="desk" if n % 2 else "shop")
        door.set_trace_tags(ws, id=id, tags={"n": str(n), "env": "prod" if n < 3 else "test"})
    record(ws, span(1, trace=ids[0], name="answer", ms=100, state="error", message="out of reach"))
    log_feedback(ids[1], "correct", True)
    log_feedback(ids[2], "correct", False)
    log_feedback(ids[3], "score", 0.75)
    log_expectation(ids[3], "time", "nine")

    def found(expression: str) -> list[int]:
        return sorted(int(one.id, 16) - 1 for one in search_traces(expression))

    assert found("") == [0, 1, 2, 3, 4, 5]
    assert found("state = 'error'") == [0] and found("name = 'answer' and not state = 'error'") == [1, 2, 3, 4, 5]
    assert found("experiment = 'desk'") == [1, 3, 5] and len(search_traces(experiment="shop")) == 3
    assert found("tags.n > 3 or tags.env = 'prod'") == [0, 1, 2, 4, 5] and found("tags.none is null") == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert found("tokens >= 42") == [4, 5] and found("tokens between 12 and 32") == [1, 2, 3]
    assert found("feedback.correct") == [1] and found("feedback.correct = 'false'") == [2]
    assert found("feedback.score > 0.5 and expectation.time like 'n%'") == [3] and found(
        "feedback.correct is null"
    ) == [0, 3, 4, 5]
    assert found("span.name = 'chat' and span.type = 'chat_model' and span.model = 'small-1'") == [0, 1, 2, 3, 4, 5]
    assert found("span.name = 'chat' and span.type = 'retriever'") == []
    assert found("span.attributes.gen_ai.usage.input_tokens = 30") == [3]
    assert found("span.attributes.`k` = 3 and span.name = 'retrieve' and tags.n < 2") == [0, 1]
    assert found("span.text like '%out of reach%' or tags.n = 5") == [5]
    assert found("session = 's-1' and started < '2024-01-01' and duration > 0.05 and size > 0 and spans = 3") == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert [int(one.id, 16) for one in search_traces("order by tokens desc")][:2] == [6, 5]
    table = trace_table(search_traces("tags.n in (1, 3) order by name, tokens"))
    assert table["feedback.score"].to_list() == [None, 0.75] and table["tags.n"].to_list() == ["1", "3"]
    for wrong, told in (
        ("span.nme = 'x'", "span.*name"),
        ("tags = 'x'", 'no "tags"'),
        ("tokens = 'x'", "numbers"),
        ("order by span.name", "ordered"),
    ):
        with pytest.raises(InvalidInput, match=told):
            search_traces(wrong)


@pytest.mark.parametrize("order", ["", "name", "tokens desc", "tags.n", "duration, started"])
def test_pages_of_a_search_hold_every_trace_once(local_ws: Workspace, order: str) -> None:
    for n in range(23):
        tokens = {"gen_ai.usage.input_tokens": n % 4} if n % 3 else {}
        record(local_ws, span(1, trace=f"{n + 1:032x}", name=f"call {n % 5}", attributes=tokens))
        door.set_trace_tags(local_ws, id=f"{n + 1:032x}", tags={"n": str(n % 7)} if n % 2 else {})
    seen, page = list[str](), ""
    while True:
        found = door.list_traces(local_ws, order_by=order, limit=5, page=page)
        seen += [one.id for one in found.items]
        page = found.next
        if not page:
            break
    assert len(seen) == len(set(seen)) == 23
    assert seen == [one.id for one in door.list_traces(local_ws, order_by=order, limit=1_000).items]
    with pytest.raises(InvalidInput, match="page token"):
        door.list_traces(local_ws, order_by="name, state, tokens, cost", page=door.list_traces(local_ws, limit=1).next)


def test_what_was_said_is_overridden_changed_and_taken_back(ws: Workspace) -> None:
    record(ws, *a_chat())
    first = log_feedback(ID, "correct", True, source="llm", source_id="judge-2", rationale="sounds right")
    second = log_feedback(ID, "correct", False, rationale="at ten", overrides=first.id, span="0000000000000003")
    said = {one.id: one for one in get_trace(ID).info.assessments}
    assert not said[first.id].valid and said[second.id].valid and said[second.id].span.endswith("3")
    changed = door.update_assessment(ws, trace=ID, id=second.id, rationale="at ten o'clock", metadata={"by": "phone"})
    assert (changed.value, changed.rationale, changed.metadata) == (False, "at ten o'clock", {"by": "phone"})
    failed = log_feedback(ID, "tone", error=ValueError("no answer"), source="code")
    assert failed.problem and failed.problem.code == "ValueError"
    door.delete_assessment(ws, trace=ID, id=second.id)
    assert door.get_assessment(ws, trace=ID, id=first.id).valid
    assert not door.delete_assessment(ws, trace=ID, id=second.id).changed
    with pytest.raises(NotFound, match="no assessment"):
        log_feedback(ID, "correct", True, overrides="a-nothing")
    with pytest.raises(InvalidInput, match="needs a value"):
        log_expectation(ID, "time", None)
    with pytest.raises(InvalidInput, match="at most"):
        log_feedback(ID, "long", "x" * 300_000)


def test_a_trace_is_linked_to_its_run_and_to_what_it_used(ws: Workspace) -> None:
    with tracking.run("desk") as run:
        pass
    root, *others = a_chat()
    used = span(2, parent=1, attributes={"trine.uses": ["model:delays@3", "no node", 7]})
    record(ws, root, *others, used, run=run.id)
    record(ws, *a_chat("5" * 32))
    door.link_traces(ws, run=run.id, traces=["5" * 32, "6" * 32])
    assert {one.id for one in search_traces(f"run = '{run.id}'")} == {ID, "5" * 32}
    assert get_trace(ID).info.experiment == "desk" and get_trace(ID).info.runs == [run.id]
    edges = {(one.source, one.kind, one.target) for one in graph.lineage(ws, node=f"trace:{ID}", direction="up").edges}
    assert {(f"trace:{ID}", "used", "model:delays@3"), (f"run:{run.id}", "produced", f"trace:{ID}")} <= edges


def test_what_a_client_told_of_a_trace_its_spans_do_not_change(ws: Workspace) -> None:
    told = {"state": "error", "started_us": 5, "duration_us": 7, "request": "short", "tags": {"a": "b"}}
    door.record_trace(ws, id=ID, name="mine", total_tokens=99, metadata={"m": "v"}, **told)
    record(ws, *a_chat())
    info = get_trace(ID).info
    assert (info.state, info.started_us, info.duration_us, info.name, info.total_tokens) == ("error", 5, 7, "mine", 99)
    assert (info.request, info.response, info.metadata["m"]) == ("short", "At nine.", "v")
    assert info.tags == {"a": "b", "service.name": "desk"} and info.spans == 3


def test_traces_are_deleted_by_experiment_and_time(ws: Workspace) -> None:
    for n in range(4):
        door.record_trace(ws, id=f"{n + 1:032x}", experiment_name="old", started_us=n * 100)
    gone = door.delete_traces(ws, experiment_name="old", until_us=200, most=2)
    assert (gone.traces, gone.more) == (2, True)
    assert sorted(int(one.id, 16) for one in search_traces()) == [3, 4]
    assert tag_trace(f"{3:032x}", {"a": "b"}).tags == {"a": "b"} and tag_trace(f"{3:032x}", {"a": None}).tags == {}
    assert delete_traces(experiment="old", until=to_datetime(200)).traces == 1
    assert delete_traces([f"{4:032x}", "nothing"]).traces == 1
    with pytest.raises(InvalidInput, match="which traces"):
        delete_traces()
    with pytest.raises(NotFound):
        door.delete_traces(ws, experiment_name="nothing")


def test_damage_is_named_and_what_is_no_spans_is_refused(local_ws: Workspace) -> None:
    data = pack(a_chat())
    with pytest.raises(Damaged, match="spans of trace x are damaged"):
        read_back(data[:40] + bytes([data[40] ^ 1]) + data[41:], "trace x")
    for wrong in (b"", b"nothing", data[:-3], pack([])[:-1]):
        with pytest.raises(InvalidInput, match="no spans"):
            door.record_spans(local_ws, spans=wrong)


def test_totals_by_span(ws: Workspace) -> None:
    for n in range(3):
        record(ws, *a_chat(f"{n + 1:032x}", tokens=n, state="error" if n else "ok"))
    by = {one.name: one for one in door.span_totals(ws)}
    assert (by["answer"].calls, by["answer"].errors, by["answer"].mean_us) == (3, 2, 100_000)
    assert (by["chat"].input_tokens, by["chat"].total_tokens, by["chat"].type, by["retrieve"].cost) == (
        3,
        9,
        "chat_model",
        None,
    )


def test_sessions(ws: Workspace) -> None:
    for n in range(7):
        one = span(
            n,
            trace=f"{n + 1:032x}",
            attributes={"session.id": f"s-{n % 3}", "user.id": "ana"},
            state="error" if n == 6 else "ok",
        )
        record(ws, one, experiment_name="desk")
    record(ws, span(9, trace="f" * 32))
    first = door.list_sessions(ws, limit=2)
    rest = door.list_sessions(ws, limit=2, page=first.next)
    found = [(one.session, one.traces, one.errors, one.user) for one in [*first.items, *rest.items]]
    assert found == [("s-0", 3, 1, "ana"), ("s-2", 2, 0, "ana"), ("s-1", 2, 0, "ana")] and not rest.next
    assert first.items[0].last_us - first.items[0].started_us == 6_000
    assert len(door.list_sessions(ws, experiment_name="desk").items) == 3


def test_usage_is_counted_once_on_every_path_to_the_root() -> None:
    rolled = Usage(30, 3, 33)
    spans = [
        ("a", "", rolled),
        ("b", "a", Usage(10, 1, 11)),
        ("c", "b", Usage(20, 2, 22, 0.5)),
        ("d", "gone", Usage(1)),
    ]
    assert total(spans) == Usage(31, 3, 33, 0.5)
    assert total([("a", "b", rolled), ("b", "a", Usage())]) == rolled
    assert total([]) == Usage()


def test_previews_show_what_a_person_would_look_for() -> None:
    assert preview({"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}) == "Hi"
    assert preview('{"messages": [{"role": "user", "content": "x"}]}') == "x"
    assert preview({"a": object()}).startswith('{"a":"<object') and preview(None) == ""
    assert len(preview("x" * 5_000)) == 1_000 and preview("[not json") == "[not json"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.text(), st.integers(0, 2**62))
def test_spans_come_back_as_they_were(attributes: dict[str, Any], name: str, when: int) -> None:
    one = Span(
        trace=ID,
        id="0" * 15 + "1",
        name=name,
        start_ns=when,
        attributes=attributes,
        events=[SpanEvent("e", 1, attributes)],
    )
    assert unpack(pack([one])) == [one]
