"""A disk that fills up: a clear error, nothing half-written, and everything goes on when there is room again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trine import data, tracking
from trine.access import audit
from trine.access import operations as access
from trine.errors import NoSpace
from trine.storage import SegmentWriter, read_segment
from trine.workspace import Workspace, connect, using


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                pass
    return ballast


@pytest.fixture
def ws(small_disk: Path):  # type: ignore[no-untyped-def]
    with connect(small_disk / "work") as found, using(found):
        yield found


def is_true(ws: Workspace) -> bool:
    return audit.verify_events(ws).intact and ws.store.verify() == []  # type: ignore[attr-defined]


def test_operations_on_a_full_disk(ws: Workspace, small_disk: Path) -> None:
    access.create_principal(ws, name="user:before")
    ballast = fill(small_disk)
    made = 0
    with pytest.raises(NoSpace, match=r"disk .* is full|Is the disk full"):
        for index in range(5_000):
            access.create_principal(ws, name=f"user:during-{index}", password="")
            made += 1
    assert access.whoami(ws)  # reading goes on
    assert is_true(ws)
    ballast.unlink()
    access.create_principal(ws, name="user:after")
    assert len(list_names(ws)) == made + 2
    assert is_true(ws)


def list_names(ws: Workspace) -> list[str]:
    from trine.operations import every

    return [one.name for one in every(access.list_principals, ws)]


def test_adding_data_on_a_full_disk(ws: Workspace, small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(40):
        (source / f"{index}.bin").write_bytes(os.urandom(1_000))
    first = data.add(source, name="files")
    ballast = fill(small_disk)
    (source / "large.bin").write_bytes(os.urandom(2 << 20))
    for index in range(40):
        (source / f"{index}.bin").write_bytes(os.urandom(30_000))
    with pytest.raises(NoSpace, match=r"no space left in .*; nothing was stored|disk"):
        data.add(source, name="files")
    assert data.resolve("files").id == first.id
    assert data.verify("files") == []
    assert is_true(ws)
    ballast.unlink()
    second = data.add(source, name="files")
    assert (second.files, second.parents) == (41, [first.id])
    assert data.verify("files") == []
    assert list((Path(ws.location) / ".trine" / "store" / "tmp").iterdir()) == []


def test_a_segment_on_a_full_disk(small_disk: Path) -> None:
    with SegmentWriter(small_disk / "a.seg", kind="test", step=1 << 16) as writer:
        ballast = fill(small_disk)
        written = 0
        with pytest.raises(NoSpace, match=r"no space left to write .*a\.seg"):
            for _ in range(10_000):
                writer.append(b"x" * 100)
                written += 1
        ballast.unlink()
        writer.append(b"y" * 100)
    assert len(read_segment(small_disk / "a.seg").frames) == written + 1


def test_a_run_goes_on_and_says_what_it_lost(ws: Workspace, small_disk: Path) -> None:
    """Training is never stopped by its log: points that found no room are counted, and the run is marked."""
    with tracking.run("full", capture=False) as run:
        run.log("loss", 1.0, step=0)
        ballast = fill(small_disk)
        for step in range(1, 60_000):
            run.log("loss", 1.0, step=step)
        ballast.unlink()
        run.log("loss", 1.0, step=60_000)
    points = tracking.history(run.id, "loss")
    steps = points["step"].to_list()
    assert steps == sorted(set(steps))
    info = tracking.get_run(run.id)
    assert info.lost == 60_001 - len(steps) > 0
    assert info.state == "finished"
    assert is_true(ws)
