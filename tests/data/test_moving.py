from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from trine import data
from trine.data import moving, peers
from trine.data import operations as door
from trine.data.records import Record, commit_of, list_records, receive_records, record_of
from trine.data.remotes import RemoteInfo, add_remote, find_remote, list_remotes, remove_remote
from trine.errors import CheckFailed, Conflict, Damaged, InvalidInput, NotFound
from trine.storage.places import Folder
from trine.workspace import Workspace, connect

Other = Callable[[str], Workspace]


@pytest.fixture
def other(tmp_path: Path) -> Other:
    """Workspaces beside the one of the test."""
    return lambda name: connect(tmp_path / name)


class BrokenOff(Exception):
    """As if the process had ended here."""


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_dataset_goes_to_a_folder_and_comes_back_with_the_same_ids(
    ws: Workspace, tmp_path: Path, other: Other
) -> None:
    source = fill(tmp_path / "in", a="alpha", big="b" * (5 << 20))
    first = data.add(source, name="x", message="one", tag="v1", ws=ws)
    fill(source, a="other")
    second = data.add(source, name="x", message="two", ws=ws)
    told: list[tuple[int, int]] = []
    there = str(tmp_path / "remote")
    done = data.push("x", remote=there, tell=lambda p: told.append((p.size_bytes, p.size_bytes_total)), ws=ws)
    assert (done.commits, {one.name: one.outcome for one in done.refs}) == (2, {"main": "new", "v1": "new"})
    assert told[-1][0] == told[-1][1] > 5 << 20
    again = data.push("x", remote=there, ws=ws)
    assert (again.commits, again.objects, {one.outcome for one in again.refs}) == (0, 0, {"same"})
    with other("elsewhere") as elsewhere:
        got = data.pull("x", remote=there, ws=elsewhere)
        assert (got.commits, got.objects) == (2, done.objects)
        assert data.resolve("x@v1", ws=elsewhere) == first
        assert data.resolve("x", ws=elsewhere) == second
        data.checkout("x@v1", tmp_path / "out", ws=elsewhere)
        assert (tmp_path / "out" / "a").read_text() == "alpha"
        assert data.verify("x", ws=elsewhere) == []
        assert door.list_commits(elsewhere, name="x", ref="main").items[-1].message == "one"


def test_tables_go_with_profile_and_checks(local_ws: Workspace, tmp_path: Path, other: Other) -> None:
    data.commit({"id": [1, 2]}, name="t", checks=[data.unique("id")])
    made = data.commit({"id": [3]}, name="t")
    data.push("t@main", remote=str(tmp_path / "remote"))
    with other("elsewhere") as elsewhere:
        data.pull("t@main", remote=str(tmp_path / "remote"), ws=elsewhere)
        assert data.load("t", ws=elsewhere).collect().height == 3
        assert data.profile("t", ws=elsewhere) == data.profile("t", ws=local_ws)
        assert data.resolve(f"t@{made.id}", ws=elsewhere).checks == made.checks
        assert not data.verify("t", ws=elsewhere)


