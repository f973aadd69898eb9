from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trine.errors import Damaged, Failure, InvalidInput, NoSpace, NotFound
from trine.storage import ObjectStore, collect
from trine.storage.packing import SMALL

LARGE = SMALL + 1


def name_of(data: bytes) -> str:
    return blake3(data).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.open(tmp_path / "store")


def test_objects_come_back_by_the_hash_of_their_bytes(store: ObjectStore, tmp_path: Path) -> None:
    items = [b"", b"a", b"b" * 1000, os.urandom(SMALL - 1), os.urandom(LARGE), os.urandom(5 << 20)]
    assert store.put_many(items) == [name_of(item) for item in items]
    assert [store.get(name_of(item)) for item in items] == items
    assert [store.size(name_of(item)) for item in items] == [len(item) for item in items]
    assert store.read(name_of(items[2]), 10, 20) == b"b" * 20
    assert store.read(name_of(items[2]), 990) == b"b" * 10
    target = store.get_file(name_of(items[5]), tmp_path / "deep" / "out.bin")
    assert target.read_bytes() == items[5]
    assert store.put_file(target) == name_of(items[5])
    assert sorted(store.iter_hashes()) == sorted(map(name_of, items))
    assert store.verify() == []


def test_names_that_are_no_hashes_and_objects_that_are_not_there(store: ObjectStore, tmp_path: Path) -> None:
    for wrong in ("", "abc", "../../etc/passwd", "A" * 64, "g" * 64):
        with pytest.raises(InvalidInput, match="hash"):
            store.get(wrong)
    missing = "0" * 64
    with pytest.raises(NotFound, match=missing):
        store.get(missing)
    with pytest.raises(NotFound):
        store.size(missing)
    with pytest.raises(NotFound):
        store.get_file(missing, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.has([missing]) == set()
    with pytest.raises(NotFound, match="nowhere"):
        store.put_file(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="cannot be read"):
        store.put_file(tmp_path)


def test_small_objects_share_one_pack_and_are_stored_once(store: ObjectStore) -> None:
    items = [b"%d" % index * 50 for index in range(1000)]
    store.put_many(items)
    again = ObjectStore.open(store.location)
    again.put_many(items)
    store.put_many(items[:10])
    store.put(items[3])
    files = [path for path in Path(store.location).rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".idx", ".pack"]


def test_what_another_process_stored_is_found(store: ObjectStore) -> None:
    store.put_many([b"one", b"two"])
    code = (
        "import sys; from trine.storage import ObjectStore\n"
        "s = ObjectStore.open(sys.argv[1]); s.put_many([b'three', b'four']); s.put(b'five')"
    )
    subprocess.run([sys.executable, "-c", code, store.location], check=True)
    assert store.has(map(name_of, (b"three", b"four", b"five"))) == set(map(name_of, (b"three", b"four", b"five")))
    assert store.get(name_of(b"four")) == b"four"


def test_an_index_that_is_lost_is_made_again(store: ObjectStore) -> None:
    store.put_many([b"one", b"two"])
    for index in Path(store.location).rglob("*.idx"):
        index.unlink()
    again = ObjectStore.open(store.location)
    assert again.get(name_of(b"two")) == b"two"
    assert again.verify() == []
    assert list(Path(store.location).rglob("*.idx"))


def flip(path: Path, at: int, bit: int = 0) -> None:
    os.chmod(path, 0o644)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)


ITEMS = [b"small %d " % index * (index * 7 + 1) for index in range(20)] + [os.urandom(300), b"z" * LARGE, b"alone"]


