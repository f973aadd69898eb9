"""Large files that are like one that is stored already: what is new of them is stored, and a recipe puts them together.

    recipes/<2 hex>/<hash>    runs of bytes of other objects that make the object of that name
    maps/<2 hex>/<hash>       where each chunk of an object is (see `chunking`); made anew when it is lost

A recipe names objects that are stored whole, never other recipes: a file is always one step away. It is refused where less
than `WORTH` of the file would be saved, and short runs of old chunks are stored again, so that reading does not scatter.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from trine.errors import Damaged
from trine.storage.chunking import cuts
from trine.storage.keys import own_key
from trine.storage.places import Draft

if TYPE_CHECKING:
    from trine.storage.objects import ObjectStore

LARGE = 4 << 20
"""Files from so many bytes on are looked at for what they share with their like."""

WORTH = 0.3
LEAST_RUN = 4
"""Chunks in a row that are worth a jump to another object."""

_FORMAT = "recipe-1"


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of an object that is stored whole."""

    source: str
    offset: int
    length: int


class Recipe(msgspec.Struct, frozen=True):
    """How an object is put together."""

    format: str
    size: int
    runs: list[Run]


class _Map(msgspec.Struct, array_like=True):
    """The chunks of an object, in columns: their hashes, and the object (a number in `sources`), offset and length of each."""

    sources: list[str]
    hashes: bytes
    places: bytes
    offsets: bytes
    lengths: bytes


class _At(NamedTuple):
    source: str
    offset: int


def recipe_key(name: str) -> str:
    return f"recipes/{name[:2]}/{name}"


def map_key(name: str) -> str:
    return f"maps/{name[:2]}/{name}"


def read_recipe(store: ObjectStore, name: str) -> Recipe | None:
    """An object's recipe, if it has one."""
    data = store.place.read(recipe_key(name))
    if data is None:
        return None
    path = f"{store.location}/{recipe_key(name)}"
    try:
        recipe = msgspec.msgpack.decode(data, type=Recipe)
    except msgspec.DecodeError as error:
        raise Damaged(
            f"The recipe {path} is damaged: {error}. Store the object again to mend it.", hash=name, path=path
        ) from error
    return recipe


def sources_of(recipe: Recipe) -> list[str]:
    """The objects that a recipe takes bytes of."""
    return list(dict.fromkeys(run.source for run in recipe.runs))


def copy_recipe(source: ObjectStore, target: ObjectStore, name: str, recipe: Recipe) -> None:
    """Give another store an object by its recipe, and of the objects it names those that are not there whole; checked on that
    side which is not far."""
    if not source.place.is_far:
        for _ in source.chunks(name):
            pass
    for one in sources_of(recipe):
        if target.place.holds(own_key(one)):
            continue
        if path := source.path_of(one):
            target.put_file(path)
        if not target.place.holds(own_key(one)):  # in a pack there, where no recipe reaches
            target.place.write(own_key(one), source.get(one))
    target.place.write(recipe_key(name), msgspec.msgpack.encode(recipe))
    if source.place.is_far and not target.place.is_far:
        for _ in target.chunks(name):
            pass


def cook(store: ObjectStore, recipe: Recipe) -> Iterator[bytes]:
    """The bytes of an object piece by piece; they are checked by who asked for them."""
    for run in recipe.runs:
        at, left = run.offset, run.length
        while left:
            part = store.place.read_range(own_key(run.source), at, min(left, _PIECE))
            if not part:
                store.size(run.source)  # brings it back from the trash, or says what is wrong
                part = store.place.read_range(own_key(run.source), at, min(left, _PIECE))
            if not part:
                raise Damaged(f"Object {run.source} in {store.location} is cut short.", hash=run.source)
            yield part
            at += len(part)
            left -= len(part)


_PIECE = 4 << 20


def blame(store: ObjectStore, recipe: Recipe) -> None:
    """Look which object a recipe's wrong bytes are from. Raises Damaged naming it."""
    for source in sources_of(recipe):
        for _ in store.chunks(source):
            pass


