"""Adding a folder or a file: its content becomes a commit. Bytes are durable first, then rows, then the branch moves."""

from __future__ import annotations

import os
from pathlib import Path

from trine.data import operations as door
from trine.data.bulk import without_collector
from trine.data.commits import Commit, Kind
from trine.data.expectations import Checks
from trine.data.references import head_of
from trine.data.scan import Scan, scan
from trine.data.statcache import Checkout, StatCache, marks_of
from trine.data.trees import Entry, encode_tree
from trine.errors import Conflict, InvalidInput, NotFound
from trine.workspace import Workspace, active_producer, current_workspace


def add(
    path: Path | str,
    *,
    name: str,
    message: str = "",
    branch: str = "main",
    kind: Kind | None = None,
    append: bool = False,
    tag: str = "",
    checks: Checks = None,
    force: bool = False,
    ws: Workspace | None = None,
) -> Commit:
    """Commit a folder, or one file, as the next version of a dataset; reads only files that changed since the last time.

    With kind "table" a `.parquet` or `.csv` file, or a folder of `.parquet` files, becomes the table (or, with `append`,
    its next rows), checked by `checks`. A folder that is as the branch has it makes no commit: the head comes back.

    Raises Conflict when a file changes while it is read, and when the branch has moved since this folder was added or
    checked out (`force` adds it nevertheless); CheckFailed when an expectation of severity error fails.
    """
    ws = ws or current_workspace()
    path = Path(path)
    if kind == "table":
        from trine.data.frames import read_table
        from trine.data.rows import commit

        mode = "append" if append else "replace"
        return commit(
            read_table(path), name=name, message=message, branch=branch, mode=mode, tag=tag, checks=checks, ws=ws
        )
    if checks or append:
        raise InvalidInput("Appending and expectations are for tables: add the file with kind='table'.")
    with without_collector():
        return _add_files(ws, path, name, message, branch, tag, force)


def _add_files(ws: Workspace, path: Path, name: str, message: str, branch: str, tag: str, force: bool) -> Commit:
    cache = StatCache(ws, path)
    found = scan(path)
    if not found.files:
        raise InvalidInput(f"There are no files in {path}, so there is nothing to add.")
    found.files.sort()
    entries = _store(ws, found, cache)
    tree, objects = encode_tree(entries)
    head = head_of(ws, name, branch)
    if head and head.tree == tree and not active_producer():
        made = door.tag_commit(ws, name=name, tag=tag, ref=head.id) if tag else head
    else:
        if head and not force:
            _check_base(ws, path, branch, cache.checkout, head)
        ws.store.put_many(objects)
        made = door.commit_dataset(
            ws,
            name=name,
            kind="files",
            tree=tree,
            expect=head.id if head else "",
            branch=branch,
            files=len(entries),
            size_bytes=sum(entry.size for entry in entries),
            message=message,
            tag=tag,
            producer=active_producer(),
        )
    for (path_, seen), entry in zip(found.files, entries, strict=True):
        cache.remember(path_, seen, entry.hash)
    cache.save(Checkout(name, made.id), {entry.path: entry.state for entry in entries})
    return made


def _store(ws: Workspace, found: Scan, cache: StatCache) -> list[Entry]:
    """The files as entries, every one's bytes in the store."""
    known = {path: hash_ for path, seen in found.files if (hash_ := cache.hash_of(path, seen))}
    here = ws.store.has(set(known.values()))
    fresh = [one for one in found.files if known.get(one[0]) not in here]
    places = [f"{found.root}/{path}" for path, _ in fresh]
    for place, (path, seen), (hash_, size) in zip(places, fresh, ws.store.put_files(places), strict=True):
        try:
            same = size == seen.st_size and marks_of(os.stat(place)) == marks_of(seen)
        except FileNotFoundError:
            same = False
        if not same:
            raise Conflict(f"{place} changed while it was read. Wait until it is written, and add again.", path=place)
        known[path] = hash_
    return [Entry(path, known[path], seen.st_size, bool(seen.st_mode & 0o100)) for path, seen in found.files]


def _check_base(ws: Workspace, path: Path, branch: str, base: Checkout | None, head: Commit) -> None:
    """Refuse a folder that does not know what the branch has got since: committing it would undo that."""
    if base is None or base.dataset != head.dataset or base.commit == head.id:
        return
    try:
        door.get_commit(ws, name=base.dataset, ref=base.commit)
    except NotFound:
        return  # of a dataset by that name that was removed
    raise Conflict(
        f'Branch "{branch}" of dataset "{head.dataset}" has moved since {path} was added or checked out: from '
        f"{base.commit[:12]} to {head.id[:12]}. Adding it would undo what came. Look at: trine data diff "
        f"{head.dataset}@{base.commit[:12]} {head.ref} — and add with --force if that is what you want.",
        expected=base.commit,
        now=head.id,
    )
