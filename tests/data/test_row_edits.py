from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import data
from trine.data.one_pass import profile_frame
from trine.data.removals import without
from trine.data.row_merges import _clash, _compare
from trine.data.sketches import sketch, summarise
from trine.data.trees import read_tree
from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound
from trine.workspace import Workspace


def table(**rows: float | None) -> pl.DataFrame:
    return pl.DataFrame({"id": list(rows), "x": list(rows.values())}, schema={"id": pl.String, "x": pl.Float64})


def rows_of(ref: str) -> list[tuple[str, float | None]]:
    return data.load(ref).collect().rows()


def test_edits_mark_rows_and_write_what_is_new(ws: Workspace) -> None:
    data.commit(table(a=1, b=2, c=3), name="t")
    data.commit(table(d=4, e=5), name="t")
    first = data.commit(table(f=6), name="t", tag="v1")
    made = data.upsert(table(g=7, b=-2, e=-5, h=8), name="t", key="id")
    assert rows_of("t") == [("a", 1), ("c", 3), ("d", 4), ("f", 6), ("g", 7), ("b", -2), ("e", -5), ("h", 8)]
    assert (made.rows, made.parents, made.message) == (8, [first.id], "upsert 4 rows")
    assert (told := data.profile("t").column("x")) and (told.count, told.min, told.max) == (8, -5, 8)
    parts = [{entry.path: entry.hash for entry in read_tree(ws.store, one.tree)} for one in (first, made)]
    assert parts[0].items() < parts[1].items()
    new = ["part-00000000.deletions.bin", "part-00000001.deletions.bin", "part-00000003.parquet"]
    assert sorted(parts[1].keys() - parts[0].keys()) == new
    data.delete("x < 0 OR id = 'f'", name="t", tag="v2")
    assert [id_ for id_, _ in rows_of("t")] == ["a", "c", "d", "g", "h"]
    assert rows_of("t@v1")[1] == ("b", 2)
    assert "part-00000002.parquet" not in {one.path for one in read_tree(ws.store, data.resolve("t").tree)}
    data.commit(table(i=9), name="t")  # after a part has gone
    data.delete(pl.col("x").is_not_null(), name="t")
    assert rows_of("t") == [] and data.load("t").collect().columns == ["id", "x"]
    data.upsert(table(z=1), name="t", key=["id"])
    assert rows_of("t") == [("z", 1)]
    assert data.verify("t") == [] == data.verify("t@v2")


def test_rows_take_the_place_of_those_with_their_key_for_old_readers(ws: Workspace) -> None:
    data.commit(table(a=1, b=2, c=3), name="t")
    data.commit(table(d=4, e=5), name="t")
    first = data.commit(table(f=6), name="t")
    made = data.upsert(table(g=7, b=-2, e=-5, h=8), name="t", key="id", compat="copy-on-write")
    assert rows_of("t") == [("a", 1), ("b", -2), ("c", 3), ("d", 4), ("e", -5), ("f", 6), ("g", 7), ("h", 8)]
    parts = [{entry.path: entry.hash for entry in read_tree(ws.store, one.tree)} for one in (first, made)]
    kept = {path for path, hash_ in parts[0].items() if parts[1][path] == hash_}
    assert kept == {"part-00000002.parquet"} and len(parts[1]) == 4
    data.delete("id = 'a'", name="t")
    made = data.delete("x < 0", name="t", compat="copy-on-write")
    assert [id_ for id_, _ in rows_of("t")] == ["c", "d", "f", "g", "h"]
    assert all(one.path.endswith(".parquet") for one in read_tree(ws.store, made.tree))
    data.delete("true", name="t", compat="copy-on-write")
    assert rows_of("t") == [] and data.load("t").collect().columns == ["id", "x"]
    with pytest.raises(InvalidInput, match="one compat"):
        data.delete("true", name="t", compat="cow")  # type: ignore[arg-type]


def test_edits_are_checked_as_commits_are(ws: Workspace) -> None:
    unique = [data.unique("id")]
    head = data.commit(table(a=1, b=2), name="t", checks=unique)
    data.upsert(table(a=3), name="t", checks=unique)  # the key is that of the check
    with pytest.raises(CheckFailed):
        data.upsert(table(a=-1), name="t", key="id", checks=[data.between("x", 0, 10)])
    assert rows_of("t") == [("b", 2), ("a", 3)]
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
    assert dict(rows_of("t")) == {"a": 10, "c": 30, "d": 4, "f": 6, "same": 1, "g": 7}

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
    assert dict(rows_of("t")) == {"a": 12, "d": 40, "f": 6, "same": 1, "g": 7}
    data.merge("t", "side", key="id", into="copy", prefer={"*": "ours"})
    assert dict(rows_of("t@copy")) == {"a": 11, "c": 31, "d": 40, "f": 6, "same": 1, "g": 7}


