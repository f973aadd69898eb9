from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import Damaged, InvalidInput, NotFound
from trine.storage import ObjectStore, collect
from trine.storage.garbage import MANY_PACKS
from trine.storage.packing import SMALL

from .test_objects import flip, name_of

DAY = 86_400
START = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.open(tmp_path / "store")


def age(store: ObjectStore, when: int = START) -> None:
    """Everything here was made at that time."""
    for path in Path(store.location).rglob("*"):
        if path.is_file():
            os.utime(path, (when, when))


def files(store: ObjectStore, folder: str = "") -> list[str]:
    root = Path(store.location)
    return sorted(path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file())


def test_what_nothing_refers_to_goes_in_two_steps(store: ObjectStore) -> None:
    kept, gone, pack_kept, pack_gone = b"k" * SMALL, b"g" * SMALL, [b"1" * 99, b"2" * 99], [b"3" * 99, b"4" * 99]
    for items in ([kept, gone], pack_kept, pack_gone):
        store.put_many(items)
    age(store)
    refs = {name_of(kept), *map(name_of, pack_kept)}

    assert collect(store, refs, now=START + DAY - 1).objects == 0
    planned = collect(store, refs, now=START + DAY, dry_run=True)
    assert files(store, "trash") == []
    done = collect(store, refs, now=START + DAY)
    assert done == planned
    assert (done.objects, done.deleted) == (3, 0)
    assert store.has(map(name_of, [gone, *pack_gone])) == set()
    assert len(files(store, "trash")) == 3

    assert collect(store, refs, now=START + 2 * DAY - 1).deleted == 0
    assert collect(store, refs, now=START + 2 * DAY).deleted == 3
    assert files(store, "trash") == []
    with pytest.raises(NotFound):
        store.get(name_of(gone))
    assert store.get(name_of(kept)) == kept
    assert store.get(name_of(pack_kept[1])) == pack_kept[1]
    assert store.verify() == []


