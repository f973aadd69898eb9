"""The stat cache: what a folder was last added as or checked out from, and the hashes of its files that have not
changed since they were read, so that `status` reads no bytes. It is kept with the workspace, never in the folder.

It is kept and compared folder by folder, in columns. An entry counts while size, inode and both times are the same. A
file changed so shortly before the scan that another change could hide behind the clock's grain is not remembered (git's
racily-clean rule).

An add tells what it is about to commit beforehand (`Intent`). When it is killed between the commit and what it would
have noted here, the next one finds that commit in the branch's history, and knows that this folder was it.
"""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trine.data.scan import Listing
from trine.ids import digest, new_id

if TYPE_CHECKING:
    from trine.workspace import Located, Workspace

GRAIN_NS = 50_000_000
"""Changes closer together than this may have the same time on some file systems."""

HASH, MARKS = 32, 4 * 8
"""Bytes of a file's hash, and of its marks."""

FORMAT = "stat-2"


class Checkout(msgspec.Struct, frozen=True):
    """What a folder was last added as or checked out from."""

    dataset: str
    commit: str


class Intent(msgspec.Struct, frozen=True):
    """A commit that is about to be made of this folder: its dataset and branch, its parent (or nothing), its tree."""

    dataset: str
    branch: str
    parent: str
    tree: str


class Files(msgspec.Struct, array_like=True):
    """The files of one folder: names, marks (see `Listing`; none where they are not known), executable, hashes."""

    names: list[str]
    marks: bytes
    executable: bytes
    hashes: bytes

    def content(self) -> dict[str, bytes]:
        """Hash and mode by name: what makes the file another one when it changes."""
        hashes = self.hashes
        return {
            name: hashes[at * HASH : at * HASH + HASH] + self.executable[at : at + 1]
            for at, name in enumerate(self.names)
        }

    def some(self, places: Sequence[int]) -> Files:
        """Some of them."""
        return Files(
            [self.names[at] for at in places],
            b"".join([self.marks[at * MARKS : at * MARKS + MARKS] for at in places]),
            bytes([self.executable[at] for at in places]),
            b"".join([self.hashes[at * HASH : at * HASH + HASH] for at in places]),
        )

    def joined(self, other: Files) -> Files:
        """Both together."""
        return Files(
            self.names + other.names,
            self.marks + other.marks,
            self.executable + other.executable,
            self.hashes + other.hashes,
        )

    def same_content(self, other: Files) -> bool:
        if self.names == other.names:
            return self.hashes == other.hashes and self.executable == other.executable
        return len(self.names) == len(other.names) and self.content() == other.content()


class _Kept(msgspec.Struct):
    """`committed` holds what the commit has in a folder, or None where that is what `folders` has."""

    format: str = ""
    checkout: Checkout | None = None
    store: str = ""
    committed: dict[str, Files | None] = {}
    folders: dict[str, Files] = {}


class _Intended(msgspec.Struct):
    intent: Intent | None
    kept: _Kept


