from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import data
from trine.data.merges import _merged
from trine.data.trees import Entry, read_tree, write_tree
from trine.errors import Conflict, InvalidInput, NotFound
from trine.storage import ObjectStore
from trine.workspace import Workspace


def put(folder: Path, files: dict[str, str], name: str = "x", **options: object) -> data.Commit:
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return data.add(folder, name=name, force=True, **options)  # type: ignore[arg-type]


def contents(ws: Workspace, commit: data.Commit) -> dict[str, str]:
    return {entry.path: ws.store.get(entry.hash).decode() for entry in read_tree(ws.store, commit.tree)}


def parted(folder: Path, base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]) -> None:
    put(folder, base)
    data.dataset("x").branch("side")
    put(folder, ours)
    put(folder, theirs, branch="side")


def test_what_each_side_changed_comes_together(ws: Workspace, tmp_path: Path) -> None:
    base = {"a": "1", "b": "1", "c": "1", "both gone": "1", "d/old": "moved", "e/old": "moved too"}
    ours = {"a": "2", "b": "1", "c": "1", "new": "n", "d/new": "moved", "e/old": "changed too"}
    theirs = {"a": "1", "c": "2", "new": "n", "d/old": "changed", "e/new": "moved too"}
    parted(tmp_path / "in", base, ours, theirs)
    head, side = data.resolve("x"), data.resolve("x@side")
    made = data.merge("x", "side")
    assert contents(ws, made) == {"a": "2", "c": "2", "new": "n", "d/new": "changed", "e/new": "changed too"}
    assert (made.parents, made.message, data.resolve("x").id) == ([head.id, side.id], "merge side into main", made.id)
    assert data.merge("x", "side").id == made.id  # all of it is here
    assert data.merge("x", "main", into="side").tree == made.tree
    assert [one.id for one in data.dataset("x").log("main")][:2] == [made.id, head.id]
    put(tmp_path / "in", {**contents(ws, made), "a": "3"}, branch="side")  # from the merge on, not from the beginning
    assert contents(ws, data.merge("x", "side"))["a"] == "3"


def test_what_both_changed_is_named_and_a_pattern_decides(ws: Workspace, tmp_path: Path) -> None:
    base = {"labels/1": "a", "labels/2": "a", "pixels/1": "a", "gone": "a"}
    ours = {"labels/1": "b", "labels/2": "a", "pixels/1": "b"}
    theirs = {"labels/1": "c", "labels/2": "c", "pixels/1": "c", "gone": "c", "new": "c"}
    parted(tmp_path / "in", base, ours, theirs)
    head = data.resolve("x")
    with pytest.raises(Conflict, match="3 paths were changed on both sides, gone first") as caught:
        data.merge("x", "side")
    assert [one["path"] for one in caught.value.details["conflicts"]] == ["gone", "labels/1", "pixels/1"]
    assert caught.value.details["conflicts"][0]["ours"] == ""
    assert data.resolve("x").id == head.id
    made = data.merge("x", "side", prefer={"labels/*": "theirs", "*": "ours"})
    assert contents(ws, made) == {"labels/1": "c", "labels/2": "c", "pixels/1": "b", "new": "c"}


def test_what_cannot_be_merged_is_said(local_ws: Workspace, tmp_path: Path) -> None:
    parted(tmp_path / "in", {"z": "1"}, {"z": "1", "a": "file"}, {"z": "1", "a/b": "folder"})
    with pytest.raises(Conflict, match='"a" would be a file and a folder'):
        data.merge("x", "side")
    with pytest.raises(NotFound, match='no branch "mian"'):
        data.merge("x", "side", into="mian")
    with pytest.raises(NotFound):
        data.merge("x", "nowhere")
    data.commit({"n": [1]}, name="t")
    with pytest.raises(InvalidInput, match="table"):
        data.remove("t", ["part-00000000.parquet"])


def test_files_move_and_go_without_a_checkout(ws: Workspace, tmp_path: Path) -> None:
    put(tmp_path / "in", {"cats/1": "a", "cats/2": "b", "dogs/1": "c", "top": "d"})
    made = data.move("x", "cats", "animals/cats")
    assert contents(ws, made) == {"animals/cats/1": "a", "animals/cats/2": "b", "dogs/1": "c", "top": "d"}
    assert made.message == "move cats to animals/cats"
    made = data.remove("x", ["dogs", "animals/cats/2"], message="fewer")
    assert contents(ws, made) == {"animals/cats/1": "a", "top": "d"}
    with pytest.raises(NotFound, match="top2"):
        data.remove("x", ["top2"])
    with pytest.raises(Conflict, match="is there already"):
        data.move("x", "top", "animals/cats/1")
    with pytest.raises(Conflict, match="a file and a folder"):
        data.move("x", "animals/cats/1", "top/1")
    with pytest.raises(InvalidInput):
        data.move("x", "top", "../top")
    with pytest.raises(NotFound):
        data.move("x", "top", "bottom", branch="side")


_folder = tempfile.mkdtemp(prefix="trine-merge-")
files = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e/f"]), st.sampled_from("123"), max_size=5)


@settings(max_examples=150)
@given(base=files, ours=files, theirs=files)
def test_a_merge_is_what_a_model_says(base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]) -> None:  # fmt: skip
    """Without moves (contents are told apart by path), each path is as the side has it that changed it."""
    store = ObjectStore.open(_folder)
    ws = Mock(store=store)

    def commit(files: dict[str, str]) -> data.Commit:
        entries = [Entry(path, f"{path.encode().hex()}{text.encode().hex()}".ljust(64, "0"), 1) for path, text in files.items()]  # fmt: skip
        return Mock(tree=write_tree(store, entries), branch="main", ref="x@0")

    clash = [
        path
        for path in {*base, *ours, *theirs}
        if len({base.get(path), ours.get(path), theirs.get(path)}) == 3
        or ((ours.get(path) == theirs.get(path)) is False and base.get(path) not in (ours.get(path), theirs.get(path)))
    ]
    if clash:
        with pytest.raises(Conflict) as caught:
            _merged(ws, commit(base), commit(ours), commit(theirs), {})
        assert [one["path"] for one in caught.value.details["conflicts"]] == sorted(clash)
        return
    wanted = {
        path: ours.get(path) if ours.get(path) != base.get(path) else theirs.get(path)
        for path in {*base, *ours, *theirs}
    }
    told = _merged(ws, commit(base), commit(ours), commit(theirs), {})
    assert {one.path for one in told} == {path for path, text in wanted.items() if text}
