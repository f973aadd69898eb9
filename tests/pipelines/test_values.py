from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
import zoneinfo
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from trine.errors import Damaged, InvalidInput, NotFound, Refused
from trine.pipelines.values import Decoder, Encoder, Value
from trine.storage import ObjectStore


class Colour(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: Any


class Spec(msgspec.Struct, frozen=True):
    name: str
    parts: tuple[int, ...] = ()


@dataclasses.dataclass
class Report:
    spec: Spec
    rows: pl.DataFrame
    note: str = dataclasses.field(default="", init=False)


class Odd:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.open(tmp_path_factory.mktemp("store"))


def there_and_back(store: ObjectStore, value: Any, **options: Any) -> tuple[Value, Any]:
    encoder = Encoder(store, **options)
    stored = encoder.value(value)
    encoder.save()
    stored = msgspec.json.decode(msgspec.json.encode(stored), type=Value)  # as the ledger keeps it
    return stored, Decoder(store, Path(store.location) / "files", **options).value(stored)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters())
    | st.binary(max_size=2_000)
    | st.datetimes(
        timezones=st.none()
        | st.sampled_from([dt.UTC, zoneinfo.ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=-3))])
    )
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from([Colour.RED, range(3, 9, 2), Point(1, (2, "a")), Spec("a", (1, 2)), float("inf")])
)
hashable = st.integers() | st.text(max_size=5) | st.tuples(st.integers(), st.booleans())
values = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.lists(inside, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.just("$"), inside, max_size=4)
        | st.dictionaries(hashable, inside, max_size=4)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value with the types of all that is in it, so that True is not 1 and a tuple no list."""
    if isinstance(value, dict):
        return (dict, [(exact(key), exact(one)) for key, one in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(one) for one in value])
    if isinstance(value, (dt.datetime, dt.time)):
        return (type(value), value.isoformat(), value.fold, str(value.tzinfo))
    return (type(value), repr(value) if isinstance(value, (float, complex)) else value)


@given(value=values)
def test_plain_values_come_back_exactly(store: ObjectStore, value: Any) -> None:
    stored, back = there_and_back(store, value)
    assert exact(back) == exact(value)
    assert Encoder().value(value).id == stored.id


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"a": [1, 2], "s": ["x", None], "c": pl.Series(["u", "v"], dtype=pl.Categorical), "l": [[1], []]}),
        pl.DataFrame(),
        pl.Series("s", [1.5, None]),
        np.arange(24, dtype="f4").reshape(2, 3, 4),
        np.asfortranarray(np.eye(3)),
        np.array(["a", "bc"]),
        np.float32(1.5),
        np.datetime64("2026-01-02T03:04:05.123456"),
        pd.DataFrame({"a": [1, 2], "s": ["x", None], "t": pd.to_datetime(["2026-01-01", None]), "b": [True, False]}),
        pd.DataFrame({"c": pd.Categorical(["p", "q"]), "i": pd.array([1, None], dtype="Int64")}, index=["r1", "r2"]),
        pd.DataFrame({"g": ["a", "b"], "k": [1, 2], "v": [0.5, 1.5]}).set_index(["g", "k"]),
        pd.Series([1, 2], name="z"),
        pd.DataFrame({"a": range(100_000)}),
    ],
    ids=lambda value: (
        f"{type(value).__module__.partition('.')[0]}-{type(value).__name__}-{getattr(value, 'shape', '')}"
    ),
)
def test_frames_and_arrays_come_back_exactly(store: ObjectStore, value: Any) -> None:
    stored, back = there_and_back(store, value)
    assert type(back) is type(value)
    if isinstance(value, (pl.DataFrame, pl.Series)):
        assert back.equals(value)
        assert getattr(back, "schema", back.name if isinstance(back, pl.Series) else None) == getattr(
            value, "schema", value.name if isinstance(value, pl.Series) else None
        )
    elif isinstance(value, (pd.DataFrame, pd.Series)):
        check = pd.testing.assert_frame_equal if isinstance(value, pd.DataFrame) else pd.testing.assert_series_equal
        check(back, value)  # type: ignore[operator]
    else:
        assert back.dtype == value.dtype
        assert np.array_equal(back, value)
        assert getattr(back, "flags", None) is None or back.flags.f_contiguous == value.flags.f_contiguous
    assert there_and_back(store, value)[0].id == stored.id


def test_equal_frames_have_equal_ids_however_they_were_made() -> None:
    whole = pl.DataFrame({"a": range(10_000)})
    pieces = pl.concat([whole[:7], whole[7:]], rechunk=False)
    assert Encoder().value(pieces).id == Encoder().value(whole).id
    assert Encoder().value(whole.lazy()).id != Encoder().value(whole).id
    assert Encoder().value(whole[1:]).id != Encoder().value(whole).id


def test_nested_and_own_types_come_back(store: ObjectStore, tmp_path: Path) -> None:
    report = Report(Spec("a"), pl.DataFrame({"x": [1]}))
    report.note = "seen"
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    stored, back = there_and_back(store, {"reports": [report], "at": (file, b"x" * 5_000)})
    assert back["reports"][0].spec == Spec("a")
    assert back["reports"][0].rows.equals(report.rows)
    assert back["reports"][0].note == "seen"
    assert back["at"][0].read_text() == "hello"
    assert back["at"][0].name == "notes.txt"
    assert len(stored.objects) == 3
    lazy = there_and_back(store, pl.LazyFrame({"x": [1]}))[1]
    assert isinstance(lazy, pl.LazyFrame)


def test_models_come_back_without_pickle(store: ObjectStore) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    stored, back = there_and_back(store, model)
    assert '"codec":"model"' in stored.document
    assert np.array_equal(back.predict(rows), model.predict(rows))
    scaler = there_and_back(store, StandardScaler().fit(rows))[1]
    assert np.array_equal(scaler.mean_, StandardScaler().fit(rows).mean_)


def test_what_cannot_be_stored_is_named_and_pickle_has_to_be_asked_for(store: ObjectStore, tmp_path: Path) -> None:
    for value, words in [
        (Odd(), "Odd cannot be stored"),
        ([{"a": open}], "cannot be stored"),
        (np.array([object()]), "Python objects"),
        (tmp_path, "is no file"),
        (tmp_path / "none", "is no file"),
        (pd.DataFrame({"o": [Odd()]}), "does not read back equal"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            Encoder(store).value(value)
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInput, match="contains itself"):
        Encoder(store).value(loop)

    @dataclasses.dataclass
    class Local:
        x: int

    with pytest.raises(InvalidInput, match="defined inside a function"):
        Encoder(store).value(Local(1))
    stored, back = there_and_back(store, Odd(), pickle=True)
    assert back == Odd()
    with pytest.raises(Refused, match="runs what is in it"):
        Decoder(store, tmp_path).value(stored)


def test_a_value_whose_bytes_are_gone_or_damaged_is_an_error(tmp_path: Path) -> None:
    store = ObjectStore.open(tmp_path / "store")
    stored, _ = there_and_back(store, pl.DataFrame({"x": range(10_000)}))
    path = next((tmp_path / "store" / "objects").rglob(stored.objects[0]))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Damaged):
        Decoder(store, tmp_path).value(stored)
    with pytest.raises(NotFound):
        Decoder(ObjectStore.open(tmp_path / "empty"), tmp_path).value(stored)


def test_values_are_told_in_a_few_words() -> None:
    told = [Encoder().value(one).summary for one in (1.5, "a" * 200, pl.DataFrame({"x": range(1200)}), [1] * 9, b"abc")]
    assert told == ["1.5", "a" * 79 + "…", "DataFrame 1,200 × 1", "list of 9", "3 bytes"]
    assert Encoder().value(decimal.Decimal(1)).summary == "Decimal('1')"
    assert uuid.UUID(int=1) == uuid.UUID(int=1)
