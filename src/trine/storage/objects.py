"""The content-addressed object store: an object's name is the BLAKE3 of its bytes, and every read checks it.

Keys, the same in a folder and in a bucket:

    objects/<2 hex>/<hash>    an object of 256 KiB or more, or one stored alone
    recipes/, maps/           large objects that are like another one (see `recipes`)
    packs/<id>.pack, .idx     many small objects (see `packs`)
    quarantine/<hash>/<id>    damaged bytes, moved out of the way
    trash/<time>/…            what garbage collection took out (see `garbage`)

What a method returned for is durable. A crash leaves unnamed drafts only. Writers never wait for each other: names
are contents, so writing an object twice is the same as writing it once. Storing a damaged object again mends it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec
from blake3 import blake3

from trine.errors import Damaged, Failure, InvalidInput, NotFound
from trine.ids import check_hash, is_hash, new_id
from trine.storage import packs, recipes
from trine.storage.keys import hash_of, index_key, own_key
from trine.storage.links import clone
from trine.storage.packing import SMALL, Packing
from trine.storage.packs import Entry
from trine.storage.places import CHUNK, Draft, Folder, Place, no_space, open_place

log = logging.getLogger("trine.storage")
T = TypeVar("T")
R = TypeVar("R")


class Store(Protocol):
    """What rooms use of an object store, local or behind a server."""

    def put(self, data: bytes) -> str: ...

    def put_many(self, items: Iterable[bytes]) -> list[str]: ...

    def put_file(self, path: Path | str) -> str: ...

    def put_files(self, paths: Sequence[Path | str], like: Sequence[str] = ()) -> list[tuple[str, int]]:
        """Hash and size of each file, in order. `like` are objects that each may share content with, or nothing."""
        ...

    def get(self, hash: str) -> bytes: ...

    def get_many(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of objects, in order and all in memory; in few requests, where that is far."""
        ...

    def get_file(self, hash: str, dest: Path | str) -> Path: ...

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes: ...

    def has(self, hashes: Iterable[str]) -> set[str]: ...

    def size(self, hash: str) -> int: ...


class Damage(msgspec.Struct, frozen=True):
    """One damaged object: where it is and what is wrong. `hash` is empty when the marks of a pack or index are damaged."""

    hash: str
    path: str
    problem: str


