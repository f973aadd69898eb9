from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import Counter
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trine import data
from trine.data.merging import FOLD, fold, merge
from trine.data.profiles import QUANTILES, shown
from trine.data.sketches import KEPT, Sketch, sketch, summarise

EXACT = Context(prec=80, Emax=999_999, Emin=-999_999)

numbers = st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=60)
texts = st.lists(st.one_of(st.none(), st.text(max_size=3), st.sampled_from(["a", "b", "ü"])), max_size=60)


def deviation(values: list[float]) -> float | None:
    """The sample standard deviation by exact arithmetic; None when no float holds it."""
    if len(values) < 2:
        return None
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    root = EXACT.sqrt(EXACT.divide(Decimal(variance.numerator), Decimal(variance.denominator)))
    found = float(root)
    return None if math.isinf(found) else found


@given(numbers)
def test_a_profile_of_numbers_is_what_exact_arithmetic_says(values: list[float | None]) -> None:
    (told,) = data.profile_frame(pl.DataFrame({"n": values}, schema={"n": pl.Float64})).columns
    kept = [value for value in values if value is not None]
    finite = sorted(value for value in kept if math.isfinite(value))
    assert (told.count, told.nulls) == (len(values), values.count(None))
    assert (told.nans, told.infinities) == (sum(map(math.isnan, kept)), sum(map(math.isinf, kept)))
    assert told.distinct == len({v for v in kept if v == v}) + any(v != v for v in kept)
    if not finite:
        assert (told.min, told.max, told.mean, told.std, told.quantiles) == (None, None, None, None, ())
        return
    greatest = max(map(abs, finite))
    assert (told.min, told.max) == (finite[0], finite[-1])
    mean = float(sum(map(Fraction, finite)) / len(finite))
    assert told.mean is not None
    assert finite[0] <= told.mean <= finite[-1]
    assert told.mean == pytest.approx(mean, rel=1e-12, abs=4e-16 * greatest)
    exact = deviation(finite)
    if exact is None or told.std is None:
        assert told.std is exact or max(told.std or 0, exact or 0) > 0.999999 * np.finfo(np.float64).max
    else:
        assert told.std == pytest.approx(exact, rel=1e-9, abs=4e-16 * greatest)
    ranks = [round(Fraction(i * (len(finite) - 1), QUANTILES - 1)) for i in range(QUANTILES)]
    assert told.quantiles == tuple(finite[rank] for rank in ranks)
    assert dict(told.top) == Counter(finite)
    assert told.ess == len(finite) or len(finite) >= 8


@given(texts)
def test_a_profile_of_texts_is_what_counting_says(values: list[str | None]) -> None:
    (told,) = data.profile_frame(pl.DataFrame({"t": values}, schema={"t": pl.String})).columns
    counts = Counter(value for value in values if value is not None)
    assert (told.count, told.nulls, told.distinct) == (len(values), values.count(None), len(counts))
    assert dict(told.top) == counts
    assert [count for _, count in told.top] == sorted(counts.values(), reverse=True)
    assert (told.min, told.max) == ((min(counts), max(counts)) if counts else (None, None))


@given(numbers, st.lists(st.integers(0, 60), max_size=6))
def test_a_profile_of_parts_is_the_profile_of_the_whole(values: list[float | None], cuts: list[int]) -> None:
    frame = pl.DataFrame({"n": values, "t": list(map(str, values))}, schema={"n": pl.Float64, "t": pl.String})
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [sketch(frame[start:stop]) for start, stop in itertools.pairwise(edges)]
    merged, whole = summarise(merge(parts)), data.profile_frame(frame)
    assert merged.rows == whole.rows
    for one, two in zip(merged.columns, whole.columns, strict=True):
        for field in (
            "name",
            "dtype",
            "count",
            "nulls",
            "nans",
            "infinities",
            "distinct",
            "min",
            "max",
            "quantiles",
            "top",
        ):
            assert getattr(one, field) == getattr(two, field)
        if two.mean is not None and one.mean is not None:
            greatest = max(abs(two.quantiles[0]), abs(two.quantiles[-1]))
            assert one.mean == pytest.approx(two.mean, rel=1e-12, abs=1e-15 * greatest)
            if one.std is not None and two.std is not None:
                assert one.std == pytest.approx(two.std, rel=1e-9, abs=1e-15 * greatest)


