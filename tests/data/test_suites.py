from __future__ import annotations

import polars as pl
import pytest

from trine import data
from trine.data import operations as door
from trine.data.suites import list_expectations
from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound
from trine.workspace import Workspace

TABLE = pl.DataFrame({"id": range(200), "kind": ["a", "b"] * 100, "x": [float(n % 50) for n in range(199)] + [None]})


def test_expectations_are_kept_with_the_dataset_and_versioned(ws: Workspace) -> None:
    t = data.dataset("t")
    assert t.expected().rules == ()
    assert data.expect("t", [data.not_null("id")]).number == 1  # before there is a dataset
    made = data.commit(TABLE, name="t", checks=[data.row_count(1), data.not_null("id")])
    assert [one.name for one in made.checks] == ["not_null(id)", "row_count(low=1)"]
    assert t.expect([data.unique("kind")]).number == 2
    assert t.expect([data.unique("kind")]).number == 2
    with pytest.raises(CheckFailed, match=r"unique\(kind\): 200 of 200 rows fail"):
        t.commit(TABLE, mode="replace")
    assert t.expected(1).rules == (data.not_null("id"),)
    assert [one.number for one in list_expectations(ws, name="t").items] == [2, 1]
    with pytest.raises(NotFound, match="number 3"):
        t.expected(3)
    with pytest.raises(InvalidInput, match="twice"):
        t.expect([data.unique("id"), data.unique("id", severity="warn")])
    t.expect([])
    assert t.commit(TABLE, mode="replace").checks == []
    door.delete_dataset(ws, name="t")
    assert data.expected("t").number == 0


def test_no_commit_leaves_out_what_is_expected(ws: Workspace) -> None:
    made = data.commit(TABLE, name="t")
    data.expect("t", [data.not_null("x")])
    again = {"name": "t", "kind": "table", "tree": made.tree, "expect": made.id, "rows": 200, "profile": made.profile}
    with pytest.raises(Conflict, match=r"does not answer: not_null\(x\)"):
        door.commit_dataset(ws, **again)
    assert data.resolve("t").id == made.id


def test_a_profile_suggests_what_its_table_holds(ws: Workspace) -> None:
    data.commit(TABLE, name="t")
    drafted = data.suggest("t")
    assert [one.name for one in drafted] == [
        "has_schema(id, kind, x, values=['Int64', 'String', 'Float64'])",
        "row_count(low=1)",
        "row_growth(low=-0.5)",
        "not_null(id, kind)",
        "unique(id)",
        "between(id, low=0, high=219)",
        "one_of(kind, values=['a', 'b'])",
        "drift(kind, high=0.2)",
        "null_share(x, high=0.02)",
        "between(x, low=0, high=53.9)",
        "drift(x, high=0.2)",
    ]
    assert data.dataset("t").suggest() == drafted
    data.expect("t", drafted)
    made = data.commit(TABLE.with_columns(pl.col("id") + 200), name="t", checks=drafted)
    assert [one.name for one in made.checks if not one.passed] == ["between(id, low=0, high=219)"]
    assert data.suggest(data.commit(TABLE.clear(), name="empty").ref)


def test_a_key_among_many_rows_is_found_by_counting(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.data.one_pass.LARGE", 5_000)
    n = 12_000
    frame = pl.DataFrame({"id": range(n), "nearly": [*range(n - 1), 0]})
    data.commit(frame, name="t")
    assert [one.name for one in data.suggest("t") if one.kind == "unique"] == ["unique(id)"]
