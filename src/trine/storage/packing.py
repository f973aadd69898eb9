"""Small objects on their way into packs."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

from blake3 import blake3

from trine.storage import packs
from trine.storage.keys import hash_of, own_key
from trine.storage.packs import Entry
from trine.storage.places import Draft, no_space

if TYPE_CHECKING:
    from trine.storage.objects import ObjectStore

SMALL = 256 << 10
"""Objects below this many bytes go into packs when several are stored together."""


class Packing:
    """Collects small objects into packs; the packs are durable when the block ends. `anew` stores what is here already too."""

    SPILL = 1 << 20
    """Bytes that wait in memory before they are written: few enough to stay in the processor's cache."""

    def __init__(self, store: ObjectStore, *, anew: bool = False) -> None:
        self._store = store
        self._anew = anew
        self._entries: dict[bytes, Entry] = {}
        self._waiting: list[bytes] = []
        self._size = self._written = 0
        self._single = b""
        self._draft: Draft | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Packing:
        self._store.load()
        return self

    def add(self, data: bytes) -> str:
        if len(data) >= SMALL:
            return self._store.put(data)
        hash_ = blake3(data)
        raw, name = hash_.digest(), hash_.hexdigest()
        if raw in self._entries or (not self._anew and self._store.knows(name, len(data))):
            return name
        flags, payload = self._store.encoder().encode(data)
        if not self._entries:
            self._waiting, self._size, self._written = [packs.PACK_MAGIC], len(packs.PACK_MAGIC), 0
            self._single = data
        offset = self._size + packs.ENTRY.size
        self._entries[raw] = Entry(raw, offset, flags, len(payload), len(data))
        head = packs.entry_head(raw, flags, payload, len(data))
        self._waiting += (head, payload)  # side by side, so that payloads are not copied
        self._size = offset + len(payload)
        if self._size >= packs.LARGEST_PACK:
            self._flush()
        elif self._size - self._written >= self.SPILL:
            self._spill()
        return name

    def _spill(self) -> Draft:
        with self._told():
            if self._draft is None:
                self._draft = self._open.enter_context(self._store.open_draft())
            self._draft.write(b"".join(self._waiting))
        self._waiting, self._written = [], self._size
        return self._draft

    def _flush(self) -> None:
        if len(self._entries) == 1:
            self._store.place.write(own_key(hash_of(self._single)), self._single)
        elif self._entries:
            draft = self._spill()
            with self._told():
                self._store.finish_pack(draft, list(self._entries.values()))
        self._open.close()
        self._draft, self._entries = None, {}

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise no_space(self._store.location, error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._open:
            if kind is None:
                self._flush()
