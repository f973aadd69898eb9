from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import data
from trine.access import graph
from trine.data import operations as door
from trine.data.trees import Entry, check_path, read_tree, write_tree
from trine.errors import CheckFailed, Conflict, Damaged, InvalidInput, NotFound
from trine.storage import ObjectStore
from trine.workspace import Workspace, connect, recording_uses

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3],
        "when": [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2, 3)],
        "name": ["a", None, "c"],
        "x": [0.5, float("nan"), float("inf")],
    }
)


def test_a_folder_comes_back_as_it_was(ws: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_bytes(b"alpha")
    (source / "sub" / "ü b.bin").write_bytes(os.urandom(300_000))
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "empty").write_bytes(b"")
    first = data.add(source, name="docs", message="one")
    assert (first.files, first.state, first.parents) == (4, "accepted", [])
    target = tmp_path / "out"
    data.checkout("docs", target)
    for path in ("a.txt", "sub/ü b.bin", "run.sh", "empty"):
        assert (target / path).read_bytes() == (source / path).read_bytes()
    assert os.access(target / "run.sh", os.X_OK)
    assert data.status(target).changes.clean
    (target / "a.txt").write_bytes(b"changed")
    (target / "new").write_bytes(b"new")
    (target / "empty").unlink()
    changes = data.status(target).changes
    assert (changes.added, changes.removed, changes.changed) == (["new"], ["empty"], ["a.txt"])
    with pytest.raises(Conflict, match=r"a\.txt"):
        data.checkout("docs", target)
    assert (target / "a.txt").read_bytes() == b"changed"
    second = data.add(target, name="docs", message="two")
    assert second.parents == [first.id]
    files = data.diff("docs@main~1", "docs").files
    assert (files.added, files.removed, files.changed) == (["new"], ["empty"], ["a.txt"])
    data.checkout(first.ref, target)
    assert not (target / "new").exists()
    assert (target / "a.txt").read_bytes() == b"alpha"
    assert [one.message for one in data.dataset("docs").log()] == ["two", "one"]


def test_rows_are_appended_and_read_at_any_commit(ws: Workspace) -> None:
    first = data.commit(ROWS, name="t", tag="jan")
    second = data.commit(ROWS.with_columns(pl.col("id") + 3), name="t")
    assert (first.rows, second.rows, second.parents) == (3, 6, [first.id])
    assert data.load("t@jan").collect().equals(ROWS)
    assert data.load("t").collect()["id"].to_list() == [1, 2, 3, 4, 5, 6]
    replaced = data.commit(ROWS.head(1), name="t", mode="replace")
    assert data.load("t").collect().height == 1
    assert data.load(f"t@{second.id[:8]}").collect().height == 6
    assert data.resolve("t@main~2") == data.resolve("t@jan")
    assert graph.lineage(ws, node=replaced.node).nodes == [replaced.node, second.node, first.node]
    changed = data.diff("t@jan", "t")
    assert (changed.rows_before, changed.rows_after) == (3, 1)
    assert data.verify("t") == []


def test_loading_records_the_use_and_committing_the_producer(ws: Workspace) -> None:
    first = data.commit(ROWS, name="t")
    used: list[str] = []
    with recording_uses(used.append, "run:1"):
        data.load("t")
        made = data.commit(ROWS, name="u", inputs=[first.node])
    assert used == [first.node]
    assert set(graph.lineage(ws, node=made.node).nodes) == {made.node, first.node, "run:1"}


def test_rows_that_do_not_fit_are_named(ws: Workspace) -> None:
    data.commit(ROWS, name="t")
    with pytest.raises(InvalidInput, match='"x" is missing'):
        data.commit(ROWS.drop("x"), name="t")
    with pytest.raises(InvalidInput, match='"id" is Float64, not Int64'):
        data.commit(ROWS.cast({"id": pl.Float64}), name="t")
    with pytest.raises(InvalidInput, match="no columns"):
        data.commit(pl.DataFrame(), name="t")
    with pytest.raises(InvalidInput, match="no frame"):
        data.commit(object(), name="t")


def test_a_failed_expectation_keeps_the_branch(ws: Workspace) -> None:
    good = data.commit(ROWS, name="t")
    with pytest.raises(CheckFailed, match="not_null") as caught:
        data.commit(
            ROWS,
            name="t",
            checks=[data.not_null("name"), data.between("x", 0, 1, severity="warn"), data.row_count(1, 10)],
        )
    assert data.resolve("t").id == good.id
    kept = data.resolve(f"t@{caught.value.details['commit']}")
    assert kept.state == "rejected"
    assert [(one.passed, one.failing) for one in kept.checks] == [(False, 2), (False, 4), (True, 0)]
    assert kept.checks[0].examples[0] == {"row": 1, "name": None}
    with pytest.raises(Conflict, match="rejected"):
        door.create_branch(ws, name="t", branch="b", ref=kept.id)
    warned = data.commit(ROWS, name="t", checks=[data.between("x", 0, 1, severity="warn")])
    assert warned.state == "accepted"