@pytest.mark.parametrize("items", [[b"o" * SMALL], [b"one", b"two"]], ids=["object", "pack"])
class TestRaces:
    def test_who_reads_a_trashed_object_has_it_back(self, store: ObjectStore, items: list[bytes]) -> None:
        store.put_many(items)
        age(store)
        other = ObjectStore.open(store.location)
        other.get(name_of(items[0]))
        collect(store, set(), now=START + DAY)
        assert other.get(name_of(items[0])) == items[0]
        assert other.size(name_of(items[0])) == len(items[0])
        assert store.has([name_of(items[0])])
        assert files(store, "trash") == []

    def test_who_found_it_here_and_refers_to_it_later_finds_it(self, store: ObjectStore, items: list[bytes]) -> None:
        store.put_many(items)
        age(store)
        writer = ObjectStore.open(store.location)
        writer.put_many(items)  # there already: nothing is written
        collect(store, set(), now=START + DAY)  # the reference is not there yet
        refs = {name_of(items[0])}
        assert collect(store, refs, now=START + 2 * DAY).brought_back == len(items)
        assert writer.get(name_of(items[0])) == items[0]

    def test_storing_it_again_while_it_is_in_the_trash_stores_it(self, store: ObjectStore, items: list[bytes]) -> None:
        store.put_many(items)
        writer = ObjectStore.open(store.location)
        writer.get(name_of(items[0]))
        age(store)
        collect(store, set(), now=START + DAY)
        writer.put_many(items)
        collect(store, set(), now=START + 2 * DAY)  # empties the trash; what was stored again is young
        assert writer.get(name_of(items[0])) == items[0]
        assert ObjectStore.open(store.location).get(name_of(items[0])) == items[0]

    def test_a_writer_between_the_look_and_the_move_loses_nothing(
        self, store: ObjectStore, items: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put_many(items)
        age(store)
        writer = ObjectStore.open(store.location)
        move, moved = store.place.move, []

        def slow_move(key: str, to: str) -> bool:
            if not moved:
                writer.put_many(items)
            moved.append(key)
            return move(key, to)

        monkeypatch.setattr(store.place, "move", slow_move)
        collect(store, set(), now=START + DAY)
        refs = set(map(name_of, items))
        collect(store, refs, now=START + 2 * DAY)
        for item in items:
            assert writer.get(name_of(item)) == item
            assert ObjectStore.open(store.location).get(name_of(item)) == item


def test_a_pack_that_is_mostly_garbage_is_packed_anew(store: ObjectStore) -> None:
    items = [os.urandom(1000) for _ in range(10)]
    store.put_many(items)
    age(store)
    reader = ObjectStore.open(store.location)
    reader.get(name_of(items[0]))
    most = set(map(name_of, items[:6]))
    assert collect(store, most, now=START + DAY).repacked == 0
    few = set(map(name_of, items[:4]))
    done = collect(store, few, now=START + DAY)
    assert (done.objects, done.repacked) == (6, 4)
    assert [reader.get(name_of(item)) for item in items[:4]] == items[:4]
    assert store.has(map(name_of, items)) == few
    collect(store, few, now=START + 3 * DAY)
    assert [ObjectStore.open(store.location).get(name_of(item)) for item in items[:4]] == items[:4]


def test_many_small_packs_become_one(store: ObjectStore) -> None:
    items = [os.urandom(100) for _ in range(2 * MANY_PACKS)]
    for index in range(MANY_PACKS):
        store.put_many(items[2 * index : 2 * index + 2])
    age(store)
    collect(store, set(map(name_of, items)), now=START + DAY)
    assert len(files(store, "packs")) == 2
    assert [store.get(name_of(item)) for item in items] == items


def test_a_damaged_pack_is_left_for_its_reader_to_name(store: ObjectStore) -> None:
    items = [os.urandom(1000) for _ in range(10)]
    store.put_many(items)
    (pack,) = Path(store.location).rglob("*.pack")
    flip(pack, pack.read_bytes().index(items[0]))
    age(store)
    collect(store, {name_of(items[0]), name_of(items[1])}, now=START + DAY)
    with pytest.raises(Damaged, match=name_of(items[0])):
        store.get(name_of(items[0]))
    assert store.get(name_of(items[1])) == items[1]


def test_a_grace_period_cannot_be_negative(store: ObjectStore) -> None:
    with pytest.raises(InvalidInput, match="too short"):
        collect(store, set(), grace_s=-1)


STEPS = ("store", "find", "refer", "let go", "wait", "collect", "read")


@settings(max_examples=300)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=8, max_size=30), small=st.booleans())
def test_what_is_referred_to_in_time_is_never_lost(steps: list[str], small: bool) -> None:
    items = [b"one", b"two"] if small else [b"o" * SMALL]
    names = {name_of(item) for item in items}
    with tempfile.TemporaryDirectory() as folder:
        store, collector = ObjectStore.open(folder), ObjectStore.open(folder)
        clock, seen, refs = START, START - DAY, set[str]()
        for step in ["store", "wait", *steps]:
            if step == "store":
                young = {path for path in Path(folder).rglob("*") if path.is_file()}
                store.put_many(items)
                for path in {path for path in Path(folder).rglob("*") if path.is_file()} - young:
                    os.utime(path, (clock, clock))
                seen = clock
            elif step == "find":
                seen = clock if store.has(names) else seen
            elif step == "refer" and clock - seen < DAY:
                refs = names
            elif step == "let go":
                refs = set()
            elif step == "wait":
                clock += DAY
            elif step == "collect":
                collect(collector, refs, now=clock)
            elif step == "read" and refs:
                assert [store.get(name_of(item)) for item in items] == items
        if refs:
            for one in (ObjectStore.open(folder), store, collector):
                assert [one.get(name_of(item)) for item in items] == items
