"""The git repository around the data, asked through `git` itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from trine.errors import Failure, NotFound

TIMEOUT_S = 300


class Repository:
    """A git repository by the folder that holds `.git`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """The repository that a folder is in."""
        here = folder.resolve()
        root = next((one for one in (here, *here.parents) if (one / ".git").exists()), None)
        return cls(root) if root else None

    def git(self, *arguments: str) -> str:
        """What a git command prints. Raises Failure with git's own words, NotFound when there is no git."""
        return self.read(*arguments).decode(errors="surrogateescape").strip()

    def read(self, *arguments: str) -> bytes:
        """The bytes that a git command prints."""
        # inside a hook git's variables name its own index and folder: here they would lead elsewhere
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "--no-optional-locks", "-C", str(self.root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, env=own, timeout=TIMEOUT_S, check=False)
        except FileNotFoundError:
            raise NotFound("There is no git on this machine, and this asks it. Install git.") from None
        except subprocess.TimeoutExpired:
            raise Failure(f"git {arguments[0]} in {self.root} took longer than {TIMEOUT_S} s.") from None
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            raise Failure(f"git {arguments[0]} in {self.root}: {told.splitlines()[-1]}")
        return done.stdout

    def tries(self, *arguments: str) -> str:
        """What a git command prints, or nothing when it fails."""
        try:
            return self.git(*arguments)
        except Failure:
            return ""

    def commit_of(self, rev: str) -> str:
        """The id of the commit that a revision means. Raises NotFound."""
        found = self.tries("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
        if not found:
            raise NotFound(f'git knows no commit "{rev}" in {self.root}.')
        return found

    def file_at(self, commit: str, path: str) -> bytes | None:
        """A file as it is in a commit, or None."""
        try:
            return self.read("cat-file", "blob", f"{commit}:{path}")
        except Failure:
            return None
