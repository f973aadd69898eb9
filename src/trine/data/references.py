"""What references mean now."""

from __future__ import annotations

from trine.data import operations as door
from trine.data.commits import Commit, split_ref
from trine.errors import NotFound
from trine.workspace import Workspace, current_workspace, pinned, record_resolution


def resolve(ref: str, *, ws: Workspace | None = None) -> Commit:
    """The commit a reference means now: `name`, `name@branch`, `name@tag`, `name@commit`, `name@main~1`,
    `name@2026-11-25` (or a time; main's, or a branch's with `name@branch@2026-11-25`)."""
    ws = ws or current_workspace()
    name, version = split_ref(ref)
    version = pinned(f"dataset:{name}") or version
    asked = f"dataset:{name}@{version}"
    try:
        found = door.get_commit(ws, name=name, ref=version)
    except NotFound:
        record_resolution(asked, "")
        raise
    record_resolution(asked, found.node)
    return found


def head_of(ws: Workspace, name: str, branch: str) -> Commit | None:
    """The commit a branch is at; None where there is no such dataset or branch yet."""
    try:
        head = door.get_dataset(ws, name=name).branches.get(branch)
    except NotFound:
        return None
    return door.get_commit(ws, name=name, ref=head) if head else None
