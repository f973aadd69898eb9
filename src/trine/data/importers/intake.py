"""Taking files in from another tool's store: each checked against the digest by which that tool knows it, in passing."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from trine.ids import new_id
from trine.storage.places import Folder
from trine.workspace import Workspace

SMALL = 1 << 20
BATCH_BYTES = 16 << 20
BATCH_FILES = 2_000
READERS = 16

Taken = tuple[str, int]
"""The hash in the store, and the size."""

Hasher = Callable[[int], Any]
"""Begins a digest of a file of so many bytes."""


class Files(Protocol):
    """Where files are; every place of objects is one."""

    location: str
    is_far: bool

    def size(self, key: str) -> int | None: ...

    def read(self, key: str) -> bytes | None: ...

    def chunks(self, key: str) -> Iterator[bytes] | None: ...


class Source(NamedTuple):
    """A file elsewhere: where it is and the digest it should have (empty: none is known).

    `text` says that the digest may be of the text with line ends as `\\n` (DVC before version 3).
    """

    place: Files
    key: str
    digest: str
    text: bool = False


class Intake:
    """Takes files into a workspace's store, and remembers on this machine which digest was which object."""

    def __init__(self, ws: Workspace, algorithm: str, hasher: Hasher | None = None) -> None:
        self._ws = ws
        self._hasher = hasher or (lambda _: hashlib.new(algorithm, usedforsecurity=False))
        self._path = ws.spool.parent / "cache" / "aliases" / algorithm
        self._known = self._read()
        self.problems: dict[str, str] = {}
        """What was wrong with sources that could not be taken, by digest or key."""

    def _read(self) -> dict[str, Taken]:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=dict[str, Taken])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def save(self) -> None:
        """Keep what was learnt, for the next import."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{new_id()}")
        draft.write_bytes(msgspec.msgpack.encode(self._known))
        os.replace(draft, self._path)

    def take(self, sources: Mapping[str, Source]) -> dict[str, Taken]:
        """Store files, by the names they are asked for under; those that are not there, or in `problems`, are left out."""
        known = {name: self._known[name] for name in sources if name in self._known}
        here = self._ws.store.has({hash_ for hash_, _ in known.values()})
        taken = {name: found for name, found in known.items() if found[0] in here}
        rest = {name: one for name, one in sources.items() if name not in taken}
        batch: dict[str, bytes] = {}
        for name, content in self._read_all(rest):
            if isinstance(content, Path):
                taken[name] = self._ws.store.put_files([content])[0]
                continue
            batch[name] = content
            if len(batch) >= BATCH_FILES or sum(map(len, batch.values())) >= BATCH_BYTES:
                taken |= self._put(batch)
                batch = {}
        taken |= self._put(batch)
        self._known |= {name: taken[name] for name in rest if name in taken}
        return taken

    def _put(self, batch: Mapping[str, bytes]) -> dict[str, Taken]:
        hashes = self._ws.store.put_many(batch.values())
        return {name: (hash_, len(data)) for (name, data), hash_ in zip(batch.items(), hashes, strict=True)}

    def _read_all(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, bytes | Path]]:
        """The checked content of each file: its bytes, or for a large one the path of a file that is there until the next."""
        with tempfile.TemporaryDirectory(prefix="trine-import-") as folder, ThreadPoolExecutor(READERS) as pool:
            is_far = any(one.place.is_far for one in sources.values())
            names = list(sources)
            for start in range(0, len(names), READERS):
                some = names[start : start + READERS]
                read: Iterable[bytes | Path | None]
                read = (pool.map if is_far else map)(lambda name: self._read_one(name, sources[name], folder), some)
                for name, content in zip(some, read, strict=True):
                    if content is None:
                        continue
                    yield name, content
                    if isinstance(content, Path) and content.parent == Path(folder):
                        content.unlink()

    def _read_one(self, name: str, source: Source, folder: str) -> bytes | Path | None:
        size = source.place.size(source.key)
        if size is None:
            return None
        content: bytes | Path
        if size < SMALL:
            content = source.place.read(source.key) or b""
            parts = iter((content,))
        else:
            local = isinstance(source.place, Folder)
            content = Path(source.place.location, source.key) if local else Path(folder, new_id())
            parts = self._parts(source, content)
        found = self._digest(parts, source, size)
        if source.digest and found != source.digest:
            self.problems[name] = (
                f"{source.place.location}/{source.key} is damaged: its digest is {found}, not {source.digest}"
            )
            return None
        return content

    @staticmethod
    def _parts(source: Source, path: Path) -> Iterator[bytes]:
        """A large file piece by piece; one from afar is written to `path` meanwhile."""
        parts = source.place.chunks(source.key) or iter(())
        if isinstance(source.place, Folder):
            yield from parts
            return
        with path.open("wb") as file:
            for part in parts:
                file.write(part)
                yield part

    def _digest(self, parts: Iterable[bytes], source: Source, size: int) -> str:
        """The digest of a file, or the one of its text when that is what is expected; reads it to its end."""
        if not source.digest:
            for _ in parts:
                pass
            return ""
        exact, unix = self._hasher(size), self._hasher(size)
        carried = b""
        for part in parts:
            exact.update(part)
            if source.text:
                joined = carried + part
                carried = b"\r" if joined.endswith(b"\r") else b""
                unix.update(joined[: len(joined) - len(carried)].replace(b"\r\n", b"\n"))
        unix.update(carried)
        return source.digest if source.text and unix.hexdigest() == source.digest else exact.hexdigest()
