from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import data
from trine.data.checks import Checking, failing
from trine.data.expectations import Expectation
from trine.data.sketches import sketch, summarise
from trine.errors import CheckFailed, InvalidInput, NotFound
from trine.workspace import Workspace

Row = dict[str, Any]
SCHEMA = {"i": pl.Int64, "x": pl.Float64, "s": pl.String, "b": pl.Boolean}

rows = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1])),
            "x": st.one_of(st.none(), st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf])),
            "s": st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "ü"])),
            "b": st.one_of(st.none(), st.booleans()),
        }
    ),
    max_size=12,
)
limits = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.5, -1.5]))


def range_rule(limit: tuple[Any, Any], column: str) -> Expectation:
    low, high = limit
    if low is None and high is None:
        low = 0
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    return data.between(column, low, high)


rules = st.one_of(
    st.lists(st.sampled_from(sorted(SCHEMA)), min_size=1, max_size=3, unique=True).map(lambda c: data.not_null(*c)),
    st.lists(st.sampled_from(sorted(SCHEMA)), min_size=1, max_size=3, unique=True).map(lambda c: data.unique(*c)),
    st.builds(range_rule, st.tuples(limits, limits), st.sampled_from(["i", "x"])),
    st.lists(st.integers(-3, 3), min_size=1, max_size=3).map(lambda v: data.one_of("i", v)),
    st.lists(st.integers(-3, 3), min_size=1, max_size=3).map(lambda v: data.one_of("x", v)),
    st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=3).map(lambda v: data.one_of("s", v)),
    st.lists(st.booleans(), min_size=1, max_size=2).map(lambda v: data.one_of("b", v)),
    st.sampled_from(["a", "^b", "b$", "^$"]).map(lambda p: data.matches("s", p)),
    st.tuples(st.one_of(st.none(), st.integers(0, 6)), st.one_of(st.none(), st.integers(6, 12))).map(
        lambda pair: data.row_count(*pair)
    ),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]).map(lambda share: data.null_share("x", share)),
    st.sampled_from(["Int64", "String", "Int"]).map(lambda name: data.dtype("i", name)),
    st.sampled_from([data.expression("i > 0"), data.expression("i IS NULL OR i < x")]),
)