class ObjectStore:
    """Objects in one place. Threads and processes may share it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.location = place.location
        self._entries: dict[bytes, tuple[str, Entry]] = {}
        self._packs: set[str] = set()
        self._unsound: dict[str, str] = {}
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
        if isinstance(self.place, Folder):
            for key, _, changed in list(self.place.list("tmp")):
                if time.time() - changed > grace_s:
                    self.place.delete(key)

    # -- writing --------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Store one object; gives its hash. On disk when it returns."""
        name = hash_of(data)
        if not self.knows(name, len(data)) and (self.place.is_far or not self.place.holds(own_key(name))):
            self.place.write(own_key(name), data)
        return name

    def put_many(self, items: Iterable[bytes]) -> list[str]:
        """Store objects; small ones share packs, one fsync for each. All on disk when it returns."""
        with Packing(self) as packing:
            return [packing.add(item) for item in items]

    def put_file(self, path: Path | str) -> str:
        """Store a file's content in one pass over it."""
        return self.put_files([path])[0][0]

    def put_files(self, paths: Sequence[Path | str], like: Sequence[str] = ()) -> list[tuple[str, int]]:
        """Store files; gives hash and size of each. Of a large one that is `like` a stored object (one for each path, or
        nothing), only what is new is stored.

        Raises NotFound or InvalidInput naming a file that cannot be read.
        """
        found: list[tuple[str, int]] = []
        with Packing(self) as packing:
            for number, path in enumerate(paths):
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        if (size := os.fstat(descriptor).st_size) < SMALL:
                            data = _read_whole(descriptor, size)
                            found.append((packing.add(data), len(data)))
                        elif like and like[number] and (made := self._put_like(path, size, like[number])):
                            found.append(made)
                        else:
                            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                                found.append(self._put_large(file))
                    finally:
                        os.close(descriptor)
                except FileNotFoundError:
                    raise NotFound(f"{path} is not there.", path=str(path)) from None
                except (PermissionError, IsADirectoryError) as error:
                    raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
        return found

    def _put_large(self, file: IO[bytes]) -> tuple[str, int]:
        hasher = blake3(max_threads=blake3.AUTO)
        size = 0
        with self.place.writing() as draft, contextlib.ExitStack() as shared:
            taken = draft.take(file.fileno())
            source = shared.enter_context(taken) if taken else file
            while part := source.read(CHUNK):
                hasher.update(part)
                size += len(part)
                if not taken:
                    draft.write(part)
            name = hasher.hexdigest()
            if not self.knows(name, size):
                draft.finish(own_key(name))
        return name, size

    def _put_like(self, path: Path | str, size: int, like: str) -> tuple[str, int] | None:
        if size < recipes.LARGE or self.place.is_far:
            return None
        return recipes.put_like(self, path, like)

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, hash: str) -> bytes:
        """An object's bytes, checked. Raises NotFound, or Damaged naming the path; damaged bytes are put in quarantine."""
        name = check_hash(hash)
        data = self.place.read(own_key(name))
        if data is not None:
            if hash_of(data) != name:
                raise self._quarantine(name)
            return data
        while found := self._find(name):
            data = self._from_pack(name, *found)
            if data is not None:
                return data
            self.forget()  # another process repacked it or took it out
        if self.place.holds(recipes.recipe_key(name)):
            return b"".join(self.chunks(name))
        self._bring_back(name)
        return self.get(name)

    def get_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """The bytes of objects one after the other, checked as by `get`; a pack stays open from one to the next."""
        with contextlib.ExitStack() as last:
            pack, read = "", None
            for name in names:
                found = None if self.place.is_far else self._find(name)
                if found is None:
                    yield self.get(name)
                    continue
                if found[0] != pack or read is None:
                    last.close()
                    pack, read = found[0], last.enter_context(self.place.opened(found[0]))
                entry = found[1]
                data = read(entry.offset, entry.stored) if read else b""
                if entry.flags or blake3(data).digest() != entry.hash:
                    data = self.get(name)  # which also says what is wrong, and puts it in quarantine
                yield data

    def get_many(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of objects, checked as by `get`, all in memory. Of a far place's packs, what is near each other comes in
        one request."""
        names = [check_hash(one) for one in names]
        if not self.place.is_far:
            return list(self.get_each(names))
        packed: dict[str, list[Entry]] = {}
        for name in names:
            if found := self._find(name):
                packed.setdefault(found[0], []).append(found[1])
        spans = [(pack, span) for pack, entries in packed.items() for span in packs.spans(entries)]
        data = {one.hash: part for parts in self._each(self._read_span, spans) for one, part in parts}
        rest = [name for name in dict.fromkeys(names) if bytes.fromhex(name) not in data]
        data |= zip(map(bytes.fromhex, rest), self._each(self.get, rest), strict=True)
        return [data[bytes.fromhex(name)] for name in names]

    def _read_span(self, at: tuple[str, list[Entry]]) -> list[tuple[Entry, bytes]]:
        """Those of a pack's entries beside each other that are whole: `get` says what is wrong with the others."""
        pack, entries = at
        start = entries[0].offset
        read = self.place.read_range(pack, start, entries[-1].offset + entries[-1].stored - start) or b""
        found: list[tuple[Entry, bytes]] = []
        for one in entries:
            payload = read[one.offset - start : one.offset - start + one.stored]
            with contextlib.suppress(Damaged):
                data = packs.decode(one.flags, payload, one.raw)
                if blake3(data).digest() == one.hash:
                    found.append((one, data))
        return found

    def _from_pack(self, name: str, pack: str, entry: Entry) -> bytes | None:
        """The entry's bytes, checked; None when the pack is gone."""
        payload = self.place.read_range(pack, entry.offset, entry.stored)
        if payload is None:
            return None
        try:
            if len(payload) != entry.stored:
                raise Damaged("the pack is cut short")
            data = packs.decode(entry.flags, payload, entry.raw)
            if hash_of(data) != name:
                raise Damaged("its bytes have another hash")
        except Damaged as error:
            raise self._quarantine_entry(name, pack, entry, payload, error.message) from None
        return data

    def get_file(self, hash: str, dest: Path | str) -> Path:
        """Write an object to a file: checked, and the file appears whole or not at all."""
        dest = Path(dest)
        temporary = dest.with_name(f".{dest.name}.{new_id()}")
        try:
            dest.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.writelines(self.chunks(hash))
            temporary.replace(dest)
        except OSError as error:
            raise no_space(str(dest.parent), error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return dest

    def link_file(self, hash: str, dest: Path | str, *, hard: bool = False) -> bool:
        """Have an object in a file that shares its bytes, checked: a reflink, or with `hard` a hard link, which is read-only.
        False where that cannot be."""
        name = check_hash(hash)
        if not isinstance(self.place, Folder):
            return False
        path = self.place.root / own_key(name)
        try:
            if hard:
                os.link(path, dest)
            else:
                with path.open("rb") as source, open(dest, "xb") as target:
                    linked = clone(source.fileno(), target.fileno())
                if not linked:
                    os.unlink(dest)
                    return False
        except OSError:  # none of its own, another disk, too many links: whoever copies it says what is wrong
            return False
        self.path_of(name)
        return True

    def chunks(self, hash: str) -> Iterator[bytes]:
        """An object's bytes piece by piece. Raises Damaged after the last piece when they were wrong: use none before it ends."""
        name = check_hash(hash)
        parts = self.place.chunks(own_key(name))
        if parts is None and (recipe := recipes.read_recipe(self, name)):
            yield from self._cooked(name, recipe)
            return
        if parts is None:
            yield self.get(name)
            return
        hasher = blake3(max_threads=blake3.AUTO)
        for part in parts:
            hasher.update(part)
            yield part
        if hasher.hexdigest() != name:
            raise self._quarantine(name)

    def _cooked(self, name: str, recipe: recipes.Recipe) -> Iterator[bytes]:
        hasher = blake3(max_threads=blake3.AUTO)
        for part in recipes.cook(self, recipe):
            hasher.update(part)
            yield part
        if hasher.hexdigest() != name:
            recipes.blame(self, recipe)
            path = f"{self.location}/{recipes.recipe_key(name)}"
            self.place.move(recipes.recipe_key(name), f"quarantine/{name}/{new_id()}")
            raise _damaged(f"The recipe {path} gives other bytes than its name says.", name, path)

    def path_of(self, hash: str) -> Path | None:
        """The read-only file an object is in, checked, when it has one of its own on this disk; else None."""
        name = check_hash(hash)
        if not isinstance(self.place, Folder) or not self.place.holds(own_key(name)):
            return None
        path = self.place.root / own_key(name)
        if blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() != name:
            raise self._quarantine(name)
        return path

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes:
        """A part of an object; the whole of it is checked."""
        data = self.get(hash)
        return data[offset:] if length is None else data[offset : offset + length]

    def size(self, hash: str) -> int:
        """An object's size in bytes."""
        name = check_hash(hash)
        size = self.place.size(own_key(name))
        if size is not None:
            return size
        if found := self._find(name):
            return found[1].raw
        if recipe := recipes.read_recipe(self, name):
            return recipe.size
        self._bring_back(name)
        return self.size(name)

    # -- what is here ---------------------------------------------------------------------------------------------

    def has(self, hashes: Iterable[str], *, alone: bool = True) -> set[str]:
        """Those of the hashes that are here; without `alone`, those that are in packs, which costs a far place next to nothing."""
        names = {check_hash(one) for one in hashes}
        here = self._all_packed(names)
        if here != names:
            self._load_packs()  # another process may have added some
            here |= self._all_packed(names - here)
        rest = sorted(names - here) if alone else []
        held = self._each(self._holds_alone, rest)
        return here | {name for name, there in zip(rest, held, strict=True) if there}

    def _holds_alone(self, name: str) -> bool:
        return self.place.holds(own_key(name)) or (not self.place.is_far and self.place.holds(recipes.recipe_key(name)))

    def mark(self) -> str:
        """What stays the same as long as nothing was added or taken out; nothing in a far place."""
        return self.place.mark(("packs", "objects", "recipes"))

    def knows(self, name: str, size: int) -> bool:
        """Whether an object is here, without looking for packs that other processes added, nor for small objects that were
        stored alone: cheap, and a wrong no only stores it twice."""
        return self._packed(name) or (size >= SMALL and self._holds_alone(name))

    def _packed(self, name: str) -> bool:
        """Whether an object is in a pack that is still there: another process may have taken it out."""
        found = self._entries.get(bytes.fromhex(name))
        if found is None:
            return False
        if self.place.holds(found[0]):
            return True
        self.forget()
        return False

    def _all_packed(self, names: Iterable[str]) -> set[str]:
        """Those that are in packs; looks at each pack once."""
        found = {name: known[0] for name in names if (known := self._entries.get(bytes.fromhex(name)))}
        gone = {pack for pack in set(found.values()) if not self.place.holds(pack)}
        if gone:
            self.forget()
        return {name for name, pack in found.items() if pack not in gone}

    def _find(self, name: str) -> tuple[str, Entry] | None:
        wanted = bytes.fromhex(name)
        if wanted not in self._entries:
            self._load_packs()  # another process may have added one
        return self._entries.get(wanted)

    def load(self) -> None:
        """Learn which packs there are, once: what is added after that is compared with them."""
        if not self._packs:
            self._load_packs()

    def _load_packs(self) -> None:
        with self._lock:
            fresh = [key for key, _, _ in self.place.list("packs") if key.endswith(".pack") and key not in self._packs]
            for pack, entries in zip(fresh, self._each(self.index_of, fresh), strict=True):
                self._learn(pack, entries)

    def _each(self, look_up: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        """Look-ups in order; in a far place many at a time."""
        if not self.place.is_far or len(items) < 2:
            return map(look_up, items)
        with ThreadPoolExecutor(min(32, len(items))) as pool:
            return list(pool.map(look_up, items))

    def index_of(self, pack: str) -> list[Entry]:
        """The entries of a pack; an index that is lost or damaged is made again."""
        index = index_key(pack)
        kept = self.place.read(index)
        entries = packs.decode_index(kept) if kept is not None else None
        if entries is not None:
            return entries
        data = self.place.read(pack)
        if data is None:
            return []
        if kept is not None:
            log.warning("%s/%s was damaged; it was made again from its pack", self.location, index)
        entries, problem = packs.sound_entries(data)
        if problem:
            self._unsound[pack] = problem
            log.error("the pack %s/%s is damaged: %s", self.location, pack, problem)
        else:
            self.place.write(index, packs.encode_index(entries), replace=True)
        return entries

    def _learn(self, pack: str, entries: list[Entry]) -> None:
        self._packs.add(pack)
        for entry in entries:
            self._entries.setdefault(entry.hash, (pack, entry))

    def forget(self) -> None:
        """Let go of what is known about packs, after one of them went away or lost an entry; it is looked up again."""
        with self._lock:
            self._packs = set()
            self._entries = {}
            self._unsound = {}

    # -- keeping true ---------------------------------------------------------------------------------------------

    def iter_hashes(self) -> Iterator[str]:
        """The names of all objects, each once."""
        self._load_packs()
        seen = set(self._entries)
        yield from (entry.hex() for entry in seen)
        for key, _, _ in self.place.list("objects"):
            name = key.rpartition("/")[2]
            if is_hash(name) and bytes.fromhex(name) not in seen:
                yield name
        for name in self.iter_recipes():
            if bytes.fromhex(name) not in seen and not self.place.holds(own_key(name)):
                yield name

    def iter_recipes(self) -> Iterator[str]:
        """The names of objects that are put together from others."""
        for key, _, _ in self.place.list("recipes"):
            if is_hash(name := key.rpartition("/")[2]):
                yield name

    def verify(self, hashes: Iterable[str] | None = None) -> list[Damage]:
        """Read and check objects (default: all, with the marks of packs and their indexes); the damaged are named."""
        found: list[Damage] = []
        if hashes is None:
            found += self._verify_packs()
            hashes = self.iter_hashes()
        for name in hashes:
            try:
                for _ in self.chunks(name):
                    pass
            except (Damaged, NotFound) as error:
                found.append(Damage(name, error.details.get("path", self.location), error.message))
        return found

    def _verify_packs(self) -> Iterator[Damage]:
        for pack, _, _ in list(self.place.list("packs")):
            if not pack.endswith(".pack"):
                continue
            index = index_key(pack)
            kept = self.place.read(index)
            if kept is not None and packs.decode_index(kept) is None:
                path = f"{self.location}/{index}"
                yield Damage("", path, f"The index {path} was damaged; it was made again from its pack.")
            entries = self.index_of(pack)
            if problem := self._unsound.get(pack) or packs.problem_of(self.place.read(pack) or b"", entries):
                path = f"{self.location}/{pack}"
                yield Damage("", path, f"The pack {path} is damaged: {problem}.")

    def _quarantine(self, name: str) -> Damaged:
        path = f"{self.location}/{own_key(name)}"
        with contextlib.suppress(Failure):  # a store that cannot be written is still read, and what is damaged named
            self.place.move(own_key(name), f"quarantine/{name}/{new_id()}")
        return _damaged(f"Object {path} is damaged: its bytes have another hash.", name, path)

    def _quarantine_entry(self, name: str, pack: str, entry: Entry, payload: bytes, problem: str) -> Damaged:
        """Take one entry out of its pack's index, so that the pack's other objects stay and this one can be stored again."""
        with contextlib.suppress(Failure):
            self.place.write(f"quarantine/{name}/{new_id()}", payload)
            rest = [one for one in self.index_of(pack) if one.hash != entry.hash]
            if pack not in self._unsound:
                self.place.write(index_key(pack), packs.encode_index(rest), replace=True)
        self.forget()
        path = f"{self.location}/{pack}"
        return _damaged(f"Object {name} in {path} at byte {entry.offset} is damaged: {problem}.", name, path)

    def _bring_back(self, name: str) -> None:
        """Take an object out of the trash, or say why it cannot be had."""
        from trine.storage.garbage import bring_back

        if bring_back(self, name):
            return
        if kept := next(self.place.list(f"quarantine/{name}"), None):
            path = f"{self.location}/{kept[0]}"
            raise _damaged(f"Object {name} was damaged: what was left of it is {path}.", name, path)
        for pack, problem in self._unsound.items():
            path = f"{self.location}/{pack}"
            raise _damaged(f"Object {name} may be in {path}, which has no index and is damaged: {problem}.", name, path)
        raise NotFound(f"There is no object {name} in {self.location}.", hash=name)

    # -- packs ----------------------------------------------------------------------------------------------------

    def encoder(self) -> packs.Encoder:
        """This thread's compressor."""
        if not hasattr(self._encoder, "value"):
            self._encoder.value = packs.Encoder()
        return self._encoder.value

    def open_draft(self) -> AbstractContextManager[Draft]:
        return self.place.writing()

    def finish_pack(self, draft: Draft, entries: list[Entry]) -> None:
        """Name a written pack and its index; from here on its objects are found."""
        pack = f"packs/{new_id()}.pack"
        draft.finish(pack)
        self.place.write(index_key(pack), packs.encode_index(entries), replace=True)
        with self._lock:
            self._learn(pack, entries)


def _read_whole(descriptor: int, size: int) -> bytes:
    """All of a small file, which may have grown meanwhile."""
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while part := os.read(descriptor, CHUNK):
        parts.append(part)
    return b"".join(parts)


def _damaged(message: str, name: str, path: str) -> Damaged:
    return Damaged(f"{message} Store it again to mend it.", hash=name, path=path)


_HASH = re.compile("[0-9a-f]{64}")
