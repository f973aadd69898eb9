from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import data
from trine.data.row_merges import _clash, _compare
from trine.data.trees import read_tree
from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound
from trine.workspace import Workspace


def table(**rows: float | None) -> pl.DataFrame:
    return pl.DataFrame({"id": list(rows), "x": list(rows.values())}, schema={"id": pl.String, "x": pl.Float64})


def rows_of(ref: str) -> list[tuple[str, float | None]]:
    return data.load(ref).collect().rows()


def test_rows_take_the_place_of_those_with_their_key(ws: Workspace) -> None:
    data.commit(table(a=1, b=2, c=3), name="t")
    data.commit(table(d=4, e=5), name="t")
    first = data.commit(table(f=6), name="t", tag="v1")
    made = data.upsert(table(g=7, b=-2, e=-5, h=8), name="t", key="id")
    assert rows_of("t") == [("a", 1), ("b", -2), ("c", 3), ("d", 4), ("e", -5), ("f", 6), ("g", 7), ("h", 8)]
    assert (made.rows, made.parents, made.message) == (8, [first.id], "upsert 4 rows")
    assert data.profile("t").column("x").max == 8  # type: ignore[union-attr]
    parts = [{entry.path: entry.hash for entry in read_tree(ws.store, one.tree)} for one in (first, made)]
    kept = {path for path, hash_ in parts[0].items() if parts[1][path] == hash_}
    assert kept == {"part-00002.parquet"} and len(parts[1]) == 4
    data.delete("x < 0 OR id = 'f'", name="t", tag="v2")
    assert [id_ for id_, _ in rows_of("t")] == ["a", "c", "d", "g", "h"]
    assert rows_of("t@v1")[1] == ("b", 2)
    data.commit(table(i=9), name="t")  # after a part has gone
    data.delete(pl.col("x").is_not_null(), name="t")
    assert rows_of("t") == [] and data.load("t").collect().columns == ["id", "x"]
    data.upsert(table(z=1), name="t", key=["id"])
    assert rows_of("t") == [("z", 1)]
    assert data.verify("t") == []


def test_edits_are_checked_as_commits_are(ws: Workspace) -> None:
    unique = [data.unique("id")]
    head = data.commit(table(a=1, b=2), name="t", checks=unique)
    data.upsert(table(a=3), name="t", checks=unique)  # the key is that of the check
    with pytest.raises(CheckFailed):
        data.upsert(table(a=-1), name="t", key="id", checks=[data.between("x", 0, 10)])
    assert rows_of("t") == [("a", 3), ("b", 2)]
    data.dataset("t").branch("side", head.id)
    data.upsert(table(c=1), name="t", branch="side")
    assert len(rows_of("t@side")) == 3 and len(rows_of("t")) == 2


def test_edits_that_make_no_sense_are_refused(local_ws: Workspace) -> None:
    data.commit(table(a=1, b=None), name="t")
    data.commit(pl.DataFrame({"k": [1, 1], "v": [1.0, float("nan")]}), name="twice")
    for words, edit in (
        ("Which columns tell", lambda: data.upsert(table(a=1), name="t")),
        ('no column "nothing"', lambda: data.upsert(table(a=1), name="t", key="nothing")),
        ("must be the same", lambda: data.upsert({"id": ["a"]}, name="t", key="id")),
        ("more than once in the new", lambda: data.upsert(pl.concat([table(a=1)] * 2), name="t", key="id")),
        ("no value for their key", lambda: data.upsert(table(a=None), name="t", key="x")),
        ("more than once in the table", lambda: data.upsert({"k": [1], "v": [0.0]}, name="twice", key="k")),
        ("no value for their key", lambda: data.diff_rows("twice", "twice", key="v")),
        ("is no SQL", lambda: data.delete("x <", name="t")),
        ("cannot be found", lambda: data.delete("y < 0", name="t")),
        ("cannot be found", lambda: data.delete(pl.col("x") + 1, name="t")),
    ):
        with pytest.raises(InvalidInput, match=words):
            edit()
    with pytest.raises(NotFound):
        data.delete("x < 0", name="nothing")


def test_rows_are_compared_by_key(ws: Workspace) -> None:
    data.commit(table(a=1, b=2, c=float("nan"), d=None, e=5), name="t", tag="v1")
    data.commit(table(e=5, d=None, c=float("nan"), b=3, f=6), name="t", mode="replace")
    told = data.diff_rows("t@v1", "t", key="id")
    assert told.added.rows() == [("f", 6)] and told.removed.rows() == [("a", 1)]
    assert (told.before.rows(), told.after.rows()) == ([("b", 2)], [("b", 3)])


def test_rows_of_branches_come_together(ws: Workspace) -> None:
    data.commit(table(a=1, b=2, c=3), name="t")
    data.commit(table(d=4, e=5), name="t")
    data.dataset("t").branch("side")
    data.upsert(table(a=10, f=6, same=1), name="t", key="id")
    data.delete("id = 'b'", name="t")
    data.upsert(table(c=30, g=7, same=1), name="t", key="id", branch="side")
    data.delete("id = 'b' OR id = 'e'", name="t", branch="side")
    ours, theirs = data.resolve("t"), data.resolve("t@side")
    made = data.merge("t", "side", key="id")
    assert made.parents == [ours.id, theirs.id]
    assert rows_of("t") == [("a", 10), ("c", 30), ("d", 4), ("f", 6), ("same", 1), ("g", 7)]

    data.upsert(table(a=11, c=31), name="t", key="id")
    data.upsert(table(a=12, d=40), name="t", key="id", branch="side")
    data.delete("id = 'c'", name="t", branch="side")
    with pytest.raises(Conflict, match="2 rows were changed on both sides") as caught:
        data.merge("t", "side", key="id")
    assert caught.value.details["conflicts"] == 2
    told = data.merge_conflicts("t", "side", key="id")
    assert told.rows() == [
        ("base", "a", 1),
        ("ours", "a", 11),
        ("theirs", "a", 12),
        ("base", "c", 30),
        ("ours", "c", 31),
    ]
    data.dataset("t").branch("copy")
    data.merge("t", "side", key="id", prefer={"*": "theirs"})
    assert rows_of("t") == [("a", 12), ("d", 40), ("f", 6), ("same", 1), ("g", 7)]
    data.merge("t", "side", key="id", into="copy", prefer={"*": "ours"})
    assert dict(rows_of("t@copy")) == {"a": 11, "c": 31, "d": 40, "f": 6, "same": 1, "g": 7}


tables = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([1.0, 2.0, None]), max_size=5)


@settings(max_examples=100)
@given(base=tables, ours=tables, theirs=tables)
def test_what_clashes_is_what_a_model_says(
    base: Mapping[str, float | None], ours: Mapping[str, float | None], theirs: Mapping[str, float | None]
) -> None:
    def state(side: Mapping[str, float | None], key: str) -> object:
        return side.get(key, "gone")

    clash = [
        key
        for key in "abcde"
        if state(ours, key) != state(base, key)
        and state(theirs, key) != state(base, key)
        and state(ours, key) != state(theirs, key)
    ]
    before, mine, yours = (table(**one) for one in (base, ours, theirs))
    told = _clash(_compare(before, mine, ["id"]), _compare(before, yours, ["id"]), ["id"])
    assert told["id"].to_list() == clash
