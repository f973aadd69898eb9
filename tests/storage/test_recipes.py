from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import Damaged, NotFound
from trine.ids import digest
from trine.storage import ObjectStore, collect
from trine.storage.chunking import LEAST, MOST, cuts
from trine.storage.recipes import read_recipe

HOUR = 3_600


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.open(tmp_path / "store")


def stored_bytes(store: ObjectStore) -> int:
    return sum(path.stat().st_size for path in Path(store.location).rglob("*") if path.is_file())


def file(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


def rewritten(data: bytes, seed: int, blocks: int, size: int = 64 << 10) -> bytes:
    rng, changed = random.Random(seed), bytearray(data)
    for _ in range(blocks):
        at = rng.randrange(len(data) - size)
        changed[at : at + size] = rng.randbytes(size)
    return bytes(changed)


def put_two(store: ObjectStore, folder: Path, one: bytes, two: bytes) -> tuple[str, str]:
    ((first, _),) = store.put_files([file(folder, one)])
    ((second, size),) = store.put_files([file(folder, two)], [first])
    assert (second, size) == (digest(two), len(two))
    assert store.get(first) == one
    return first, second


def test_of_a_changed_file_only_what_is_new_is_stored(store: ObjectStore, tmp_path: Path) -> None:
    one = os.urandom(24 << 20)
    two = rewritten(one[: 9 << 20] + b"inserted" + one[9 << 20 :], 1, blocks=4)
    first, second = put_two(store, tmp_path, one, two)
    # a changed block lies in two chunks or three, of any size
    assert stored_bytes(store) < len(one) + 4 * (64 << 10) * 6
    fresh = ObjectStore.open(store.location)
    assert fresh.get(second) == two
    assert fresh.has([first, second]) == {first, second}
    assert fresh.size(second) == len(two)
    assert fresh.read(second, 5, 7) == two[5:12]
    assert set(fresh.iter_hashes()) >= {first, second}
    assert fresh.path_of(second) is None
    assert fresh.get_file(second, tmp_path / "out").read_bytes() == two
    assert fresh.verify() == []
    recipe = read_recipe(fresh, second)
    assert recipe and {run.source for run in recipe.runs} > {first} and len(recipe.runs) < 20

    three = rewritten(two, 2, blocks=3)  # like what is put together itself
    ((third, _),) = store.put_files([file(tmp_path, three)], [second])
    assert store.get(third) == three
    recipe = read_recipe(store, third)
    assert recipe and not any(read_recipe(store, run.source) for run in recipe.runs)
    before = stored_bytes(store)
    assert store.put_files([file(tmp_path, two)], [first]) == [(second, len(two))]
    assert stored_bytes(store) == before


def test_what_saves_too_little_is_stored_whole(store: ObjectStore, tmp_path: Path) -> None:
    one, other = os.urandom(5 << 20), os.urandom(5 << 20)
    _, second = put_two(store, tmp_path, one, other + one[: 1 << 20])
    assert read_recipe(store, second) is None and store.path_of(second)
    ((third, _),) = store.put_files([file(tmp_path, one + b"1")], ["0" * 64])  # like what is not there
    assert store.path_of(third)
    ((small, _),) = store.put_files([file(tmp_path, one[: 1 << 20])], [second])
    assert read_recipe(store, small) is None


def test_damage_is_named_where_it_is(store: ObjectStore, tmp_path: Path) -> None:
    one = os.urandom(6 << 20)
    two = rewritten(one, 1, blocks=1)
    first, second = put_two(store, tmp_path, one, two)
    path = Path(store.location) / "objects" / first[:2] / first
    path.chmod(0o644)
    with path.open("r+b") as raw:
        raw.seek(100)
        raw.write(bytes([one[100] ^ 1]))
    fresh = ObjectStore.open(store.location)
    with pytest.raises(Damaged, match=first):
        fresh.get(second)
    with pytest.raises(Damaged):
        fresh.get(second)
    assert {first, second} == {one.hash for one in fresh.verify([first, second])}
    fresh.put(one)  # mends both
    assert fresh.get(second) == two

    recipe = Path(store.location) / "recipes" / second[:2] / second
    whole = recipe.read_bytes()
    recipe.chmod(0o644)
    for damaged in (whole[:-3], b"nonsense", whole.replace(b"\xce", b"\xcd")):
        recipe.write_bytes(damaged)
        with pytest.raises(Damaged, match=second):
            b"".join(ObjectStore.open(store.location).chunks(second))
        recipe.parent.mkdir(exist_ok=True)
    recipe.unlink(missing_ok=True)
    store.put_files([file(tmp_path, two)], [first])
    assert store.get(second) == two


def test_what_is_needed_to_put_another_together_stays(store: ObjectStore, tmp_path: Path) -> None:
    one = os.urandom(6 << 20)
    two = rewritten(one, 1, blocks=1)
    first, second = put_two(store, tmp_path, one, two)
    for now in (1e11, 2e11):
        collect(store, {second}, grace_s=HOUR, now=now)
    assert store.get(second) == two and store.get(first) == one
    collect(store, set(), grace_s=HOUR, now=3e11)
    assert ObjectStore.open(store.location).get(second) == two  # out of the trash, with all it needs
    for now in (4e11, 5e11):
        collect(store, set(), grace_s=HOUR, now=now)
    with pytest.raises(NotFound):
        ObjectStore.open(store.location).get(second)
    assert not [path for path in Path(store.location).rglob("*") if path.is_file()]


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 1 << 20), st.booleans())
def test_chunks_are_whole_bounded_and_found_again(seed: int, size: int, plain: bool) -> None:
    data = b"\0" * size if plain else random.Random(seed).randbytes(size)

    def chunks(content: bytes) -> list[bytes]:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            ends = cuts(file.fileno(), len(content))
        return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    found = chunks(data)
    assert b"".join(found) == data
    assert all(LEAST <= len(one) <= MOST for one in found[:-1])
    if not plain and size > 8 * MOST:
        again = set(chunks(b"some more" + data))
        assert sum(len(one) for one in found if one in again) > len(data) - 3 * MOST
