"""Adding a folder or a file: its content becomes a commit. Bytes are durable first, then rows, then the branch moves."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trine.data.bulk import without_collector
from trine.data.changes import compare_folders, settle
from trine.data.commits import Commit, Kind
from trine.data.expectations import Checks
from trine.data.glance import Glance
from trine.data.scan import MANY, Scan, marks_of, scan
from trine.data.statcache import HASH, Checkout, Files, Intent, StatCache
from trine.data.trees import Entry, encode_tree
from trine.errors import Conflict, InvalidInput, NotFound, TrineError
from trine.forks import share, split, workers
from trine.storage import ObjectStore, Store
from trine.workspace import Located, Workspace, active_producer, current_workspace

if TYPE_CHECKING:
    from trine.data.evolution import Evolution

LARGE = 256 << 20
"""From so many bytes on files are read by several processes, however few they are."""

DEDUPED = 4 << 20
"""From so many bytes on, a file is stored as what is new since the commit before."""

_NONE = bytes(HASH).hex()

Known = tuple[bytes | bytearray, list[int]]
"""The hashes of a folder's files, and which of them are not known."""


class _Fresh(NamedTuple):
    """A file to read: its place, its marks, which one it is of which folder, and what it was before (hash, or nothing)."""

    place: str
    marks: tuple[int, ...]
    folder: int
    at: int
    before: str


def add(
    path: Path | str,
    *,
    name: str,
    message: str = "",
    branch: str = "main",
    kind: Kind | None = None,
    append: bool = False,
    schema: Evolution = "strict",
    tag: str = "",
    checks: Checks = None,
    force: bool = False,
    ws: Workspace | Located | None = None,
) -> Commit:
    """Commit a folder, or one file, as the next version of a dataset; reads only files that changed since the last time.

    With kind "table" a `.parquet` or `.csv` file, or a folder of `.parquet` files, becomes the table (or, with `append`,
    its next rows, with `schema` as in `trine.data.commit`), checked by `checks`. A folder that is as the branch has it makes no commit: the head comes back.

    Raises Conflict when a file changes while it is read, and when the branch has moved since this folder was added or
    checked out (`force` adds it nevertheless); CheckFailed when an expectation of severity error fails.
    """
    ws = ws or current_workspace()
    path = Path(path)
    if kind == "table":
        from trine.data.frames import read_table
        from trine.data.rows import commit

        mode = "append" if append else "replace"
        table = read_table(path)
        with Glance(ws) as glance:
            return commit(
                table,
                name=name,
                message=message,
                branch=branch,
                mode=mode,
                schema=schema,
                tag=tag,
                checks=checks,
                ws=glance.ws,
            )
    if checks or append:
        raise InvalidInput("Appending and expectations are for tables: add the file with kind='table'.")
    with without_collector():
        return _add_files(ws, path, name, message, branch, tag, force)


def _add_files(
    where: Workspace | Located, path: Path, name: str, message: str, branch: str, tag: str, force: bool
) -> Commit:
    cache = StatCache(where, path)
    settle(cache, where)
    found = scan(path, cache.expected)
    if not found.folders:
        raise InvalidInput(f"There are no files in {path}, so there is nothing to add.")
    with Glance(where) as glance:
        stored = _store(glance, found, cache, look=force)
        head = glance.head(name, branch)
        may_stay = not tag and not active_producer() and compare_folders(cache.committed(), cache.here()).clean
        if head and may_stay and cache.checkout == Checkout(name, head.id):
            cache.save(cache.checkout, store=stored)
            return head
        return _commit(glance.ws, cache, path, head, stored, name, message, branch, tag, force)


def _entries(folders: Mapping[str, Files]) -> Iterator[Entry]:
    for prefix, files in folders.items():
        marks, hashes = array("q", files.marks), files.hashes.hex()
        for at, name in enumerate(files.names):
            hash_ = hashes[2 * HASH * at : 2 * HASH * (at + 1)]
            yield Entry(prefix + name, hash_, marks[4 * at], files.executable[at] == 1)


