"""Tables as Delta Lake, read by Polars and delta-rs."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from trine import data
from trine.data.importers import import_delta
from trine.errors import Conflict, InvalidInput
from trine.workspace import Workspace

ROWS = pl.DataFrame({"id": range(200), "x": [float(one) for one in range(200)], "s": [f"s{one}" for one in range(200)]})


def by_delta_rs(folder: Path, version: int | None = None) -> pl.DataFrame:
    reader = QueryBuilder().register("t", DeltaTable(folder, version=version))
    return pl.DataFrame(reader.execute("SELECT * FROM t").read_all())


def same(one: pl.DataFrame, two: pl.DataFrame) -> bool:
    return one.sort("id").equals(two.sort("id"))


def test_every_version_is_read_by_polars_and_delta_rs(ws: Workspace, tmp_path: Path) -> None:
    data.commit(ROWS, name="t")
    data.commit(ROWS.with_columns(pl.col("id") + 200), name="t")
    data.upsert(ROWS.with_columns(pl.col("id") + 150, x=pl.lit(-1.0)), name="t", key="id")
    data.delete("id < 10 OR id = 170", name="t")
    folder = tmp_path / "delta"
    data.write_delta("t", folder)
    history = data.dataset("t").log("main")[::-1]
    for version, commit in enumerate(history):
        wanted = data.load(commit.ref).collect()
        assert same(pl.read_delta(str(folder), version=version), wanted)
        assert same(by_delta_rs(folder, version), wanted)
    told = DeltaTable(folder).history()
    assert [one["trineCommit"] for one in told] == [one.id for one in history[::-1]]
    assert told[0]["timestamp"] == history[-1].created_us // 1_000

    before = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    data.upsert(ROWS.head(3), name="t", key="id")
    data.write_delta("t", folder)
    assert all(path.stat().st_ino == inode for path, inode in before.items())
    assert same(pl.read_delta(str(folder)), data.load("t").collect())

    done = import_delta(folder, name="back")
    assert (done.versions, done.problems) == (5, [])
    assert same(data.load("back@delta-3").collect(), data.load(history[3].ref).collect())


def test_types_that_delta_does_not_know_are_written_as_those_it_knows(local_ws: Workspace, tmp_path: Path) -> None:
    day = dt.datetime(2026, 1, 1, 12)
    frame = pl.DataFrame(
        {
            "u": pl.Series([1, 2**63], dtype=pl.UInt64),
            "e": pl.Series(["a", None], dtype=pl.Enum(["a"])),
            "l": [dt.timedelta(seconds=1), None],
            "t": [dt.time(1), None],
            "a": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
            "n": [day, None],
            "z": pl.Series([day, None]).dt.replace_time_zone("Europe/Berlin"),
            "st": [{"q": [1]}, None],
            "d": [Decimal("1.20"), None],
        }
    )
    data.commit(frame, name="t")
    data.write_delta("t", tmp_path / "delta")
    for told in (pl.read_delta(str(tmp_path / "delta")), by_delta_rs(tmp_path / "delta")):
        assert told["u"].to_list() == [Decimal(1), Decimal(2**63)]
        assert told.row(0)[1:6] == ("a", 1_000_000, 3_600 * 10**9, [1, 2], day)
        assert told["z"][0] == frame["z"][0] and told["st"][0] == {"q": [1]} and told["d"][0] == Decimal("1.20")


def test_a_folder_with_another_history_is_left_alone(local_ws: Workspace, tmp_path: Path) -> None:
    data.commit(ROWS, name="t")
    data.dataset("t").branch("side")
    data.delete("id < 5", name="t", branch="side")
    data.delete("id < 7", name="t")
    folder = tmp_path / "delta"
    data.write_delta("t", folder)
    with pytest.raises(Conflict, match="another history"):
        data.write_delta("t@side", folder)
    part = next(folder.glob("*.parquet"))
    os.chmod(part, 0o644)
    part.write_bytes(b"damaged")
    data.write_delta("t", folder)
    assert same(pl.read_delta(str(folder)), data.load("t").collect())
    with pytest.raises(InvalidInput, match="trine data import delta"):
        data.add(folder, name="again", kind="table")
    DeltaTable(folder).delete("id = 9")
    with pytest.raises(Conflict, match="Take another folder"):
        data.write_delta("t", folder)
    with pytest.raises(InvalidInput, match="not a folder"):
        data.write_delta("t", part)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("a")
    data.add(tmp_path / "files", name="files")
    with pytest.raises(InvalidInput, match="holds rows"):
        data.write_delta("files", tmp_path / "none")
