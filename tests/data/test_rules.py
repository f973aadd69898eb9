from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import data
from trine.data.distances import distance, stability_index
from trine.data.expectations import Expectation, write_expectations
from trine.data.polars_expressions import expression_of
from trine.errors import CheckFailed, InvalidInput
from trine.workspace import Workspace

UTC = dt.UTC
ORDERS = pl.DataFrame(
    {
        "id": [1, 2, 3, 3, 5, None],
        "user": ["a", "b", "c", "a", None, "zz"],
        "price": [1.5, 2.0, float("nan"), 4.0, None, -1.0],
        "paid": [1.5, 1.0, 3.0, 4.0, 5.0, 6.0],
        "country": ["DE", "FR", "de", "XX", None, "DE"],
        "day": [dt.date(2026, 1, day) for day in (1, 2, 3, 2, 5, 6)],
        "at": [dt.datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(6)],
        "tags": [["a"], [], ["a", "b"], None, ["c"], ["d"]],
        "code": ["17", "x", "3.5", "2026-01-02", None, "01.02.2026"],
        "new": [True, False, True, None, False, True],
    }
)

ROWS: list[tuple[Expectation, list[int], int]] = [
    (data.not_null("id", "user"), [4, 5], 6),
    (data.not_null("price", where="new"), [], 3),
    (data.is_null("price"), [0, 1, 2, 3, 5], 6),
    (data.is_null("country", where="price IS NULL"), [], 1),
    (data.between("price", 0, 3), [2, 3, 5], 5),
    (data.between("price", 1.5, 4, without="both"), [0, 2, 3, 5], 5),
    (data.between("price", 1.5, without="low"), [0, 2, 5], 5),
    (data.between("day", dt.date(2026, 1, 2), "2026-01-05"), [0, 5], 6),
    (data.between("at", "2026-01-01T02:00+01:00", dt.datetime(2026, 1, 1, 4, tzinfo=UTC)), [0, 5], 6),
    (data.between("at", high="2026-01-01T03:00"), [4, 5], 6),
    (data.between("user", "a", "c"), [5], 5),
    (data.one_of("country", ["DE", "FR"]), [2, 3], 5),
    (data.none_of("country", ["XX"]), [3], 5),
    (data.none_of("id", [3, 5.5]), [2, 3], 5),
    (data.matches("country", "^[A-Z]{2}$"), [2], 5),
    (data.no_match("country", "^[A-Z]{2}$"), [0, 1, 3, 5], 5),
    (data.length_between("user", 1, 1), [5], 5),
    (data.length_between("tags", 1), [1], 5),
    (data.parses("code", "integer"), [1, 2, 3, 5], 5),
    (data.parses("code", "number"), [1, 3, 5], 5),
    (data.parses("code", "date"), [0, 1, 2, 5], 5),
    (data.parses("code", "%d.%m.%Y"), [0, 1, 2, 3], 5),
    (data.compare("paid", "<=", "price"), [4 - 3], 5),
    (data.compare("id", "!=", "paid", where="id > 2"), [2, 4], 3),
    (data.unique("id"), [2, 3], 6),
    (data.unique("id", "user"), [], 6),
    (data.unique("user", where="day > '2026-01-01'::date"), [], 5),
    (data.increasing("day"), [3], 6),
    (data.increasing("id", strictly=True), [3], 5),
    (data.decreasing("day", by="user"), [3], 6),
    (data.expression("price IS NULL OR price < 3"), [2, 3], 6),
    (data.expression(pl.col("paid") >= pl.col("price"), where="new"), [2], 3),
    (data.expression(pl.col("paid") > pl.col("paid").mean()), [0, 1, 2], 6),
]
ROWS[22] = (data.compare("paid", "<=", "price"), [5], 5)