@given(arrays(np.float64, st.integers(1_100, 4_000), elements=st.floats(-1e6, 1e6), unique=True))
def test_quantiles_of_many_values_are_order_statistics(values: np.ndarray) -> None:
    (told,) = data.profile_frame(pl.DataFrame({"n": values})).columns
    ranks = np.linspace(0, len(values) - 1, QUANTILES).round().astype(int)
    assert told.quantiles == tuple(np.sort(values)[ranks])


def rank_errors(told: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """How far the rank of each quantile is from where it should be, as a share of the rows."""
    ordered = np.sort(values)
    wanted = np.linspace(0, len(ordered) - 1, QUANTILES)
    low = np.searchsorted(ordered, told, side="left")
    high = np.searchsorted(ordered, told, side="right") - 1
    return np.maximum(np.maximum(low - wanted, wanted - high), 0) / len(ordered)


@pytest.mark.parametrize("parts", [2, 12, 3 * FOLD + 1])
def test_sketches_of_a_table_that_grows_stay_within_their_bounds(parts: int) -> None:
    rng = np.random.default_rng(parts)
    frames = [
        pl.DataFrame(
            {
                "drifting": rng.normal(part / 10, 1, 4_000),
                "skewed": rng.lognormal(0, 2, 4_000),
                "atoms": np.where(rng.random(4_000) < 0.3, 0.0, rng.normal(size=4_000)),
                "id": rng.integers(0, 10**9, 4_000),
                "word": [f"w{i}" for i in rng.zipf(1.5, 4_000) % 5_000],
            }
        )
        for part in range(parts)
    ]
    sketches: list[Sketch] = []
    for frame in frames:
        sketches = fold([*sketches, sketch(frame)])
    assert len(sketches) < 2 * FOLD
    told, whole = summarise(merge(sketches)), pl.concat(frames)
    for column in ("drifting", "skewed", "atoms", "id"):
        one = told.column(column)
        assert one is not None
        values = whole.get_column(column).to_numpy().astype(np.float64)
        levels = 1 + (parts > FOLD)
        assert rank_errors(one.quantiles, values).max() <= (levels + 1) / (2 * KEPT) + 1 / 4_000
        assert (one.min, one.max) == (values.min(), values.max())
        assert one.mean == pytest.approx(values.mean())
        assert one.std == pytest.approx(values.std(ddof=1))
    for column in ("id", "word", "drifting"):
        one = told.column(column)
        assert one is not None
        assert one.distinct == pytest.approx(whole.get_column(column).n_unique(), rel=4.5 / math.sqrt(KEPT))
    words = told.column("word")
    assert words is not None
    counts = Counter(whole.get_column("word").to_list())
    assert [value for value, _ in words.top[:10]] == [value for value, _ in counts.most_common(10)]
    assert all(count <= counts[str(value)] for value, count in words.top)


def test_parts_that_differ_beyond_chance_are_worth_fewer_rows() -> None:
    rng = np.random.default_rng(3)

    def merged(shift: float) -> float:
        parts = [pl.DataFrame({"x": rng.normal(shift * (part % 2), 1, 5_000)}) for part in range(10)]
        found = summarise(merge([sketch(part) for part in parts])).columns[0].ess
        assert found is not None
        return found

    assert merged(0) > 45_000
    assert merged(1) < 500
    months = [pl.DataFrame({"month": [part] * 100, "name": [f"m{part}"] * 100}) for part in range(12)]
    told = summarise(merge([sketch(month) for month in months]))
    assert [round(one.ess or 0) for one in told.columns] == [11, 11]


def test_parts_of_one_kind_keep_their_size_nearly_always() -> None:
    rng = np.random.default_rng(4)
    fewer = 0
    for _ in range(200):
        parts = [pl.DataFrame({"x": rng.normal(size=300), "c": rng.choice(list("abcdefgh"), 300)}) for _ in range(3)]
        told = summarise(merge([sketch(part) for part in parts]))
        fewer += sum((one.ess or 0) < 500 for one in told.columns)
    assert fewer <= 8


def test_values_keep_their_kind() -> None:
    big = 2**60
    frame = pl.DataFrame(
        {
            "id": [big + 1, big + 2, big + 2],
            "unsigned": pl.Series([2**64 - 1, 0, 1], dtype=pl.UInt64),
            "wide": pl.Series([2**100, 0, 1], dtype=pl.Int128),
            "yes": [True, False, True],
            "day": [dt.date(2013, 1, 1), dt.date(2013, 1, 2), None],
            "at": [dt.datetime(2013, 1, 1, tzinfo=dt.UTC)] * 3,
            "long": [dt.timedelta(hours=1)] * 3,
            "time": [dt.time(1)] * 3,
            "price": pl.Series(["1.50", "2.25", "2.25"]).cast(pl.Decimal(10, 2)),
            "list": [[1], [2], None],
            "nothing": [None, None, None],
            "bytes": [b"a", b"b", None],
            "sort": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "text": ["z" * 1_000, "z" * 1_000 + "a", "short"],
        }
    )
    told = data.profile_frame(frame)
    by_name = {one.name: one for one in told.columns}
    assert (by_name["id"].min, by_name["id"].max, by_name["id"].top) == (big + 1, big + 2, ((big + 2, 2), (big + 1, 1)))
    assert by_name["unsigned"].max == 2**64 - 1
    assert by_name["wide"].max == float(2**100)
    assert by_name["yes"].top == ((True, 2), (False, 1))
    assert by_name["day"].max == 1_356_998_400_000_000 + 86_400_000_000
    assert shown(by_name["day"].max, by_name["day"].dtype) == "2013-01-02"
    assert shown(by_name["at"].min, by_name["at"].dtype) == "2013-01-01 00:00:00"
    assert by_name["long"].min == by_name["time"].min == 3_600_000_000
    assert shown(by_name["long"].min, by_name["long"].dtype) == "1:00:00"
    assert (by_name["price"].min, by_name["price"].distinct) == (1.5, 2)
    assert [by_name[name].nulls for name in ("list", "nothing", "bytes")] == [1, 3, 1]
    assert by_name["sort"].top == (("x", 2), ("y", 1))
    assert (by_name["text"].distinct, by_name["text"].top, len(str(by_name["text"].max))) == (3, (("short", 1),), 200)
    merged = summarise(merge([sketch(frame), sketch(frame)]))
    for one, two in zip(told.columns, merged.columns, strict=True):
        assert (one.min, one.max, one.distinct) == (two.min, two.max, two.distinct)
        assert [(value, 2 * count) for value, count in one.top] == list(two.top)


def test_columns_may_have_any_name() -> None:
    frame = pl.DataFrame({"count": [1], "value": ["a"], "": [1.5], "ü\n": [True]})
    assert [one.name for one in data.profile_frame(frame).columns] == frame.columns


def test_categories_are_counted_by_their_names() -> None:
    parts = [
        pl.DataFrame({"c": names}, schema={"c": pl.Categorical}) for names in (["a", "b"], ["c", "b"], ["b", "c", "a"])
    ]
    (told,) = summarise(merge([sketch(part) for part in parts])).columns
    assert (told.distinct, told.top) == (3, (("b", 3), ("a", 2), ("c", 2)))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows that are too many to be counted one by one."""
    monkeypatch.setattr("trine.data.one_pass.LARGE", 20_000)
    monkeypatch.setattr("trine.data.one_pass.SAMPLE", 8_192)
    return 60_000


def test_many_rows_are_seen_in_a_sample_within_the_bounds_that_the_profile_states(many: int) -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "id": np.arange(many),
            "price": rng.lognormal(0, 2, many).round(4),
            "gaps": [
                None if gone else x for gone, x in zip(rng.random(many) < 0.1, rng.normal(size=many), strict=True)
            ],
            "word": [f"w{i}" for i in rng.zipf(1.5, many) % 20_000],
            "kind": rng.choice(list("abc"), many),
            "odd": np.where(
                rng.random(many) < 0.01, np.nan, np.where(rng.random(many) < 0.01, np.inf, rng.random(many))
            ),
            "huge": rng.random(many) * 1e308,
            "at": [dt.datetime(2026, 1, 1) + dt.timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, many)],
        }
    )
    told, exact = data.profile_frame(frame), summarise(sketch(frame))
    assert told == data.profile_frame(frame)
    for one, whole in zip(told.columns, exact.columns, strict=True):
        for field in ("count", "nulls", "nans", "infinities", "min", "max"):
            assert getattr(one, field) == getattr(whole, field)
        assert one.distinct == pytest.approx(whole.distinct, rel=0.08)
        if whole.mean is not None and one.name != "huge":
            assert (one.mean, one.std) == (pytest.approx(whole.mean), pytest.approx(whole.std))
        if one.sampled:
            values = frame.get_column(one.name).drop_nulls().cast(pl.Int64 if one.name == "at" else pl.Float64)
            finite = values.cast(pl.Float64).filter(values.cast(pl.Float64).is_finite()).to_numpy()
            assert rank_errors(one.quantiles, finite).max() <= one.rank_error + 1 / KEPT
    by_name = {one.name: one for one in told.columns}
    assert [name for name, one in by_name.items() if one.sampled] == ["id", "price", "gaps", "odd", "at"]
    assert by_name["kind"] == exact.column("kind")
    counts = Counter(frame["word"].to_list())
    assert by_name["word"].top[:20] == tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:20])
    assert by_name["id"].ess is not None and by_name["id"].ess < 10 < many // 2 < (by_name["price"].ess or 0)


def test_rows_that_come_in_batches_have_the_profile_of_all(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"x": rng.normal(size=many), "n": rng.integers(0, 9, many), "s": rng.choice(["a", "b"], many)})
    monkeypatch.setattr("trine.data.one_pass.BATCH_BYTES", 25_000 * 20)
    told, whole = data.profile_frame(frame.lazy()), data.profile_frame(frame)
    assert told.rows == many
    for field in ("count", "nulls", "min", "max", "top"):
        assert [getattr(one, field) for one in told.columns] == [getattr(one, field) for one in whole.columns]
    x, exact = told.columns[0], frame["x"].to_numpy()
    assert (x.mean, x.std) == (pytest.approx(exact.mean()), pytest.approx(exact.std(ddof=1)))
    assert 8_192 <= x.sampled < many
    assert rank_errors(x.quantiles, exact).max() <= x.rank_error + 2 / KEPT
    assert told.columns[1].quantiles == whole.columns[1].quantiles


@pytest.mark.parametrize("memory", [1, 30, 3_000])
def test_a_sample_shows_how_long_rows_remember(many: int, memory: int) -> None:
    rng = np.random.default_rng(memory)
    keep = 1 - 1 / memory if memory > 1 else 0.0
    noise = rng.normal(size=many) * math.sqrt(1 - keep**2)
    values = list(itertools.accumulate(noise, lambda before, now: keep * before + now))
    one = data.profile_frame(pl.DataFrame({"x": values})).columns[0]
    assert one.ess is not None
    expected = many * (1 - keep) / (1 + keep)
    assert one.ess == many if memory == 1 else expected / 2.5 < one.ess < expected * 2.5
