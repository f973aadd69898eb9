"""The same store in a bucket: a real S3 endpoint, conditional puts."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from trine.errors import Damaged, InvalidInput, NotFound, Unavailable
from trine.storage import ObjectStore, collect
from trine.storage.packing import SMALL
from trine.storage.places import Bucket, Folder, Place

from .test_objects import name_of

DAY = 86_400


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Folder(tmp_path / "place")
    return Bucket(request.getfixturevalue("bucket_url"))


def test_a_place_is_a_map_from_keys_to_bytes(place: Place, tmp_path: Path) -> None:
    assert place.read("a/b") is None
    assert place.chunks("a/b") is None
    assert place.size("a/b") is None
    assert not place.holds("a/b")
    assert list(place.list("a")) == []
    assert not place.move("a/b", "a/c")
    place.delete("a/b")
    place.write("a/b", b"0123456789")
    assert place.read("a/b") == b"0123456789"
    assert place.size("a/b") == 10
    assert place.holds("a/b")
    assert [place.read_range("a/b", *part) for part in ((2, 3), (8, 9), (10, 1), (99, 1))] == [b"234", b"89", b"", b""]
    assert place.read_range("a/z", 0, 1) is None
    place.write("a/b", b"new", replace=True)
    assert place.read("a/b") == b"new"
    with place.writing() as draft:
        for part in (b"x" * (6 << 20), b"y" * (6 << 20)):
            draft.write(part)
        draft.finish("a/large")
    parts = place.chunks("a/large")
    assert parts is not None
    assert b"".join(parts) == b"x" * (6 << 20) + b"y" * (6 << 20)
    with place.writing() as draft:
        draft.write(b"never finished")
    assert {(key, size) for key, size, _ in place.list("a")} == {("a/b", 3), ("a/large", 12 << 20)}
    assert place.move("a/b", "c/d")
    assert (place.read("a/b"), place.read("c/d")) == (None, b"new")
    place.delete("c/d")
    assert not place.holds("c/d")


def test_a_key_in_a_bucket_is_put_once(bucket_url: str) -> None:
    """Conditional puts: of many writers of one key one wins, and the others see that it is there."""
    place = Bucket(bucket_url)
    writers = [threading.Thread(target=place.write, args=("key", b"writer %d" % index)) for index in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    first = place.read("key")
    place.write("key", b"later")
    assert place.read("key") == first


def test_objects_in_a_bucket(bucket_url: str, tmp_path: Path) -> None:
    store = ObjectStore.open(bucket_url)
    items = [b"", b"one", b"two" * 100, os.urandom(SMALL), os.urandom(12 << 20)]
    assert store.put_many(items) == [name_of(item) for item in items]
    (tmp_path / "file").write_bytes(items[4])
    assert store.put_file(tmp_path / "file") == name_of(items[4])
    assert store.put(b"alone") == store.put(b"alone") == name_of(b"alone")
    other = ObjectStore.open(bucket_url)
    assert other.has([*map(name_of, items), "0" * 64]) == set(map(name_of, items))
    assert [other.get(name_of(item)) for item in items] == items
    assert other.get_file(name_of(items[4]), tmp_path / "out").read_bytes() == items[4]
    assert other.path_of(name_of(items[4])) is None
    assert other.size(name_of(items[2])) == 300
    assert other.verify() == []
    other.put_many(items)
    assert len(list(other.place.list("packs"))) == 2
    with pytest.raises(NotFound, match="s3://"):
        other.get("0" * 64)


def test_damage_in_a_bucket_is_named_and_mended(bucket_url: str) -> None:
    store = ObjectStore.open(bucket_url)
    large, small = os.urandom(SMALL), [b"one" * 99, b"two" * 99]
    store.put_many([large, *small])
    raw = Bucket(bucket_url)
    for key, _, _ in list(raw.list("")):
        data = bytearray(raw.read(key) or b"")
        data[60] ^= 1
        raw.write(key, bytes(data), replace=True)
    fresh = ObjectStore.open(bucket_url)
    damage = fresh.verify()
    assert {one.path.partition("/trine/")[2].partition("/")[0] for one in damage} == {"objects", "packs"}
    with pytest.raises(Damaged):
        fresh.get(name_of(large))
    fresh.put_many([large, *small])
    assert [ObjectStore.open(bucket_url).get(name_of(item)) for item in (large, *small)] == [large, *small]


def test_garbage_in_a_bucket(bucket_url: str) -> None:
    store = ObjectStore.open(bucket_url)
    items = [os.urandom(SMALL), b"one", b"two"]
    names = set(map(name_of, items))
    store.put_many(items)
    later = time.time() + DAY + 60
    assert collect(store, set(), now=later).objects == 3
    assert store.has(names) == set()
    assert [ObjectStore.open(bucket_url).get(name_of(item)) for item in items] == items  # brought back
    collect(store, set(), now=later)
    assert collect(store, names, now=later + DAY).brought_back == 3
    assert store.has(names) == names
    collect(store, set(), now=later)
    assert collect(store, set(), now=later + DAY).deleted == 3
    assert list(store.place.list("")) == []
    with pytest.raises(InvalidInput, match="an hour"):
        collect(store, set(), grace_s=60)


def test_a_bucket_that_cannot_be_had_is_said_so(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened"):
        ObjectStore.open("gopher://nowhere")
    missing = ObjectStore.open("s3://no-such-bucket-here/x")
    with pytest.raises(Unavailable, match="no-such-bucket-here"):
        missing.put(b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("trine.storage.places.RETRIES", 0)
    with pytest.raises(Unavailable, match="did not"):
        ObjectStore.open("s3://bucket/x").get("0" * 64)


def test_of_writers_who_swap_a_key_one_wins(place: Place) -> None:
    assert not place.swap("ref", b"two", b"one")
    assert place.swap("ref", b"one", None)
    assert not place.swap("ref", b"two", None)
    assert place.swap("ref", b"two", b"one")
    won: list[int] = []

    def take(number: int) -> None:
        if place.swap("ref", str(number).encode(), b"two"):
            won.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert place.read("ref") == str(won[0]).encode()
    assert len(won) == 1


def test_many_small_objects_come_in_few_requests(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(place)
    items = [os.urandom(200 + number) for number in range(50)] + [b"text " * 100]
    names = store.put_many(items)
    alone = store.put(b"alone")
    large = store.put(b"l" * SMALL)
    items += [b"alone", b"l" * SMALL]
    names += [alone, large]
    assert store.get_many([*names, names[0]]) == [*items, items[0]]
    assert store.has(names, alone=False) == set(names) - {alone, large}
    if place.is_far:
        asked: list[str] = []
        read = Bucket.read_range
        monkeypatch.setattr(Bucket, "read_range", lambda self, key, *at: asked.append(key) or read(self, key, *at))  # type: ignore[func-returns-value]
        assert store.get_many(names[:51]) == items[:51]
        assert len(asked) == 1
    with pytest.raises(NotFound):
        store.get_many([names[0], "0" * 64])
    [pack] = [key for key, _, _ in place.list("packs") if key.endswith(".pack")]
    data = bytearray(place.read(pack) or b"")
    data[60] ^= 1
    place.write(pack, bytes(data), replace=True)
    with pytest.raises(Damaged):
        store.get_many(names)
    assert store.get_many(names[1:]) == items[1:]
