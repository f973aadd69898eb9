from __future__ import annotations

import os
from pathlib import Path

import pytest

from trine import data
from trine.data.trees import Entry, check_path, encode_tree, read_difference, read_tree, write_tree
from trine.errors import Conflict, Damaged, Failure, InvalidInput
from trine.workspace import Workspace, connect


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def versions(ws: Workspace, tmp_path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Two versions of a dataset whose files and folders change places."""
    one = {"keep": "1", "gone/deep/er": "2", "thing": "a file", "place/in": "a", "place/more": "b", "edit": "old"}
    two = {"keep": "1", "thing/now": "a folder", "place": "a file", "edit": "new"}
    data.add(write(tmp_path / "one", one), name="x", tag="one")
    data.add(write(tmp_path / "two", two), name="x", tag="two")
    return one, two


def test_versions_take_turns_in_one_folder(versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    one, two = versions
    out = tmp_path / "out"
    for ref, wanted in (("x@one", one), ("x@two", two), ("x@one", one), ("x", two)):
        data.checkout(ref, out)
        assert contents(out) == wanted
        assert data.status(out).changes.clean
    assert not (out / "gone").exists()


def test_files_of_mine_stay(versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    two = versions[1]
    out = tmp_path / "out"
    data.checkout("x@one", out)
    write(out, {"mine": "m", "gone/mine": "m"})
    data.checkout("x@two", out)
    assert contents(out) == {**two, "mine": "m", "gone/mine": "m"}
    assert data.status(out).changes.added == ["gone/mine", "mine"]


@pytest.mark.parametrize(
    ("path", "text"),
    [("edit", "mine"), ("gone/deep/er", "mine"), ("thing", "mine"), ("place/in", "mine"), ("place/mine", "mine")],
)
def test_changes_of_mine_are_not_lost(
    versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path, path: str, text: str
) -> None:
    one, two = versions
    out = tmp_path / "out"
    data.checkout("x@one", out)
    write(out, {path: text})
    with pytest.raises(Conflict, match=path):
        data.checkout("x@two", out)
    assert contents(out) == {**one, path: text}
    data.checkout("x@two", out, force=True)
    assert contents(out) == two


def test_a_file_in_the_way_is_not_lost(versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    out = write(tmp_path / "out", {"place": "mine", "edit": "old"})
    with pytest.raises(Conflict, match=r"1 files .*place first"):
        data.checkout("x@one", out)
    assert contents(out) == {"place": "mine", "edit": "old"}
    with pytest.raises(InvalidInput, match="not a folder"):
        data.checkout("x@one", out / "edit")


def test_a_checkout_that_was_interrupted_goes_on(
    versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = versions[1]
    out = tmp_path / "out"
    data.checkout("x@one", out)
    for allowed in (0, 1, 1):  # three files differ, and what was written stays
        with monkeypatch.context() as patch:
            replace, left = os.replace, [allowed]

            def failing(source: str, target: str, replace=replace, left=left) -> None:  # type: ignore[no-untyped-def]
                if str(target).startswith(str(out)):
                    left[0] -= 1
                    if left[0] < 0:
                        raise KeyboardInterrupt
                replace(source, target)

            patch.setattr(os, "replace", failing)
            with pytest.raises(KeyboardInterrupt):
                data.checkout("x@two", out)
    assert not list(out.rglob(".trine-*"))
    data.checkout("x@two", out)
    assert contents(out) == two
    assert data.status(out).changes.clean


def test_nothing_is_written_through_a_link(versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    out = write(tmp_path / "out", {"else/where": "mine"})
    (out / "gone").symlink_to("else")
    with pytest.raises(Conflict, match="gone is a link"):
        data.checkout("x@one", out)
    assert contents(out)["else/where"] == "mine"
    (out / "gone").unlink()
    (out / "gone").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="leaves"):
        data.checkout("x@one", out)


def test_a_folder_that_is_no_data_is_not_replaced(
    versions: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "out" / "thing" / ".git").mkdir(parents=True)
    with pytest.raises(Conflict, match=r"thing cannot be written"):
        data.checkout("x@one", tmp_path / "out")
    (tmp_path / "out" / "thing" / ".git").rmdir()
    data.checkout("x@one", tmp_path / "out")
    assert (tmp_path / "out" / "thing").read_text() == "a file"


def test_modes_and_big_files_come_back(ws: Workspace, tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"run": "#!/bin/sh\n"})
    (source / "big").write_bytes(os.urandom(5 << 20))
    (source / "run").chmod(0o755)
    (source / "big").chmod(0o700)
    data.add(source, name="x", tag="on")
    (source / "run").chmod(0o644)
    assert data.status(source).changes.changed == ["run"]
    data.add(source, name="x", tag="off")
    assert data.diff("x@on", "x@off").files.changed == ["run"]
    out = tmp_path / "out"
    data.checkout("x@on", out)
    assert [os.access(out / name, os.X_OK) for name in ("run", "big")] == [True, True]
    assert (out / "big").read_bytes() == (source / "big").read_bytes()
    data.checkout("x@off", out)
    assert (out / "run").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def test_large_files_share_their_bytes_where_they_can(
    local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in", {"small": "s"})
    content = os.urandom(5 << 20)
    (source / "big").write_bytes(content)

    def cloned(one: int, two: int) -> bool:
        os.sendfile(two, one, 0, 5 << 20)
        return True

    for place in ("objects", "places"):
        monkeypatch.setattr(f"trine.storage.{place}.clone", cloned)
    data.add(source, name="x")
    data.checkout("x", tmp_path / "auto")
    assert (tmp_path / "auto" / "big").read_bytes() == content
    assert os.access(tmp_path / "auto" / "big", os.W_OK)

    data.checkout("x", tmp_path / "hard", link="hard")
    linked = tmp_path / "hard" / "big"
    assert linked.read_bytes() == content and linked.stat().st_nlink == 2 and not linked.stat().st_mode & 0o222
    assert data.status(tmp_path / "hard").changes.clean
    data.checkout("x", tmp_path / "copy", link="copy")
    assert (tmp_path / "copy" / "big").stat().st_nlink == 1

    linked.chmod(0o644)
    with linked.open("r+b") as file:  # it is the store's own file
        file.write(b"damage")
    for link in ("auto", "hard", "copy"):
        with pytest.raises(Damaged):
            data.checkout("x", tmp_path / "again", link=link, ws=connect(local_ws.location))  # type: ignore[arg-type]
        assert not (tmp_path / "again" / "big").exists()


def test_a_damaged_file_is_named_and_not_handed_out(local_ws: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(600_000))
    commit = data.add(source, name="x")
    (entry,) = read_tree(local_ws.store, commit.tree)
    assert local_ws.root
    stored = local_ws.root / "store" / "objects" / entry.hash[:2] / entry.hash
    raw = bytearray(stored.read_bytes())
    raw[300_000] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(raw)
    fresh = connect(local_ws.location)
    with pytest.raises(Damaged, match=entry.hash):
        data.checkout("x", tmp_path / "out", ws=fresh)
    assert not (tmp_path / "out" / "big").exists()
    assert [one.hash for one in data.verify("x", ws=fresh)] == [entry.hash]
    data.add(source, name="x", ws=fresh)  # adding it again mends it
    assert data.verify("x", ws=fresh) == []


def test_a_full_disk_is_said(local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.add(write(tmp_path / "in", {"a": "1", "b": "2"}), name="x")
    original = os.open

    def full(path: str, *args: int, **options: int) -> int:
        if ".trine-" in str(path):
            raise OSError(28, "No space left on device")
        return original(path, *args, **options)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(Failure, match=r"no space left for .*/a"):
        data.checkout("x", tmp_path / "out")
    monkeypatch.undo()
    data.checkout("x", tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": "1", "b": "2"}


def test_paths_that_lead_elsewhere_are_refused(local_ws: Workspace) -> None:
    for path in ("", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "\udcff"):
        with pytest.raises(InvalidInput):
            check_path(path)
        with pytest.raises(InvalidInput):
            write_tree(local_ws.store, [Entry(path, "0" * 64, 0)])
    with pytest.raises(InvalidInput, match="twice"):
        encode_tree([Entry("a", "0" * 64, 0), Entry("a", "1" * 64, 0)])


def test_a_tree_of_another_kind_is_named(local_ws: Workspace) -> None:
    for content in (b"", b"\x81\xa6format\xa6tree-9", b"nonsense", b"\x90"):
        name = local_ws.store.put(content)
        with pytest.raises(Damaged, match=name):
            read_tree(local_ws.store, name)
    import msgspec

    future = local_ws.store.put(msgspec.msgpack.encode({"format": "tree-2", "algorithm": "blake3", "pages": []}))
    with pytest.raises(InvalidInput, match="tree-2"):
        read_tree(local_ws.store, future)


def test_a_small_change_rewrites_and_reads_little(local_ws: Workspace) -> None:
    store = local_ws.store
    entries = [Entry(f"f{i:06d}", f"{i:064x}", i) for i in range(20_000)]
    first, objects = encode_tree(entries)
    store.put_many(objects)
    second, changed = encode_tree([*entries, Entry("f010000x", "0" * 64, 1)])
    assert len(set(changed) - set(objects)) <= 3
    store.put_many(changed)
    gone, come = read_difference(store, first, second)
    assert len(come) < 9_000
    assert {entry.path for entry in come} - {entry.path for entry in gone} == {"f010000x"}
    assert read_tree(store, second) == sorted([*entries, Entry("f010000x", "0" * 64, 1)], key=lambda one: one.path)
