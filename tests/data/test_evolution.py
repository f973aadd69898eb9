from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from trine import data
from trine.data.evolution import wider
from trine.data.trees import read_tree
from trine.errors import InvalidInput
from trine.workspace import Workspace

OLD = pl.DataFrame(
    {
        "id": pl.Series([1, 2], dtype=pl.Int32),
        "x": pl.Series([1, 2], dtype=pl.Int16),
        "s": ["a", None],
        "n": [None, None],
    }
)
NEW = pl.DataFrame({"id": [3, 2**40], "x": [5, 6], "n": [7, 8], "new": ["n", None]})


def test_columns_come_and_widen(ws: Workspace, tmp_path: Path) -> None:
    first = data.commit(OLD, name="t")
    with pytest.raises(InvalidInput, match=r'column "s" is missing; column "new" \(String\) is new'):
        data.commit(NEW, name="t")
    made = data.commit(NEW, name="t", schema="additive", checks=[data.not_null("id")])
    wanted = [(1, 1, "a", None, None), (2, 2, None, None, None), (3, 5, None, 7, "n"), (2**40, 6, None, 8, None)]
    assert data.load("t").collect().rows() == wanted
    assert made.schema == {"id": "Int64", "x": "Int64", "s": "String", "n": "Int64", "new": "String"}
    assert data.profile("t").columns == data.profile_frame(data.load("t")).columns
    assert read_tree(ws.store, made.tree)[0] == read_tree(ws.store, first.tree)[0]  # nothing was written again
    narrow = data.commit(OLD.head(1), name="t", schema="additive")
    assert narrow.schema == made.schema and data.load("t").collect().rows() == [*wanted, wanted[0]]
    data.delete("new = 'n' OR id = 2", name="t")
    assert data.load("t").collect().rows() == [wanted[0], wanted[3], wanted[0]]
    folder = tmp_path / "delta"
    data.write_delta("t", folder)
    assert pl.read_delta(str(folder)).sort("id").rows() == [wanted[0], wanted[0], wanted[3]]
    found = QueryBuilder().register("t", DeltaTable(folder)).execute("SELECT * FROM t ORDER BY id").read_all()
    assert pl.DataFrame(found).rows() == [wanted[0], wanted[0], wanted[3]]
    data.compact("t")
    assert data.load("t").collect().rows() == [wanted[0], wanted[3], wanted[0]]
    assert data.load(first.ref).collect().equals(OLD)


def test_what_breaks_readers_has_to_be_asked_for(local_ws: Workspace) -> None:
    data.commit(OLD, name="t")
    texts = pl.DataFrame({"s": ["7"], "id": ["8"]})
    with pytest.raises(InvalidInput, match=r'column "id" is String, not Int32.*schema="breaking"'):
        data.commit(texts, name="t", schema="additive")
    made = data.commit(texts, name="t", schema="breaking")
    assert data.load("t").collect().rows() == [("a", "1"), (None, "2"), ("7", "8")] and made.files == 1
    with pytest.raises(InvalidInput, match="do not fit its new columns"):
        data.commit({"s": [1], "id": [1]}, name="t", schema="breaking")
    with pytest.raises(InvalidInput, match='not "loose"'):
        data.commit(texts, name="t", schema="loose")  # type: ignore[arg-type]


def test_a_type_is_wider_when_it_holds_every_value() -> None:
    i8, i64, u8, u64, f32, f64 = pl.Int8(), pl.Int64(), pl.UInt8(), pl.UInt64(), pl.Float32(), pl.Float64()
    for one, two, wanted in (
        (i8, i64, i64), (u8, i64, i64), (u8, u64, u64), (u64, i64, None), (i8, u64, None), (f32, f64, f64),
        (i64, f64, None), (i8, f32, None), (pl.Null(), pl.String(), pl.String()), (pl.String(), i8, None), (u8, i8, None),
    ):  # fmt: skip
        assert wider(one, two) == wider(two, one) == wanted, (one, two)
    assert (wider(f64, i8), wider(i8, f64)) == (f64, None)
