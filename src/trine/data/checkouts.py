"""Writing a commit's files into a folder: checked while they are written, each there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from trine.data.bulk import without_collector
from trine.data.changes import read_hashes, settle
from trine.data.commits import Commit
from trine.data.glance import Glance
from trine.data.scan import DRAFTS, MANY, Scan, marks_of, scan
from trine.data.statcache import GRAIN_NS, MARKS, Checkout, Files, StatCache
from trine.data.trees import Entry, check_path, read_tree
from trine.errors import Conflict, Failure, InvalidInput, NoSpace, TrineError
from trine.forks import share, split, workers
from trine.ids import new_id
from trine.storage import ObjectStore, Store
from trine.workspace import Located, Workspace, current_workspace, record_use

LARGE = 4 << 20
"""Files from this size on are written by the store, piece by piece."""

Link = Literal["auto", "hard", "copy"]

AHEAD = 16
"""Files that are fetched at the same time from a store that is far."""


@without_collector()
def checkout(
    ref: str, folder: Path | str, *, force: bool = False, link: Link = "auto", ws: Workspace | Located | None = None
) -> Commit:
    """Write a commit's files into a folder. Files of the last checkout that the commit does not have are removed; files
    that never were in a checkout stay.

    Large files share their bytes with the store where the file system can (reflinks). `link` is "copy" where that is not
    wanted, or "hard" for hard links where they can be: they take no space either, and are read-only.

    Raises Conflict naming files that were changed here and would be lost (nothing is written then), unless `force`, and
    InvalidInput for a table whose files still hold rows that were edited away. Interrupted, it can be called again.
    """
    where = ws or current_workspace()
    folder = Path(folder)
    with Glance(where) as glance:
        commit = glance.commit(ref)
        store = glance.store
        entries = read_tree(store, commit.tree)
        if commit.kind == "table":
            _check_plain(commit, entries)
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is not a folder.")
        cache = StatCache(where, folder)
        settle(cache, where)
        found = scan(folder, cache.expected) if folder.exists() else Scan(folder.resolve(), [])
        read_hashes(found, cache)
        wanted = {check_path(entry.path): entry.content for entry in entries}
        here, before = _contents_of(cache.here()), _contents_of(cache.committed())
        gone = _gone(here, wanted, before)
        late = [entry for entry in entries if here.get(entry.path) != wanted[entry.path]]
        if not force:
            _check_mine(folder, [*gone, *(one.path for one in late)], here, before)
        for path in gone:
            _Writer(store, str(found.root)).remove(path)
        written = _write(store, str(found.root), late, link)
        columns = _Columns()
        columns.take(cache.here(), {*gone, *(entry.path for entry in late)})
        columns.write(late, written)
        cache.replace(columns.folders)
        wanted_files = _Columns()
        wanted_files.write(entries)
        cache.save(Checkout(commit.dataset, commit.id), wanted_files.folders)
    record_use(commit.node)
    return commit


def _check_plain(commit: Commit, entries: list[Entry]) -> None:
    """Whoever reads the Parquet files of a table in a folder does not know its deletion vectors, and would see rows that are gone."""
    from trine.data.parts import VECTOR

    if any(entry.path.endswith(VECTOR) for entry in entries):
        name = f"{commit.dataset}@{commit.id[:12]}"
        raise InvalidInput(
            f"The files of {name} hold rows that were edited away: its deletion vectors say which, and who reads plain Parquet does not know them. "
            f"Write it for Delta Lake's readers with: trine data delta {name} FOLDER, or bring the files together first: trine data compact {commit.dataset}"
        )


def _check_mine(folder: Path, paths: list[str], here: Mapping[str, bytes], before: Mapping[str, bytes]) -> None:
    mine = [path for path in paths if path in here and here[path] != before.get(path)]
    if mine:
        raise Conflict(
            f"{len(mine)} files in {folder} were changed here and would be lost, {mine[0]} first. "
            "Add them to a dataset, or check out with --force.",
            paths=mine[:100],
        )


def _contents_of(folders: Mapping[str, Files]) -> dict[str, bytes]:
    return {prefix + name: content for prefix, one in folders.items() for name, content in one.content().items()}


class _Columns:
    """Files by folder, put together file by file."""

    def __init__(self) -> None:
        self.folders: dict[str, Files] = {}

    def take(self, folders: Mapping[str, Files], but: set[str]) -> None:
        """Files as they are known."""
        for prefix, files in folders.items():
            if but.isdisjoint([prefix + name for name in files.names]):
                self.folders[prefix] = files
                continue
            kept = [at for at, name in enumerate(files.names) if prefix + name not in but]
            if kept:
                self.folders[prefix] = files.some(kept)

    def write(self, entries: Sequence[Entry], marks: bytes = b"") -> None:
        """Files as they were written, with their marks."""
        names: dict[str, list[int]] = {}
        for at, entry in enumerate(entries):
            names.setdefault(entry.path[: entry.path.rfind("/") + 1], []).append(at)
        for prefix, places in names.items():
            mine = [entries[at] for at in places]
            files = Files(
                [entry.path[len(prefix) :] for entry in mine],
                b"".join([marks[at * MARKS : at * MARKS + MARKS] for at in places]),
                bytes([entry.executable for entry in mine]),
                bytes.fromhex("".join([entry.hash for entry in mine])),
            )
            self.folders[prefix] = self.folders[prefix].joined(files) if prefix in self.folders else files


def _gone(here: Mapping[str, bytes], wanted: Mapping[str, bytes], before: Mapping[str, bytes]) -> list[str]:
    """Files that have to go: of the last checkout, or a file where the commit has a folder, or the other way round."""
    if not here:
        return []
    folders = {parent for path in wanted for parent in _parents(path)}
    return [
        path
        for path in here
        if path not in wanted
        and (path in before or path in folders or any(parent in wanted for parent in _parents(path)))
    ]


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _write(store: Store, root: str, entries: list[Entry], link: Link) -> bytes:
    """Write files, and give their marks, one after the other. Many are shared out to several processes."""
    is_near = isinstance(store, ObjectStore) and not store.place.is_far
    parts = workers() if is_near and len(entries) >= MANY else 1
    if parts == 1:
        return _write_part(store, root, link, entries)
    store.has([entry.hash for entry in entries])  # learnt once, for all processes
    return b"".join(share(partial(_write_part, store, root, link), split(entries, parts)))


def _write_part(store: Store, root: str, link: Link, entries: Sequence[Entry]) -> bytes:
    writer = _Writer(store, root, link)
    with contextlib.closing(_contents(store, entries)) as contents:
        for entry, content in zip(entries, contents, strict=True):
            writer.write(entry, content)
    return writer.marks()


def _contents(store: Store, entries: Sequence[Entry]) -> Generator[bytes | None]:
    """The files' bytes, checked; None for large ones. From a store that is far, several at a time are on their way."""
    if isinstance(store, ObjectStore) and not store.place.is_far:
        small = store.get_each(entry.hash for entry in entries if entry.size < LARGE)
        yield from (next(small) if entry.size < LARGE else None for entry in entries)
        return
    with ThreadPoolExecutor(AHEAD) as pool:
        for start in range(0, len(entries), 4 * AHEAD):
            yield from pool.map(
                lambda one: store.get(one.hash) if one.size < LARGE else None, entries[start : start + 4 * AHEAD]
            )


