"""The git repository around a project, as far as the ladder and the delivery metrics need it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

CI_FILES = (
    ".github/workflows/", ".gitlab-ci.yml", ".circleci/config.yml", "azure-pipelines.yml", "Jenkinsfile",
    ".woodpecker", ".buildkite/", "bitbucket-pipelines.yml", ".travis.yml", ".forgejo/workflows/", ".ci/",
)  # fmt: skip
"""Where continuous integration is configured: a file, or a folder that ends in a slash."""


class GitCommit(msgspec.Struct, frozen=True):
    """One commit: its id, its parents, and when its change was written (author time)."""

    id: str
    parents: tuple[str, ...]
    time_us: int


class Repository(msgspec.Struct, frozen=True):
    """A git work tree. `files` are what is tracked, by path from its root."""

    root: str
    head: str
    files: tuple[str, ...]
    commits: dict[str, GitCommit]

    @property
    def ci_files(self) -> list[str]:
        """Tracked files that configure continuous integration."""
        return [path for path in self.files if path.startswith(CI_FILES)]

    @property
    def test_files(self) -> list[str]:
        """Tracked Python test files."""
        return [path for path in self.files if _is_test(path.rpartition("/")[2])]

    def contained(self, commit: str, known: set[str]) -> list[GitCommit]:
        """Commits that `commit` contains and that are not in `known`, which grows by them. O(commits found)."""
        found: list[GitCommit] = []
        stack = [commit]
        while stack:
            name = stack.pop()
            one = self.commits.get(name)
            if one is None or name in known:
                continue
            known.add(name)
            found.append(one)
            stack += one.parents
        return found


def _is_test(name: str) -> bool:
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def open_repository(folder: Path | str = ".") -> Repository | None:
    """The repository that a folder is in, or None when it is in none, git is not installed, or it has no commit."""
    root = _git(folder, "rev-parse", "--show-toplevel")
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not root or not head:
        return None
    top = root.strip()
    files = tuple(sorted(filter(None, (_git(top, "ls-files", "-z") or "").split("\0"))))
    log = _git(top, "log", "--all", "--format=%H %at %P") or ""
    return Repository(top, head.strip(), files, {one.id: one for one in _parse(log.splitlines())})


def _parse(lines: Iterable[str]) -> Iterable[GitCommit]:
    for line in lines:
        name, seconds, *parents = line.split()
        yield GitCommit(name, tuple(parents), int(seconds) * 1_000_000)


def _git(folder: Path | str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