def test_a_workspace_and_a_server_are_remotes_too(
    local_ws: Workspace, tmp_path: Path, other: Other, serve: Callable[[Workspace], str],
    admin_token: Callable[[Workspace], str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = data.add(fill(tmp_path / "in", a="1"), name="x", ws=local_ws)
    with other("team") as team:
        data.push("x", remote=str(tmp_path / "team"), ws=local_ws)
        assert data.resolve("x", ws=team) == made
        url, token = serve(team), admin_token(team)
        monkeypatch.setattr("trine.settings.kept_token", lambda asked: token if asked == url else "")
        fill(tmp_path / "in", a="2")
        second = data.add(tmp_path / "in", name="x", ws=local_ws)
        assert data.push("x", remote=url, ws=local_ws).refs[0].outcome == "moved"
        assert data.resolve("x", ws=team) == second
        with other("third") as third:
            assert data.pull("x", remote=url, ws=third).commits == 2
            assert data.resolve("x", ws=third) == second


def test_a_bucket_is_a_remote(local_ws: Workspace, tmp_path: Path, bucket_url: str, other: Other) -> None:
    add_remote(local_ws, name="origin", url=bucket_url)
    made = data.add(fill(tmp_path / "in", a="1", b="2"), name="x", ws=local_ws)
    data.push("x", ws=local_ws)
    fill(tmp_path / "in", a="3")
    data.add(tmp_path / "in", name="x", ws=local_ws)
    assert data.push("x", ws=local_ws).refs[0].outcome == "moved"
    with other("elsewhere") as elsewhere:
        assert data.pull("x", remote=bucket_url, ws=elsewhere).commits == 2
        assert data.resolve("x@main~1", ws=elsewhere) == made


def test_what_went_on_at_both_ends_is_told(local_ws: Workspace, tmp_path: Path, other: Other) -> None:
    there = str(tmp_path / "remote")
    data.add(fill(tmp_path / "in", a="1"), name="x", ws=local_ws)
    data.push("x", remote=there, ws=local_ws)
    with other("elsewhere") as elsewhere:
        data.pull("x", remote=there, ws=elsewhere)
        data.add(fill(tmp_path / "in", a="2"), name="x", ws=local_ws)
        theirs = data.add(fill(tmp_path / "mine", a="3"), name="x", ws=elsewhere)
        data.push("x", remote=there, ws=elsewhere)
        with pytest.raises(Conflict, match="went on at both ends"):
            data.push("x@main", remote=there, ws=local_ws)
        assert data.push("x", remote=there, ws=local_ws).refs[0].outcome == "diverged"
        with pytest.raises(Conflict, match="trine data merge x@"):
            data.pull("x@main", remote=there, ws=local_ws)
        assert data.resolve(f"x@{theirs.id}", ws=local_ws) == theirs  # it came, to be merged
        data.merge("x", theirs.id, prefer={"*": "ours"}, ws=local_ws)
        assert data.push("x@main", remote=there, ws=local_ws).refs[0].outcome == "moved"
        assert data.pull("x@main", remote=there, ws=elsewhere).commits == 2
        data.add(fill(tmp_path / "in", a="4"), name="x", force=True, ws=local_ws)
        data.add(fill(tmp_path / "mine", a="5"), name="x", force=True, ws=elsewhere)
        data.push("x", remote=there, ws=elsewhere)
        assert data.push("x@main", remote=there, force=True, ws=local_ws).refs[0].outcome == "moved"
    door.tag_commit(local_ws, name="x", tag="v", ref="main")
    data.push("x@v", remote=there, ws=local_ws)
    door.tag_commit(local_ws, name="x", tag="v", ref="main~1", move=True)
    with pytest.raises(Conflict, match="--force"):
        data.push("x@v", remote=there, ws=local_ws)
    behind = door.get_commit(local_ws, name="x", ref="main~1")
    with other("third") as third:
        data.pull(f"x@{behind.id[:8]}", remote=there, ws=third)  # a commit alone: no branch moves
        assert door.get_dataset(third, name="x").branches == {}


def test_an_interrupted_push_goes_on(local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = str(tmp_path / "remote")
    data.add(fill(tmp_path / "in", **{f"f{n}": str(n) * 100 for n in range(20)}), name="x", ws=local_ws)
    monkeypatch.setattr(moving, "BATCH_OBJECTS", 2)
    copied: list[str] = []
    copy = moving._copy_batch

    def break_off(source: object, target: object, batch: list[str]) -> None:
        if len(copied) > 8:
            raise ConnectionError
        copied.extend(batch)
        copy(source, target, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(moving, "WORKERS", 1)
    monkeypatch.setattr(moving, "_copy_batch", break_off)
    with pytest.raises(ConnectionError):
        data.push("x", remote=there, ws=local_ws)
    with pytest.raises(NotFound, match="no dataset"):
        data.pull("x", remote=there, ws=local_ws)
    monkeypatch.setattr(moving, "_copy_batch", copy)
    assert data.push("x", remote=there, ws=local_ws).objects == 22 - len(copied)


def test_damage_is_mended_from_a_remote(local_ws: Workspace, tmp_path: Path) -> None:
    there = tmp_path / "remote"
    data.add(fill(tmp_path / "in", a="x" * 300_000), name="x", ws=local_ws)
    add_remote(local_ws, name="origin", url=str(there))
    data.push("x", ws=local_ws)
    file = next(one for one in (tmp_path / "work/.trine/store/objects").rglob("*") if one.is_file())
    file.chmod(0o644)
    file.write_bytes(b"y" * 300_000)
    [damage] = data.verify("x", ws=local_ws)
    assert data.mend([damage.hash, "0" * 64], ws=local_ws) == {damage.hash}
    assert data.verify("x", ws=local_ws) == []
    for one in (there / "objects").rglob("*"):
        if one.is_file() and one.stat().st_size == 300_000:
            one.chmod(0o644)
            one.write_bytes(b"y" * 300_000)
    with connect(tmp_path / "elsewhere") as elsewhere, pytest.raises(Damaged):
        data.pull("x", remote=str(there), ws=elsewhere)


def test_a_commit_is_taken_in_as_it_was_made_or_not_at_all(ws: Workspace, tmp_path: Path) -> None:
    first = data.add(fill(tmp_path / "in", a="1"), name="x", ws=ws)
    second = data.add(fill(tmp_path / "in", a="2"), name="x", ws=ws)
    found = list_records(ws, name="x", ids=[second.id, "0" * 64])
    assert [commit_of(one) for one in found.items] == [second, first]
    assert list_records(ws, name="x", ids=[second.id], limit=1).next == [first.id]
    door.delete_dataset(ws, name="x")
    one, two = found.items
    with pytest.raises(InvalidInput, match="comes after"):
        receive_records(ws, name="x", records=[one])
    with pytest.raises(InvalidInput, match="is of dataset"):
        receive_records(ws, name="y", records=[two])
    with pytest.raises(InvalidInput, match="another hash"):
        receive_records(ws, name="x", records=[Record(two.id, two.text.replace("accepted", "rejected"))])
    assert receive_records(ws, name="x", records=[two, one]).changed
    assert not receive_records(ws, name="x", records=[two, one]).changed
    assert data.resolve(f"x@{second.id}", ws=ws) == second
    assert door.get_dataset(ws, name="x").branches == {}


def test_remotes_are_named(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="trine data remote add"):
        find_remote(ws)
    add_remote(ws, name="lake", url="s3://lake/trine")
    assert find_remote(ws).url == "s3://lake/trine"
    add_remote(ws, name="team", url="https://trine.example", project_there="vision")
    with pytest.raises(InvalidInput, match="name one"):
        find_remote(ws)
    with pytest.raises(NotFound, match="lake"):
        find_remote(ws, "lak")
    with pytest.raises(InvalidInput, match="password"):
        add_remote(ws, name="db", url="postgresql://me:secret@host/db")
    assert [(one.name, one.project) for one in list_remotes(ws).items] == [("lake", ""), ("team", "vision")]
    remove_remote(ws, name="lake")
    with pytest.raises(NotFound):
        remove_remote(ws, name="lake")
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "trine.json").write_text("{}")
    with (
        peers.open_peer(RemoteInfo("", str(tmp_path / "later"), "", 0)) as peer,
        pytest.raises(InvalidInput, match="Upgrade"),
    ):
        peer.refs("x")


def test_a_push_that_breaks_off_anywhere_leaves_no_reference_to_what_is_not_there(
    local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        files = {f"f{one}": f"{one} of {number}" * 50 for one in range(number + 2)}
        data.add(fill(tmp_path / "in", **files, large="l" * 2_000 + str(number)), name="x", ws=local_ws)
    monkeypatch.setattr(moving, "WORKERS", 1)
    monkeypatch.setattr(moving, "LARGE", 1_000)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    adopt = Folder.adopt
    points = 0
    while True:
        left = [points]

        def break_off(self: Folder, temporary: Path, key: str, left: list[int] = left) -> None:
            if self.root.name.startswith("remote"):
                if not left[0]:
                    raise BrokenOff(key)
                left[0] -= 1
            adopt(self, temporary, key)

        monkeypatch.setattr(Folder, "adopt", break_off)
        there = tmp_path / f"remote{points}"
        try:
            data.push("x", remote=str(there), ws=local_ws)
            done = True
        except BrokenOff:
            done = False
        monkeypatch.setattr(Folder, "adopt", adopt)
        peer = peers.BarePeer(str(there))
        refs = peer.refs("x")
        assert bool(refs) == done
        for place in refs.values():
            way = [place.commit]
            while way:
                [record] = peer.records("x", [way.pop()])
                needed = moving._needed(peer.store, [commit_of(record)], [])
                assert all(peer.store.has(step) == set(step) for step in needed)
                way += record.parents
        if done:
            break
        assert data.push("x", remote=str(there), ws=local_ws).refs[0].outcome == "new"
        points += 1
    assert points > 5


def test_of_a_large_file_that_changed_what_is_new_moves(local_ws: Workspace, tmp_path: Path, other: Other) -> None:
    content = bytearray(os.urandom(12 << 20))
    file = tmp_path / "in" / "large.bin"
    fill(file.parent)
    file.write_bytes(content)
    data.add(file.parent, name="x", ws=local_ws)
    there = str(tmp_path / "remote")
    data.push("x", remote=there, ws=local_ws)
    content[5 << 20 : (5 << 20) + 1000] = os.urandom(1000)
    file.write_bytes(content)
    made = data.add(file.parent, name="x", ws=local_ws)
    done = data.push("x", remote=there, ws=local_ws)
    assert 0 < done.size_bytes < 1 << 20
    with other("elsewhere") as elsewhere:
        got = data.pull("x@main", remote=there, ws=elsewhere)
        assert got.size_bytes < 14 << 20
        assert data.read(made.ref, "large.bin", ws=elsewhere) == content
        assert data.verify("x", ws=elsewhere) == []
    blocks = [
        one
        for one in (tmp_path / "work/.trine/store/objects").rglob("*")
        if one.is_file() and one.stat().st_size < 1 << 20
    ]
    assert blocks
    blocks[0].chmod(0o644)
    blocks[0].write_bytes(b"x" * blocks[0].stat().st_size)
    with pytest.raises(Damaged):
        data.push("x", remote=str(tmp_path / "again"), ws=local_ws)


def test_what_failed_its_checks_cannot_be_pushed_as_if_it_had_not(ws: Workspace) -> None:
    with pytest.raises(CheckFailed):
        data.commit({"id": [1, 1]}, name="t", checks=[data.unique("id")], ws=ws)
    [rejected] = door.list_commits(ws, name="t").items
    record = record_of(msgspec.structs.replace(rejected, state="accepted"))
    with pytest.raises(InvalidInput, match="failed its checks"):
        receive_records(ws, name="t", records=[record])


def test_a_push_has_to_answer_what_the_receiver_expects(local_ws: Workspace, tmp_path: Path, other: Other) -> None:
    there = str(tmp_path / "team")
    with other("team") as team:
        first = data.commit({"id": [1, 1]}, name="t", ws=local_ws)
        data.push("t", remote=there, ws=local_ws)
        data.expect("t", [data.unique("id")], ws=team)
        data.commit({"id": [1]}, name="t", ws=local_ws)
        with pytest.raises(Conflict, match=r"does not answer: unique\(id\)"):
            data.push("t@main", remote=there, ws=local_ws)
        assert data.resolve("t", ws=team).id == first.id
        answered = data.commit({"id": [1, 2]}, name="t", mode="replace", checks=[data.unique("id")], ws=local_ws)
        data.push("t@main", remote=there, ws=local_ws)
        assert data.resolve("t", ws=team).id == answered.id
