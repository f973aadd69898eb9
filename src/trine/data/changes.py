"""What changed: in a folder since it was added or checked out, and from one commit to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from trine.data.bulk import without_collector
from trine.data.scan import Scan, scan
from trine.data.statcache import HASH, Files, StatCache
from trine.data.trees import read_difference
from trine.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from trine.data.commits import Commit
    from trine.data.profiles import ColumnProfile
    from trine.storage import Store
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
    ws = ws or current_workspace()
    cache = StatCache(ws, path)
    settle(cache, ws)
    known = cache.checkout
    if known is None:
        never = f"{path} was never added or checked out here. Begin with: trine data add {path} --name NAME"
        raise NotFound(never if path.exists() else f"There is nothing at {path}.")
    read_hashes(scan(path, cache.expected), cache)
    changes = compare_folders(cache.committed(), cache.here())
    cache.save()
    return Status(str(path), known.dataset, known.commit, changes)


def settle(cache: StatCache, ws: Workspace | Located) -> None:
    """When an add of this folder was killed before it could note that it had committed: find out, and note it."""
    if intent := cache.intended():
        from trine.data.glance import Glance

        with Glance(ws) as glance:
            here = glance.head(intent.dataset, intent.branch)
            while here and here.parents[:1] != ([intent.parent] if intent.parent else []):
                here = glance.commit(f"{intent.dataset}@{here.parents[0]}") if here.parents else None
        if here and here.tree == intent.tree:
            cache.settle(here.id)


def read_hashes(found: Scan, cache: StatCache) -> None:
    """Have the hash of every file remembered in the cache; reads those whose stat it does not know."""
    for listing in found.folders:
        hashes, missing = cache.known(listing)
        if missing:
            hashes = bytearray(hashes)
        for at in missing:
            hashes[at * HASH : at * HASH + HASH] = _hash(found.root / f"{listing.prefix}{listing.names[at]}")  # type: ignore[index]
        cache.remember(listing, hashes)


def _hash(path: Path) -> bytes:
    hasher = blake3(max_threads=blake3.AUTO)
    try:  # read, not mapped: a mapped file that somebody cuts short would kill the process
        with open(path, "rb", buffering=0) as file:
            while part := file.read(_CHUNK):
                hasher.update(part)
    except FileNotFoundError:
        raise Conflict(f"{path} went away while its folder was read. Try again.", path=str(path)) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
    return hasher.digest()


def compare_folders(before: Mapping[str, Files], after: Mapping[str, Files]) -> Changes:
    """The difference between two states of a folder's files; looks closely only into folders that differ."""
    added, removed, changed = list[str](), list[str](), list[str]()
    for prefix in before.keys() | after.keys():
        old, new = before.get(prefix), after.get(prefix)
        if old and new and old.same_content(new):
            continue
        then, now = old.content() if old else {}, new.content() if new else {}
        added += [prefix + name for name in now if name not in then]
        removed += [prefix + name for name in then if name not in now]
        changed += [prefix + name for name, content in now.items() if then.get(name, content) != content]
    return Changes(sorted(added), sorted(removed), sorted(changed))


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """The difference between two states of a tree, by path."""
    if before == after:
        return Changes([], [], [])
    return Changes(
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
        sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    )


def diff(before: str, after: str, *, ws: Workspace | Located | None = None) -> Diff:
    """What changed from one commit to another; O(changed pages of their trees)."""
    from trine.data.glance import Glance
    from trine.workspace import current_workspace

    with Glance(ws or current_workspace()) as glance:
        one, two = glance.commit(before), glance.commit(after)
        gone, come = read_difference(glance.store, one.tree, two.tree)
        columns = _compare_profiles(glance.store, one, two) if one.profile and two.profile else []
    files = compare({entry.path: entry.state for entry in gone}, {entry.path: entry.state for entry in come})
    return Diff(one.ref, two.ref, files, one.rows, two.rows, columns)


def _compare_profiles(store: Store, one: Commit, two: Commit) -> list[ColumnChange]:
    from trine.data.profiles import read_profile

    old = {column.name: column for column in read_profile(store, one.profile).columns}
    new = {column.name: column for column in read_profile(store, two.profile).columns}
    return [
        ColumnChange(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