def put_like(store: ObjectStore, path: Path | str, like: str) -> tuple[str, int] | None:
    """Store a file as a recipe over what it shares with a stored object; None when that saves too little. Gives hash and size.

    The file is read twice: for where to cut, and for what is stored. All that is stored comes from the second time.
    """
    old = _chunks_of(store, like)
    if not old:
        return None
    with open(path, "rb", buffering=0) as file, store.place.writing() as draft:
        size = os.fstat(file.fileno()).st_size
        mixer = _Mixer(old, draft)
        start = 0
        for end in cuts(file.fileno(), size):
            mixer.add(os.pread(file.fileno(), end - start, start))
            start = end
        mixer.end()
        if mixer.size != size or mixer.saved < WORTH * size:
            return None
        name = mixer.whole.hexdigest()
        if store.has([name]):
            return name, size
        block = mixer.block.hexdigest()
        if mixer.written:
            draft.finish(own_key(block))
    runs, chunks = mixer.result(block)
    store.place.write(map_key(name), msgspec.msgpack.encode(chunks))
    store.place.write(recipe_key(name), msgspec.msgpack.encode(Recipe(_FORMAT, size, runs)))
    return name, size


class _Mixer:
    """Takes a file's chunks in order, writes new ones to a block, and notes where each is."""

    def __init__(self, old: dict[bytes, _At], draft: Draft) -> None:
        self._old = old
        self._draft = draft
        self._waiting: list[tuple[bytes, bytes]] = []  # old chunks, as long as they are too few in a row
        self._running = False
        self._chunks: list[tuple[bytes, _At, int]] = []
        self.whole, self.block = blake3(), blake3()
        self.size = self.written = self.saved = 0

    def add(self, data: bytes) -> None:
        hash_ = blake3(data).digest()
        self.whole.update(data)
        self.size += len(data)
        at = self._old.get(hash_)
        if at is None:
            self._write_waiting()
            self._write(hash_, data)
        elif self._running:
            self._chunks.append((hash_, at, len(data)))
            self.saved += len(data)
        else:
            self._waiting.append((hash_, data))
            if len(self._waiting) == LEAST_RUN:
                for hash_, data in self._waiting:
                    self._chunks.append((hash_, self._old[hash_], len(data)))
                    self.saved += len(data)
                self._waiting, self._running = [], True

    def _write(self, hash_: bytes, data: bytes) -> None:
        self._draft.write(data)
        self.block.update(data)
        self._chunks.append((hash_, _At("", self.written), len(data)))
        self.written += len(data)

    def _write_waiting(self) -> None:
        for hash_, data in self._waiting:
            self._write(hash_, data)
        self._waiting, self._running = [], False

    def end(self) -> None:
        self._write_waiting()

    def result(self, block: str) -> tuple[list[Run], _Map]:
        runs: list[Run] = []
        sources: dict[str, int] = {}
        hashes = bytearray()
        places, offsets, lengths = array("I"), array("Q"), array("I")
        for hash_, (source, offset), length in self._chunks:
            source = source or block
            last = runs[-1] if runs else None
            if last and last.source == source and last.offset + last.length == offset:
                runs[-1] = Run(source, last.offset, last.length + length)
            else:
                runs.append(Run(source, offset, length))
            hashes += hash_
            places.append(sources.setdefault(source, len(sources)))
            offsets.append(offset)
            lengths.append(length)
        return runs, _Map(list(sources), bytes(hashes), places.tobytes(), offsets.tobytes(), lengths.tobytes())


def _chunks_of(store: ObjectStore, name: str) -> dict[bytes, _At]:
    """Where the chunks of a stored object are; empty when that cannot be known without putting it together."""
    kept = store.place.read(map_key(name))
    if kept is not None:
        with contextlib.suppress(msgspec.DecodeError):
            return _places(msgspec.msgpack.decode(kept, type=_Map))
    path = store.path_of(name)
    if path is None:
        return {}
    hashes, offsets, lengths = bytearray(), array("Q"), array("I")
    with path.open("rb", buffering=0) as file:
        start = 0
        for end in cuts(file.fileno(), os.fstat(file.fileno()).st_size):
            hashes += blake3(os.pread(file.fileno(), end - start, start)).digest()
            offsets.append(start)
            lengths.append(end - start)
            start = end
    places = array("I", bytes(4 * len(offsets)))
    found = _Map([name], bytes(hashes), places.tobytes(), offsets.tobytes(), lengths.tobytes())
    store.place.write(map_key(name), msgspec.msgpack.encode(found))
    return _places(found)


def _places(chunks: _Map) -> dict[bytes, _At]:
    places, offsets = array("I", chunks.places), array("Q", chunks.offsets)
    return {
        chunks.hashes[32 * at : 32 * at + 32]: _At(chunks.sources[place], offset)
        for at, (place, offset) in enumerate(zip(places, offsets, strict=True))
    }
