"""Datasets in real processes that are killed or work at the same time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from trine import data
from trine.access import audit
from trine.data import operations as door
from trine.errors import Conflict
from trine.storage import ObjectStore
from trine.workspace import Workspace, connect, using

ADD = """
import sys
from trine import connect, data
ws = connect(sys.argv[1])
print("ready", flush=True)
print(data.add(sys.argv[2], name="x", ws=ws).id, flush=True)
"""

APPEND = """
import sys, polars as pl
from trine import connect, data
ws = connect(sys.argv[1])
rows = pl.DataFrame({"n": range(20_000)})
print("ready", flush=True)
while True:
    print(data.commit(rows, name="t", ws=ws).id, flush=True)
"""

CHECKOUT = """
import sys
from trine import connect, data
ws = connect(sys.argv[1])
print("ready", flush=True)
data.checkout("x", sys.argv[2], ws=ws)
print("done", flush=True)
"""


def killed(script: str, *arguments: Path, after_s: float) -> list[str]:
    """Run a script, kill -9 it a while after it is ready; gives the lines it printed after that."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        timer = threading.Timer(after_s, process.kill)
        timer.start()
        lines = process.stdout.read().splitlines(keepends=True)
        process.wait()
        timer.cancel()
    return [line.strip() for line in lines if line.endswith("\n")]


def sound(folder: Path) -> None:
    """Every commit of the workspace stands on objects that are there and whole, and the audit trail is intact."""
    with connect(folder) as ws, using(ws):
        assert isinstance(ws.store, ObjectStore)
        assert ws.store.verify() == []
        for dataset in door.list_datasets(ws).items:
            for commit in data.dataset(dataset.name).log(limit=1_000):
                assert data.verify(commit.ref) == []
        assert audit.verify_events(ws).intact


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for number in range(2_500):
        path = folder / f"d{number % 20}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 400)
    (folder / "big").write_bytes(os.urandom(3 << 20))
    return folder


def test_an_add_that_is_killed_leaves_all_or_nothing(folder: Path, source: Path) -> None:
    rng = random.Random(1)
    acknowledged = 0
    for number in range(8):
        (source / "big").write_bytes(b"%d" % number * (1 << 20))
        told = killed(ADD, folder, source, after_s=rng.uniform(0, 0.6))
        acknowledged += len(told)
        sound(folder)
        with connect(folder) as ws, using(ws):
            made = data.dataset("x").log() if door.list_datasets(ws).items else []
            assert set(told) <= {one.id for one in made}
    with connect(folder) as ws, using(ws):
        data.add(source, name="x")
        assert data.status(source).changes.clean
        assert len(data.dataset("x").log()) >= acknowledged
    sound(folder)


def test_appends_that_are_killed_lose_nothing_that_was_acknowledged(folder: Path) -> None:
    rng = random.Random(2)
    acknowledged: list[str] = []
    for _ in range(6):
        acknowledged += killed(APPEND, folder, after_s=rng.uniform(0, 1.2))
        sound(folder)
    with connect(folder) as ws, using(ws):
        if acknowledged:
            history = data.dataset("t").log("main", limit=1_000)
            assert set(acknowledged) <= {one.id for one in history}
            assert data.load("t").select(pl.len()).collect().item() == 20_000 * len(history)
            assert data.profile("t").rows == 20_000 * len(history)


def test_a_checkout_that_is_killed_goes_on(folder: Path, source: Path, tmp_path: Path) -> None:
    with connect(folder) as ws, using(ws):
        data.add(source, name="x")
    out = tmp_path / "out"
    rng = random.Random(3)
    for _ in range(4):
        killed(CHECKOUT, folder, out, after_s=rng.uniform(0, 0.3))
        for path in out.rglob("*"):
            if path.is_file() and not path.name.startswith((".trine-", "..trine-")):
                assert path.read_bytes() == (source / path.relative_to(out)).read_bytes()
    with connect(folder) as ws, using(ws):
        data.checkout("x", out)
        assert data.status(out).changes.clean


ADD_MANY = """
import sys
from pathlib import Path
from trine import connect, data
from trine.errors import Conflict
ws = connect(sys.argv[1])
mine = Path(sys.argv[2])
done = 0
while done < 5:
    data.checkout("x", mine, ws=ws)
    (mine / f"{sys.argv[3]}-{done}").write_text("")
    try:
        data.add(mine, name="x", ws=ws)
    except Conflict:
        (mine / f"{sys.argv[3]}-{done}").unlink()
    else:
        done += 1
"""


def test_processes_that_add_to_one_branch_lose_no_file(folder: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "start").write_text("")
    with connect(folder) as ws, using(ws):
        data.add(first, name="x")
    workers = [
        subprocess.Popen([sys.executable, "-c", ADD_MANY, str(folder), str(tmp_path / who), who]) for who in ("a", "b")
    ]
    assert [worker.wait(240) for worker in workers] == [0, 0]
    with connect(folder) as ws, using(ws):
        out = tmp_path / "out"
        commit = data.checkout("x", out)
        assert sorted(path.name for path in out.iterdir()) == sorted(
            ["start", *(f"{who}-{n}" for who in "ab" for n in range(5))]
        )
        assert len(data.dataset("x").log("main")) == commit.files == 11


def test_who_comes_second_is_told(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    tree = data.add(tmp_path / "a", name="x").tree
    with pytest.raises(Conflict, match="has moved: this commit builds on nothing"):
        door.commit_dataset(ws, name="x", kind="files", tree=tree)
    table = data.commit(pl.DataFrame({"n": [1]}), name="t")
    with pytest.raises(Conflict) as caught:
        door.commit_dataset(ws, name="t", kind="table", tree=table.tree, expect="0" * 64)
    assert caught.value.details == {"expected": "0" * 64, "now": table.id}
