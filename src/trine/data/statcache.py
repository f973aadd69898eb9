"""The stat cache: hashes of files that have not changed since they were last read, so that `status` reads no bytes.

An entry counts while size, inode and both times are the same. A file changed so shortly before the scan that another
change could hide behind the clock's grain is not remembered (git's racily-clean rule).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from trine.ids import digest, new_id
from trine.workspace import Workspace

GRAIN_NS = 50_000_000
"""Changes closer together than this may have the same time on some file systems."""


class Checkout(msgspec.Struct, frozen=True):
    """What a folder was last added as or checked out from."""

    dataset: str
    commit: str


class _Kept(msgspec.Struct):
    checkout: Checkout | None = None
    files: dict[str, tuple[int, int, int, int, str]] = {}


class StatCache:
    """The cache of one folder (or single file)."""

    def __init__(self, ws: Workspace, folder: Path) -> None:
        name = digest(f"{ws.location}\0{ws.project}\0{folder.resolve()}".encode())[:32]
        self._path = ws.spool.parent / "cache" / "stat" / name
        self.started_ns = time.time_ns()
        try:
            self._kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            self._kept = _Kept()

    @property
    def checkout(self) -> Checkout | None:
        return self._kept.checkout

    def hash_of(self, path: str, seen: os.stat_result) -> str | None:
        """The remembered hash, while the file has not changed."""
        kept = self._kept.files.get(path)
        return kept[4] if kept and kept[:4] == _marks(seen) else None

    def save(self, files: dict[str, tuple[os.stat_result, str]], checkout: Checkout | None = None) -> None:
        """Remember these files and nothing else."""
        self._kept.files = {
            path: (*_marks(seen), hash_)
            for path, (seen, hash_) in files.items()
            if max(seen.st_mtime_ns, seen.st_ctime_ns) < self.started_ns - GRAIN_NS
        }
        self._kept.checkout = checkout or self._kept.checkout
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{new_id()}")
        temporary.write_bytes(msgspec.msgpack.encode(self._kept))
        temporary.replace(self._path)


def _marks(seen: os.stat_result) -> tuple[int, int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino
