"""Garbage collection: what nothing refers to goes to the trash, and from there, later, for good.

Two phases, a grace period apart, make it safe beside writers that are never asked to wait:

1. An object that is older than the grace period and not reachable moves to `trash/<time>/`. Whoever reads it brings it
   back; whoever stores it again has it again.
2. What has been in the trash for the grace period is looked at again, with what is reachable *now*: it goes back if it
   is, else it is deleted.

So a writer that found an object here, and refers to it within the grace period, finds it however the two interleave.
A pack goes when none of its objects is reachable; one that is mostly garbage, and many small ones, are packed anew.
"""

from __future__ import annotations

import time
from collections.abc import Set

import msgspec

from trine.errors import Damaged, InvalidInput
from trine.storage.keys import own_key
from trine.storage.objects import ObjectStore
from trine.storage.packing import Packing
from trine.storage.packs import Entry
from trine.storage.recipes import read_recipe, recipe_key

SMALL_PACK = 4 << 20
MANY_PACKS = 64


class Collected(msgspec.Struct, frozen=True):
    """What garbage collection did, or would do: objects and bytes moved to the trash, brought back, and deleted for good."""

    objects: int = 0
    bytes: int = 0
    brought_back: int = 0
    deleted: int = 0
    repacked: int = 0


def collect(
    store: ObjectStore, reachable: Set[str], *, grace_s: float = 86_400, dry_run: bool = False, now: float | None = None
) -> Collected:
    """One round of both phases. `reachable` holds the names of all objects that anything refers to, as of a moment ago.

    Raises InvalidInput for a grace period that a far place cannot keep: there a look-up is remembered for ten minutes.
    """
    if grace_s < 0 or (store.place.is_far and grace_s < 3_600):
        raise InvalidInput("The grace period is too short: at least an hour in a bucket, and never negative.")
    one = _Round(store, reachable, grace_s, dry_run, time.time() if now is None else now)
    one.take_out_objects()
    one.delete_maps()
    one.take_out_packs()
    one.empty_trash()
    return one.done


class _Round:
    def __init__(self, store: ObjectStore, reachable: Set[str], grace_s: float, dry_run: bool, now: float) -> None:
        self.store = store
        self.place = store.place
        self.reachable = reachable | _sources_of(store, reachable)
        self.limit = now - grace_s
        self.trash = f"trash/{int(now)}"
        self.dry_run = dry_run
        self.done = Collected()

    def count(self, **more: int) -> None:
        changed = {name: getattr(self.done, name) + value for name, value in more.items()}
        self.done = msgspec.structs.replace(self.done, **changed)

    def take_out_objects(self) -> None:
        for key, size, changed in [*self.place.list("objects"), *self.place.list("recipes")]:
            if changed <= self.limit and key.rpartition("/")[2] not in self.reachable:
                self.count(objects=1, bytes=size)
                if not self.dry_run:
                    self.place.move(key, f"{self.trash}/{key}")

    def delete_maps(self) -> None:
        """Maps of chunks whose object is gone: they can be made again."""
        for key, _, changed in list(self.place.list("maps")):
            if changed <= self.limit and key.rpartition("/")[2] not in self.reachable and not self.dry_run:
                self.place.delete(key)

    def take_out_packs(self) -> None:
        old = [
            (key, size) for key, size, changed in list(self.place.list("packs"))
            if key.endswith(".pack") and changed <= self.limit
        ]  # fmt: skip
        many_small = sum(size < SMALL_PACK for _, size in old) >= MANY_PACKS
        with Packing(self.store, anew=True) as packing:
            emptied = [
                pack for pack, size in old
                if self._repack(pack, size, packing, merge=many_small and size < SMALL_PACK)
            ]  # fmt: skip
        if not self.dry_run:
            for pack in emptied:  # only now are their live objects durable in another pack
                _move_pack(self.store, pack, f"{self.trash}/{pack}")
            self.store.forget()

    def _repack(self, pack: str, size: int, packing: Packing, *, merge: bool) -> bool:
        """Whether the pack can go, because what is live of it, if anything, is in another pack."""
        entries = self.store.index_of(pack)
        live = [entry for entry in entries if entry.hash.hex() in self.reachable]
        if live and not merge and 2 * len(live) > len(entries):
            return False
        self.count(objects=len(entries) - len(live), bytes=size, repacked=len(live))
        if not self.dry_run:
            try:
                for entry in live:
                    packing.add(self.store.get(entry.hash.hex()))
            except Damaged:
                return False  # what is damaged is named by whoever needs it; the pack stays as it is
        return True

    def empty_trash(self) -> None:
        for key, _, _ in list(self.place.list("trash")):
            _, stamp, home = key.split("/", 2)
            if int(stamp) > self.limit or key.endswith(".idx"):
                continue
            names = _names_in(self.store, key)
            if any(name in self.reachable for name in names) and not self._is_elsewhere(names):
                self.count(brought_back=len(names))
                if not self.dry_run:
                    _restore(self.store, key, home)
            else:
                self.count(deleted=len(names))
                if not self.dry_run:
                    self.place.delete(key)
                    self.place.delete(key.removesuffix(".pack") + ".idx")

    def _is_elsewhere(self, names: list[str]) -> bool:
        wanted = {name for name in names if name in self.reachable}
        return self.store.has(wanted) == wanted


def _sources_of(store: ObjectStore, reachable: Set[str]) -> set[str]:
    """The objects that others are put together from. Raises Damaged when that cannot be read: nothing can go then."""
    found: set[str] = set()
    for name in store.iter_recipes():
        if name in reachable and (recipe := read_recipe(store, name)):
            found |= {run.source for run in recipe.runs}
    return found


def bring_back(store: ObjectStore, name: str) -> bool:
    """Take an object out of the trash; False when it is not there."""
    for key, _, _ in list(store.place.list("trash")):
        _, _, home = key.split("/", 2)
        if home in (own_key(name), recipe_key(name)) or (key.endswith(".pack") and name in _names_in(store, key)):
            _restore(store, key, home)
            return True
    return False


def _names_in(store: ObjectStore, key: str) -> list[str]:
    """The objects in a trashed file: one, or those of a pack."""
    if not key.endswith(".pack"):
        return [key.rpartition("/")[2]]
    entries: list[Entry] = store.index_of(key)
    return [entry.hash.hex() for entry in entries]


def _restore(store: ObjectStore, key: str, home: str) -> None:
    if key.endswith(".pack"):
        _move_pack(store, key, home)
    else:
        store.place.move(key, home)


def _move_pack(store: ObjectStore, pack: str, to: str) -> None:
    store.place.move(pack, to)
    store.place.move(pack.removesuffix(".pack") + ".idx", to.removesuffix(".pack") + ".idx")