def same(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def fails(rule: Expectation, row: Row, table: list[Row]) -> bool:
    """Whether a row fails a rule, in plain Python."""
    value = row[rule.columns[0]] if rule.columns else None
    match rule.kind:
        case "not_null":
            return any(row[column] is None for column in rule.columns)
        case "unique":
            keys = Counter(tuple(same(one[column]) for column in rule.columns) for one in table)
            return keys[tuple(same(row[column]) for column in rule.columns)] > 1
        case "between":
            if value is None:
                return False
            return math.isnan(value) or not (
                (rule.low is None or value >= rule.low) and (rule.high is None or value <= rule.high)
            )
        case "one_of":
            return value is not None and value not in rule.values
        case "matches":
            return value is not None and re.search(rule.text, value) is None
        case _:
            if rule.text == "i > 0":
                return row["i"] is None or not row["i"] > 0
            if row["i"] is None:
                return False
            if row["x"] is None:
                return True
            return not (math.isnan(row["x"]) or row["i"] < row["x"])  # NaN is the greatest number to Polars


def brute_force(rule: Expectation, table: list[Row]) -> tuple[int, list[int]]:
    """Failures, and the numbers of the rows that fail."""
    if rule.kind == "row_count":
        low, high = rule.low or 0, rule.high if rule.high is not None else math.inf
        return int(not low <= len(table) <= high), []
    if rule.kind == "null_share":
        nulls = sum(row["x"] is None for row in table)
        return (nulls if nulls > (rule.high or 0) * len(table) else 0), []
    if rule.kind == "dtype":
        return int(rule.text != "Int64"), []
    found = [number for number, row in enumerate(table) if fails(rule, row, table)]
    return len(found), found


def frame_of(table: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(table, schema=SCHEMA)


@given(rows, st.lists(rules, max_size=8))
def test_rules_find_what_a_loop_over_the_rows_finds(table: list[Row], asked: list[Expectation]) -> None:
    for one in data.check(frame_of(table), asked):
        count, numbers = brute_force(one.rule, table)
        assert one.failing == count
        assert one.passed is (count == 0)
        assert [example["row"] for example in one.examples] == numbers[:5]
        assert failing(frame_of(table).lazy(), one.rule).collect()["row"].to_list() == numbers


@given(rows, rows, st.lists(rules, max_size=8), st.lists(rules, max_size=3))
def test_rules_on_added_rows_say_what_rules_on_all_rows_say(
    old: list[Row], new: list[Row], before: list[Expectation], more: list[Expectation]
) -> None:
    first, second = frame_of(old), frame_of(new)
    asked = [*before, *more]
    checking = Checking(
        asked,
        second.lazy(),
        before=summarise(sketch(first)),
        known={one.rule.question: one for one in data.check(first, before)},
        whole=lambda: pl.concat([first, second]).lazy(),
    )
    both = pl.concat([first, second])
    told = checking.results(pl.collect_all(checking.plans), summarise(sketch(both)))
    assert told == data.check(both, asked)


def test_rows_that_passed_are_not_read_again(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [data.not_null("i"), data.between("x", -9, 9), data.row_count(1, 9), data.null_share("s", 0.9)]
    table = frame_of([{"i": 1, "x": 1.0, "s": None, "b": True}, {"i": 2, "x": 1.0, "s": "a", "b": True}])
    data.commit(table, name="t", checks=asked)
    read: list[str] = []
    scan = data.reading.scan_commit
    monkeypatch.setattr("trine.data.gate.scan_commit", lambda ws, one: read.append(one.id) or scan(ws, one))
    made = data.commit(table, name="t", checks=asked)
    assert [one.passed for one in made.checks] == [True] * 4
    assert not read
    data.commit(table, name="t", checks=[*asked, data.one_of("b", [True])])
    data.commit(table, name="t", checks=[data.unique("i", severity="warn")])
    assert read == [made.id, data.resolve("t@main~1").id]


def test_failing_rows_can_be_looked_at(ws: Workspace) -> None:
    table = pl.DataFrame({"row": [7, 8, 9], "x": [1, None, 3]})
    with pytest.raises(CheckFailed) as caught:
        data.commit(table, name="t", checks=[data.row_count(9), data.not_null("x"), data.between("x", 0, 2)])
    ref = f"t@{caught.value.details['commit']}"
    assert [one.failing for one in data.resolve(ref).checks] == [1, 1, 1]
    assert data.failing_rows(ref, 0).collect().height == 0
    assert data.failing_rows(ref, 1).collect().rows() == [(1, 8, None)]
    assert data.failing_rows(ref, 2).collect().columns == ["row_number", "row", "x"]
    with pytest.raises(NotFound, match="3 failed checks"):
        data.failing_rows(ref, 3)
    kept = data.failed_sample(ref)
    assert {number: rows.rows() for number, rows in kept.items()} == {1: [(1, 8, None)], 2: [(2, 9, 3)]}
    assert data.verify(ref) == []
    good = data.commit(table, name="t", checks=[data.row_count(1)])
    assert data.failed_sample(good.ref) == {}


def test_a_sample_of_failing_rows_is_bounded(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.DataFrame({"x": range(1_000), "check": [str(2**n) for n in range(1_000)]})
    data.commit(table, name="t", checks=[data.between("x", 500, severity="warn")])
    (rows,) = data.failed_sample("t").values()
    assert rows["row"].to_list() == list(range(100))
    for largest, least, most in ((3_000, 1, 99), (10, 0, 0)):
        monkeypatch.setattr("trine.data.checks.LARGEST", largest)
        data.commit(table, name="t", mode="replace", checks=[data.between("x", 500, severity="warn")])
        assert least <= sum(rows.height for rows in data.failed_sample("t").values()) <= most


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (data.not_null("ii"), "Did you mean"),
        (data.not_null(), "needs a column"),
        (data.unique(), "needs a column"),
        (data.between("s", 0), "needs numbers"),
        (data.between("i"), "needs low, high or both"),
        (data.between("i", 2, 1), "low is above high"),
        (data.between("i", math.nan, 1), "low is above high"),
        (data.one_of("i", ["a"]), "needs text"),
        (data.one_of("s", [1]), "needs numbers"),
        (data.one_of("s", ["a", 1]), "one type"),
        (data.one_of("s", []), "one type"),
        (data.one_of("i", [True]), "needs booleans"),
        (data.matches("i", "a"), "needs text"),
        (data.matches("s", "("), "cannot be evaluated"),
        (data.null_share("x", 2), "share from 0 to 1"),
        (data.expression("i <"), "cannot be evaluated"),
        (data.expression("nope > 1"), "cannot be evaluated"),
        (data.expression("i"), "no yes-or-no question"),
        (data.expression("SELECT 1"), "cannot be evaluated"),
        (data.expression(""), "cannot be evaluated"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_named(rule: Expectation, words: str) -> None:
    table = frame_of([{"i": 1, "x": 1.0, "s": "a", "b": True}])
    with pytest.raises(InvalidInput, match=words) as caught:
        data.check(table, [data.not_null("i"), rule])
    assert rule.kind in str(caught.value)


def test_something_else_than_a_rule_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no expectation"):
        data.check(frame_of([]), ["not_null(i)"])  # type: ignore[list-item]


def test_expectations_are_read_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text("- {kind: not_null, columns: [id]}\n- {kind: between, columns: [x], low: 0, severity: warn}\n")
    assert data.read_expectations(file) == [data.not_null("id"), data.between("x", 0, severity="warn")]
    for text in (
        "{",
        "- {kind: nonsense}",
        "a: 1",
        "- {kind: not_null, column: id}",
        "[1]",
        "- {kind: one_of, values: [[1]]}",
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=r"checks\.yaml"):
            data.read_expectations(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"checks\.yaml"):
        data.read_expectations(file)
    with pytest.raises(NotFound):
        data.read_expectations(tmp_path / "none.yaml")
    with pytest.raises(InvalidInput):
        data.read_expectations(tmp_path)