TABLE: list[tuple[Expectation, bool, Any]] = [
    (data.row_count(6, 6), True, 6),
    (data.row_count(high=2, where="price > 1"), False, 4),
    (data.row_growth(0, 0), True, None),
    (data.has_schema(dict(zip(ORDERS.columns, ORDERS.dtypes, strict=True)), in_order=True), True, "these columns"),
    (data.has_schema({"id": int, "user": "String"}, more=True), True, "these columns"),
    (data.has_schema({"id": "String", "who": ""}, more=True), False, 'no "who"; "id" is Int64, not String'),
    (data.has_schema({"user": "", "id": ""}, more=True, in_order=True), False, f"the order is {', '.join(ORDERS.columns)}"),
    (data.dtype("day", "Date"), True, "Date"),
    (data.dtype("at", "Datetime"), True, str(ORDERS["at"].dtype)),
    (data.null_share("user", 0.1), False, 1 / 6),
    (data.null_share("user", 0.1, where="id < 3"), True, 0.0),
    (data.distinct_count("id", 4, 4), True, 4),
    (data.distinct_count("user", 1, 2), False, 4),
    (data.distinct_share("id", 0.8), True, 0.8),
    (data.mean_between("paid", 3, 4), True, 20.5 / 6),
    (data.mean_between("price", 2, 3), False, 1.625),
    (data.mean_between("price", where="id = 1"), True, 1.5) if False else (data.mean_between("price", 1, 2, where="id = 1"), True, 1.5),
    (data.std_between("paid", 0, 1), False, ORDERS["paid"].std()),
    (data.median_between("paid", 3, 4), True, 3.0),
    (data.median_between("paid", 3.5, 3.5, where="paid > 1"), False, 4.0),
    (data.quantile_between("paid", 1.0, 6, 6), True, 6.0),
    (data.quantile_between("paid", 0.25, 0, 1, where="TRUE"), False, 1.875),
    (data.sum_between("id", 14, 14), True, 14),
    (data.sum_between("price", 0, 6), False, 6.5),
    (data.minimum_between("price", 0), False, -1.0),
    (data.maximum_between("price", 0, 4), True, 4.0),
    (data.maximum_between("day", high="2026-01-05"), False, "2026-01-06 00:00:00+00:00"),
    (data.minimum_between("at", "2026-01-01T01:00+01:00", where="new"), True, "2026-01-01 00:00:00+00:00"),
    (data.minimum_between("user", "b"), False, "a"),
    (data.includes("country", ["DE", "FR"]), True, "all"),
    (data.includes("country", ["DE", "GB", "NL"]), False, "no GB, NL"),
    (data.fresh("at", "100000d"), True, "2026-01-01 05:00:00+00:00"),
    (data.fresh("day", dt.timedelta(hours=1)), False, "2026-01-06 00:00:00+00:00"),
    (data.fresh("day", "7d", where="id > 9"), False, "no time"),
    (data.drift("paid", 0.1), True, None),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "numbers", "asked"), ROWS, ids=lambda one: getattr(one, "name", None))
def test_rules_about_rows_name_those_that_fail(rule: Expectation, numbers: list[int], asked: int) -> None:
    (told,) = data.check(ORDERS, [rule])
    assert [one["row"] for one in told.examples] == numbers[:5]
    assert (told.failing, told.asked, told.passed) == (len(numbers), asked, not numbers)
    if numbers:
        assert f"{len(numbers)} of {asked} row" in told.message and f"first row {numbers[0]}" in told.message


@pytest.mark.parametrize(("rule", "holds", "found"), TABLE, ids=lambda one: getattr(one, "name", None))
def test_rules_about_the_table_say_what_they_found(rule: Expectation, holds: bool, found: Any) -> None:
    (told,) = data.check(ORDERS, [rule])
    assert told.passed is holds
    assert told.found == (pytest.approx(found) if isinstance(found, float) else found)
    if not holds:
        assert told.message.startswith(f"{rule.name}: found ")


def test_most_rows_may_be_enough() -> None:
    table = pl.DataFrame({"x": [*range(19), None, -1]})
    for mostly, holds in ((1.0, False), (0.96, False), (0.95, True), (0.5, True)):
        (told,) = data.check(table, [data.between("x", 0, mostly=mostly)])
        assert (told.failing, told.asked, told.passed) == (1, 20, holds)


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.booleans()), max_size=12),
    st.integers(0, 12),
    st.sampled_from(["", "b", "NOT b", "i IS NULL"]),
    st.sampled_from([1.0, 0.7, 0.3]),
)
def test_old_rows_need_not_be_read_again_with_mostly_and_where(
    rows: list[tuple[int | None, bool]], cut: int, where: str, mostly: float
) -> None:
    table = pl.DataFrame(rows, schema={"i": pl.Int64, "b": pl.Boolean}, orient="row")
    old, new = table[:cut], table[cut:]
    asked = [
        data.not_null("i", where=where, mostly=mostly),
        data.between("i", 0, where=where, mostly=mostly),
        data.one_of("i", [1, 2, -1], where=where),
        data.expression("i > 0 OR b", where=where, mostly=mostly),
        data.compare("i", "==", "i", where=where),
    ]
    known = {one.rule.question: one for one in data.check(old, asked)}

    def whole() -> pl.LazyFrame:
        raise AssertionError("the old rows are read")

    checking = data.checks.Checking(asked, new.lazy(), before=data.profile_frame(old), known=known, whole=whole)
    assert checking.results(pl.collect_all(checking.plans)) == data.check(table, asked)


