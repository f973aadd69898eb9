"""Tracing one's own code: decorators and blocks, threads of control, what happens when the workspace is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import trine
from trine import tracking
from trine.access import graph
from trine.errors import Unavailable
from trine.llm import Trace, active_span, flush, get_trace, search_traces, tracing
from trine.llm import operations as door
from trine.workspace import Workspace, record_use


def only() -> Trace:
    (info,) = search_traces()
    return get_trace(info.id)


def shape(trace: Trace) -> dict[str, str]:
    """The names of spans and of their parents."""
    names = {one.id: one.name for one in trace.spans}
    return {one.name: names.get(one.parent, "") for one in trace.spans}


@trine.trace(type="tool")
def look(what: str) -> dict[str, str]:
    return {"found": what}


def test_calls_inside_calls_are_one_trace(ws: Workspace) -> None:
    @trine.trace
    def answer(question: str, limit: int = 3, *, store: object = None) -> str:
        look(question)
        with trine.trace("ask", type="llm", inputs=[question], tags={"env": "prod"}) as span:
            assert active_span() is span
            span.outputs = "at nine"
            span.tokens(10, 2, model="small-1", cost=0.5)
            span.event("cache", hit=False)
        return "at nine"

    with tracking.run("desk") as run:
        assert answer("when?", store=object()) == "at nine"
    assert active_span() is None
    trace = only()
    assert shape(trace) == {"answer": "", "look": "answer", "ask": "answer"}
    root, tool, ask = trace.spans
    assert root.inputs["question"] == "when?" and root.inputs["store"].startswith("<object")
    assert (root.outputs, tool.type, tool.outputs, ask.events[0].name) == (
        "at nine",
        "tool",
        {"found": "when?"},
        "cache",
    )
    info = trace.info
    assert (info.runs, info.experiment, info.tags, info.cost) == ([run.id], "desk", {"env": "prod"}, 0.5)
    assert (info.input_tokens, info.total_tokens, ask.model) == (10, 12, "small-1")


def test_of_a_long_trace_what_has_ended_is_there_before_it_ends(
    local_ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOST_UNKEPT", 2)
    with trine.trace("agent", tags={"env": "prod"}):
        for n in range(5):
            look(str(n))
        info = only().info
        assert (info.state, info.spans, info.name) == ("running", 4, "")
    info = only().info
    assert (info.state, info.spans, info.name, info.tags) == ("ok", 6, "agent", {"env": "prod"})


PROGRAM = """
import sys, trine
trine.connect(sys.argv[1])
while True:
    with trine.trace("call") as span:
        pass
    print(span.trace_id, flush=True)
"""


def test_a_killed_program_leaves_every_trace_that_had_ended(local_ws: Workspace, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        told = [running.stdout.readline().strip() for _ in range(5)]
        running.kill()
        told += [line.strip() for line in running.stdout if line.endswith("\n")]
    kept = {one.id for one in search_traces(limit=None)}
    assert len(told) >= 5 and set(told) <= kept
    assert len(kept) - len(told) <= 1, "at most the one whose id could not be told any more"


def test_an_error_is_told_and_goes_on(local_ws: Workspace) -> None:
    @trine.trace
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError), trine.trace("outer"):
        fail()
    trace = only()
    assert trace.info.state == "error" and all(one.state == "error" for one in trace.spans)
    assert trace.spans[1].message == "KeyError: 'x'" and trace.spans[1].events[0].name == "exception"


def test_generators_and_coroutines_are_traced_while_they_run(local_ws: Workspace) -> None:
    @trine.trace
    def pieces(n: int) -> Iterator[int]:
        for at in range(n):
            look(str(at))
            yield at

    assert list(pieces(2)) == [0, 1]
    stopped = pieces(5)
    next(stopped)
    with trine.trace("between"):
        pass
    stopped.close()

    @trine.trace
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return len([one async for one in stream(n)])

    @trine.trace
    async def stream(n: int) -> AsyncIterator[int]:
        for at in range(n):
            yield at

    async def both() -> list[int]:
        return list(await asyncio.gather(later(2), later(3)))

    assert asyncio.run(both()) == [2, 3]
    found = {(one.name, one.spans, one.response) for one in search_traces()}
    assert found == {
        ("pieces", 3, "[0,1]"),
        ("pieces", 2, "[0]"),
        ("between", 1, ""),
        ("later", 2, "2"),
        ("later", 2, "3"),
    }


def test_what_is_loaded_inside_a_trace_is_what_it_used(local_ws: Workspace) -> None:
    with trine.trace("predict") as span:
        record_use("model:delays@3")
        record_use("model:delays@3")
        span.use("dataset:flights@3a")
    edges = graph.lineage(local_ws, node=f"trace:{span.trace_id}").edges
    assert sorted(one.target for one in edges) == ["dataset:flights@3a", "model:delays@3"]


def test_values_that_nobody_can_look_at_do_no_harm(local_ws: Workspace) -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError

    with trine.trace("odd", inputs={"bad": Bad()}) as span:
        span.set(number=10**30, long="x" * 1_200_000, again=float("nan"))
        span.outputs = "\0 and \ud800"
    root = only().spans[0]
    assert root.attributes["number"] == str(10**30) and len(root.attributes["long"]) < 1_100_000
    assert root.inputs == "<dict: RuntimeError in its repr>"


def test_a_trace_waits_while_the_workspace_is_away(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("The server does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(door, "record_spans", away)
        for n in range(2):
            with pytest.warns(UserWarning, match="waits in"), trine.trace(f"away {n}"):
                pass
        assert flush(local_ws) == 2
    assert search_traces() == []
    (local_ws.spool / "traces" / "0.trace").write_bytes(b"torn")
    with trine.trace("back"):
        pass
    assert {one.name for one in search_traces()} == {"away 0", "away 1", "back"}
    assert [one.suffix for one in (local_ws.spool / "traces").iterdir()] == [".damaged"]


def test_what_is_refused_is_said_and_does_not_wait(local_ws: Workspace) -> None:
    with pytest.warns(UserWarning, match="lost"), trine.trace("wrong", experiment="a\nb"):
        pass
    assert flush(local_ws) == 0 and search_traces() == []


def test_without_a_workspace_the_code_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trine import workspace

    monkeypatch.setattr(workspace, "connect", lambda: (_ for _ in ()).throw(Unavailable("away")))
    monkeypatch.setattr(workspace, "_workspace", workspace.contextvars.ContextVar("none", default=None))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with trine.trace("alone"):
            pass
    assert "no workspace" in str(told[0].message)