def _commit(
    ws: Workspace,
    cache: StatCache,
    path: Path,
    head: Commit | None,
    stored: str,
    name: str,
    message: str,
    branch: str,
    tag: str,
    force: bool,
) -> Commit:
    from trine.data import operations as door

    entries = list(_entries(cache.here()))
    tree, objects = encode_tree(entries)
    if head and head.tree == tree and not active_producer():
        made = door.tag_commit(ws, name=name, tag=tag, ref=head.id) if tag else head
    else:
        if head and not force:
            _check_base(ws, path, branch, cache.checkout, head)
        ws.store.put_many(objects)
        cache.intend(Intent(name, branch, head.id if head else "", tree))
        try:
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
        except TrineError:
            cache.withdraw()
            raise
    cache.save(Checkout(name, made.id), store=stored)
    return made


def _store(glance: Glance, found: Scan, cache: StatCache, *, look: bool) -> str:
    """Have every file's bytes in the store, and its hash remembered. Gives the store's mark: as long as it has that, it has
    them. Without `look`, a store whose mark is the one that was remembered is believed."""
    known = [cache.known(listing) for listing in found.folders]
    mark = _mark_of(glance.store)
    if look or not mark or mark != cache.store:
        _forget_lost(glance.store, known)
    before = _large_before(cache)
    fresh = [
        _Fresh(
            f"{found.root}/{(path := listing.prefix + listing.names[at])}",
            tuple(listing.marks[4 * at : 4 * at + 4]),
            number,
            at,
            before.get(path, ""),
        )
        for number, (listing, (_, missing)) in enumerate(zip(found.folders, known, strict=True))
        for at in missing
    ]
    stored = _read(glance, fresh) if fresh else b""
    for place, one in enumerate(fresh):
        hashes, missing = known[one.folder]
        if not isinstance(hashes, bytearray):
            known[one.folder] = hashes, missing = bytearray(hashes), missing
        hashes[one.at * HASH : one.at * HASH + HASH] = stored[place * HASH : place * HASH + HASH]
    for listing, (hashes, _) in zip(found.folders, known, strict=True):
        cache.remember(listing, hashes)
    return _mark_of(glance.store) if fresh else mark


def _large_before(cache: StatCache) -> dict[str, str]:
    """What large files were in the commit before: what is new of them is stored, and no more."""
    return {
        prefix + name: content[:HASH].hex()
        for prefix, files in cache.committed().items()
        if max(array("q", files.marks)[0::4], default=DEDUPED) >= DEDUPED
        for name, content in files.content().items()
    }


def _mark_of(store: Store) -> str:
    return store.mark() if isinstance(store, ObjectStore) else ""


def _forget_lost(store: Store, known: list[Known]) -> None:
    """Count as not known what the store has not got any more."""
    names = {hashes[at : at + HASH].hex() for hashes, _ in known for at in range(0, len(hashes), HASH)} - {_NONE}
    lost = names - store.has(names)
    if lost:
        for hashes, missing in known:
            missing[:] = [
                at
                for at in range(len(hashes) // HASH)
                if (name := hashes[at * HASH : at * HASH + HASH].hex()) == _NONE or name in lost
            ]


def _read(glance: Glance, fresh: list[_Fresh]) -> bytes:
    """Store files; gives their hashes, one after the other. Many of them are shared out to several processes."""
    store = glance.store
    size = sum(one.marks[0] for one in fresh)
    is_near = isinstance(store, ObjectStore) and not store.place.is_far
    parts = workers() if is_near and (len(fresh) >= MANY or size >= LARGE) and len(fresh) > 1 else 1
    if parts == 1:
        return _put(store, fresh)
    return b"".join(share(partial(_put, store), split(fresh, parts), meanwhile=partial(_open_door, glance)))


def _open_door(glance: Glance) -> None:
    from trine.data import operations

    _ = operations, glance.ws


def _put(store: Store, fresh: Sequence[_Fresh]) -> bytes:
    hashes: list[str] = []
    like = [one.before if one.marks[0] >= DEDUPED else "" for one in fresh]
    places = [one.place for one in fresh]
    stored = store.put_files(places, like) if any(like) else store.put_files(places)
    for one, (hash_, size) in zip(fresh, stored, strict=True):
        try:
            same = size == one.marks[0] and marks_of(os.stat(one.place)) == one.marks
        except FileNotFoundError:
            same = False
        if not same:
            raise Conflict(
                f"{one.place} changed while it was read. Wait until it is written, and add again.", path=one.place
            )
        hashes.append(hash_)
    return bytes.fromhex("".join(hashes))


def _check_base(ws: Workspace, path: Path, branch: str, base: Checkout | None, head: Commit) -> None:
    """Refuse a folder that does not know what the branch has got since: committing it would undo that."""
    from trine.data import operations as door

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
