"""Random graphs of steps: a run gives what the plain call gives, each step runs once, and nothing runs the second time."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trine import pipelines
from trine.errors import Failure
from trine.ids import new_id
from trine.pipelines import pipeline, step
from trine.workspace import Workspace


@dataclasses.dataclass(frozen=True)
class Node:
    """One call: which function, what it takes (constants and earlier calls, nested), and whether it fails the first time."""

    kind: str
    needs: list[int]
    constant: int
    nested: bool
    broken: bool = False


seen: Counter[int] = Counter()
lock = threading.Lock()
mended = threading.Event()


def note(number: int, broken: bool) -> None:
    with lock:
        seen[number] += 1
    if broken and not mended.is_set():
        raise ValueError(f"step {number} is broken")


def add_up(turn: str, number: int, values: list[Any], constant: int, broken: bool) -> int:
    note(number, broken)
    return sum(_number(one) for one in values) + constant


def in_pairs(turn: str, number: int, values: list[Any], constant: int, broken: bool) -> tuple[int, list[int]]:
    note(number, broken)
    return constant, [_number(one) for one in values]


def _number(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_number(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_number(one) for one in value)
    return value


# their code names a counter and an event, which change: what a step sees of them is not part of these tests
note.__module__ = add_up.__module__ = in_pairs.__module__ = "tests"
add_up = step(add_up)  # type: ignore[assignment]
in_pairs = step(in_pairs)  # type: ignore[assignment]


@st.composite
def graphs(draw: st.DrawFn, broken: bool = False) -> list[Node]:
    count = draw(st.integers(1, 9))
    nodes: list[Node] = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        fails = broken and draw(st.integers(0, 3)) == 0
        nodes.append(
            Node(draw(st.sampled_from(["add", "pair"])), needs, draw(st.integers(-9, 9)), draw(st.booleans()), fails)
        )
    return nodes


def body_of(nodes: list[Node]) -> Any:
    turn = new_id()  # examples share a workspace, and must not find each other's results

    def body() -> list[Any]:
        made: list[Any] = []
        for number, node in enumerate(nodes):
            values = [made[need] for need in node.needs]
            given_ = [{"a": values, "b": (1, node.constant)}] if node.nested else values
            function: Any = add_up if node.kind == "add" else in_pairs
            made.append(function(turn, number, given_, node.constant, node.broken))
        return made

    return body


@settings(max_examples=25)
@given(nodes=graphs(), parallel=st.integers(1, 4))
def test_a_run_equals_the_plain_call_and_runs_each_step_once(
    local_ws: Workspace, nodes: list[Node], parallel: int
) -> None:
    mended.set()
    body = body_of(nodes)
    expected = body()
    seen.clear()
    made = pipelines.run(pipeline(name="p")(body), parallel=parallel)
    assert made.result == expected
    assert seen == dict.fromkeys(range(len(nodes)), 1)
    assert pipelines.get_pipeline_run(made.id).result == expected
    again = pipelines.run(pipeline(name="p")(body), parallel=parallel)
    assert again.result == expected
    assert sum(seen.values()) == len(nodes)
    assert {one.state for one in again.steps} == {"cached"}


@settings(max_examples=25)
@given(nodes=graphs(broken=True), parallel=st.integers(1, 4))
def test_a_failed_run_goes_on_where_it_stopped(local_ws: Workspace, nodes: list[Node], parallel: int) -> None:
    mended.set()
    body = body_of(nodes)
    expected = body()
    mended.clear()
    lost = [node.broken for node in nodes]
    for number, node in enumerate(nodes):
        lost[number] |= any(lost[need] for need in node.needs)
    seen.clear()
    found = pipeline(name="p")(body)
    try:
        made = pipelines.run(found, parallel=parallel)
        assert not any(lost)
    except Failure as error:
        assert any(lost)
        made = pipelines.get_pipeline_run(error.details["run"])
        wanted = [
            "failed" if node.broken and not any(lost[n] for n in node.needs) else "upstream_failed" for node in nodes
        ]
        wanted = [state if gone else "succeeded" for state, gone in zip(wanted, lost, strict=True)]
        assert [one.state for one in made.steps] == wanted
        mended.set()
        made = pipelines.resume(made.id, pipeline=found, parallel=parallel)
    assert made.result == expected
    first_failures = [node.broken and not any(lost[n] for n in node.needs) for node in nodes]
    assert seen == {number: 2 if failed else 1 for number, failed in enumerate(first_failures)}
