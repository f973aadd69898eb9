from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from trine import data
from trine.access.graph import lineage
from trine.cli import main
from trine.data import operations as door
from trine.data.importers import import_bucket, import_delta, import_dvc, import_git_lfs, import_hugging_face
from trine.errors import Conflict, InvalidInput, NotFound
from trine.workspace import Workspace, using

DAY = 86_400


def git(folder: Path, *arguments: str, day: int = 1) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {f"GIT_{who}_NAME": "Ana" for who in ("AUTHOR", "COMMITTER")}
    environment |= {f"GIT_{who}_EMAIL": "ana@example.com" for who in ("AUTHOR", "COMMITTER")}
    environment |= {f"GIT_{who}_DATE": f"@{day * DAY} +0000" for who in ("AUTHOR", "COMMITTER")}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(folder: Path, message: str, day: int) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message, day=day)
    return git(folder, "rev-parse", "HEAD")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Dvc:
    """A DVC repository as DVC 3 (or 2, `old`) writes it, made by hand."""

    def __init__(self, root: Path, *, old: bool = False) -> None:
        self.root = root
        self.old = old
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc" / "config").write_text(
            "[core]\n    remote = there\n['remote \"there\"']\n    url = ../../remote\n"
        )
        (root / ".dvc" / ".gitignore").write_text("/cache\n")
        self.cache = root / ".dvc" / "cache"

    def keep(self, content: bytes, digest: str = "", place: Path | None = None) -> str:
        digest = digest or md5(content.replace(b"\r\n", b"\n") if self.old else content)
        base = (place or self.cache) / ("" if self.old else "files/md5")
        path = base / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    def out(self, path: str, digest: str) -> str:
        return f"- md5: {digest}\n" + ("" if self.old else "  hash: md5\n") + f"  path: {path}\n"

    def track(self, path: str, files: dict[str, bytes] | bytes) -> None:
        file = self.root / f"{path}.dvc"
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(files, bytes):
            digest = self.keep(files)
        else:
            listed = [{"md5": self.keep(content), "relpath": name} for name, content in sorted(files.items())]
            text = json.dumps(listed).encode()
            digest = self.keep(text, md5(text) + ".dir")
        file.write_text("outs:\n" + self.out(file.name.removesuffix(".dvc"), digest))