class StatCache:
    """The cache of one folder (or single file)."""

    def __init__(self, ws: Workspace | Located, path: Path) -> None:
        name = digest(f"{ws.project}\0{path.resolve()}".encode())[:32]
        self._path = ws.spool.parent / "cache" / "stat" / name
        self._intended = self._path.with_name(f"{name}.intent")
        self.started_ns = time.time_ns()
        self._kept = _read(self._path)
        self._fresh: dict[str, Files] = {}

    @property
    def checkout(self) -> Checkout | None:
        return self._kept.checkout

    @property
    def store(self) -> str:
        """The mark of the store when all that is remembered was in it (see `ObjectStore.mark`)."""
        return self._kept.store

    @property
    def expected(self) -> int:
        """How many files there were."""
        return sum(len(one.names) for one in self._kept.folders.values())

    def known(self, listing: Listing) -> tuple[bytes | bytearray, list[int]]:
        """The remembered hashes of a folder's files, one after the other, and which of them are not known."""
        kept = self._kept.folders.get(listing.prefix)
        if kept is None:
            return bytearray(HASH * len(listing.names)), list(range(len(listing.names)))
        marks = listing.marks.tobytes()
        if kept.marks == marks and kept.names == listing.names:
            return kept.hashes, []
        places = {name: at for at, name in enumerate(kept.names)}
        hashes, missing = bytearray(), list[int]()
        for at, name in enumerate(listing.names):
            was = places.get(name, -1)
            if was >= 0 and _marks_at(kept.marks, was) == _marks_at(marks, at):
                hashes += kept.hashes[was * HASH : was * HASH + HASH]
            else:
                hashes += bytes(HASH)
                missing.append(at)
        return hashes, missing

    def remember(self, listing: Listing, hashes: bytes | bytearray, at_ns: int | None = None) -> Files:
        """Keep the hashes of a folder's files, that they had when their marks were taken: `at_ns`, or any time since this
        cache was opened."""
        limit = (at_ns or self.started_ns) - GRAIN_NS
        marks = listing.marks
        newest = max(max(marks[1::4], default=0), max(marks[2::4], default=0))
        if newest >= limit:
            marks = array("q", marks)
            for at in range(0, len(marks), 4):
                if max(marks[at + 1], marks[at + 2]) >= limit:
                    marks[at : at + 4] = array("q", (marks[at], 0, 0, -1))  # marks that no file has
        files = Files(listing.names, marks.tobytes(), bytes(listing.executable), bytes(hashes))
        self._fresh[listing.prefix] = files
        return files

    def replace(self, folders: dict[str, Files]) -> None:
        """Remember this, and nothing else."""
        self._fresh = folders

    def here(self) -> Mapping[str, Files]:
        """What was remembered since this cache was opened, by folder."""
        return self._fresh

    def committed(self) -> Mapping[str, Files]:
        """What the commit that `checkout` names holds, by folder."""
        kept = self._kept
        return {prefix: one or kept.folders[prefix] for prefix, one in kept.committed.items()}

    def save(
        self, checkout: Checkout | None = None, committed: Mapping[str, Files] | None = None, store: str = ""
    ) -> None:
        """Keep what was remembered, and nothing else; with `checkout`, that the folder is this commit now, whose content is
        `committed` (default: what was remembered)."""
        fresh = self._fresh
        settled = checkout is not None
        if checkout is None:
            if fresh == self._kept.folders:
                return
            now = _read(self._path)  # another process may have added or checked out meanwhile
            checkout, store = now.checkout, now.store
            committed = {prefix: one or now.folders[prefix] for prefix, one in now.committed.items()}
        content = {
            prefix: None if prefix in fresh and one.same_content(fresh[prefix]) else _bare(one)
            for prefix, one in (fresh if committed is None else committed).items()
        }
        self._kept = _Kept(FORMAT, checkout, store, content, fresh)
        _write(self._path, self._kept)
        if settled:
            self._intended.unlink(missing_ok=True)

    def intend(self, intent: Intent) -> None:
        """Say what is about to be committed of this folder: what was remembered."""
        _write(self._intended, _Intended(intent, _Kept(FORMAT, None, "", dict.fromkeys(self._fresh), self._fresh)))

    def intended(self) -> Intent | None:
        """What an add was about to commit, that has not said since that it did."""
        if not self._intended.exists():
            return None
        return self._announced().intent

    def settle(self, commit: str) -> None:
        """Take what was intended as done: it is this commit."""
        told = self._announced()
        if told.intent:
            self._kept = told.kept
            self._kept.checkout = Checkout(told.intent.dataset, commit)
            _write(self._path, self._kept)
            self._intended.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Say that nothing came of what was intended."""
        self._intended.unlink(missing_ok=True)

    def _announced(self) -> _Intended:
        try:
            return msgspec.msgpack.decode(self._intended.read_bytes(), type=_Intended)
        except (FileNotFoundError, msgspec.DecodeError):
            return _Intended(None, _Kept())


def _marks_at(marks: bytes, at: int) -> bytes:
    return marks[at * MARKS : at * MARKS + MARKS]


def _bare(files: Files) -> Files:
    return Files(files.names, b"", files.executable, files.hashes)


def _read(path: Path) -> _Kept:
    try:
        kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Kept()
    return kept if kept.format == FORMAT else _Kept()


def _write(path: Path, kept: _Kept | _Intended) -> None:
    temporary = path.with_name(f"{path.name}.{new_id()}")
    with contextlib.suppress(OSError):  # no place for it: what is not remembered is read again
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.msgpack.encode(kept))
        os.replace(temporary, path)
