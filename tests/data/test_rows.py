from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from trine import data
from trine.data import merging, sketched, sketches
from trine.data.trees import read_tree
from trine.errors import CheckFailed, Conflict, Damaged, InvalidInput, NotFound
from trine.storage import ObjectStore
from trine.workspace import Workspace, connect

MONTH = pl.DataFrame({"x": [1.0, 2.0, None], "s": ["a", "b", None]})


def part_path(ws: Workspace, hash_: str) -> Path:
    assert isinstance(ws.store, ObjectStore)
    path = ws.store.path_of(hash_)
    assert path is not None
    return path


def test_an_append_reads_no_old_rows(local_ws: Workspace) -> None:
    first = data.commit(MONTH, name="t")
    (part,) = read_tree(local_ws.store, first.tree)
    path = part_path(local_ws, part.hash)
    kept = path.read_bytes()
    path.unlink()
    for _ in range(3):
        made = data.commit(MONTH, name="t", checks=[data.row_count(1), data.null_share("x", 0.5)])
    path.write_bytes(kept)
    assert made.rows == data.load("t").collect().height == 12
    assert data.profile("t").column("s") == data.profile_frame(data.load("t")).column("s")


def test_sketches_that_are_lost_or_of_another_version_are_made_again(
    local_ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.commit(MONTH, name="t")
    with monkeypatch.context() as older:
        older.setattr(sketches, "FORMAT", "sketch-1 polars-0.1")
        data.commit(MONTH.with_columns(pl.col("x") * 3), name="t")
    read: list[str] = []
    original = sketched.scan_parts
    monkeypatch.setattr("trine.data.sketched.scan_parts", lambda ws, one: read.extend(one) or original(ws, one))
    data.commit(MONTH, name="t")
    assert len(read) == 2
    assert data.profile("t").column("s") == data.profile_frame(data.load("t")).column("s")
    read.clear()
    data.commit(MONTH, name="t")
    assert not read


def test_many_appends_keep_few_sketches(local_ws: Workspace) -> None:
    for number in range(2 * merging.FOLD + 3):
        data.commit(pl.DataFrame({"n": [number], "s": [f"s{number % 3}"]}), name="t")
    told = data.profile("t")
    assert len(told.sketches) == 5
    whole = data.profile_frame(data.load("t"))
    for one, two in zip(told.columns, whole.columns, strict=True):
        assert (one.count, one.distinct, one.top, one.quantiles) == (two.count, two.distinct, two.top, two.quantiles)
    assert data.verify("t") == []


def test_rows_that_do_not_fit_are_named(ws: Workspace) -> None:
    data.commit(MONTH, name="t")
    for rows, words in (
        (MONTH.drop("x"), '"x" is missing'),
        (MONTH.with_columns(y=1), r'"y" \(Int32\) is new'),
        (MONTH.cast({"x": pl.Int64}), '"x" is Int64, not Float64'),
        (MONTH.select("s", "x"), "another order"),
        (pl.DataFrame(), "no columns"),
        (object(), "no frame"),
        ("rows", "no frame"),
        ([1, 2], "no frame"),
        ({"a": [1], "b": [1, 2]}, "cannot be read as a table"),
        (pl.DataFrame({"o": [object()]}), "cannot be kept"),
        (MONTH.lazy().select("nope"), "cannot be read as a table"),
    ):
        with pytest.raises(InvalidInput, match=words):
            data.commit(rows, name="t")
    with pytest.raises(InvalidInput, match="append"):
        data.commit(MONTH, name="t", mode="upsert")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        data.commit(MONTH, name="../t")
    assert data.resolve("t").rows == 3


def test_no_rows_are_a_table_too(ws: Workspace) -> None:
    first = data.commit(MONTH.clear(), name="t")
    assert (first.rows, data.load("t").collect().height) == (0, 0)
    data.commit(MONTH, name="t")
    third = data.commit(MONTH.clear(), name="t", checks=[data.unique("s"), data.row_count(3)])
    assert (third.rows, data.load("t").collect().to_dicts()) == (3, MONTH.to_dicts())


def test_frames_of_pandas_come_without_pyarrow(local_ws: Workspace) -> None:
    at = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)
    frame = pd.DataFrame(
        {
            "whole": [1, 2, 3],
            "number": [1.5, None, float("nan")],
            "text": ["a", None, "ü"],
            "object": pd.Series([1, None, 3], dtype=object),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "yes": [True, False, True],
            "at": pd.to_datetime([at, None, at]),
            "there": pd.to_datetime([at, None, at]).tz_convert("America/New_York"),
            "naive": pd.to_datetime(["2013-01-01", None, "2013-01-02"]),
            "sort": pd.Categorical(["u", None, "u"]),
            "long": pd.to_timedelta([1, None, 2], unit="h"),
        },
    )
    data.commit(frame, name="t")
    back = data.load("t").collect()
    assert back["number"].to_list() == [1.5, None, None]
    assert back["text"].to_list() == ["a", None, "ü"]
    assert back["object"].to_list() == back["nullable"].to_list() == [1, None, 3]
    assert back["at"].to_list() == back["there"].to_list() == [at, None, at]
    assert back["naive"].to_list() == [dt.datetime(2013, 1, 1), None, dt.datetime(2013, 1, 2)]
    assert back["sort"].cast(pl.String).to_list() == ["u", None, "u"]
    assert back["long"].to_list() == [dt.timedelta(hours=1), None, dt.timedelta(hours=2)]
    indexed = pd.DataFrame({"x": [1.0]}, index=pd.Index(["k"], name="key"))
    assert data.as_polars(indexed).to_dicts() == [{"key": "k", "x": 1.0}]
    with pytest.raises(InvalidInput):
        data.as_polars(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InvalidInput):
        data.as_polars(pd.DataFrame({"mixed": [1, "a"]}))


