"""What is staged on a branch, on every backend: seen by who reads it file by file, committed at once, or let go."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import data, upkeep
from trine.data import aliases, staging, uploads
from trine.data import operations as door
from trine.data.browsing import File, View
from trine.data.staging import Change
from trine.errors import Conflict, InvalidInput, NotFound
from trine.operations import every
from trine.workspace import Workspace


@pytest.fixture
def images(ws: Workspace, tmp_path: Path) -> str:
    folder = tmp_path / "images"
    for name in ("a.txt", "b/1.txt", "b/2.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    data.add(folder, name="images", ws=ws)
    return "images"


def put(ws: Workspace, path: str, content: str, **options: Any) -> Change:
    raw = content.encode()
    return Change(path, ws.store.put(raw), len(raw), **options)


def seen(ws: Workspace, ref: str = "main") -> dict[str, str]:
    view = View(ws, door.get_dataset(ws, name="images"), ref)
    return {file.path: ws.store.get(file.object).decode() for file in view.walk()}


def test_a_commit_takes_all_that_is_staged(ws: Workspace, images: str) -> None:
    staging.stage(ws, name=images, changes=[put(ws, "a.txt", "new"), put(ws, "c", "c"), Change("b/1.txt")])
    staging.stage(ws, name=images, changes=[Change("never there"), put(ws, "é", "é", executable=True)])
    assert seen(ws) == {"a.txt": "new", "b/2.txt": "b/2.txt", "c": "c", "é": "é"}
    assert data.read("images", "a.txt", ws=ws) == b"a.txt"
    assert [(one.path, bool(one.object)) for one in every(staging.list_staged, ws, name=images)] == [
        ("a.txt", True),
        ("b/1.txt", False),
        ("c", True),
        ("é", True),
    ]
    before = data.resolve("images", ws=ws)
    made = data.commit_staged("images", message="by hand", ws=ws)
    assert (made.files, made.parents, made.message) == (4, [before.id], "by hand")
    assert seen(ws, made.id) == seen(ws) == {"a.txt": "new", "b/2.txt": "b/2.txt", "c": "c", "é": "é"}
    with pytest.raises(Conflict, match="Nothing is staged"):
        data.commit_staged("images", ws=ws)


def test_what_was_staged_meanwhile_stays_staged(ws: Workspace, images: str) -> None:
    staging.stage(ws, name=images, changes=[put(ws, "x", "1"), put(ws, "y", "1")])
    taken = {one.path: one.change for one in every(staging.list_staged, ws, name=images)}
    staging.stage(ws, name=images, changes=[put(ws, "x", "2")])
    head = data.resolve("images", ws=ws)
    values = {"tree": head.tree, "files": head.files, "size_bytes": head.size_bytes, "taken": taken}
    staging.commit_tree(ws, name=images, expect=head.id, **values)
    assert [one.path for one in staging.list_staged(ws, name=images).items] == ["x"]
    with pytest.raises(Conflict, match="has moved"):
        staging.commit_tree(ws, name=images, expect=head.id, **values)


def test_what_is_staged_is_let_go(ws: Workspace, images: str) -> None:
    data.dataset(images, ws=ws).branch("dev")
    changes = [put(ws, path, "x") for path in ("b/3", "b_4", "c", "d")]
    staging.stage(ws, name=images, branch="dev", changes=changes)
    assert staging.list_staged(ws, name=images).items == []
    assert staging.discard_staged(ws, name=images, branch="dev", prefix="b_").changed
    assert staging.discard_staged(ws, name=images, branch="dev", paths=["c"]).changed
    assert [one.path for one in staging.list_staged(ws, name=images, branch="dev").items] == ["b/3", "d"]
    door.delete_ref(ws, name=images, ref="dev")
    data.dataset(images, ws=ws).branch("dev")
    assert staging.list_staged(ws, name=images, branch="dev").items == []


def test_only_what_was_expected_is_replaced(ws: Workspace, images: str) -> None:
    there = View(ws, door.get_dataset(ws, name=images), "main").find("a.txt")
    assert isinstance(there, File) and not there.staged
    staging.stage(ws, name=images, changes=[put(ws, "a.txt", "2")], expect={"a.txt": there.object})
    for path, wanted in (("a.txt", there.object), ("a.txt", ""), ("new", there.object)):
        with pytest.raises(Conflict, match="not what was expected"):
            staging.stage(ws, name=images, changes=[put(ws, path, "3")], expect={path: wanted})
    staging.stage(ws, name=images, changes=[put(ws, "new", "1")], expect={"new": ""})


def test_bad_changes_are_refused(ws: Workspace, images: str) -> None:
    data.dataset(images, ws=ws).tag("v1")
    for branch, error in (("v1", Conflict), ("none", NotFound)):
        with pytest.raises(error):
            staging.stage(ws, name=images, branch=branch, changes=[put(ws, "x", "x")])
    for change in (Change("../x", "0" * 64), Change("x", "0" * 64)):
        with pytest.raises(InvalidInput):
            staging.stage(ws, name=images, changes=[change])
    assert staging.list_staged(ws, name=images).items == []


def test_garbage_collection_keeps_what_is_staged_and_uploaded(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    data.add(tmp_path / "x", name="images", ws=local_ws)
    staging.stage(local_ws, name="images", changes=[put(local_ws, "staged", "staged")])
    one = uploads.begin_upload(local_ws, name="images", path="later")
    md5 = hashlib.md5(b"part", usedforsecurity=False).hexdigest()
    part = local_ws.store.put(b"part")
    uploads.keep_part(local_ws, id=one.id, number=1, object=part, size_bytes=4, md5=md5)
    known = data.digests("images", "md5", ws=local_ws)
    upkeep.collect(local_ws, grace_s=0)
    assert seen(local_ws)["staged"] == "staged"
    assert local_ws.store.get(part) == b"part"
    assert upkeep.verify(local_ws).is_sound
    door.delete_dataset(local_ws, name="images")
    upkeep.collect(local_ws, grace_s=0)
    with pytest.raises(NotFound):  # what is only known keeps nothing
        data.find_object(known[0].digest, ws=local_ws)


def test_digests_are_found_when_they_are_asked_for(ws: Workspace, images: str) -> None:
    wanted = hashlib.sha256(b"b/1.txt").hexdigest()
    with pytest.raises(NotFound, match="trine data digests"):
        data.find_object(wanted, ws=ws)
    found = {one.path: one.digest for one in data.digests(images, ws=ws)}
    assert found["b/1.txt"] == wanted
    assert found == {one.path: one.digest for one in data.digests(images, ws=ws)}
    assert ws.store.get(data.find_object(f"sha256:{wanted.upper()}", ws=ws).object) == b"b/1.txt"
    md5 = hashlib.md5(b"a.txt", usedforsecurity=False).hexdigest()
    assert data.digests(images, "md5", ws=ws)[0].digest == md5
    assert data.find_object(md5, ws=ws).size_bytes == 5
    for wrong in ("sha256:00", "crc:00", "", "x" * 64):
        with pytest.raises(InvalidInput):
            data.find_object(wrong, ws=ws)
    some = ws.store.put(b"known")
    with pytest.raises(InvalidInput):
        aliases.keep_aliases(ws, algorithm="md5", aliases=[aliases.Alias("no", some, 5)])


PATHS = st.lists(st.sampled_from(["a", "a/b", "a/c", "a0", "b", "b/x/y", "b/x/z", "ü"]), unique=True)


@settings(max_examples=40)
@given(committed=PATHS, staged=PATHS, gone=PATHS, delimiter=st.sampled_from(["", "/", "x"]), prefix=st.sampled_from(["", "a", "b/", "b/x"]), after=st.sampled_from(["", "a", "a/b", "b/x/y"]))  # fmt: skip
def test_walking_is_as_sorting_all_paths(
    shared_ws: Workspace,
    committed: list[str],
    staged: list[str],
    gone: list[str],
    delimiter: str,
    prefix: str,
    after: str,
) -> None:
    """Against a model: the folder of keys that S3 describes, made from all paths at once."""
    from trine.data.trees import Entry, write_tree

    ws = shared_ws
    blob = ws.store.put(b"x")
    tree = write_tree(ws.store, [Entry(path, blob, 1) for path in committed])
    head = (
        door.get_commit(ws, name="walked") if "walked" in [one.name for one in door.list_datasets(ws).items] else None
    )
    door.commit_dataset(ws, name="walked", kind="files", tree=tree, expect=head.id if head else "")
    staging.discard_staged(ws, name="walked")
    changes = [Change(path, blob, 1) for path in staged] + [Change(path) for path in gone if path not in staged]
    if changes:
        staging.stage(ws, name="walked", changes=changes)
    paths = sorted((set(committed) | set(staged)) - (set(gone) - set(staged)))
    expected: list[str] = []
    for path in paths:
        if path.startswith(prefix) and path > after:
            end = path.find(delimiter, len(prefix)) if delimiter else -1
            shown = path if end < 0 else path[: end + len(delimiter)]
            if shown not in expected and (end < 0 or shown > after):
                expected.append(shown)
    view = View(ws, door.get_dataset(ws, name="walked"), "main")
    assert [one.path for one in view.walk()] == paths
    found = [one if isinstance(one, str) else one.path for one in view.folders(prefix, after, delimiter)]
    assert found == expected
    assert {path for path in ("a", "b", "ü") if view.find(path)} == {"a", "b", "ü"} & set(paths)