@settings(max_examples=150)
@given(which=st.integers(0, 3), at=st.integers(0, LARGE), bit=st.integers(0, 7))
def test_a_flipped_byte_anywhere_is_named_before_use_and_can_be_mended(which: int, at: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = ObjectStore.open(folder)
        first.put_many(ITEMS[:-1])
        first.put(ITEMS[-1])
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        assert len(files) == 4
        flip(files[which], at, bit)

        damage = ObjectStore.open(folder).verify()
        if not damage:  # zstd frames have bits that mean nothing: then every object is what it was
            assert files[which].suffix == ".pack"
            assert all(ObjectStore.open(folder).get(name_of(item)) == item for item in ITEMS)
            return
        assert all(str(files[which]) == one.path for one in damage), damage
        assert all(one.path in one.problem for one in damage)

        again = ObjectStore.open(folder)
        for item in ITEMS:
            with contextlib.suppress(Damaged):
                assert again.get(name_of(item)) == item
        again.put_many(ITEMS)
        for item in ITEMS:
            assert again.get(name_of(item)) == item
            assert ObjectStore.open(folder).get(name_of(item)) == item


def test_a_damaged_object_stays_named_until_it_is_stored_again(store: ObjectStore) -> None:
    for item in (b"x" * LARGE, b"alone"):
        store.put(item)
        name = name_of(item)
        path = Path(store.location) / "objects" / name[:2] / name
        flip(path, 3)
        with pytest.raises(Damaged, match=str(path)):
            store.path_of(name)
        for _ in range(2):
            with pytest.raises(Damaged, match=rf"quarantine/{name}"):
                store.get(name)
        assert store.has([name]) == set()
        store.put(item)
        assert store.get(name) == item


def test_one_damaged_entry_does_not_take_its_pack_with_it(store: ObjectStore) -> None:
    items = [b"one" * 9, b"two" * 9, b"three" * 9]
    store.put_many(items)
    (pack,) = Path(store.location).rglob("*.pack")
    flip(pack, pack.read_bytes().index(items[1]) + 4)
    with pytest.raises(Damaged, match=rf"{name_of(items[1])} in {pack} at byte \d+"):
        store.get(name_of(items[1]))
    assert store.get(name_of(items[0])) == items[0]
    fresh = ObjectStore.open(store.location)
    assert fresh.has(map(name_of, items)) == {name_of(items[0]), name_of(items[2])}
    with pytest.raises(Damaged, match="quarantine"):
        fresh.get(name_of(items[1]))
    fresh.put_many(items)
    assert store.get(name_of(items[1])) == items[1]
    assert store.verify() == []


@settings(max_examples=100)
@given(at=st.integers(0, 3000), bit=st.integers(0, 7))
def test_damage_in_a_pack_without_an_index_is_named_too(at: int, bit: int) -> None:
    """A crash left no index, and then a byte turned over: nothing is silently not there."""
    items = [b"item %d " % index * 20 for index in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        ObjectStore.open(folder).put_many(items)
        (pack,), (index,) = Path(folder).rglob("*.pack"), Path(folder).rglob("*.idx")
        index.unlink()
        flip(pack, at, bit)
        store = ObjectStore.open(folder)
        told: list[str] = []
        for item in items:
            try:
                assert store.get(name_of(item)) == item
            except Damaged as error:
                told.append(error.message)
        if not told:
            return  # a bit of a compressed frame that means nothing: all came out right
        assert any(str(pack) in one for one in told)
        assert str(pack) in [one.path for one in ObjectStore.open(folder).verify()]
        store.put_many(items)
        assert [store.get(name_of(item)) for item in items] == items


def test_a_file_is_written_whole_or_not_at_all(store: ObjectStore, tmp_path: Path) -> None:
    data = b"x" * (9 << 20)
    store.put(data)
    name = name_of(data)
    flip(Path(store.location) / "objects" / name[:2] / name, 8 << 20)
    with pytest.raises(Damaged):
        store.get_file(name, tmp_path / "out")
    assert [path for path in tmp_path.iterdir() if path.name != "store"] == []
    store.put(data)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Failure, match="cannot be written"):
        store.get_file(name, tmp_path / "folder")


def test_a_full_disk_is_said_and_nothing_is_half_stored(store: ObjectStore) -> None:
    """RLIMIT_FSIZE stands for the full disk: a write beyond it fails, here as ENOSPC would."""
    store.put_many([b"before", b"that"])
    code = (
        "import resource, signal, sys\n"
        "from trine.storage import ObjectStore\n"
        "from trine.errors import NoSpace\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "s = ObjectStore.open(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "import os\n"
        "for write in (lambda: s.put(os.urandom(2 << 20)), lambda: s.put_many([os.urandom(200_000) for _ in range(9)])):\n"
        "    try: write()\n"
        "    except NoSpace as error: print(error)\n"
        "s.put(b'small still fits')"
    )
    told = subprocess.run([sys.executable, "-c", code, store.location], check=True, capture_output=True, text=True)
    assert told.stdout.count("no space left") == 2
    assert store.verify() == []
    assert store.has([name_of(b"small still fits")])
    assert len(list(store.iter_hashes())) == 3
    assert list(Path(store.location, "tmp").iterdir()) == []


def test_a_store_that_cannot_be_written_is_still_read(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(b"alone")
    name = name_of(b"alone")
    flip(Path(store.location) / "objects" / name[:2] / name, 0)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Damaged, match="another hash"):
        store.get(name)
    with pytest.raises(Failure, match="Read-only"):
        store.put(b"more")


def test_a_write_that_takes_only_a_part_goes_on_or_fails(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(NoSpace):
        store.put(b"x")
    monkeypatch.undo()
    assert list(store.iter_hashes()) == []


CONTENTS = {name_of(data): data for data in (b"one", b"two", b"L" * LARGE)}
a_name = st.sampled_from(sorted(CONTENTS))
a_store = st.integers(0, 1)


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one folder, with a clock and garbage collection: nothing that is referred to in time is ever lost."""

    GRACE = 100

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [ObjectStore.open(self.folder.name) for _ in range(2)]
        self.clock = 1_000_000
        self.seen: dict[str, int] = {}
        self.refs: set[str] = set()
        self.aged: set[Path] = set()

    def teardown(self) -> None:
        for name in self.refs:
            for store in (ObjectStore.open(self.folder.name), *self.stores):
                assert store.get(name) == CONTENTS[name]
        assert ObjectStore.open(self.folder.name).verify() == []
        self.folder.cleanup()

    def note(self, *names: str) -> None:
        """These are here now; files that appeared since the last rule were made at the machine's time."""
        self.seen |= dict.fromkeys(names, self.clock)
        for path in Path(self.folder.name).rglob("*"):
            if path.is_file() and path not in self.aged:
                os.utime(path, (self.clock, self.clock))
                self.aged.add(path)

    @rule(which=a_store, name=a_name, how=st.sampled_from(["put", "put_many", "has"]))
    def store(self, which: int, name: str, how: str) -> None:
        one = self.stores[which]
        if how == "put":
            assert one.put(CONTENTS[name]) == name
        elif how == "put_many":
            assert one.put_many(CONTENTS.values()) == list(CONTENTS)
            self.note(*CONTENTS)
        elif not one.has([name]):
            return
        self.note(name)

    @rule()
    def refer(self) -> None:
        self.refs |= {name for name, when in self.seen.items() if self.clock - when < self.GRACE}

    @rule()
    def let_go(self) -> None:
        self.refs.clear()

    @rule(seconds=st.sampled_from([101, 60]))
    def wait(self, seconds: int) -> None:
        self.clock += seconds

    @rule(which=a_store, dry_run=st.integers(0, 9).map(lambda n: n == 9))
    def collect(self, which: int, dry_run: bool) -> None:
        before = {path for path in Path(self.folder.name).rglob("*") if path.is_file()}
        collect(self.stores[which], self.refs, grace_s=self.GRACE, dry_run=dry_run, now=self.clock)
        if dry_run:
            assert before == {path for path in Path(self.folder.name).rglob("*") if path.is_file()}
        self.note()

    @rule(which=a_store, name=a_name)
    def read(self, which: int, name: str) -> None:
        try:
            assert self.stores[which].get(name) == CONTENTS[name]
        except NotFound:
            assert name not in self.refs

    @invariant()
    def knows_nothing_else(self) -> None:
        assert set(self.stores[0].iter_hashes()) <= CONTENTS.keys()


StoreMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestStore = StoreMachine.TestCase
