from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from trine.errors import InvalidInput
from trine.pipelines import pipeline, step
from trine.pipelines.graph import Graph, freeze
from trine.pipelines.pipelines import Pipeline
from trine.pipelines.tracing import trace


@dataclass(frozen=True)
class Config:
    depth: int
    rate: float = 0.1


@step
def load(n: int) -> list[int]:
    return list(range(n))


@step
def split(rows: list[int], at: float = 0.5) -> tuple[list[int], list[int]]:
    k = int(len(rows) * at)
    return rows[:k], rows[k:]


@step
def total(rows: list[int], extra: int | None = None) -> float:
    return float(sum(rows) + (extra or 0))


@step
def best(*scores: float, **named: float) -> float:
    return max([*scores, *named.values()])


@step
def anything(x: Any) -> Any:
    return x


@step
def text(x: str) -> str:
    return x


def graph_of(found: Pipeline[..., Any], **params: Any) -> Graph:
    return freeze(trace(found.name, found.function, found.bind(params)))


def test_the_calls_of_a_body_are_the_graph() -> None:
    @pipeline
    def both(n: int, at: float = 0.25) -> dict[str, Any]:
        a, b = split(load(n), at=at)
        scores = [total(part) for part in (a, b)]
        return {"best": best(*scores, third=total(a, 3)), "first": scores[0], "n": n}

    found = graph_of(both, n=8)
    assert [(one.key, one.needs) for one in found.steps] == [
        ("load", []),
        ("split", ["load"]),
        ("total", ["split"]),
        ("total-2", ["split"]),
        ("total-3", ["split"]),
        ("best", ["total", "total-2", "total-3"]),
    ]
    assert found.steps[1].inputs == {"rows": {"$": "output", "v": "load"}, "at": 0.25}
    assert found.steps[3].inputs["rows"] == {"$": "output", "v": "split", "item": 1}
    assert found.result["first"] == {"$": "output", "v": "total"}
    assert '"load" -> "split"' in found.dot()


def test_a_body_may_branch_and_loop_over_plain_values_and_call_pipelines() -> None:
    @pipeline
    def inner(n: int) -> float:
        return total(load(n))

    @pipeline
    def outer(sizes: list[int], extra: bool) -> list[float]:
        found = [inner(n) for n in sizes]
        if extra:
            found.append(inner(100))
        return found

    assert [one.key for one in graph_of(outer, sizes=[1, 2], extra=False).steps] == [
        "load",
        "total",
        "load-2",
        "total-2",
    ]
    assert len(graph_of(outer, sizes=[1, 2], extra=True).steps) == 6


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda x: 1 if x else 2, "`if`, `while`"),
        (lambda x: list(x), "iterating over or unpacking.*annotate the step's return type"),
        (lambda x: x.shape, r'taking "\.shape" of'),
        (lambda x: x["a"], r"taking \['a'\] of"),
        (lambda x: x + 1, "arithmetic"),
        (lambda x: x > 1, "comparing"),
        (lambda x: x == 1, "comparing"),
        (lambda x: f"{x}", "formatting"),
        (lambda x: str(x), "printing or formatting"),
        (lambda x: len(x), "`len`"),
    ],
)
def test_what_looks_at_a_value_says_what_to_do(use: Any, words: str) -> None:
    @pipeline
    def wrong() -> Any:
        return use(anything(1))

    with pytest.raises(InvalidInput, match=words) as caught:
        graph_of(wrong)
    assert 'output of step "anything"' in str(caught.value)
    assert str(caught.value).startswith("test_tracing.py:")


def test_types_are_checked_where_steps_meet() -> None:
    def body(function: Any) -> Any:
        return pytest.raises(InvalidInput), pipeline(function)

    @pipeline
    def number_for_text() -> str:
        return text(total([1]))  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=r'"x" of step "text" is str, but step "total" gives float'):
        graph_of(number_for_text)

    @pipeline
    def part_for_text() -> str:
        return text(split([1])[0])  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=r'is str, but step "split" gives list'):
        graph_of(part_for_text)

    @pipeline
    def value_for_list() -> float:
        return total("abc")  # type: ignore[arg-type]

    with pytest.raises(
        InvalidInput, match=r"""test_tracing.py:\d+: "rows" of step "total" is list, but .*'abc', a str"""
    ):
        graph_of(value_for_list)

    @pipeline
    def fine() -> Any:
        a, b = split(anything(3), at=1)  # an int where a float is wanted
        return total(a, extra=None), total(b, extra=anything(1)), text(anything("a"))

    assert len(graph_of(fine).steps) == 7


def test_wrong_calls_are_told_with_their_place() -> None:
    @pipeline
    def missing() -> Any:
        return total()  # type: ignore[call-arg]

    with pytest.raises(InvalidInput, match=r"test_tracing.py:\d+: step \"total\": missing a required argument: 'rows'"):
        graph_of(missing)

    @pipeline
    def unknown() -> Any:
        return total([1], foo=1)  # type: ignore[call-arg]

    with pytest.raises(InvalidInput, match="unexpected keyword argument 'foo'"):
        graph_of(unknown)

    def other() -> int:
        return 1

    @pipeline
    def same_name() -> Any:
        return load(1), step(name="load")(other)()

    with pytest.raises(InvalidInput, match='two steps are called "load"'):
        graph_of(same_name)

    @pipeline
    def unstorable() -> Any:
        return anything(lambda: 1)

    with pytest.raises(InvalidInput, match=r'argument "x" of step "anything": a builtins.function cannot be stored'):
        graph_of(unstorable)

    @pipeline
    def broken() -> Any:
        return 1 / 0

    with pytest.raises(InvalidInput, match="before any step ran: ZeroDivisionError"):
        graph_of(broken)


def test_parameters_are_checked_and_texts_converted() -> None:
    @pipeline
    def some(n: int, rate: float = 0.5, names: list[str] = [], config: Config | None = None, free=None) -> Any:  # noqa: B006
        return anything(n)

    assert some.bind({"n": 3}) == {"n": 3, "rate": 0.5, "names": [], "config": None, "free": None}
    texts = {"n": "3", "rate": "1e-3", "names": '["a"]', "config": '{"depth": 2}', "free": "2013-01"}
    assert some.bind(texts, texts=True) == {
        "n": 3,
        "rate": 0.001,
        "names": ["a"],
        "config": Config(2),
        "free": "2013-01",
    }
    given = {"n": 3, "names": ["a"], "config": {"depth": 2}}  # as JSON has it
    assert some.bind(given)["config"] == Config(2)
    with pytest.raises(InvalidInput, match=r'no parameter "rte".* Did you mean "rate"'):
        some.bind({"n": 1, "rte": 1})
    with pytest.raises(InvalidInput, match='needs the parameter "n"'):
        some.bind({})
    with pytest.raises(InvalidInput, match='parameter "n" is int, not a str'):
        some.bind({"n": "3"})
    with pytest.raises(InvalidInput, match='parameter "n"'):
        some.bind({"n": "many"}, texts=True)