def test_keys_are_looked_up_in_another_dataset(ws: Workspace) -> None:
    data.commit({"name": ["a", "b"], "n": [1, 2], "big": pl.Series([1, 2], dtype=pl.UInt8)}, name="users")
    rows = {"user": ["a", "c", None], "n": [1, 2, 3]}
    (told,) = data.check(rows, [data.foreign_key("user", "users", "name")])
    assert (told.failing, told.asked, told.examples) == (1, 2, ({"row": 1, "user": "c"},))
    (told,) = data.check({"name": ["a", "a"], "n": [1, 2]}, [data.foreign_key(["name", "n"], "users@main")])
    assert told.examples == ({"row": 1, "name": "a", "n": 2},)
    assert data.check(rows, [data.foreign_key("n", "users", "big")])[0].failing == 1
    with pytest.raises(CheckFailed, match="1 of 2 rows fails"):
        data.commit(rows, name="orders", checks=[data.foreign_key("user", "users", "name")])
    (refused,) = data.dataset("orders").log()
    assert data.failing_rows(refused.ref).collect()["user"].to_list() == ["c"]
    for rule, words in (
        (data.foreign_key("user", "users"), 'has no column "user"'),
        (data.foreign_key("user", "users", "n"), "is String"),
        (data.foreign_key(["user", "n"], "users", "name"), "names 2 columns here and 1 there"),
    ):
        with pytest.raises(InvalidInput, match=words):
            data.check(rows, [rule])


def test_a_commit_is_held_against_the_one_before(ws: Workspace) -> None:
    held = [data.row_growth(-0.5, 0.5), data.drift("x", 0.2), data.drift("s", 0.3), data.drift("x", 1.0, "psi")]
    table = pl.DataFrame({"x": range(100), "s": ["a", "b"] * 50})
    first = data.commit(table, name="t", checks=held)
    assert [one.found for one in first.checks] == [None] * 4
    grown = data.commit(table[:40], name="t", checks=held)
    assert [one.found for one in grown.checks][:3] == pytest.approx([0.4, 0.6 * 40 / 140, 0.0], abs=0.01)
    with pytest.raises(CheckFailed) as caught:
        data.commit(table.with_columns(pl.col("x") + 50, s=pl.lit("a"))[:60], name="t", mode="replace", checks=held)
    told = data.resolve(f"t@{caught.value.details['commit']}").checks
    assert [one.passed for one in told] == [False] * 4
    assert told[2].found == pytest.approx(0.5)
    assert "row_growth(low=-0.5, high=0.5): found -0.571" in str(caught.value)


