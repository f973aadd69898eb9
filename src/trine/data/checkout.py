"""A commit's files in a folder, and what changed there since."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from blake3 import blake3

from trine.data.commits import Commit
from trine.data.datasets import resolve
from trine.data.load import profile_of
from trine.data.profile import ColumnProfile
from trine.data.statcache import Checkout, StatCache
from trine.data.trees import Entry, Found, read_tree, scan_folder, tree_objects
from trine.errors import Conflict, InvalidInput, NotFound
from trine.storage.objects import Damage
from trine.workspace import Workspace, current_workspace, record_use


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
    """Two commits: files by path, or of tables the row counts and the columns whose type or profile changed."""

    before: str
    after: str
    files: Changes
    rows_before: int | None = None
    rows_after: int | None = None
    columns: list[ColumnChange] = []


def checkout(ref: str, folder: Path | str, *, force: bool = False, ws: Workspace | None = None) -> Commit:
    """Write a commit's files into a folder: checked while written, each whole or not at all.

    Files of the last checkout that the commit does not have are removed. Raises Conflict naming files that were changed
    here (nothing is written then), unless `force`.
    """
    ws = ws or current_workspace()
    folder = Path(folder)
    commit = resolve(ref, ws=ws)
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    wanted = {entry.path: entry for entry in read_tree(ws.store, commit.tree)}
    cache = StatCache(ws, folder)
    present = {one.path: one for one in scan_folder(folder)}
    hashes = _hashes(folder, present.values(), cache)
    before = _entries_of(ws, cache.checkout)
    mine = [
        path
        for path, hash_ in hashes.items()
        if (entry := wanted.get(path) or before.get(path))
        and hash_ not in (entry.hash, before[path].hash if path in before else "")
    ]
    if mine and not force:
        raise Conflict(
            f"{len(mine)} files in {folder} were changed here and would be lost, {mine[0]} first. "
            "Add them to a dataset, or check out with --force.",
            paths=mine[:100],
        )
    for path, entry in wanted.items():
        if hashes.get(path) != entry.hash:
            target = ws.store.get_file(entry.hash, folder / path)
            os.chmod(target, 0o755 if entry.executable else 0o644)
    for path in before.keys() - wanted.keys():
        if path in present:
            (folder / path).unlink(missing_ok=True)
    written = {path: ((folder / path).stat(), entry.hash) for path, entry in wanted.items()}
    cache.save(written, Checkout(commit.dataset, commit.id))
    record_use(commit.node)
    return commit


def status(path: Path | str = ".", *, ws: Workspace | None = None) -> Status:
    """What changed in a folder (or file) since it was added or checked out; reads only files whose stat changed."""
    ws = ws or current_workspace()
    path = Path(path)
    cache = StatCache(ws, path)
    if cache.checkout is None:
        raise NotFound(f"{path} was never added or checked out here. Begin with: trine data add {path} --name NAME")
    root = path if path.is_dir() else path.parent
    found = scan_folder(path) if path.is_dir() else [one for one in scan_folder(root) if one.path == path.name]
    hashes = _hashes(root, found, cache)
    wanted = _entries_of(ws, cache.checkout)
    cache.save({one.path: (one.stat, hashes[one.path]) for one in found})
    changes = _compare({path: entry.hash for path, entry in wanted.items()}, hashes)
    return Status(str(path), cache.checkout.dataset, cache.checkout.commit, changes)


def _entries_of(ws: Workspace, known: Checkout | None) -> dict[str, Entry]:
    if known is None:
        return {}
    commit = resolve(f"{known.dataset}@{known.commit}", ws=ws)
    return {entry.path: entry for entry in read_tree(ws.store, commit.tree)}


def _hashes(root: Path, found: Iterable[Found], cache: StatCache) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for one in found:
        known = cache.hash_of(one.path, one.stat)
        hashes[one.path] = known or blake3((root / one.path).read_bytes()).hexdigest()
    return hashes


def _compare(before: dict[str, str], after: dict[str, str]) -> Changes:
    return Changes(
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
        sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    )


def diff(before: str, after: str, *, ws: Workspace | None = None) -> Diff:
    """What changed from one commit to another."""
    ws = ws or current_workspace()
    one, two = resolve(before, ws=ws), resolve(after, ws=ws)
    files = _compare(*({e.path: e.hash for e in read_tree(ws.store, commit.tree)} for commit in (one, two)))
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


def verify(ref: str, *, ws: Workspace | None = None) -> list[Damage]:
    """Read and check every object a commit needs; the damaged and missing ones are named."""
    from trine.errors import Damaged

    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    found: list[Damage] = []
    names = [commit.profile] if commit.profile else []
    try:
        names += tree_objects(ws.store, commit.tree)
    except (Damaged, NotFound) as error:
        found.append(Damage(error.details.get("hash", commit.tree), error.details.get("path", ""), error.message))
    for name in dict.fromkeys(names):
        try:
            ws.store.get(name)
        except (Damaged, NotFound) as error:
            found.append(Damage(name, error.details.get("path", ""), error.message))
    return found
