"""What changed: in a folder since it was added or checked out, and from one commit to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from trine.data.bulk import without_collector
from trine.data.scan import Scan, scan
from trine.data.statcache import StatCache
from trine.data.trees import EXECUTABLE, read_difference
from trine.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from trine.data.profiles import ColumnProfile
    from trine.workspace import Located, Workspace

_CHUNK = 1 << 20


class Changes(msgspec.Struct, frozen=True):
    """What is different: paths in order."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    @property
    def clean(self) -> bool:
        return not (self.added or self.removed or self.changed)


class Status(msgspec.Struct, frozen=True):
    """A folder against the commit it was added as or checked out from."""

    path: str
    dataset: str
    commit: str
    changes: Changes


class ColumnChange(msgspec.Struct, frozen=True):
    """A column before and after; None where it is not there."""

    name: str
    before: ColumnProfile | None
    after: ColumnProfile | None


class Diff(msgspec.Struct, frozen=True):
    """Two commits: files by path, and of tables the row counts and the columns whose type or profile changed."""

    before: str
    after: str
    files: Changes
    rows_before: int | None = None
    rows_after: int | None = None
    columns: list[ColumnChange] = []


@without_collector()
def status(path: Path | str = ".", *, ws: Workspace | Located | None = None) -> Status:
    """What changed in a folder (or file) since it was added or checked out.

    Reads only files whose stat changed, and nothing of the workspace but what it remembers of this folder.
    """
    from trine.workspace import current_workspace

    path = Path(path)
    cache = StatCache(ws or current_workspace(), path)
    known = cache.checkout
    if known is None:
        never = f"{path} was never added or checked out here. Begin with: trine data add {path} --name NAME"
        raise NotFound(never if path.exists() else f"There is nothing at {path}.")
    states = states_of(scan(path), cache)
    cache.save()
    return Status(str(path), known.dataset, known.commit, compare(cache.committed, states))


def states_of(found: Scan, cache: StatCache) -> dict[str, str]:
    """The state of every file by path; reads those whose stat the cache does not know, and remembers them there."""
    states: dict[str, str] = {}
    for path, seen in found.files:
        hash_ = cache.hash_of(path, seen)
        if hash_ is None:
            hash_ = _hash(found.root / path)
            cache.remember(path, seen, hash_)
        states[path] = hash_ + EXECUTABLE if seen.st_mode & 0o100 else hash_
    return states


def _hash(path: Path) -> str:
    hasher = blake3(max_threads=blake3.AUTO)
    try:  # read, not mapped: a mapped file that somebody cuts short would kill the process
        with open(path, "rb", buffering=0) as file:
            while part := file.read(_CHUNK):
                hasher.update(part)
    except FileNotFoundError:
        raise Conflict(f"{path} went away while its folder was read. Try again.", path=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
    return hasher.hexdigest()


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """The difference between two states of a tree, by path."""
    if before == after:
        return Changes([], [], [])
    return Changes(
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
        sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    )


def diff(before: str, after: str, *, ws: Workspace | None = None) -> Diff:
    """What changed from one commit to another; O(changed pages of their trees)."""
    from trine.data.reading import profile_of
    from trine.data.references import resolve
    from trine.workspace import current_workspace

    ws = ws or current_workspace()
    one, two = resolve(before, ws=ws), resolve(after, ws=ws)
    gone, come = read_difference(ws.store, one.tree, two.tree)
    files = compare({entry.path: entry.state for entry in gone}, {entry.path: entry.state for entry in come})
    columns: list[ColumnChange] = []
    if one.profile and two.profile:
        old = {column.name: column for column in profile_of(ws, one).columns}
        new = {column.name: column for column in profile_of(ws, two).columns}
        columns = [
            ColumnChange(name, old.get(name), new.get(name))
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name)
        ]
    return Diff(one.ref, two.ref, files, one.rows, two.rows, columns)
