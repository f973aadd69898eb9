"""The stat cache: what a folder was last added as or checked out from, and the hashes of its files that have not
changed since they were read, so that `status` reads no bytes. It is kept with the workspace, never in the folder.

An entry counts while size, inode and both times are the same. A file changed so shortly before the scan that another
change could hide behind the clock's grain is not remembered (git's racily-clean rule).
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trine.ids import digest, new_id

if TYPE_CHECKING:
    from trine.workspace import Located, Workspace

GRAIN_NS = 50_000_000
"""Changes closer together than this may have the same time on some file systems."""

Marks = tuple[int, int, int, int]


class Checkout(msgspec.Struct, frozen=True):
    """What a folder was last added as or checked out from."""

    dataset: str
    commit: str


class _Kept(msgspec.Struct):
    checkout: Checkout | None = None
    committed: dict[str, str] = {}
    files: dict[str, tuple[int, int, int, int, str]] = {}


class StatCache:
    """The cache of one folder (or single file)."""

    def __init__(self, ws: Workspace | Located, path: Path) -> None:
        name = digest(f"{ws.project}\0{path.resolve()}".encode())[:32]
        self._path = ws.spool.parent / "cache" / "stat" / name
        self.started_ns = time.time_ns()
        self._kept = self._read()
        self._fresh: dict[str, tuple[int, int, int, int, str]] = {}

    def _read(self) -> _Kept:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return _Kept()

    @property
    def checkout(self) -> Checkout | None:
        return self._kept.checkout

    @property
    def committed(self) -> dict[str, str]:
        """The state of each file in the commit that `checkout` names, by path."""
        return self._kept.committed

    def hash_of(self, path: str, seen: os.stat_result) -> str | None:
        """The remembered hash, while the file has not changed."""
        kept = self._kept.files.get(path)
        if kept is None:
            return None
        size, changed_ns, marked_ns, inode, hash_ = kept
        if (
            changed_ns != seen.st_mtime_ns
            or marked_ns != seen.st_ctime_ns
            or size != seen.st_size
            or inode != seen.st_ino
        ):
            return None
        self._fresh[path] = kept
        return hash_

    def remember(self, path: str, seen: os.stat_result, hash_: str, at_ns: int | None = None) -> None:
        """Keep a file's hash, that it had when its stat was taken: `at_ns`, or any time since this cache was opened."""
        if max(seen.st_mtime_ns, seen.st_ctime_ns) < (at_ns or self.started_ns) - GRAIN_NS:
            self._fresh[path] = (*marks_of(seen), hash_)
        else:
            self._fresh.pop(path, None)

    def save(self, checkout: Checkout | None = None, committed: dict[str, str] | None = None) -> None:
        """Keep what was remembered or asked for, and nothing else; with `checkout`, that the folder is this commit now."""
        if checkout is None:
            if self._fresh == self._kept.files:
                return
            now = self._read()  # another process may have added or checked out meanwhile
            checkout, committed = now.checkout, now.committed
        self._kept = _Kept(checkout, committed or {}, self._fresh)
        temporary = self._path.with_name(f"{self._path.name}.{new_id()}")
        with contextlib.suppress(OSError):  # no place for it: what is not remembered is read again
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.msgpack.encode(self._kept))
            temporary.replace(self._path)


def marks_of(seen: os.stat_result) -> Marks:
    """What tells that a file is as it was."""
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino
