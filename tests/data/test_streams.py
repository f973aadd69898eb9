from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import fsspec
import polars as pl
import pytest

from trine import data
from trine.data.filesystem import TrineFileSystem
from trine.data.streams import Stream
from trine.errors import InvalidInput, NotFound
from trine.workspace import Workspace, recording_uses


@pytest.fixture
def files(ws: Workspace, tmp_path: Path) -> data.Commit:
    for number in range(23):
        path = tmp_path / "in" / f"d{number % 3}" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"n\n{number}\n")
    (tmp_path / "in" / "big").write_bytes(b"0123456789" * 500_000)
    return data.add(tmp_path / "in", name="x", tag="v1")


@pytest.fixture(autouse=True)
def registered() -> None:
    fsspec.register_implementation("trine", TrineFileSystem, clobber=True)


@pytest.mark.usefixtures("files")
def test_a_version_is_a_file_system(ws: Workspace) -> None:
    fs = fsspec.filesystem("trine", ws=ws)
    assert fs.ls("", detail=False) == ["x"]
    assert fs.ls("trine://x@v1/", detail=False) == ["x@v1/big", "x@v1/d0", "x@v1/d1", "x@v1/d2"]
    assert len(fs.glob("trine://x/d*/*.csv")) == 23
    assert fs.info("x/d0/0.csv")["size"] == 4 and fs.isdir("x/d0") and fs.isdir("x") and not fs.exists("x/d9")
    assert fs.cat_file("x@v1/d1/1.csv") == b"n\n1\n"
    with fs.open("trine://x/big") as file:
        file.seek(4_999_995)
        assert file.read() == b"56789"
    used: list[str] = []
    with recording_uses(used.append), fsspec.open("trine://x@v1/d1/1.csv", "rt") as file:
        assert file.read() == "n\n1\n"
    assert used == [data.resolve("x").node]
    assert pl.read_csv(fs.open("x/d2/2.csv").read())["n"].to_list() == [2]
    for missing in ("x/nothing", "x@v9/d0/0.csv", "y/z", "@/z"):
        with pytest.raises(FileNotFoundError):
            fs.open(missing)
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)
    with pytest.raises(OSError, match="commits only"):
        fs.open("x/d0/0.csv", "wb")


def test_a_stream_gives_each_rank_its_share_in_an_order_that_stays(files: data.Commit) -> None:
    paths = sorted(path for path, _ in Stream("x"))
    assert len(paths) == 24 == files.files
    shares = [[path for path, _ in Stream("x", seed=7, rank=rank, world=3)] for rank in range(3)]
    assert [len(one) for one in shares] == [8, 8, 8] and sorted([*shares[0], *shares[1], *shares[2]]) == paths
    assert shares[0] == [path for path, _ in Stream(files.ref, seed=7, rank=0, world=3)]
    one = Stream("x", seed=7)
    first, second = [path for path, _ in one], [path for path, _ in one]
    assert first != second and sorted(first) == sorted(second) == paths
    with pytest.raises(InvalidInput):
        Stream("x", rank=3, world=3)
    with pytest.raises(NotFound):
        Stream("x@nowhere")


def test_a_stream_goes_on_where_another_was(files: data.Commit, tmp_path: Path) -> None:
    whole = [path for path, _ in Stream("x", seed=1)]
    one = Stream("x", seed=1)
    for number, _ in enumerate(one):
        if number == 9:
            break
    state = json.loads(json.dumps(one.state_dict()))
    (tmp_path / "in" / "more").write_text("later")
    data.add(tmp_path / "in", name="x")
    two = Stream(files.ref, seed=1)
    two.load_state_dict(state)
    assert [path for path, _ in two] == whole[10:]
    assert (two.epoch, two.position) == (1, 0)
    for other in (Stream("x", seed=1), Stream(files.ref, seed=2), Stream(files.ref, seed=1, rank=1, world=2)):
        with pytest.raises(InvalidInput, match="That position is of a stream with"):
            other.load_state_dict(state)


def test_a_table_streams_in_batches(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.data.streams.BLOCK", 100)
    for start in (0, 400):
        data.commit({"n": list(range(start, start + 400))}, name="t")
    data.commit({"n": list(range(800, 830))}, name="t")
    assert [one.height for one in Stream("t", rows=64)][:3] == [64, 36, 64]
    assert pl.concat(list(Stream("t")))["n"].to_list() == list(range(830))
    shares = [pl.concat(list(Stream("t", rows=7, seed=3, rank=rank, world=2)))["n"].to_list() for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(830)) and shares[0][:50] != sorted(shares[0][:50])
    batches = [one["n"].to_list() for one in Stream("t", rows=7, seed=3)]
    stream = Stream("t", rows=7, seed=3)
    taken = iter(stream)
    begun = [next(taken)["n"].to_list() for _ in range(21)]
    after = Stream("t", rows=7, seed=3)
    after.load_state_dict(stream.state_dict())
    assert begun + [one["n"].to_list() for one in after] == batches


def test_workers_of_a_data_loader_share_a_ranks_share(files: data.Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own interface, without PyTorch: what its DataLoader asks of an iterable dataset."""
    loader = types.ModuleType("torch.utils.data")
    loader.IterableDataset = type("IterableDataset", (), {})  # type: ignore[attr-defined]
    for name in ("torch", "torch.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torch.utils.data", loader)
    seen = []
    for rank in range(2):
        for worker in range(3):
            told = types.SimpleNamespace(id=worker, num_workers=3)
            loader.get_worker_info = lambda told=told: told  # type: ignore[attr-defined]
            one = data.stream("x", seed=1, rank=rank, world=2).torch()
            assert isinstance(one, loader.IterableDataset)
            mine = [path for path, _ in one]
            assert len(mine) == 4 and one.state_dict()["epoch"] == 1
            seen += mine
    assert len(seen) == len(set(seen)) == files.files
