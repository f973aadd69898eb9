"""The content-addressed object store: an object's name is the BLAKE3 of its bytes, and every read checks it.

Keys, the same in a folder and in a bucket:

    objects/<2 hex>/<hash>    an object of 256 KiB or more, or one stored alone
    packs/<id>.pack, .idx     many small objects (see `packs`)
    quarantine/…              damaged objects, moved out of the way
    trash/<time>/…            what garbage collection took out, deleted after the grace period

What a method returned for is durable. A crash leaves unnamed drafts only. Writers never wait for each other: names
are contents, so writing an object twice is the same as writing it once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec
from blake3 import blake3

from trine.errors import Damaged, InvalidInput, NotFound
from trine.ids import new_id
from trine.storage import packs
from trine.storage.packs import Entry
from trine.storage.places import Draft, Folder, Place, no_space, open_place

SMALL = 256 << 10
"""Objects below this many bytes go into packs when several are stored together."""

_CHUNK = 4 << 20


class Store(Protocol):
    """What rooms use of an object store, local or behind a server."""

    def put(self, data: bytes) -> str: ...

    def put_many(self, items: Iterable[bytes]) -> list[str]: ...

    def put_file(self, path: Path | str) -> str: ...

    def put_files(self, paths: Sequence[Path | str]) -> list[tuple[str, int]]:
        """Hash and size of each file, in order."""
        ...

    def get(self, hash: str) -> bytes: ...

    def get_file(self, hash: str, dest: Path | str) -> Path: ...

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def has(self, hashes: Iterable[str]) -> set[str]: ...

    def size(self, hash: str) -> int: ...


class Damage(msgspec.Struct, frozen=True):
    """One damaged object: where it is and what is wrong."""

    hash: str
    path: str
    problem: str


class Collected(msgspec.Struct, frozen=True):
    """What garbage collection did, or would do: objects and bytes taken out, and deleted for good."""

    objects: int
    bytes: int
    deleted: int


class ObjectStore:
    """Objects in one place. Threads and processes may share it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.location = place.location
        self._entries: dict[bytes, tuple[str, Entry]] = {}
        self._packs: set[str] = set()
        self._lock = threading.Lock()
        self._encoder = threading.local()

    @classmethod
    def open(cls, location: str | Path) -> ObjectStore:
        """The store in a folder (made when missing) or a bucket (`s3://bucket/prefix`)."""
        store = cls(open_place(str(location)))
        store._sweep_drafts()
        return store

    def __repr__(self) -> str:
        return f"ObjectStore({self.location!r})"

    def _sweep_drafts(self, grace_s: float = 86_400) -> None:
        """Delete drafts that a crash left behind."""
        if isinstance(self._place, Folder):
            for key, _, changed in list(self._place.list("tmp")):
                if time.time() - changed > grace_s:
                    self._place.delete(key)

    # -- writing --------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Store one object; gives its hash. On disk when it returns."""
        name = blake3(data, max_threads=blake3.AUTO).hexdigest() if len(data) > _CHUNK else blake3(data).hexdigest()
        if not self._has(name):
            self._place.write(_key(name), data)
        return name

    def put_many(self, items: Iterable[bytes]) -> list[str]:
        """Store objects; small ones share packs, one fsync for each. All on disk when it returns."""
        with _Packing(self) as packing:
            return [packing.add(item) for item in items]

    def put_file(self, path: Path | str) -> str:
        """Store a file's content in one pass over it."""
        return self.put_files([path])[0][0]

    def put_files(self, paths: Sequence[Path | str]) -> list[tuple[str, int]]:
        """Store files; gives hash and size of each. Raises NotFound or InvalidInput naming a file that cannot be read."""
        found: list[tuple[str, int]] = []
        with _Packing(self) as packing:
            for path in paths:
                try:
                    with open(path, "rb", buffering=0) as file:
                        head = file.read(SMALL)
                        if len(head) < SMALL:
                            while more := file.read(SMALL):
                                head += more
                            found.append((packing.add(head), len(head)))
                        else:
                            found.append(self._put_large(head, file))
                except FileNotFoundError:
                    raise NotFound(f"{path} is not there.", path=str(path)) from None
                except (PermissionError, IsADirectoryError) as error:
                    raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
        return found

    def _put_large(self, head: bytes, file: _Reader) -> tuple[str, int]:
        hasher = blake3(max_threads=blake3.AUTO)
        size = 0
        with self._place.writing() as draft:
            part = head
            while part:
                hasher.update(part)
                draft.write(part)
                size += len(part)
                part = file.read(_CHUNK)
            name = hasher.hexdigest()
            if not self._has(name):
                draft.finish(_key(name))
        return name, size

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, hash: str) -> bytes:
        """An object's bytes, checked. Raises NotFound, or Damaged naming the path; the damaged file is put in quarantine."""
        name = _checked(hash)
        data = self._place.read(_key(name))
        if data is not None:
            if _hash(data) != name:
                raise self._quarantine(name, f"it has {len(data)} bytes with another hash")
            return data
        found = self._find(name)
        if found is None:
            raise NotFound(f"There is no object {name} in {self.location}.", hash=name)
        return self._from_pack(name, *found)

    def _from_pack(self, name: str, pack: str, entry: Entry) -> bytes:
        where = f"{self.location}/{pack}"
        payload = self._place.read_range(pack, entry.offset, entry.stored)
        try:
            if payload is None or len(payload) != entry.stored:
                raise Damaged("the pack is cut short")
            data = packs.decode(entry.flags, payload, entry.raw)
            if _hash(data) != name:
                raise Damaged("its bytes have another hash")
        except Damaged as error:
            message = f"Object {name} in {where} at byte {entry.offset} is damaged: {error.message}."
            raise Damaged(message, hash=name, path=where, offset=entry.offset) from None
        return data

    def get_file(self, hash: str, dest: Path | str) -> Path:
        """Write an object to a file: checked, and the file appears whole or not at all."""
        dest = Path(dest)
        data = self.get(hash)
        temporary = dest.with_name(f".{dest.name}.{new_id()}")
        try:
            dest.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(dest)
        except OSError as error:
            raise no_space(str(dest.parent), error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return dest

    def path_of(self, hash: str) -> Path | None:
        """The read-only file an object is in, checked, when it has one of its own on this disk; else None."""
        name = _checked(hash)
        if not isinstance(self._place, Folder) or self._place.size(_key(name)) is None:
            return None
        path = self._place.root / _key(name)
        if blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() != name:
            raise self._quarantine(name, "its bytes have another hash")
        return path

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes:
        """A part of an object; the whole of it is checked."""
        data = self.get(hash)
        return data[offset:] if length is None else data[offset : offset + length]

    def has(self, hashes: Iterable[str]) -> set[str]:
        """Those of the hashes that are here."""
        return {name for name in map(_checked, hashes) if self._has(name)}

    def _has(self, name: str) -> bool:
        return self.knows(bytes.fromhex(name), name) or self._find(name) is not None

    def knows(self, digest: bytes, name: str) -> bool:
        """Whether an object is here, without looking for packs that other processes added: cheap, and a wrong no only
        stores it twice."""
        return digest in self._entries or self._place.size(_key(name)) is not None

    def size(self, hash: str) -> int:
        """An object's size in bytes."""
        name = _checked(hash)
        size = self._place.size(_key(name))
        if size is None and (found := self._find(name)):
            size = found[1].raw
        if size is None:
            raise NotFound(f"There is no object {name} in {self.location}.", hash=name)
        return size

    def _find(self, name: str) -> tuple[str, Entry] | None:
        wanted = bytes.fromhex(name)
        if wanted not in self._entries:
            self._load_packs()  # another process may have added one
        return self._entries.get(wanted)

    def _load_packs(self) -> None:
        with self._lock:
            for key, _, _ in self._place.list("packs"):
                if key.endswith(".pack") and key not in self._packs:
                    self._learn(key, self._index_of(key))

    def _index_of(self, pack: str) -> list[Entry]:
        index = pack.removesuffix(".pack") + ".idx"
        entries = packs.decode_index(self._place.read(index) or b"")
        if entries is None:
            entries = list(packs.scan_pack(self._place.read(pack) or b""))
            self._place.delete(index)
            self._place.write(index, packs.encode_index(entries))
        return entries

    def _learn(self, pack: str, entries: list[Entry]) -> None:
        self._packs.add(pack)
        for entry in entries:
            self._entries.setdefault(entry.hash, (pack, entry))

    # -- keeping true ---------------------------------------------------------------------------------------------

    def iter_hashes(self) -> Iterator[str]:
        """The names of all objects, each once."""
        self._load_packs()
        seen = set(self._entries)
        yield from (entry.hex() for entry in seen)
        for key, _, _ in self._place.list("objects"):
            name = key.rpartition("/")[2]
            if bytes.fromhex(name) not in seen:
                yield name

    def verify(self, hashes: Iterable[str] | None = None) -> list[Damage]:
        """Read and check objects (default: all); damaged ones are named, those in files of their own put in quarantine."""
        found: list[Damage] = []
        for name in self.iter_hashes() if hashes is None else hashes:
            try:
                self.get(name)
            except (Damaged, NotFound) as error:
                found.append(Damage(name, error.details.get("path", self.location), error.message))
        return found

    def gc(self, reachable: set[str], *, grace_s: float = 86_400, dry_run: bool = False) -> Collected:
        """Take out objects that nothing refers to and that are older than the grace period.

        Two phases: they go to `trash/`, and are deleted when they have been there for another grace period. A pack goes
        when none of its objects is reachable. Who stores a trashed object again simply has it again.
        """
        now = time.time()
        taken = size = deleted = 0
        trash = f"trash/{int(now)}"
        for key, bytes_, changed in list(self._place.list("objects")):
            if key.rpartition("/")[2] not in reachable and now - changed > grace_s:
                taken, size = taken + 1, size + bytes_
                if not dry_run:
                    self._place.move(key, f"{trash}/{key}")
        self._load_packs()
        for key, bytes_, changed in list(self._place.list("packs")):
            if not key.endswith(".pack") or now - changed <= grace_s:
                continue
            entries = self._index_of(key)
            if any(entry.hash.hex() in reachable for entry in entries):
                continue
            taken, size = taken + len(entries), size + bytes_
            if not dry_run:
                self._place.move(key, f"{trash}/{key}")
                self._place.delete(key.removesuffix(".pack") + ".idx")
                self._forget(key)
        for key, _, _ in list(self._place.list("trash")):
            if now - int(key.split("/")[1]) > grace_s:
                deleted += 1
                if not dry_run:
                    self._place.delete(key)
        return Collected(taken, size, deleted)

    def _forget(self, pack: str) -> None:
        with self._lock:
            self._packs.discard(pack)
            self._entries = {name: found for name, found in self._entries.items() if found[0] != pack}

    def _quarantine(self, name: str, problem: str) -> Damaged:
        key = _key(name)
        path = f"{self.location}/{key}"
        self._place.move(key, f"quarantine/{name}-{new_id()}")
        return Damaged(f"Object {path} is damaged: {problem}. It was put in quarantine.", hash=name, path=path)

    def encoder(self) -> packs.Encoder:
        """This thread's compressor."""
        if not hasattr(self._encoder, "value"):
            self._encoder.value = packs.Encoder()
        return self._encoder.value

    def open_draft(self) -> AbstractContextManager[Draft]:
        return self._place.writing()

    def finish_pack(self, draft: Draft, entries: list[Entry]) -> None:
        """Name a written pack and its index; from here on its objects are found."""
        pack = f"packs/{new_id()}.pack"
        draft.finish(pack)
        self._place.write(pack.removesuffix(".pack") + ".idx", packs.encode_index(entries))
        with self._lock:
            self._learn(pack, entries)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Packing:
    """Collects small objects into packs; the packs are durable when the block ends."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._entries: dict[bytes, Entry] = {}
        self._buffer: list[bytes] = []
        self._size = 0
        self._single: bytes | None = None

    def __enter__(self) -> _Packing:
        return self

    def add(self, data: bytes) -> str:
        if len(data) >= SMALL:
            return self._store.put(data)
        hash_ = blake3(data)
        raw, name = hash_.digest(), hash_.hexdigest()
        if raw in self._entries or self._store.knows(raw, name):
            return name
        flags, payload = self._store.encoder().encode(data)
        if not self._buffer:
            self._buffer.append(packs.PACK_MAGIC)
            self._size = len(packs.PACK_MAGIC)
            self._single = data
        offset = self._size + packs.ENTRY.size
        self._entries[raw] = Entry(raw, offset, flags, len(payload), len(data))
        self._buffer.append(packs.pack_entry(raw, flags, payload, len(data)))
        self._size += len(self._buffer[-1])
        if self._size >= packs.LARGEST_PACK:
            self._flush()
        return name

    def _flush(self) -> None:
        if len(self._entries) == 1 and self._single is not None:
            self._store.put(self._single)
        elif self._entries:
            with self._store.open_draft() as draft:
                for part in self._buffer:
                    draft.write(part)
                self._store.finish_pack(draft, list(self._entries.values()))
        self._entries, self._buffer, self._size, self._single = {}, [], 0, None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()


def _key(name: str) -> str:
    return f"objects/{name[:2]}/{name}"


def _hash(data: bytes) -> str:
    return (blake3(data, max_threads=blake3.AUTO) if len(data) > _CHUNK else blake3(data)).hexdigest()


def _checked(name: str) -> str:
    if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
        raise InvalidInput(f"{name[:80]!r} is no object's hash: 64 hexadecimal digits.")
    return name