def versions(ws: Workspace, name: str) -> list[tuple[str, str, int]]:
    return [
        (one.message, one.author, one.created_us // 1_000_000 // DAY)
        for one in door.list_commits(ws, name=name, ref="main").items[::-1]
    ]


def test_the_history_of_a_dvc_repository_moves_in(ws: Workspace, tmp_path: Path) -> None:
    repository = Dvc(tmp_path / "old")
    root = repository.root
    git(root, "init", "-q", "-b", "main")
    repository.track("data/img", {"a.txt": b"alpha", "sub/b.txt": b"beta"})
    repository.track("model.bin", b"m" * (2 << 20))
    first = commit(root, "first", 1)
    git(root, "tag", "v1")
    (root / "code.py").write_text("1")
    commit(root, "code only", 2)
    repository.track("data/img", {"a.txt": b"other", "sub/b.txt": b"beta"})
    (root / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    outs:\n"
        + repository.out("out/table.csv", repository.keep(b"id\n1\n")).replace("\n", "\n    ").join(("    ", ""))
    )
    commit(root, "third", 3)
    done = {one.dataset: one for one in import_dvc(root, names={"model.bin": "model"}, ws=ws)}
    assert {name: (one.versions, one.added, one.problems) for name, one in done.items()} == {
        "data-img": (2, 2, []),
        "model": (1, 1, []),
        "out-table.csv": (1, 1, []),
    }
    author = "Ana <ana@example.com>"
    assert versions(ws, "data-img") == [("first", author, 1), ("third", author, 3)]
    assert data.read("data-img@v1", "a.txt", ws=ws) == b"alpha"
    assert data.read("data-img", "sub/b.txt", ws=ws) == b"beta"
    assert data.read("out-table.csv", "table.csv", ws=ws) == b"id\n1\n"
    assert data.resolve("model@v1", ws=ws).size_bytes == 2 << 20
    assert data.resolve("data-img@v1", ws=ws).node in lineage(ws, node=f"code:{first}").nodes
    assert not any(one.added for one in import_dvc(root, names={"model.bin": "model"}, ws=ws))
    repository.track("data/img", {"a.txt": b"newest"})
    commit(root, "fourth", 4)
    [again] = import_dvc(root, only="data/img", ws=ws)
    assert (again.versions, again.added) == (3, 1)
    assert data.read("data-img", "a.txt", ws=ws) == b"newest"
    data.add(root / "code.py", name="data-img", ws=ws)  # went on here: the import leaves the branch where it is
    assert import_dvc(root, only="data/img", ws=ws)[0].added == 0
    data.add(root / "code.py", name="mine", ws=ws)
    with pytest.raises(Conflict, match="--branch"):
        import_dvc(root, only="data/img", names={"data/img": "mine"}, ws=ws)
    assert import_dvc(root, only="data/img", names={"data/img": "mine"}, branch="dvc", ws=ws)[0].added == 3


def test_what_dvc_has_lost_or_damaged_is_told(local_ws: Workspace, tmp_path: Path) -> None:
    repository = Dvc(tmp_path / "old")
    root = repository.root
    git(root, "init", "-q")
    repository.track("a", b"one")
    commit(root, "one", 1)
    repository.track("a", b"two")
    commit(root, "two", 2)
    repository.track("a", b"three")
    commit(root, "three", 3)
    repository.keep(b"flipped", md5(b"one"))
    (repository.cache / "files/md5" / md5(b"two")[:2] / md5(b"two")[2:]).unlink()
    [done] = import_dvc(root, ws=local_ws)
    assert (done.versions, len(done.problems)) == (1, 2)
    assert "is damaged: its digest is" in done.problems[0]
    assert "neither in the cache nor in a remote" in done.problems[1]
    door.delete_dataset(local_ws, name="a")
    for content in (b"one", b"two"):
        repository.keep(content, place=tmp_path / "remote")  # whole there
    [done] = import_dvc(root, ws=local_ws)
    assert (done.versions, done.problems) == (3, [])
    with pytest.raises(NotFound, match="no DVC repository"):
        import_dvc(tmp_path, ws=local_ws)
    with pytest.raises(NotFound, match="tracks no b"):
        import_dvc(root, only="b", ws=local_ws)
    (root / "a.dvc").write_text("outs: 7")
    commit(root, "broken", 4)
    with pytest.raises(InvalidInput, match="no file of DVC's"):
        import_dvc(root, ws=local_ws)


def test_dvc_before_3_and_without_git(local_ws: Workspace, tmp_path: Path) -> None:
    repository = Dvc(tmp_path / "old", old=True)
    repository.track("d", {"dos.txt": b"a\r\nb\r\n" * 200_000, "raw.bin": b"\0\r\n"})
    repository.keep(b"\0\r\n", md5(b"\0\r\n"))
    [done] = import_dvc(repository.root, ws=local_ws)
    assert (done.files, done.problems) == (2, [])
    assert data.read("d", "dos.txt", ws=local_ws).startswith(b"a\r\nb")
    assert import_dvc(repository.root, ws=local_ws)[0].added == 0


def test_the_history_of_git_lfs_moves_in(ws: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q")

    def keep(path: str, content: bytes) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        kept = root / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
        (root / path).parent.mkdir(exist_ok=True)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
        (root / path).write_text(pointer)
        return kept

    keep("img/a", b"alpha")
    keep("other/b", b"beta")
    (root / "img" / "readme").write_text("no pointer")
    commit(root, "one", 1)
    git(root, "tag", "-a", "release/1", "-m", "x")
    lost = keep("img/c", b"lost")
    commit(root, "two", 2)
    lost.unlink()
    (root / "img" / "c").unlink()
    keep("img/d", b"delta")
    commit(root, "three", 3)
    done = import_git_lfs(root, name="img", path="img", ws=ws)
    assert (done.versions, done.added, len(done.problems)) == (2, 2, 1)
    assert "img/c" in done.problems[0]
    assert [one[0] for one in versions(ws, "img")] == ["one", "three"]
    assert data.read("img", "d", ws=ws) == b"delta"
    assert data.resolve("img@release-1", ws=ws).files == 1
    assert import_git_lfs(root, name="img", path="img", ws=ws).added == 0
    with pytest.raises(NotFound, match="keeps nothing"):
        import_git_lfs(root, name="x", path="none", ws=ws)


def test_a_download_from_the_hub_moves_in(local_ws: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "datasets--ana--reviews"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()

    def snapshot(name: str, files: dict[str, bytes], day: int) -> None:
        for path, content in files.items():
            large = len(content) > 10
            git_digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            blob = root / "blobs" / (hashlib.sha256(content).hexdigest() if large else git_digest)
            blob.write_bytes(content)
            link = root / "snapshots" / name / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        os.utime(root / "snapshots" / name, (day * DAY, day * DAY))

    snapshot("1" * 40, {"README.md": b"# old", "data/train.csv": b"id,text\n" * 9}, 1)
    snapshot("2" * 40, {"README.md": b"# new", "data/train.csv": b"id,text\n" * 9}, 2)
    (root / "refs" / "main").write_text("2" * 40)
    (root / "refs" / "v1").write_text("1" * 40)
    done = import_hugging_face(root, ws=local_ws)
    assert (done.dataset, done.versions, done.problems) == ("reviews", 2, [])
    assert data.read("reviews", "README.md", ws=local_ws) == b"# new"
    assert data.read("reviews@v1", "README.md", ws=local_ws) == b"# old"
    assert import_hugging_face(root, ws=local_ws).added == 0
    for blob in (root / "blobs").iterdir():
        if blob.read_bytes() == b"# new":
            blob.write_bytes(b"# bad")
    for kept in (local_ws.spool.parent / "cache" / "aliases").iterdir():
        kept.unlink()
    assert "damaged" in import_hugging_face(root, name="again", ws=local_ws).problems[0]
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "train.csv").write_text("id\n")
    assert import_hugging_face(plain, ws=local_ws).dataset == "plain"


def test_what_is_in_a_bucket_moves_in(local_ws: Workspace, bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from trine.storage.places import Bucket

    bucket = Bucket(f"{bucket_url}/images")
    with pytest.raises(NotFound, match="no objects"):
        import_bucket(bucket.location, name="x", ws=local_ws)
    bucket.write("a/1.txt", b"one")
    bucket.write("big", b"b" * (3 << 20))
    done = import_bucket(bucket.location, name="x", ws=local_ws)
    assert (done.files, done.added) == (2, 1)
    assert data.read("x", "a/1.txt", ws=local_ws) == b"one"
    read: list[str] = []
    unchanged = Bucket.unchanged
    monkeypatch.setattr(Bucket, "unchanged", lambda self, key, tag: read.append(key) or unchanged(self, key, tag))  # type: ignore[func-returns-value]
    assert import_bucket(bucket.location, name="x", ws=local_ws).added == 0
    bucket.write("a/1.txt", b"two", replace=True)
    assert import_bucket(bucket.location, name="x", ws=local_ws).added == 1
    assert read == ["a/1.txt"]

    def meanwhile(self: Bucket, key: str, tag: str) -> object:
        self.write(key, b"four", replace=True)
        return unchanged(self, key, tag)

    bucket.write("a/1.txt", b"three", replace=True)
    monkeypatch.setattr(Bucket, "unchanged", meanwhile)
    with pytest.raises(Conflict, match=r"a/1\.txt changed while"):
        import_bucket(bucket.location, name="x", ws=local_ws)
    with pytest.raises(InvalidInput, match="trine data add"):
        import_bucket("folder", name="x", ws=local_ws)


def test_the_versions_of_a_delta_table_move_in(ws: Workspace, tmp_path: Path) -> None:
    import deltalake
    import polars as pl

    table = str(tmp_path / "events")
    with pytest.raises(NotFound, match="no Delta table"):
        import_delta(table, name="e", ws=ws)
    pl.DataFrame({"id": [1, 2], "x": [0.5, 1.5]}).write_delta(table)
    pl.DataFrame({"id": [3], "x": [2.5]}).write_delta(table, mode="append")
    deltalake.DeltaTable(table).delete("id = 1")
    deltalake.DeltaTable(table).optimize.compact()
    done = import_delta(table, name="e", ws=ws)
    assert (done.versions, done.added, done.problems) == (4, 3, [])

    def ids(ref: str) -> list[int]:
        return sorted(data.load(ref, ws=ws).collect()["id"].to_list())

    assert [ids(f"e@delta-{one}") for one in range(4)] == [[1, 2], [1, 2, 3], [2, 3], [2, 3]]
    appended = data.resolve("e@delta-1", ws=ws)
    assert appended.files == 2  # the rows that were there are stored once
    assert "WRITE at 20" in appended.message
    pl.DataFrame({"id": [4], "x": [0.0]}).write_delta(table, mode="append")
    done = import_delta(table, name="e", ws=ws)
    assert (done.versions, done.added, ids("e")) == (5, 1, [2, 3, 4])
    data.commit({"id": [9], "x": [0.0]}, name="e", ws=ws)
    assert import_delta(table, name="e", ws=ws).added == 0
    pl.DataFrame({"id": [5], "x": [0.0]}).write_delta(table, mode="append")
    with pytest.raises(Conflict, match="went on here"):
        import_delta(table, name="e", ws=ws)
    deltalake.DeltaTable(table).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert import_delta(table, name="late", ws=ws).problems[0].startswith("version 0")


def test_imports_from_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Dvc(folder / "old")
    repository.track("a", b"one")
    monkeypatch.chdir(folder)

    def run(*arguments: str, code: int = 0) -> str:
        with using(None):  # type: ignore[arg-type]
            done = CliRunner().invoke(main, ["data", "import", *arguments])
        assert done.exit_code == code, done.output + done.stderr
        return done.output + done.stderr

    assert "a" in run("dvc", "old", "--name", "a=b")
    assert json.loads(run("dvc", "old", "--name", "a=b", "--json"))[0]["added"] == 0
    assert "PATH=NAME" in run("dvc", "old", "--name", "a", code=2)
    repository.track("lost", b"two")
    (repository.cache / "files/md5" / md5(b"two")[:2] / md5(b"two")[2:]).unlink()
    assert "left out: lost" in run("dvc", "old", code=1)
