from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trine
from trine import tracking
from trine.access import graph
from trine.errors import NotFound
from trine.tracking import code as capture
from trine.workspace import Workspace


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=ana", "-c", "user.email=ana@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, as the working folder."""
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("print(1)\n")
    (root / "bin.dat").write_bytes(bytes(range(256)))
    (root / "old.py").write_text("old\n")
    (root / ".gitignore").write_text("ignored/\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    git(root, "remote", "add", "origin", "https://ana:secret@example.org/ana/churn.git")
    monkeypatch.chdir(root)
    return root


def everything_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_clean_commit_is_the_code(ws: Workspace, repository: Path) -> None:
    with trine.run() as run:
        pass
    info = tracking.get_run(run)
    commit = git(repository, "rev-parse", "HEAD")
    assert info.code == f"code:{commit}" and info.context.problem == ""
    known = tracking.code_of(info.code)
    assert (known.commit, known.branch, known.is_dirty, known.patch) == (commit, "main", False, "")
    assert known.remote == "https://example.org/ana/churn.git"
    assert info.code in graph.lineage(ws, node=run.node).nodes and info.inputs == []
    with pytest.raises(NotFound, match="Nothing is known"):
        tracking.code_of("code:" + "0" * 40)


def test_what_is_not_committed_comes_back_from_the_patch(ws: Workspace, repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    (repository / "bin.dat").write_bytes(os.urandom(300))
    (repository / "old.py").unlink()
    (repository / "sub dir").mkdir()
    (repository / "sub dir" / "nëw.py").write_text("new\n")
    (repository / "staged.py").write_text("staged\n")
    git(repository, "add", "staged.py")
    (repository / "staged.py").write_text("staged, then changed\n")
    (repository / "ignored").mkdir()
    (repository / "ignored" / "x").write_text("x")
    (repository / "big.csv").write_bytes(b"x" * (capture.LARGEST_FILE + 1))
    (repository / ".env").write_text("TOKEN=secret")
    before = everything_in(repository)
    with trine.run() as run:
        pass
    assert everything_in(repository) == before
    info = tracking.get_run(run)
    assert info.code is not None
    known = tracking.code_of(info.code)
    assert known.node == f"code:{known.commit}+{known.tree[:12]}" and known.is_dirty
    assert set(known.changed) == {"train.py", "bin.dat", "old.py", "staged.py", "sub dir/nëw.py"}
    assert known.skipped == {"big.csv": "larger than 1 MiB", ".env": "may hold a secret"}
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(repository), str(copy))
    patch = tmp_path / "dirty.patch"
    patch.write_bytes(ws.store.get(known.patch))
    git(copy, "apply", "--index", str(patch))
    assert git(copy, "write-tree") == known.tree
    for name in ("train.py", "bin.dat", "staged.py", "sub dir/nëw.py"):
        assert (copy / name).read_bytes() == (repository / name).read_bytes()
    assert not (copy / "old.py").exists()
    with trine.run() as again:
        pass
    assert tracking.get_run(again).code == info.code


def test_a_repository_without_commits(local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "new")
    (tmp_path / "new" / "a.py").write_text("a")
    monkeypatch.chdir(tmp_path / "new")
    known = tracking.capture_code()
    assert known is not None and known.node == f"code:{'0' * 40}+{known.tree[:12]}" and known.changed == ["a.py"]
    assert b"a.py" in local_ws.store.get(known.patch)


def test_a_patch_that_is_too_large_is_left_out(
    local_ws: Workspace, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "LARGEST_PATCH", 1000)
    (repository / "bin.dat").write_bytes(os.urandom(3000))
    (repository / "a.bin").write_bytes(os.urandom(600))
    (repository / "b.bin").write_bytes(os.urandom(600))
    known = tracking.capture_code()
    assert known is not None and known.patch == "" and known.is_dirty
    assert known.skipped["bin.dat"].startswith("the patch is larger") and "together" in known.skipped["b.bin"]


def test_git_trouble_stops_no_run(local_ws: Workspace, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".git" / "HEAD").write_text("nonsense")
    with trine.run() as run:
        pass
    info = tracking.get_run(run)
    assert info.code is None and "git status" in info.context.problem
    monkeypatch.setenv("PATH", "")
    with trine.run() as run:
        pass
    assert "git" in tracking.get_run(run).context.problem


def test_without_a_repository_there_is_no_code(
    local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_places", lambda: [tmp_path])
    with trine.run() as run:
        pass
    assert tracking.get_run(run).code is None
    assert tracking.get_run(run).context.problem == ""


def test_nothing_is_taken_when_it_is_not_wanted(ws: Workspace, repository: Path) -> None:
    with trine.run(capture=False) as run:
        pass
    info = tracking.get_run(run)
    assert info.code is None and info.environment == "" and info.context == tracking.Context()


def test_the_environment_is_shared_and_complete(ws: Workspace) -> None:
    runs = []
    for _ in range(2):
        with trine.run() as run:
            runs.append(run)
    one, two = map(tracking.get_run, runs)
    assert one.environment == two.environment
    found = tracking.environment_of(one.environment)
    assert found.packages["numpy"] == np.__version__ and found.python == one.context.python
    assert one.context.pid == os.getpid() and one.context.folder == os.getcwd()


def test_equal_seeds_are_seen(local_ws: Workspace) -> None:
    def seeds() -> dict[str, str]:
        with trine.run() as run:
            pass
        return tracking.get_run(run).context.seeds

    np.random.seed(3)
    random.seed(5)
    first = seeds()
    random.random()
    second = seeds()
    random.seed(5)
    assert seeds() == first and second["python"] != first["python"] and second["numpy"] == first["numpy"]


def test_a_tree_that_stays_as_it_is_is_taken_once(
    local_ws: Workspace, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = capture.git

    def counted(root: Path, *arguments: str, **options: Any) -> bytes:
        asked.append(arguments[0])
        return original(root, *arguments, **options)

    monkeypatch.setattr(capture, "git", counted)
    monkeypatch.setattr(capture, "SETTLED_NS", -(10**18))
    (repository / "old.py").unlink()
    nodes: list[str] = []
    for text in ("print(2)\n", "", "print(2, 3)\n"):
        if text:
            (repository / "train.py").write_text(text)
        nodes.append(capture.read_code(repository)[0].node)
    assert nodes[0] == nodes[1] != nodes[2]
    assert asked.count("status") == 3 and asked.count("write-tree") == 2
    monkeypatch.setattr(capture, "SETTLED_NS", 10**18)  # what changed a moment ago is looked at again
    (repository / "train.py").write_text("print(4)\n")
    for _ in range(2):
        capture.read_code(repository)
    assert asked.count("write-tree") == 4