numbers = st.one_of(st.none(), st.sampled_from([0.0, 1.5, -2.0, float("nan"), float("inf")]))
full_rows = st.lists(
    st.tuples(
        numbers,
        st.sampled_from(["a", "b", "ü", None]),
        st.integers(-3, 3),
        st.dates(dt.date(1800, 1, 1), dt.date(2200, 1, 1)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40)
@given(rows=full_rows, kept=st.randoms(use_true_random=False))
def test_a_profile_follows_rows_that_go(rows: list[tuple[object, ...]], kept: random.Random) -> None:
    frame = pl.DataFrame(rows, schema={"x": pl.Float64, "s": pl.String, "n": pl.Int64, "d": pl.Date}, orient="row")
    stay = pl.Series([kept.random() < 0.8 for _ in rows], dtype=pl.Boolean)
    whole, gone = sketch(frame), sketch(frame.filter(~stay))
    left, unknown = without(whole, gone)
    assert not unknown
    told, wanted = summarise(left), profile_frame(frame.filter(stay))
    assert told.rows == wanted.rows
    for one, two in zip(told.columns, wanted.columns, strict=True):
        for field in ("count", "nulls", "nans", "infinities", "distinct", "min", "max", "quantiles", "top"):
            assert getattr(one, field) == getattr(two, field), (one.name, field)
        assert one.mean == (two.mean if two.mean is None else pytest.approx(two.mean, abs=1e-6))
        assert one.std == (two.std if two.std is None else pytest.approx(two.std, rel=1e-6, abs=1e-3))


def test_the_profile_of_a_large_table_follows_its_edits(local_ws: Workspace) -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    frame = pl.DataFrame({"id": np.arange(n), "x": rng.normal(size=n), "s": [f"{one:05d}" for one in range(n)]})
    rules = [data.unique("id"), data.not_null("x"), data.between("x", -9, 9), data.mean_between("x", -1, 1)]
    data.commit(frame, name="t", checks=rules)
    for number in range(6):
        new = frame.sample(300, seed=number).with_columns(x=pl.col("x") + 0.5, s=pl.lit(f"new {number}"))
        data.upsert(new, name="t", checks=rules)
    made = data.delete("x > 3.2 OR x < -3.2", name="t", checks=rules)
    data.delete("id < 100", name="t", checks=rules)
    told, wanted = data.profile("t"), data.profile_frame(data.load("t"))
    pairs = zip(data.resolve("t").checks, data.check(data.load("t"), rules), strict=True)
    assert all((one.rule, one.failing, one.asked) == (two.rule, two.failing, two.asked) for one, two in pairs)
    assert made.state == "accepted" and told.gone and told.rows == wanted.rows
    for one, two in zip(told.columns, wanted.columns, strict=True):
        assert (one.count, one.nulls, one.min, one.max) == (two.count, two.nulls, two.min, two.max)
        assert one.distinct == pytest.approx(two.distinct, rel=0.1)
        assert one.mean == (two.mean if two.mean is None else pytest.approx(two.mean))
        assert one.std == (two.std if two.std is None else pytest.approx(two.std))
        if one.quantiles:
            values = data.load("t").collect()[one.name].sort().to_numpy()
            ranks = [np.searchsorted(values, each.quantiles) / len(values) for each in (one, two)]
            assert np.abs(ranks[0] - ranks[1]).max() < 0.004
    data.delete("id < 10000", name="t", checks=rules)
    told = data.profile("t")
    assert not told.gone and told.column("id") == data.profile_frame(data.load("t")).column("id")


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


def test_rows_that_are_gone_are_in_no_folder(ws: Workspace, tmp_path: Path) -> None:
    """Who reads a folder's Parquet files does not know deletion vectors."""
    data.commit(table(a=1, b=2, c=3), name="t")
    made = data.delete("id = 'b'", name="t")
    with pytest.raises(InvalidInput, match=f"trine data delta t@{made.id[:12]} FOLDER") as caught:
        data.checkout("t", tmp_path / "t", ws=ws)
    assert "trine data compact t" in str(caught.value) and not (tmp_path / "t").exists()
    data.compact("t")
    data.checkout("t", tmp_path / "t", ws=ws)
    assert pl.read_parquet(tmp_path / "t").rows() == [("a", 1), ("c", 3)]
