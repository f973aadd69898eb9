"""Writing a commit's files into a folder: checked while they are written, each there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trine.data.bulk import without_collector
from trine.data.changes import states_of
from trine.data.commits import Commit
from trine.data.references import resolve
from trine.data.scan import DRAFTS, Scan, scan
from trine.data.statcache import Checkout, StatCache
from trine.data.trees import Entry, check_path, read_tree
from trine.errors import Conflict, Failure, InvalidInput, NoSpace
from trine.ids import new_id
from trine.storage import Store
from trine.workspace import Workspace, current_workspace, record_use

LARGE = 4 << 20
"""Files from this size on are written by the store, piece by piece."""

AHEAD = 16
"""Files that are fetched at the same time from a store that is far."""


@without_collector()
def checkout(ref: str, folder: Path | str, *, force: bool = False, ws: Workspace | None = None) -> Commit:
    """Write a commit's files into a folder. Files of the last checkout that the commit does not have are removed; files
    that never were in a checkout stay.

    Raises Conflict naming files that were changed here and would be lost (nothing is written then), unless `force`.
    Interrupted, it can be called again.
    """
    ws = ws or current_workspace()
    folder = Path(folder)
    commit = resolve(ref, ws=ws)
    wanted = {check_path(entry.path): entry for entry in read_tree(ws.store, commit.tree)}
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    cache = StatCache(ws, folder)
    found = scan(folder) if folder.exists() else Scan(folder.resolve(), [])
    here = states_of(found, cache)
    gone = _gone(here, wanted, cache.committed)
    late = {path: entry for path, entry in wanted.items() if here.get(path) != entry.state}
    mine = [path for path in (*gone, *late) if path in here and here[path] != cache.committed.get(path)]
    if mine and not force:
        raise Conflict(
            f"{len(mine)} files in {folder} were changed here and would be lost, {mine[0]} first. "
            "Add them to a dataset, or check out with --force.",
            paths=mine[:100],
        )
    writer = _Writer(ws.store, str(found.root))
    for path in gone:
        writer.remove(path)
    for entry, content in _contents(ws.store, list(late.values())):
        writer.write(entry, content)
    now_ns = time.time_ns()
    for path, seen in writer.unchanged():
        cache.remember(path, seen, wanted[path].hash, now_ns)
    cache.save(Checkout(commit.dataset, commit.id), {path: entry.state for path, entry in wanted.items()})
    record_use(commit.node)
    return commit


def _gone(here: Mapping[str, str], wanted: Mapping[str, Entry], before: Mapping[str, str]) -> list[str]:
    """Files that have to go: of the last checkout, or a file where the commit has a folder, or the other way round."""
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


def _contents(store: Store, entries: list[Entry]) -> Iterator[tuple[Entry, bytes | None]]:
    """The files' bytes, checked; None for large ones. From a store that is far, several at a time are on their way."""
    is_far = getattr(getattr(store, "place", None), "is_far", True)
    if not is_far:
        yield from ((entry, store.get(entry.hash) if entry.size < LARGE else None) for entry in entries)
        return
    with ThreadPoolExecutor(AHEAD) as pool:
        for start in range(0, len(entries), 4 * AHEAD):
            batch = entries[start : start + 4 * AHEAD]
            yield from zip(
                batch, pool.map(lambda one: store.get(one.hash) if one.size < LARGE else None, batch), strict=True
            )


class _Writer:
    """Writes below one folder, and nowhere else."""

    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self._root = root
        self._folders: dict[str, str] = {}
        self._written: list[tuple[str, str, os.stat_result]] = []

    def write(self, entry: Entry, content: bytes | None) -> None:
        with _told(os.path.join(self._root, entry.path)):
            parent, _, name = entry.path.rpartition("/")
            folder = self._folder(parent)
            target, draft = f"{folder}/{name}", f"{folder}/{DRAFTS[0]}{new_id()}"
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
            self._written.append((entry.path, target, seen))

    def _draft(self, entry: Entry, data: bytes | None, draft: str) -> os.stat_result:
        mode = 0o777 if entry.executable else 0o666
        if data is None:
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            mode = os.stat(draft).st_mode & 0o777  # what the user's umask leaves of it
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
        with _told(os.path.join(self._root, path)):
            parent, _, name = path.rpartition("/")
            folder = self._folder(parent)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/{name}")
            with contextlib.suppress(OSError):
                while folder != self._root:
                    os.rmdir(folder)
                    self._folders.clear()
                    folder = os.path.dirname(folder)

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

    def unchanged(self) -> Iterator[tuple[str, os.stat_result]]:
        """What was written and nobody has touched since, as it is now."""
        for path, target, then in self._written:
            with contextlib.suppress(OSError):
                now = os.stat(target)
                if (now.st_ino, now.st_size, now.st_mtime_ns) == (then.st_ino, then.st_size, then.st_mtime_ns):
                    yield path, now


@contextlib.contextmanager
def _told(path: str) -> Generator[None]:
    """Trouble with the folder that is written to, as an error that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace(f"There is no space left for {path}. Free some, and check out again: it goes on.") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY):
            raise Conflict(
                f"{path} cannot be written: something that is no data is in its place. Remove it."
            ) from error
        raise Failure(f"{path} cannot be written: {error.strerror}.") from error
