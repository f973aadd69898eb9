from __future__ import annotations

import subprocess
from pathlib import Path

from trine.insights.repository import open_repository


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, path: str, when: int) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(f"{path} {when}\n")
    git(folder, "add", path)
    git(folder, "commit", "-q", "-m", path, f"--date={when} +0000")
    return git(folder, "rev-parse", "HEAD")


def test_a_folder_outside_git_or_without_commits_is_no_repository(tmp_path: Path) -> None:
    assert open_repository(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert open_repository(tmp_path) is None
    assert open_repository(tmp_path / "missing") is None


def test_a_repository_tells_its_tests_and_its_ci(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "train.py", 1_000_000_000)
    (tmp_path / "test_untracked.py").touch()
    found = open_repository(tmp_path)
    assert found is not None
    assert (found.ci_files, found.test_files) == ([], [])
    for path in ("tests/test_träin.py", "pkg/model_test.py", ".github/workflows/ci.yml", "latest.py"):
        commit(tmp_path, path, 1_000_000_100)
    found = open_repository(tmp_path / "tests")
    assert found is not None
    assert Path(found.root) == tmp_path.resolve()
    assert found.ci_files == [".github/workflows/ci.yml"]
    assert found.test_files == ["pkg/model_test.py", "tests/test_träin.py"]


def test_commits_are_contained_in_the_first_that_has_them(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    first = commit(tmp_path, "a", 1_700_000_000)
    git(tmp_path, "checkout", "-q", "-b", "side")
    side = commit(tmp_path, "b", 1_700_002_000)
    git(tmp_path, "checkout", "-q", "main")
    main = commit(tmp_path, "c", 1_700_003_000)
    git(tmp_path, "merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = git(tmp_path, "rev-parse", "HEAD")
    found = open_repository(tmp_path)
    assert found is not None
    known: set[str] = set()
    assert {one.id for one in found.contained(main, known)} == {first, main}
    assert {one.id for one in found.contained(merge, known)} == {side, merge}
    assert found.contained(merge, known) == []
    assert found.contained("0" * 40, known) == []
    assert found.commits[side].time_us == 1_700_002_000_000_000
