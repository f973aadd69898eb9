"""A version of a dataset file by file, as clients of other stores walk through it: a branch with what is staged on it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from trine.data import operations as door
from trine.data.commits import Commit, DatasetInfo
from trine.data.staging import Staged, list_staged
from trine.data.trees import Entry, entries_from, look_up
from trine.operations import every
from trine.workspace import Workspace

LAST = "\U0010ffff"
"""Comes after every other character."""


class File(msgspec.Struct, frozen=True):
    """A file where it is now."""

    path: str
    object: str
    size_bytes: int
    executable: bool
    changed_us: int
    staged: bool = False


class View:
    """The files of a branch (with `staged`, as it is with what is staged on it), tag or commit."""

    def __init__(self, ws: Workspace, info: DatasetInfo, ref: str, *, staged: bool = True) -> None:
        self.ws = ws
        self.name = info.name
        self.ref = ref
        self.is_branch = ref in info.branches
        self.commit: Commit = door.get_commit(ws, name=info.name, ref=ref)
        self._staged = staged and self.is_branch

    def find(self, path: str) -> File | None:
        """The file at a path."""
        if self._staged:
            at = list_staged(self.ws, name=self.name, branch=self.ref, paths=[path]).items
            if at:
                return self._of_staged(at[0]) if at[0].object else None
        entry = look_up(self.ws.store, self.commit.tree, [path]).get(path)
        return self._of_entry(entry) if entry else None

    def walk(self, start: str = "") -> Iterator[File]:
        """Files in the order of their paths, from a path on; what is not asked for is not read."""
        entries = ((one.path, 1, one) for one in entries_from(self.ws.store, self.commit.tree, start))
        staged = ((one.path, 0, one) for one in self.staged(start))
        last = ""
        for path, _, one in heapq.merge(staged, entries, key=lambda each: each[:2]):
            if path == last:
                continue  # what is staged at a path comes first, and counts
            last = path
            if isinstance(one, Entry):
                yield self._of_entry(one)
            elif one.object:
                yield self._of_staged(one)

    def staged(self, start: str = "") -> Iterator[Staged]:
        """What is staged on the branch, by path."""
        if self._staged:
            yield from every(list_staged, self.ws, name=self.name, branch=self.ref, start=start)

    def folders(self, prefix: str, after: str, delimiter: str) -> Iterator[File | str]:
        """What begins with a prefix and comes after a path or prefix: files, and what is up to the next delimiter once."""
        start = max(prefix, after)
        while True:
            for file in self.walk(start):
                if not file.path.startswith(prefix):
                    if file.path > prefix:
                        return
                    continue
                if file.path <= after:
                    continue
                end = file.path.find(delimiter, len(prefix)) if delimiter else -1
                if end < 0:
                    yield file
                    continue
                folder = file.path[: end + len(delimiter)]
                if folder > after:
                    yield folder
                start = after = folder + LAST
                break  # what is in the folder is not walked through
            else:
                return

    def _of_entry(self, entry: Entry) -> File:
        return File(entry.path, entry.hash, entry.size, entry.executable, self.commit.created_us)

    def _of_staged(self, one: Staged) -> File:
        return File(one.path, one.object, one.size_bytes, one.executable, one.changed_us, True)