class _Writer:
    """Writes below one folder, and nowhere else."""

    def __init__(self, store: Store, root: str, link: Link = "copy") -> None:
        self._store = store
        self._link: Link = link
        self._root = root
        self._folders: dict[str, str] = {}
        self._written: list[tuple[str, os.stat_result]] = []
        self._name = f"{DRAFTS[0]}{new_id()}-"

    def write(self, entry: Entry, content: bytes | None) -> None:
        parent, _, name = entry.path.rpartition("/")
        try:
            folder = self._folder(parent)
            target, draft = f"{folder}/{name}", f"{folder}/{self._name}{len(self._written)}"
            try:
                seen = self._draft(entry, content, draft)
                try:
                    os.replace(draft, target)
                except IsADirectoryError:
                    os.rmdir(target)
                    os.replace(draft, target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
                raise
        except OSError as error:
            raise _trouble(os.path.join(self._root, entry.path), error) from error
        self._written.append((target, seen))

    def _draft(self, entry: Entry, data: bytes | None, draft: str) -> os.stat_result:
        mode = 0o777 if entry.executable else 0o666
        if data is None:
            hard = self._link == "hard" and not entry.executable
            if hard and isinstance(self._store, ObjectStore) and self._store.link_file(entry.hash, draft, hard=True):
                return os.stat(draft)
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            mode = os.stat(draft).st_mode & 0o777  # what the user's umask leaves of it
            os.unlink(draft)
            if (
                self._link == "copy"
                or not isinstance(self._store, ObjectStore)
                or not self._store.link_file(entry.hash, draft)
            ):
                self._store.get_file(entry.hash, draft)
            os.chmod(draft, mode)
            return os.stat(draft)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that are empty then."""
        try:
            parent, _, name = path.rpartition("/")
            folder = self._folder(parent)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{name}")
            with contextlib.suppress(OSError):
                while folder != self._root:
                    os.rmdir(folder)
                    self._folders.clear()
                    folder = os.path.dirname(folder)
        except OSError as error:
            raise _trouble(os.path.join(self._root, path), error) from error

    def _folder(self, path: str) -> str:
        """The folder at a relative path, made when missing. A link there is refused: what is written must land here."""
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            folder = f"{self._folder(above)}/{name}" if path else self._root
            if not path:
                os.makedirs(folder, exist_ok=True)
            elif os.path.islink(folder):
                raise Conflict(
                    f"{folder} is a link, and a checkout writes through none. Remove it, or take another folder."
                )
            elif not os.path.isdir(folder):
                os.mkdir(folder)
            self._folders[path] = folder
        return self._folders[path]

    def marks(self) -> bytes:
        """The marks of what was written, as far as nobody has touched it since; of the rest, those that no file has."""
        marks = array("q")
        limit = time.time_ns() - GRAIN_NS
        for target, then in self._written:
            try:
                now = os.stat(target)
            except OSError:
                now = None
            if (
                now
                and (now.st_ino, now.st_size, now.st_mtime_ns) == (then.st_ino, then.st_size, then.st_mtime_ns)
                and now.st_mtime_ns < limit
                and now.st_ctime_ns < limit
            ):
                marks.extend(marks_of(now))
            else:
                marks.extend((then.st_size, 0, 0, -1))
        return marks.tobytes()


def _trouble(path: str, error: OSError) -> TrineError:
    """Trouble with the folder that is written to, as an error that names the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"There is no space left for {path}. Free some, and check out again: it goes on.")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY):
        return Conflict(f"{path} cannot be written: something that is no data is in its place. Remove it.")
    return Failure(f"{path} cannot be written: {error.strerror}.")
