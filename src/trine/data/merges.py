"""Merging branches: what both sides changed since they parted, brought together path by path.

A side is only looked at where its tree has other pages than the common commit (Merkle walk). A file that one side moved and
the other one changed is moved and changed; one that both removed is removed. The rest that both changed is a conflict,
unless a pattern says whose version counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.edits import commit_entries
from trine.data.references import head_of, resolve
from trine.data.trees import Entry, read_difference, read_tree
from trine.errors import Conflict, NotFound
from trine.workspace import Workspace, current_workspace

Side = Literal["ours", "theirs"]
Changed = dict[str, Entry | None]
"""What one side changed, by path; None where the file is gone."""


class PathConflict(msgspec.Struct, frozen=True):
    """A path that both sides changed: the hash of each version, empty where there is none."""

    path: str
    base: str
    ours: str
    theirs: str


def merge(
    name: str,
    source: str,
    *,
    into: str = "main",
    prefer: Mapping[str, Side] | None = None,
    key: str | Sequence[str] = (),
    message: str = "",
    ws: Workspace | None = None,
) -> Commit:
    """Bring a branch, tag or commit of a dataset into a branch; nothing is copied.

    `prefer` says by pattern of paths (`labels/*`, first match counts) whose version of a file counts where both sides
    changed it. Tables are merged row by row: `key` are the columns that tell rows apart (default: those of the `unique` check
    that the table passed), and `prefer` may only say "*".

    Raises Conflict with the paths in `details["conflicts"]` (`PathConflict`); nothing is changed then. When all of `source`
    is in the branch already, the branch's head comes back.
    """
    ws = ws or current_workspace()
    ours = head_of(ws, name, into)
    if ours is None:
        raise NotFound(
            f'Dataset "{name}" has no branch "{into}" to merge into. Start it: trine data branch {name} {into}'
        )
    theirs = resolve(f"{name}@{source}", ws=ws)
    if theirs.state == "rejected":
        raise Conflict(f"{theirs.ref} was rejected by its checks, so it cannot be merged.")
    base = door.common_commit(ws, name=name, one=ours.id, two=theirs.id)
    if base.id == theirs.id:
        return ours
    told = message or f"merge {source} into {into}"
    if ours.kind == "table":
        from trine.data.row_merges import merge_rows

        side = (prefer or {}).get("*", "")
        return merge_rows(ws, base, ours, theirs, branch=into, key=key, prefer=side, message=told)
    merged = _merged(ws, base, ours, theirs, prefer or {})
    return commit_entries(ws, ours, merged, branch=into, message=told, merged=theirs.id)


def _merged(ws: Workspace, base: Commit, ours: Commit, theirs: Commit, prefer: Mapping[str, Side]) -> list[Entry]:
    before_ours, mine = _changed(ws, base, ours)
    before_theirs, yours = _changed(ws, base, theirs)
    before = {**before_ours, **before_theirs}
    _follow_moves(before, mine, yours)
    _follow_moves(before, yours, mine)
    conflicts: list[PathConflict] = []
    for path in sorted(mine.keys() & yours.keys()):
        one, two = mine[path], yours[path]
        if _state(one) == _state(two):
            continue
        side = next((side for pattern, side in prefer.items() if fnmatchcase(path, pattern)), None)
        if side == "ours":
            yours[path] = one
        elif side == "theirs":
            mine[path] = two
        else:
            conflicts.append(PathConflict(path, *(each.hash if each else "" for each in (before.get(path), one, two))))
    if conflicts:
        raise Conflict(
            f"{len(conflicts)} paths were changed on both sides, {conflicts[0].path} first. Say whose version counts, for "
            f"instance: trine data merge {theirs.ref} --into {ours.branch} --theirs '{conflicts[0].path}'",
            conflicts=msgspec.to_builtins(conflicts),
        )
    entries: Changed = {entry.path: entry for entry in read_tree(ws.store, ours.tree)}
    entries |= mine | yours
    return [entry for entry in entries.values() if entry]


def _changed(ws: Workspace, base: Commit, side: Commit) -> tuple[dict[str, Entry], Changed]:
    """What a side changed since the common commit, and how that was before."""
    gone, come = read_difference(ws.store, base.tree, side.tree)
    before, after = ({entry.path: entry for entry in one} for one in (gone, come))
    changed: Changed = {
        path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    }
    return before, changed


def _follow_moves(before: Mapping[str, Entry], moving: Changed, changing: Changed) -> None:
    """Where one side moved a file and the other side changed it: have the change where the file is now."""
    fresh = {entry.state: path for path, entry in moving.items() if entry and path not in before}
    for path, entry in list(moving.items()):
        change = changing.get(path)
        target = fresh.get(before[path].state) if entry is None and path in before else None
        if change and target and target not in changing:
            changing[target] = Entry(target, change.hash, change.size, change.executable)
            moving[target] = changing[target]
            changing[path] = None


def _state(entry: Entry | None) -> str:
    return entry.state if entry else ""