def test_distances_of_profiles() -> None:
    def column(values: list[Any]) -> Any:
        return data.profile_frame(pl.DataFrame({"c": values})).columns[0]

    many = column([i / 7 for i in range(1_000)])
    assert distance(many, many) == 0 and stability_index(many, many) == pytest.approx(0)
    assert distance(many, column([i / 7 + 100 for i in range(1_000)])) == pytest.approx(0.7, abs=0.01)
    assert distance(column([1, 1, 2, 2]), column([1, 2, 2, 2])) == pytest.approx(0.25)
    assert distance(column(["a", "b"]), column(["c"])) == 1
    assert distance(column(["a"]), column([None])) is None
    expected = (0.75 - 0.5) * __import__("math").log(0.75 / 0.5) + (0.25 - 0.5) * __import__("math").log(0.25 / 0.5)
    assert stability_index(column(["a", "b"]), column(["a", "a", "a", "b"])) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (data.between("price", "a"), "needs a column of times or texts"),
        (data.between("day", 1), "needs numbers"),
        (data.between("day", "soon"), "ISO 8601"),
        (data.between("user", "a", 3), "limits of one type"),
        (data.not_null("id", mostly=95), "mostly is a share"),
        (data.not_null("id", where="nope > 1"), "cannot be evaluated"),
        (data.not_null("id", where="id"), "no yes-or-no question"),
        (data.length_between("id", 1), "needs texts, lists or bytes"),
        (data.length_between("user"), "low, high or both"),
        (data.parses("id", "date"), "needs text"),
        (Expectation("compare", ("id",)), "compares two columns"),
        (Expectation("compare", ("id", "paid"), text="~"), "no comparison"),
        (data.compare("id", "<", "user"), "cannot be evaluated"),
        (data.increasing("tags"), "needs numbers, times or texts"),
        (data.increasing("id", by="users"), "Did you mean"),
        (data.mean_between("user", 1), "needs numbers"),
        (data.mean_between("id"), "low, high or both"),
        (Expectation("mean_between", ("id",), low="a"), "numbers as limits"),
        (data.quantile_between("id", 2, 0, 1), "share from 0 to 1"),
        (data.fresh("id", 1), "dates or times"),
        (Expectation("fresh", ("day",), high="7d"), "seconds"),
        (data.includes("id", ["a"]), "needs text"),
        (data.minimum_between("id", "a"), "times or texts"),
        (data.minimum_between("day", "a"), "ISO 8601"),
        (Expectation("mean_between", ("id",), low=1, mostly=0.5), "mostly is for rules about rows"),
        (Expectation("drift", ("id",), high=1, where="new"), "takes no where"),
        (Expectation("drift", ("id",), high=1, text="x"), "psi"),
        (Expectation("has_schema", ("id", "user"), values=("Int64",)), "a type for each"),
        (data.null_share("id", -1), "share from 0 to 1"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_named(rule: Expectation, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        data.check(ORDERS, [rule])
    assert rule.kind in str(caught.value)


def test_no_python_code_is_kept_in_an_expectation() -> None:
    for code in (
        pl.col("x").map_elements(bool, return_dtype=pl.Boolean),
        pl.fold(False, lambda a, b: a | b, [pl.col("x")]),
        1,
    ):
        with pytest.raises(InvalidInput):
            data.expression(code)  # type: ignore[arg-type]
    pickled = pl.col("x").map_elements(bool, return_dtype=pl.Boolean).meta.serialize(format="json")
    with pytest.raises(InvalidInput, match="no Python functions"):
        data.check({"x": [1]}, [Expectation("expression", text=pickled)])
    for kept in (
        pl.col("s").str.contains("a") & pl.col("x").is_in([1, 2]),
        pl.when(pl.col("x") > 1).then(True).otherwise(pl.col("x").sum().over("s") > 0),
        pl.col("at").dt.year().is_between(2000, 2030),
    ):
        assert str(expression_of(data.expression(kept).text)) == str(kept)


def test_expectations_are_written_and_read_back(tmp_path: Path) -> None:
    asked = [rule for rule, *_ in [*ROWS, *TABLE]]
    yaml = tmp_path / "checks.yaml"
    yaml.write_text(write_expectations(asked))
    assert data.read_expectations(yaml) == asked
    toml = tmp_path / "checks.toml"
    toml.write_text('[[expect]]\nkind = "between"\ncolumns = ["day"]\nlow = 2026-01-01\n')
    assert data.read_expectations(toml) == [data.between("day", dt.date(2026, 1, 1))]
    toml.write_text("[[expect]\n")
    with pytest.raises(InvalidInput, match=r"checks\.toml cannot be read as TOML"):
        data.read_expectations(toml)
    assert data.fresh("at", "90m") == data.fresh("at", 5400.0)
    with pytest.raises(InvalidInput, match="36h"):
        data.fresh("at", "soon")


def test_an_expression_that_looks_at_other_rows_sees_the_whole_table(local_ws: Workspace) -> None:
    rule = data.expression("x * 2 > AVG(x)")
    made = data.commit({"x": [10.0, 20.0]}, name="t", checks=[rule])
    assert made.checks[0].passed
    with pytest.raises(CheckFailed, match="1 of 4 rows"):
        data.commit({"x": [1.0, 2.0]}, name="t", checks=[data.expression("x * 5 > AVG(x)")])
    assert data.commit({"x": [100.0]}, name="t", checks=[data.expression("x * x >= 0")]).checks[0].failing == 0
