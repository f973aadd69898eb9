from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trine import data
from trine.data import operations as door
from trine.data.glance import Glance
from trine.data.scan import scan
from trine.data.trees import read_tree
from trine.errors import Conflict, InvalidInput, NotFound
from trine.storage import ObjectStore
from trine.workspace import Workspace, connect, locate, recording_uses, using


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha")
    (folder / "sub" / "b.bin").write_bytes(b"beta" * 100_000)
    return folder


def paths(folder: Path) -> list[str]:
    return sorted(scan(folder).paths)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written a moment ago count as old enough to be remembered."""
    monkeypatch.setattr("trine.data.statcache.GRAIN_NS", -(10**12))


def test_what_is_no_data_is_left_out(source: Path) -> None:
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("ref")
    (source / "sub" / ".trine").mkdir()
    (source / "sub" / ".trine" / "ledger.db").write_text("")
    (source / ".trine-4711").write_text("half of a file that a killed checkout was writing")
    (source / "void").mkdir()
    assert paths(source) == ["a.txt", "sub/b.bin"]


def test_links_inside_are_read_as_what_they_point_to(source: Path) -> None:
    (source / "link.txt").symlink_to("a.txt")
    (source / "other").symlink_to("sub")
    (source / "sub" / "up.txt").symlink_to("../a.txt")
    assert paths(source) == ["a.txt", "link.txt", "other/b.bin", "other/up.txt", "sub/b.bin", "sub/up.txt"]


def test_what_cannot_be_kept_is_named(source: Path, local_ws: Workspace) -> None:
    def refused(words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            data.add(source, name="x")

    def link(name: str, target: str, words: str) -> None:
        (source / name).symlink_to(target)
        refused(words)
        (source / name).unlink()

    link("out", "/etc/passwd", "out is a link that leaves")
    link("beside", f"../{source.name}2", "beside is a link that leaves")
    link("lost", "nowhere", "lost is a link to nothing")
    link("self", "self", "self is a link to nothing")
    link("root", ".", "root is a link to a folder around it")
    (source / "one").mkdir()
    (source / "two").mkdir()
    (source / "one" / "two").symlink_to("../two")
    link("two/one", "../one", "(one|two) is a link to a folder around it")
    (source / "one" / "two").unlink()
    os.mkfifo(source / "pipe")
    refused("pipe is neither a file nor a folder")
    (source / "pipe").unlink()
    (source / "back\\slash").write_text("")
    refused("no path that can be kept")
    (source / "back\\slash").unlink()
    (source / os.fsdecode(b"caf\xe9")).write_text("")
    refused("not valid UTF-8")
    assert not door.list_datasets(local_ws).items


def test_nothing_to_add_is_said(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "void" / "deeper").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="no files"):
        data.add(tmp_path / "void", name="x")
    with pytest.raises(NotFound, match="nothing at"):
        data.add(tmp_path / "none", name="x")
    with pytest.raises(NotFound, match="nothing at"):
        data.status(tmp_path / "none")
    with pytest.raises(NotFound, match="never added"):
        data.status(tmp_path)
    (tmp_path / "f").write_text("")
    with pytest.raises(InvalidInput):
        data.add(tmp_path / "f" / "g", name="x")
    with pytest.raises(InvalidInput):
        data.add(tmp_path / "f", name="no/name")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without root's rights, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o777)
        with nobody():
            folder = Path(root, "in")
            folder.mkdir()
            (folder / "secret").write_text("x")
            (folder / "closed").mkdir()
            with connect(root) as ws, using(ws):
                (folder / "secret").chmod(0)
                with pytest.raises(InvalidInput, match="secret cannot be read: Permission denied"):
                    data.add(folder, name="x")
                (folder / "secret").chmod(0o644)
                (folder / "closed").chmod(0)
                with pytest.raises(InvalidInput, match="closed cannot be read: Permission denied"):
                    data.add(folder, name="x")
                (folder / "closed").chmod(0o755)
                data.add(folder, name="x")
                (folder / "secret").chmod(0)
                with pytest.raises(InvalidInput, match="secret cannot be read"):
                    data.status(folder)
                (folder / "secret").chmod(0o644)
                folder.chmod(0o555)
                assert data.status(folder).changes.clean
                folder.chmod(0o755)


def test_a_file_that_changes_while_it_is_read_is_refused(
    local_ws: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = local_ws.store.put_files

    def changing(change: Any) -> Any:
        def put_files(files: Any) -> Any:
            stored = original(files)
            change()
            return stored

        return put_files

    for change in (
        lambda: (source / "a.txt").write_bytes(b"alpha and more"),
        lambda: (source / "a.txt").write_bytes(b"omega"),
        lambda: (source / "new").write_bytes(b"alpha") and os.replace(source / "new", source / "a.txt"),
        lambda: (source / "a.txt").unlink(),
    ):
        (source / "a.txt").write_bytes(b"alpha")
        os.utime(source / "a.txt", (1_000_000, 1_000_000))
        monkeypatch.setattr(local_ws.store, "put_files", changing(change))
        with pytest.raises(Conflict, match=r"a\.txt changed while it was read"):
            data.add(source, name="x")
    with pytest.raises(NotFound):
        data.resolve("x")


@pytest.mark.usefixtures("patient")
def test_status_reads_only_what_changed(local_ws: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.add(source, name="x")
    read: list[str] = []
    original = data.changes._hash
    monkeypatch.setattr("trine.data.changes._hash", lambda path: read.append(path.name) or original(path))
    assert data.status(source).changes.clean
    assert not read
    (source / "a.txt").write_bytes(b"omega")
    assert data.status(source).changes.changed == ["a.txt"]
    assert read == ["a.txt"]
    (source / "a.txt").write_bytes(b"alpha")
    os.utime(source / "sub" / "b.bin")
    assert data.status(source).changes.clean
    assert read == ["a.txt", "a.txt", "b.bin"]
    (source / "a.txt").chmod(0o755)
    assert data.status(source).changes.changed == ["a.txt"]


def test_a_change_within_the_clocks_grain_is_seen(local_ws: Workspace, source: Path) -> None:
    now = time.time_ns()
    (source / "a.txt").write_bytes(b"alpha")
    os.utime(source / "a.txt", ns=(now, now))
    data.add(source, name="x")
    (source / "a.txt").write_bytes(b"omega")
    os.utime(source / "a.txt", ns=(now, now))  # same size, inode and time as when it was added
    assert data.status(source).changes.changed == ["a.txt"]
    assert data.add(source, name="x").parents


def test_a_damaged_cache_is_as_good_as_none(local_ws: Workspace, source: Path) -> None:
    first = data.add(source, name="x")
    (cache,) = (local_ws.spool.parent / "cache" / "stat").iterdir()
    for content in (b"", b"\x93nonsense", cache.read_bytes()[:-3]):
        cache.write_bytes(content)
        with pytest.raises(NotFound, match="never added"):
            data.status(source)
    assert data.add(source, name="x").id == first.id
    assert data.status(source).changes.clean


def test_adding_the_same_again_makes_no_commit(ws: Workspace, source: Path) -> None:
    first = data.add(source, name="x", message="one")
    again = data.add(source, name="x", message="again", tag="v1")
    assert again.id == first.id == data.resolve("x@v1").id
    assert len(data.dataset("x").log()) == 1
    with recording_uses(lambda _: None, "run:1"):
        made = data.add(source, name="x")  # made by a run: the graph has to know
    assert (made.parents, made.tree) == ([first.id], first.tree)


def test_a_folder_that_missed_a_commit_is_not_added_over_it(ws: Workspace, source: Path, tmp_path: Path) -> None:
    first = data.add(source, name="x")
    other = tmp_path / "other"
    data.checkout("x", other)
    (other / "theirs").write_text("theirs")
    second = data.add(other, name="x")
    (source / "mine").write_text("mine")
    with pytest.raises(Conflict, match=f"from {first.id[:12]} to {second.id[:12]}"):
        data.add(source, name="x")
    assert data.resolve("x").id == second.id
    third = data.add(source, name="x", force=True)
    assert third.parents == [second.id]
    data.dataset("x").branch("mine", ref=first.id)
    data.checkout("x@mine", other, force=True)
    (other / "more").write_text("more")
    assert data.add(other, name="x", branch="mine").parents == [first.id]
    door.delete_dataset(ws, name="x")
    assert data.add(source, name="x").parents == []


@pytest.mark.usefixtures("patient")
def test_an_add_that_was_killed_before_it_could_note_its_commit_is_known(
    local_ws: Workspace, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.add(source, name="x")
    other = tmp_path / "other"
    data.checkout("x", other)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def add_and_die() -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("trine.data.statcache.StatCache.save", killed)
            data.add(source, name="x")

    (source / "more").write_text("more")
    add_and_die()
    second = data.resolve("x")
    assert second.parents == [first.id]
    (source / "even more").write_text("even more")
    assert data.status(source).commit == second.id
    assert data.status(source).changes.added == ["even more"]
    assert data.add(source, name="x").parents == [second.id]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # before its commit
        patch.setattr("trine.data.operations.commit_dataset", killed)
        (source / "a.txt").write_text("mine")
        data.add(source, name="x")
    third = data.resolve("x")
    data.checkout("x", other, force=True)
    (other / "theirs").write_text("theirs")
    data.add(other, name="x")
    with pytest.raises(Conflict, match=f"from {third.id[:12]}"):
        data.add(source, name="x")
    data.add(source, name="x", force=True)

    (source / "mine").write_text("mine")
    add_and_die()
    mine = data.resolve("x")
    data.checkout("x", other, force=True)
    (other / "mine").write_text("theirs")
    data.add(other, name="x")  # on top of mine
    with pytest.raises(Conflict, match=f"from {mine.id[:12]}"):
        data.add(source, name="x")


def test_adding_again_stores_what_the_store_has_lost(local_ws: Workspace, source: Path) -> None:
    made = data.add(source, name="x")
    assert data.add(source, name="x").id == made.id
    entry = next(one for one in read_tree(local_ws.store, made.tree) if one.path == "sub/b.bin")
    assert local_ws.root
    (local_ws.root / "store" / "objects" / entry.hash[:2] / entry.hash).unlink()
    assert data.add(source, name="x").id == made.id
    assert data.verify("x") == []


def test_of_a_large_file_only_what_is_new_is_stored(ws: Workspace, source: Path, tmp_path: Path) -> None:
    old = os.urandom(6 << 20)
    new = old[: 3 << 20] + b"between" + old[3 << 20 :]
    (source / "large").write_bytes(old)
    data.add(source, name="x")
    (source / "large").write_bytes(new)
    made = data.add(source, name="x")
    assert data.read("x", "large") == new and data.read("x@main~1", "large") == old
    assert data.verify("x") == []
    data.checkout("x", tmp_path / "out")
    assert (tmp_path / "out" / "large").read_bytes() == new
    entry = next(one for one in read_tree(ws.store, made.tree) if one.path == "large")
    if isinstance(ws.store, ObjectStore):
        assert ws.store.place.holds(f"recipes/{entry.hash[:2]}/{entry.hash}")


def test_a_glance_sees_what_the_door_says(folder: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with connect(folder) as ws, using(ws):
        for number in range(3):
            (files / "n").write_text(str(number))
            data.add(files, name="x", tag=f"v{number}", message="ü")
        made = data.resolve("x")
        data.dataset("x").branch("try", "v1")
        refs = ["main", "try", "v0", "main~1", "v2~2", made.id, made.id[:6], f"{made.id[:12]}~1"]
        told = [data.resolve(f"x@{ref}") for ref in refs]
        failing = ["main~3", "v9", "000000", "x~", "~1"]
    with Glance(locate(str(folder))) as glance:
        assert [glance.commit(f"x@{ref}") for ref in refs] == told
        assert glance.head("x", "try") == told[1]
        assert isinstance(glance.store, ObjectStore) and glance.store.location == ws.store.location  # type: ignore[attr-defined]
        assert glance._ws is None
        assert glance.head("x", "v0") is glance.head("y", "main") is None  # the door was asked
        for ref in failing:
            with pytest.raises((NotFound, InvalidInput)):
                glance.commit(f"x@{ref}")


def test_one_file_can_be_a_dataset(ws: Workspace, source: Path) -> None:
    os.mkfifo(source / "beside")
    made = data.add(source / "a.txt", name="x")
    assert [entry.path for entry in read_tree(ws.store, made.tree)] == ["a.txt"]
    assert data.status(source / "a.txt").changes.clean
    (source / "a.txt").write_bytes(b"omega")
    assert data.status(source / "a.txt").changes.changed == ["a.txt"]
    assert data.read("x", "a.txt") == b"alpha"
    with pytest.raises(NotFound, match="Did you mean"):
        data.read("x", "b.txt")


def test_many_files_and_names_come_back(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = [
        "日本語.txt",
        "a b",
        "ünï",
        "e\u0301",
        "é",
        "-x",
        "line\nbreak",
        "tab\t",
        "'quote\"",
        "%2e%2e",
        "#?&",
        "~",
        "x" * 255,
    ]
    for number in range(1_500):
        path = folder / f"d{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % (number % 100))
    for name in names:
        (folder / name).write_text(name)
    made = data.add(folder, name="x")
    assert made.files == 1_500 + len(names)
    data.checkout("x", tmp_path / "out")
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "out" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert data.status(tmp_path / "out").changes.clean


def test_a_commit_stands_on_objects_that_are_there(ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="not in the store"):
        door.commit_dataset(ws, name="x", kind="files", tree="0" * 64)
    with pytest.raises(InvalidInput):
        door.commit_dataset(ws, name="x", kind="files", tree="nonsense")
    tree = ws.store.put(b"")
    with pytest.raises(InvalidInput, match="not in the store"):
        door.commit_dataset(ws, name="x", kind="files", tree=tree, profile="1" * 64)


def test_references_that_are_none_are_refused(ws: Workspace, source: Path) -> None:
    first = data.add(source, name="x")
    for bad in ("", "@main", "x@", "a/b", "x@main~", "x@main~-1", "x@main~²", "x@main~1234567890", "x@\0", "x@\ud800"):
        with pytest.raises(InvalidInput):
            data.resolve(bad)
    for unknown in ("x@main~1", "x@mian", "x@abcdef", f"x@{first.id[:5]}", "x@main~999999999", "y"):
        with pytest.raises(NotFound):
            data.resolve(unknown)
    for number in ({"rows": -1}, {"rows": 2**70}, {"files": "many"}, {"size_bytes": 0.5}):
        with pytest.raises(InvalidInput, match=next(iter(number))):
            door.commit_dataset(ws, name="t", kind="files", tree=first.tree, **number)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="node"):
        door.commit_dataset(ws, name="t", kind="files", tree=first.tree, inputs=["nonsense"])
