"""A byte that turned over in anything a workspace keeps: whoever would use it is told where, first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from trine import data
from trine.errors import Damaged
from trine.ledger import backends
from trine.workspace import Workspace, connect, using


@pytest.fixture
def kept(folder: Path) -> Path:
    """A folder dataset (packs) and a table (an object of its own)."""
    source = folder / "source"
    source.mkdir()
    for index in range(20):
        (source / f"{index}.txt").write_text(f"file {index}\n" * 50)
    (source / "large.bin").write_bytes(os.urandom(300_000))
    with connect(folder) as ws, using(ws):
        data.add(source, name="files")
        data.commit(
            pl.DataFrame({"x": list(range(1000)), "y": [os.urandom(300).hex() for _ in range(1000)]}), name="rows"
        )
    return folder


def flip(path: Path, at: int) -> None:
    os.chmod(path, 0o644)
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 0x10
    path.write_bytes(content)


def use_everything(ws: Workspace, out: Path) -> None:
    data.checkout("files", out)
    for index in range(20):
        assert (out / f"{index}.txt").read_text() == f"file {index}\n" * 50
    assert data.load("rows").collect()["x"].to_list() == list(range(1000))
    data.profile("rows")


def test_in_any_object_pack_or_index(kept: Path, tmp_path: Path) -> None:
    store = kept / ".trine" / "store"
    backup = Path(shutil.copytree(store, tmp_path / "backup"))
    files = [path for path in sorted(store.rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} == {"", ".pack", ".idx"}
    for number, path in enumerate(files):
        for at in (0, 77, path.stat().st_size // 2, path.stat().st_size - 1):
            flip(path, at)
            with connect(kept) as ws, using(ws):
                told = ""
                try:
                    use_everything(ws, tmp_path / f"out-{number}-{at}")
                except Damaged as error:  # any other error, and any wrong byte, fails the test
                    told = error.message
                assert not told or path.name in told
                assert told or path.suffix in (
                    ".idx",
                    ".pack",
                )  # an index is made again; heads of entries are not needed
            shutil.rmtree(store)
            shutil.copytree(backup, store)
    with connect(kept) as ws, using(ws):
        use_everything(ws, tmp_path / "whole")
        assert data.verify("files") == data.verify("rows") == []


def test_in_the_database(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite finds a page that makes no sense; an entry that still does is found by its hash chain."""
    from trine.access import audit

    monkeypatch.setattr(backends, "SYNCHRONOUS", "FULL")
    with connect(kept) as ws, ws.ledger.transaction(write=False) as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = kept / ".trine" / "ledger.db"
    whole = path.read_bytes()
    at = whole.index(b"data.commit_dataset")
    path.write_bytes(whole[:at] + b"data.commot_dataset" + whole[at + 19 :])
    with connect(kept) as ws:
        report = audit.verify_events(ws)
        assert not report.intact
    path.write_bytes(b"not a database" + whole[14:])
    with pytest.raises(Damaged, match=r"ledger\.db is damaged"):
        connect(kept)
    path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    with pytest.raises((Damaged, AssertionError)), connect(kept) as ws:
        assert audit.verify_events(ws).intact
        data.resolve("rows", ws=ws)
