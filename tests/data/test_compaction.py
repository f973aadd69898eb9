from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from trine import data
from trine.data import compaction
from trine.data.trees import read_tree
from trine.errors import InvalidInput, NotFound
from trine.ids import to_datetime
from trine.workspace import Workspace


def rows(first: int, last: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(first, last), "x": [float("nan"), None, *[1.0] * (last - first - 2)]})


def test_small_parts_and_vectors_go_and_rows_stay(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [data.unique("id")]
    for start in range(0, 50, 10):
        data.commit(rows(start, start + 10), name="t", checks=rules)
    data.upsert(rows(8, 12), name="t", checks=rules)
    head = data.delete("id >= 40 OR id = 3", name="t", tag="v1", checks=rules)
    before = data.load("t").collect()
    made = data.compact("t")
    assert (made.parents, made.files, made.rows, made.message) == ([head.id], 1, 39, "compact 5 parts into 1")
    assert data.load("t").collect().equals(before) and data.load("t@v1").collect().equals(before)
    assert made.checks == head.checks and not data.profile("t").gone
    assert data.profile("t").columns == data.profile_frame(before).columns
    assert data.compact("t").id == made.id
    size = read_tree(ws.store, made.tree)[0].size
    monkeypatch.setattr(compaction, "TARGET", 2 * size + size // 2)
    for start in range(100, 150, 10):
        data.commit(rows(start, start + 10), name="t", checks=rules)
    before = data.load("t").collect()
    made = data.compact("t")
    assert 1 < made.files < 6 and made.profile == data.resolve("t@main~1").profile
    assert data.load("t").collect().equals(before)
    data.delete("true", name="t", checks=rules)
    data.compact("t")
    assert data.load("t").collect().rows() == [] and data.load("t").collect().columns == ["id", "x"]
    assert data.verify("t") == [] == data.verify("t@v1")
    with pytest.raises(NotFound):
        data.compact("nothing")


def test_a_table_is_read_as_it_was(ws: Workspace) -> None:
    first = data.commit(rows(0, 5), name="t")
    second = data.delete("id = 0", name="t")
    data.dataset("t").branch("side", first.id)
    third = data.commit(rows(5, 8), name="t", branch="side")
    for commit, branch in ((first, ""), (second, ""), (third, "side@")):
        when = to_datetime(commit.created_us)
        assert data.resolve(f"t@{branch}{when.isoformat()}").id == commit.id
        assert (
            data.resolve(f"t@{branch}{when.astimezone(dt.timezone(dt.timedelta(hours=2))).isoformat()}").id == commit.id
        )
    tomorrow = (to_datetime(third.created_us) + dt.timedelta(days=1)).date()
    assert data.load(f"t@{tomorrow}").collect().height == 4
    assert data.load(f"t@side@{tomorrow}").collect().height == 8
    assert data.diff(f"t@{to_datetime(first.created_us).isoformat()}", "t").rows_before == 5
    with pytest.raises(NotFound, match="not as old as"):
        data.load("t@2020-01-01")
    with pytest.raises(InvalidInput, match="is no time"):
        data.load("t@2020-13-01")
