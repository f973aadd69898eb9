"""Changing a branch's files by path, without a checkout: what stays is neither read nor stored again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.references import head_of
from trine.data.trees import Entry, check_path, encode_tree, read_tree
from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.workspace import Workspace, active_producer, current_workspace


def remove(
    name: str, paths: Sequence[str], *, branch: str = "main", message: str = "", ws: Workspace | None = None
) -> Commit:
    """A commit without these files, or without all that is in these folders. Raises NotFound naming a path that is not there."""

    def without(entries: list[Entry]) -> list[Entry]:
        gone = {entry.path for path in paths for entry in _below(entries, path)}
        return [entry for entry in entries if entry.path not in gone]

    return _edit(name, branch, message or f"remove {', '.join(paths)}", without, ws)


def move(
    name: str, source: str, target: str, *, branch: str = "main", message: str = "", ws: Workspace | None = None
) -> Commit:
    """A commit where a file, or all that is in a folder, has another path. Raises Conflict when something is there already."""
    check_path(target)

    def moved(entries: list[Entry]) -> list[Entry]:
        mine = {entry.path: target + entry.path[len(source) :] for entry in _below(entries, source)}
        there = {entry.path for entry in entries} - mine.keys()
        if taken := there & set(mine.values()):
            raise Conflict(f'"{min(taken)}" is there already; remove it first, or move to another path.')
        return [Entry(mine.get(entry.path, entry.path), entry.hash, entry.size, entry.executable) for entry in entries]

    return _edit(name, branch, message or f"move {source} to {target}", moved, ws)


def _below(entries: list[Entry], path: str) -> list[Entry]:
    found = [entry for entry in entries if entry.path == path or entry.path.startswith(path.rstrip("/") + "/")]
    if not found:
        raise NotFound(f'There is no file or folder "{path}".{nearest(path, [entry.path for entry in entries])}')
    return found


def _edit(
    name: str, branch: str, message: str, change: Callable[[list[Entry]], list[Entry]], ws: Workspace | None
) -> Commit:
    ws = ws or current_workspace()
    head = head_of(ws, name, branch) or door.get_commit(ws, name=name, ref=branch)
    if head.kind != "files":
        raise InvalidInput(
            f'Dataset "{name}" holds a table: its rows are what changes, see data.delete and data.upsert.'
        )
    entries = change(read_tree(ws.store, head.tree))
    return commit_entries(ws, head, entries, branch=branch, message=message)


def commit_entries(
    ws: Workspace, head: Commit, entries: list[Entry], *, branch: str, message: str, merged: str = ""
) -> Commit:
    """Commit files that are stored already as what follows a branch's head. Raises Conflict when a path is file and folder."""
    check_folders(entries)
    tree, objects = encode_tree(entries)
    ws.store.put_many(objects)
    return door.commit_dataset(
        ws,
        name=head.dataset,
        kind="files",
        tree=tree,
        expect=head.id,
        branch=branch,
        files=len(entries),
        size_bytes=sum(entry.size for entry in entries),
        message=message,
        producer=active_producer(),
        merged=merged,
    )


def check_folders(entries: list[Entry]) -> None:
    """Raise Conflict when a path is a file and a folder: no disk can hold both."""
    paths = {entry.path for entry in entries}
    checked: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in checked:
            if path in paths:
                raise Conflict(f'"{path}" would be a file and a folder. Move or remove one of them first.', path=path)
            checked.add(path)