def test_unknown_names_are_suggested(ws: Workspace) -> None:
    data.commit(ROWS, name="flights")
    with pytest.raises(NotFound, match='Did you mean "flights"'):
        data.load("flight")
    with pytest.raises(NotFound, match='Did you mean "main"'):
        data.load("flights@mian")
    for bad in ("", "@x", "a/b", "flights@"):
        with pytest.raises(InvalidInput):
            data.load(bad)


def test_tags_stay_and_branches_move(ws: Workspace) -> None:
    first = data.commit(ROWS, name="t", tag="v1")
    second = data.commit(ROWS, name="t")
    with pytest.raises(Conflict, match="v1"):
        data.dataset("t").tag("v1")
    assert data.dataset("t").tag("v1", move=True).id == second.id
    data.dataset("t").branch("try", ref=first.id)
    data.commit(ROWS, name="t", branch="try")
    assert data.resolve("t").id == second.id
    assert data.resolve("t@try").parents == [first.id]
    door.delete_ref(ws, name="t", ref="try")
    with pytest.raises(NotFound):
        data.resolve("t@try")
    with pytest.raises(Conflict, match="holds table"):
        door.commit_dataset(ws, name="t", kind="files", tree="0" * 64)


COMMITTER = """
import sys, polars as pl
from trine import connect, data
ws = connect(sys.argv[1])
for index in range(6):
    data.commit(pl.DataFrame({"who": [sys.argv[2]], "n": [index]}), name="t", ws=ws)
"""


def test_two_processes_append_to_one_branch_and_lose_nothing(folder: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", COMMITTER, str(folder), who]) for who in ("a", "b")]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    with connect(folder):
        rows = data.load("t").collect()
        assert sorted(rows.rows()) == sorted((who, n) for who in ("a", "b") for n in range(6))


def test_damage_is_named_before_use(local_ws: Workspace) -> None:
    commit = data.commit(pl.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)}), name="t")
    (part,) = read_tree(local_ws.store, commit.tree)
    assert local_ws.root
    path = local_ws.root / "store" / "objects" / part.hash[:2] / part.hash
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged, match=part.hash):
        data.load("t").collect()
    (damage,) = data.verify("t")
    assert damage.hash == part.hash


def test_what_cannot_be_kept_is_refused(local_ws: Workspace, tmp_path: Path) -> None:
    for path in ("", "/a", "../a", "a/../b", "a//b", "a\\b", "a\0b"):
        with pytest.raises(InvalidInput):
            check_path(path)
    source = tmp_path / "in"
    source.mkdir()
    (source / "out").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="leaves"):
        data.add(source, name="x")
    (source / "out").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(InvalidInput, match="neither a file"):
        data.add(source, name="x")
    with pytest.raises(NotFound, match="nothing at"):
        data.add(tmp_path / "none", name="x")
    with pytest.raises(NotFound, match="never added"):
        data.status(tmp_path)


paths = st.lists(
    st.text("abcé ._-", min_size=1, max_size=6).filter(lambda p: p not in (".", "..")), min_size=1, max_size=3
)


@given(
    st.dictionaries(
        paths.map("/".join), st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 10**12)), max_size=50
    )
)
def test_a_tree_reads_back(files: dict[str, tuple[bytes, int]]) -> None:
    store = _memory()
    entries = [Entry(path, hash_.hex(), size) for path, (hash_, size) in files.items()]
    tree = write_tree(store, entries)
    assert read_tree(store, tree) == sorted(entries, key=lambda one: one.path)
    assert write_tree(store, reversed(entries)) == tree


def _memory() -> ObjectStore:
    import tempfile

    return ObjectStore.open(tempfile.mkdtemp(prefix="trine-tree-"))


def test_a_small_change_rewrites_little() -> None:
    store = _memory()
    entries = [Entry(f"f{i:06d}", f"{i:064x}", i) for i in range(20_000)]
    write_tree(store, entries)
    before = set(store.iter_hashes())
    write_tree(store, [*entries, Entry("f010000x", "0" * 64, 1)])
    assert len(set(store.iter_hashes()) - before) <= 3


def test_the_effective_sample_size_knows_memory() -> None:
    from trine.data.autocorrelation import effective_size

    rng = np.random.default_rng(1)
    noise = rng.normal(size=10_000)
    assert effective_size(noise) > 9_000
    series = np.empty(10_000)
    series[0] = 0
    for i in range(1, 10_000):
        series[i] = 0.99 * series[i - 1] + noise[i]
    assert 15 < effective_size(series) < 150
