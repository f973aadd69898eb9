"""The git repository around the data, asked through `git` itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from trine.errors import Failure, NotFound

TIMEOUT_S = 300


class State(msgspec.Struct, frozen=True):
    """Some files at a git commit: the blob of each by its path. `changed` says whether that commit changed any of them."""

    commit: str
    author: str
    time_us: int
    message: str
    blobs: dict[str, str]
    changed: bool


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

    def read(self, *arguments: str, given: bytes | None = None) -> bytes:
        """The bytes that a git command prints."""
        # inside a hook git's variables name its own index and folder: here they would lead elsewhere
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "--no-optional-locks", "-C", str(self.root), *arguments]
        try:
            done = subprocess.run(command, input=given, capture_output=True, env=own, timeout=TIMEOUT_S, check=False)
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

    def states(self, rev: str, wanted: Callable[[str], bool]) -> Iterator[State]:
        """The files that are wanted, at each commit up to a revision, along the first parents, oldest first."""
        log = self.read(
            *("-c", "core.quotepath=false", "-c", "log.showRoot=true", "log", "--first-parent", "-m", "--reverse"),
            *("--raw", "--no-abbrev", "--no-renames", "--format=%x01%H%x00%an <%ae>%x00%at%x00%B%x00", rev, "--"),
        )
        blobs: dict[str, str] = {}
        for told in log.decode(errors="surrogateescape").split("\x01")[1:]:
            commit, author, time, message, raw = told.split("\0", 4)
            changed = False
            for line in raw.splitlines():
                if not line.startswith(":"):
                    continue
                facts, path = line.split("\t", 1)
                if not wanted(path):
                    continue
                if not changed:
                    changed, blobs = True, dict(blobs)
                _, mode, _, blob, _ = facts.split(" ")
                if mode.startswith("100"):  # a file; neither gone, nor a link, nor another repository
                    blobs[path] = blob
                else:
                    blobs.pop(path, None)
            text = message.encode(errors="replace").decode().strip()
            yield State(commit, author, int(time) * 1_000_000, text, blobs, changed)

    def blobs(self, ids: Iterable[str], *, largest: int) -> dict[str, bytes]:
        """The content of blobs by id; those of more bytes than that are left out. Two processes, however many there are."""
        wanted = list(dict.fromkeys(ids))
        listed = self.read("cat-file", "--batch-check", given="\n".join(wanted).encode()).decode().splitlines()
        small = [one.split(" ")[0] for one in listed if int(one.split(" ")[2]) <= largest]
        data = self.read("cat-file", "--batch", given="\n".join(small).encode()) if small else b""
        found: dict[str, bytes] = {}
        at = 0
        for one in small:
            end = data.index(b"\n", at)
            size = int(data[at:end].split(b" ")[2])
            found[one] = data[end + 1 : end + 1 + size]
            at = end + 2 + size
        return found

    def tags(self) -> dict[str, tuple[str, ...]]:
        """Tags by the commit they name."""
        tags: dict[str, tuple[str, ...]] = {}
        form = "--format=%(objectname) %(*objectname) %(refname:strip=2)"
        for line in self.git("for-each-ref", form, "refs/tags").splitlines():
            direct, peeled, name = line.split(" ", 2)
            tags[peeled or direct] = (*tags.get(peeled or direct, ()), name)
        return tags