def test_tables_come_from_files(local_ws: Workspace, tmp_path: Path) -> None:
    MONTH.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("x,s\n7,c\n8.5,\n")
    folder = tmp_path / "parts"
    folder.mkdir()
    MONTH.write_parquet(folder / "1.parquet")
    MONTH.write_parquet(folder / "2.parquet")
    assert data.add(tmp_path / "a.parquet", name="t", kind="table").rows == 3
    assert data.add(tmp_path / "b.csv", name="t", kind="table", append=True).rows == 5
    assert data.add(folder, name="t", kind="table").rows == 6
    (tmp_path / "bad.parquet").write_bytes(b"nonsense")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "void").mkdir()
    for name in ("bad.parquet", "empty.csv", "a.txt", "void"):
        with pytest.raises(InvalidInput, match=name):
            data.add(tmp_path / name, name="t", kind="table")
    with pytest.raises(NotFound):
        data.add(tmp_path / "none.csv", name="t", kind="table")
    with pytest.raises(InvalidInput, match="kind='table'"):
        data.add(tmp_path / "a.parquet", name="u", checks=[data.row_count(1)])
    with pytest.raises(Conflict, match="holds table"):
        data.add(tmp_path / "a.parquet", name="t")


def test_a_refused_commit_keeps_the_branch_and_its_rows(ws: Workspace) -> None:
    good = data.commit(MONTH, name="t")
    with pytest.raises(CheckFailed, match=r"not_null\(s\): 2 of 6 rows fail") as caught:
        data.commit(MONTH, name="t", tag="feb", checks=[data.not_null("s"), data.row_count(1, 10)])
    assert data.resolve("t").id == good.id
    with pytest.raises(NotFound):
        data.resolve("t@feb")
    kept = data.resolve(f"t@{caught.value.details['commit'][:12]}")
    assert (kept.state, kept.rows, kept.parents) == ("rejected", 6, [good.id])
    assert data.load(kept.ref).collect().height == 6
    assert data.failing_rows(kept.ref).collect()["row"].to_list() == [2, 5]
    warned = data.commit(MONTH, name="t", tag="feb", checks=[data.not_null("s", severity="warn")])
    assert (warned.state, warned.parents, warned.checks[0].failing) == ("accepted", [good.id], 2)


def test_a_branch_has_to_be_there(ws: Workspace) -> None:
    data.commit(MONTH, name="t", branch="trunk")
    with pytest.raises(NotFound, match="Start it first: trine data branch t@trunk trunc"):
        data.commit(MONTH, name="t", branch="trunc")
    data.dataset("t").branch("try", ref="trunk")
    assert data.commit(MONTH, name="t", branch="try").rows == 6
    assert data.resolve("t@trunk").rows == 3


APPEND = """
import sys, polars as pl
from trine import connect, data
ws = connect(sys.argv[1])
for index in range(8):
    data.commit(pl.DataFrame({"who": [sys.argv[2]], "n": [index]}), name="t", ws=ws)
"""


def test_processes_append_to_one_branch_and_lose_nothing(folder: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", APPEND, str(folder), who]) for who in ("a", "b", "c")]
    assert [worker.wait(240) for worker in workers] == [0, 0, 0]
    with connect(folder):
        rows = data.load("t").collect()
        assert sorted(rows.rows()) == sorted((who, n) for who in "abc" for n in range(8))
        for who in "abc":
            assert rows.filter(pl.col("who") == who)["n"].to_list() == list(range(8))
        assert data.profile("t").rows == 24
        assert len(data.dataset("t").log("main")) == 24
        assert data.verify("t") == []


@pytest.mark.parametrize("what", ["part", "profile", "sketch", "page", "tree"])
def test_damage_is_named_before_use(local_ws: Workspace, what: str) -> None:
    table = pl.DataFrame({"x": np.random.default_rng(0).normal(size=50_000)})
    commit = data.commit(table, name="t")
    (part,) = read_tree(local_ws.store, commit.tree)
    told = data.profile("t")
    page = data.trees.read_root(local_ws.store, commit.tree)[0]
    name = {
        "part": part.hash,
        "profile": commit.profile,
        "sketch": told.sketches[0],
        "page": page,
        "tree": commit.tree,
    }[what]
    flip_byte(local_ws, name)
    fresh = connect(local_ws.location)
    (damage,) = data.verify("t", ws=fresh)
    assert damage.hash == name
    use: dict[str, Any] = {
        "part": lambda: data.load("t", ws=connect(local_ws.location)).collect(),
        "profile": lambda: data.profile("t", ws=connect(local_ws.location)),
        "page": lambda: data.load("t", ws=connect(local_ws.location)),
        "tree": lambda: data.load("t", ws=connect(local_ws.location)),
    }
    if what in use:
        with pytest.raises((Damaged, NotFound), match=name):
            use[what]()


def flip_byte(ws: Workspace, name: str) -> None:
    """Damage the stored bytes of an object, in its own file or in a pack."""
    assert ws.root
    own = ws.root / "store" / "objects" / name[:2] / name
    files = [own] if own.exists() else list((ws.root / "store" / "packs").glob("*.pack"))
    for file in files:
        raw = bytearray(file.read_bytes())
        at = len(raw) // 2 if file == own else raw.find(bytes.fromhex(name)) + 32 + 9 + 2
        if file == own or bytes.fromhex(name) in raw:
            raw[at] ^= 1
            file.chmod(0o644)
            file.write_bytes(raw)
            return
    raise AssertionError(f"{name} is nowhere")
