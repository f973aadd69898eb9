"""The point-in-time join against a brute-force oracle that reads the definition's words row by row."""

import datetime as dt
import math
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.features.definitions import (
    Entity,
    FeatureService,
    FeatureView,
    count,
    latest,
    max_,
    mean,
    min_,
    std,
    sum_,
)
from trine.features.durations import duration_us
from trine.features.join import join_service

HOUR = 3_600_000_000
START = dt.datetime(1970, 1, 1)

hours = st.integers(-6, 12)
maybe_hours = st.none() | hours
numbers = st.none() | st.sampled_from([0.1, 0.2, 0.3, -1e16, 1e16, 1.0, -7.25, 3e-9, math.nan]) | st.floats(-1e3, 1e3)


@st.composite
def tables(draw, key):
    keys = st.none() | key
    row = st.tuples(
        keys, keys, maybe_hours, maybe_hours, numbers, st.none() | st.integers(-9, 9), st.none() | st.booleans()
    )
    ask = st.tuples(keys, keys, maybe_hours, st.integers())
    return draw(st.lists(row, max_size=25)), draw(st.lists(ask, max_size=12))


def at(hour):
    return None if hour is None else START + dt.timedelta(hours=hour)


def expected(view, feature, rows, key, moment_us):
    """One feature at one moment, by looking at every row. Rows: (key, event_us, created_us, values by column)."""
    if None in key or (view.time is not None and moment_us is None):
        return None
    delay = duration_us(view.delay)
    visible = [
        (event, created + delay, position, values)
        for position, (own, event, created, values) in enumerate(rows)
        if own == key
        and event is not None
        and created is not None
        and event <= moment_us
        and created + delay <= moment_us
    ]
    if feature.how == "latest":
        if not visible:
            return None
        event, _, _, values = max(visible, key=lambda row: row[:3])
        return None if view.ttl and event < moment_us - duration_us(view.ttl) else values[feature.column]
    inside = [values for event, _, _, values in visible if moment_us - feature.window_us < event]
    if feature.where:
        inside = [values for values in inside if values[feature.where]]
    if not feature.column:
        return len(inside)
    found = [values[feature.column] for values in inside]
    found = [value for value in found if value is not None and not (isinstance(value, float) and math.isnan(value))]
    exact = [Fraction(value) for value in found]
    match feature.how:
        case "count":
            return len(found)
        case "sum":
            return float(sum(exact)) if view.name == "floats" else int(sum(exact))
        case "mean":
            return float(sum(exact)) / len(found) if found else None
        case "min":
            return min(found, default=None)
        case "max":
            return max(found, default=None)
        case _:
            if len(found) < 2:
                return None
            middle = sum(exact) / len(exact)
            return math.sqrt(sum((value - middle) ** 2 for value in exact) / (len(exact) - 1))


def same(got, wanted, feature):
    if got is None or wanted is None:
        return got is None and wanted is None
    if isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(got)
    if feature.how == "std":
        return math.isclose(got, wanted, rel_tol=1e-12, abs_tol=1e-9)
    return got == wanted


def aggregates(column):
    return {
        "last": latest(column),
        "rows": count(window="3h"),
        "values": count(column, window="5h", where="flag"),
        "total": sum_(column, window="3h"),
        "average": mean(column, window="5h"),
        "least": min_(column, window="3h"),
        "most": max_(column, window="5h"),
        "flagged": max_(column, window="2h", where="flag"),
        "spread": std(column, window="7h"),
    }


@settings(max_examples=60, deadline=None)
@given(
    given_tables=st.one_of(tables(st.sampled_from(["a", "b", ""])), tables(st.integers(-1, 1)), tables(st.booleans())),
    has_created=st.booleans(),
    delay=st.sampled_from(["", "1h", "4h"]),
    ttl=st.sampled_from(["", "1h", "4h"]),
    composite=st.booleans(),
    whole=st.booleans(),
    source_unit=st.sampled_from([pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Datetime("ns", "America/New_York")]),
    spine_unit=st.sampled_from([pl.Datetime("ms", "Asia/Tokyo"), pl.Datetime("us"), pl.Datetime("ns")]),
)
def test_every_feature_equals_what_reading_the_definition_row_by_row_gives(
    given_tables, has_created, delay, ttl, composite, whole, source_unit, spine_unit
):
    rows, asks = given_tables
    keys = ["k", "l"] if composite else ["k"]
    zone = source_unit.time_zone
    key_dtype = next((type(key) for row in rows + asks for key in row[:2] if key is not None), str)
    schema = {"k": key_dtype, "l": key_dtype}

    def times(values, dtype):
        naive = pl.Series([at(hour) for hour in values], dtype=pl.Datetime("us")).cast(pl.Datetime(dtype.time_unit))
        return naive.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone) if dtype.time_zone else naive

    source = pl.DataFrame({"k": [r[0] for r in rows], "l": [r[1] for r in rows]}, schema=schema).with_columns(
        times([r[2] for r in rows], source_unit).alias("time"),
        times([r[3] for r in rows], source_unit).alias("loaded"),
        pl.Series("x", [r[4] for r in rows], pl.Float64, strict=False),
        pl.Series("i", [r[5] for r in rows], pl.Int16),
        pl.Series("flag", [r[6] for r in rows], pl.Boolean),
    )
    spine = pl.DataFrame(
        {"k": [a[0] for a in asks], "l": [a[1] for a in asks], "extra": [str(a[3]) for a in asks]},
        schema=schema | {"extra": pl.String},
    ).with_columns(times([a[2] for a in asks], spine_unit).alias("when"))
    assert zone is None or source["time"].dtype.time_zone == zone

    view = FeatureView(
        "whole" if whole else "floats",
        Entity("thing", keys),
        source="s",
        time="time",
        created="loaded" if has_created else None,
        delay=delay,
        ttl=ttl,
        features=aggregates("i" if whole else "x"),
    )
    joined = join_service(spine, FeatureService("s", [view]), {view.name: source.lazy()})
    assert joined.select(spine.columns).equals(spine)

    oracle_rows = [
        (
            tuple(r[: len(keys)]),
            None if r[2] is None else r[2] * HOUR,
            (r[3] if has_created else r[2]) and (r[3] if has_created else r[2]) * HOUR,
            {"x": r[4], "i": r[5], "flag": r[6]},
        )
        for r in rows
    ]
    for ask, got in zip(asks, joined.to_dicts(), strict=True):
        moment = None if ask[2] is None else ask[2] * HOUR
        for feature in view.features:
            wanted = expected(view, feature, oracle_rows, tuple(ask[: len(keys)]), moment)
            assert same(got[feature.name], wanted, feature), (feature, ask, got[feature.name], wanted)


def joined(source, spine, features, **options):
    options = {"time": "t"} | options
    view = FeatureView("v", Entity("k", options.pop("keys", ["k"])), source="s", features=features, **options)
    return join_service(pl.DataFrame(spine), FeatureService("s", [view]), {"v": pl.DataFrame(source).lazy()})


def test_types_of_features_follow_the_columns():
    day = dt.date(2013, 1, 1)
    source = {
        "k": [1, 1],
        "t": [day, day + dt.timedelta(days=1)],
        "text": ["a", "b"],
        "small": pl.Series([3, 4], dtype=pl.Int8),
        "yes": [True, False],
        "day": [day, day],
        "price": pl.Series(["1.10", "2.20"]).cast(pl.Decimal(10, 2)),
    }
    spine = {"k": [1], "when": [dt.datetime(2013, 1, 2, 12)]}
    got = joined(
        source,
        spine,
        {
            "text": latest("text"),
            "price": latest("price"),
            "n": count("text", window="9d"),
            "least": min_("small", window="9d"),
            "rate": mean("yes", window="9d"),
            "any": max_("yes", window="9d"),
            "ever": min_("day", window="9d"),
            "paid": sum_("price", window="9d"),
            "sum": sum_("small", window="9d"),
        },
    ).drop("k", "when")
    assert got.schema == {
        "text": pl.String,
        "price": pl.Decimal(10, 2),
        "n": pl.Int64,
        "least": pl.Int8,
        "rate": pl.Float64,
        "any": pl.Boolean,
        "ever": pl.Date,
        "paid": pl.Float64,
        "sum": pl.Int64,
    }
    row = got.to_dicts()[0]
    assert (row["text"], row["n"], row["least"], row["rate"], row["any"], row["ever"]) == ("b", 2, 3, 0.5, True, day)
    assert row["paid"] == pytest.approx(3.3) and row["sum"] == 7


def test_a_view_without_time_gives_the_last_row_of_each_key():
    view = FeatureView(
        "planes",
        Entity("plane", {"tailnum": str}),
        source="planes",
        time=None,
        keys={"tailnum": "tail"},
        features=["year"],
    )
    planes = pl.DataFrame({"tail": ["N1", "N2", "N1"], "year": [1999, 2004, 2001]})
    spine = pl.DataFrame({"tailnum": ["N2", "N1", None, "N9"]})
    got = join_service(spine, FeatureService("s", [view]), {"planes": planes.lazy()})
    assert got["year"].to_list() == [2004, 2001, None, None]


def test_a_view_without_time_does_not_look_at_the_spines_times():
    planes = FeatureView("planes", Entity("k", ["k"]), source="p", time=None, features=["year"])
    timed = FeatureView("timed", Entity("k", ["k"]), source="t", time="t", features=["x"])
    spine = pl.DataFrame({"k": [1, 1, 1], "at": [dt.datetime(1950, 1, 1), None, START]})
    sources = {
        "planes": pl.DataFrame({"k": [1], "year": [2001]}).lazy(),
        "timed": pl.DataFrame({"k": [1, 1], "t": [dt.datetime(1940, 1, 1), START], "x": [1.0, 2.0]}).lazy(),
    }
    got = join_service(spine, FeatureService("s", [planes, timed]), sources)
    assert got["year"].to_list() == [2001] * 3 and got["x"].to_list() == [1.0, None, 2.0]


def test_many_moments_are_searched_in_order_with_the_same_answers():
    rng = np.random.default_rng(0)
    hours = lambda count: [START + dt.timedelta(hours=int(h)) for h in rng.integers(0, 500, count)]  # noqa: E731
    source = pl.DataFrame({"k": rng.integers(0, 40, 3000), "t": hours(3000), "x": rng.normal(size=3000)})
    spine = pl.DataFrame({"k": rng.integers(-1, 41, 5000), "at": hours(5000)})
    features = {
        "x": latest("x"),
        "n": count(window="2d"),
        "least": min_("x", window="2d"),
        "sum": sum_("x", window="9h"),
    }
    whole = joined(source, spine, features, ttl="3d")
    parts = [joined(source, spine.slice(start, 100), features, ttl="3d") for start in range(0, 5000, 100)]
    assert whole.equals(pl.concat(parts))


def test_one_view_can_be_read_by_two_columns_of_the_spine():
    weather = FeatureView("w", Entity("airport", {"origin": str}), source="w", time="t", features=["temp", "wind"])
    service = FeatureService("s", [weather["temp"], weather.on({"origin": "dest"}, prefix="dest_")])
    source = pl.DataFrame({"origin": ["JFK", "LAX"], "t": [START, START], "temp": [1.0, 2.0], "wind": [3.0, 4.0]})
    spine = pl.DataFrame({"origin": ["JFK"], "dest": ["LAX"], "at": [START]})
    got = join_service(spine, service, {"w": source.lazy()}).to_dicts()[0]
    assert (got["temp"], got["dest_temp"], got["dest_wind"]) == (1.0, 2.0, 4.0)


def test_a_constant_column_has_no_spread_and_huge_values_do_not_overflow():
    times = [START + dt.timedelta(hours=h) for h in range(50)]
    source = {"k": [1] * 50, "t": times, "c": [0.1] * 50, "big": [1e200 * (i % 2) for i in range(50)]}
    spine = {"k": [1], "at": [times[-1]]}
    got = joined(source, spine, {"c": std("c", window="9d"), "big": std("big", window="9d")}).to_dicts()[0]
    assert got["c"] == 0.0
    assert got["big"] == pytest.approx(1e200 * np.std([i % 2 for i in range(50)], ddof=1), rel=1e-14)


def test_infinities_stay_in_their_own_windows():
    times = [START + dt.timedelta(hours=h) for h in range(4)]
    source = {"k": [1] * 4, "t": times, "x": [math.inf, 1.0, -math.inf, 2.0]}
    spine = {"k": [1] * 4, "at": times}
    got = joined(source, spine, {"s": sum_("x", window="2h"), "m": max_("x", window="1h")})
    assert got["s"].to_list() == [math.inf, math.inf, -math.inf, -math.inf]
    assert got["m"].to_list() == [math.inf, 1.0, -math.inf, 2.0]


def test_rows_far_apart_in_time_and_many_keys_do_not_overflow():
    rng = np.random.default_rng(1)
    far = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)]
    source = pl.DataFrame({"k": rng.integers(-(2**62), 2**62, 40_000), "x": rng.normal(size=40_000)})
    source = source.with_columns(pl.Series("t", [far[i % 2] for i in range(40_000)]))
    spine = source.select("k", at=pl.lit(dt.datetime(2026, 1, 1)))
    got = joined(source, spine, {"x": latest("x"), "n": count(window="3d")})
    wanted = [x if i % 2 == 0 else None for i, x in enumerate(source["x"].to_list())]
    assert got["x"].to_list() == wanted and got["n"].sum() == 0


@pytest.mark.parametrize(
    ("spine", "message"),
    [
        ({"k": ["1"], "at": [START]}, 'Key column "k" of dataset "s" is Int64|Key column "k" of the spine is String'),
        ({"key": [1], "at": [START]}, 'The spine has no column "k"'),
        ({"k": [1.5], "at": [START]}, "keys are text, whole numbers"),
        ({"k": [1], "at": ["2013-01-01"]}, "The spine needs one time column, and has none"),
        ({"k": [1], "at": [START], "to": [START]}, r"several \(at, to\)"),
        ({"k": [1], "at": [START], "x": [1]}, 'already has a column "x"'),
    ],
)
def test_a_wrong_spine_is_refused_with_what_to_mend(spine, message):
    with pytest.raises(InvalidInput, match=message):
        joined({"k": [1], "t": [START], "x": [1.0]}, spine, {"x": latest("x")})


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        ({"x": latest("xx")}, {}, 'has no column "xx". Did you mean "x"?'),
        ({"x": mean("s", window="1d")}, {}, "mean needs numbers"),
        ({"x": count(window="1d", where="x")}, {}, "needs a true/false column"),
        ({"x": latest("x")}, {"time": "s"}, "not a time"),
        ({"x": latest("x")}, {"created": "s"}, "not a time"),
        ({"x": latest("x")}, {"keys": {"k": str}}, "is Int64, but key"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_with_what_to_mend(features, options, message):
    with pytest.raises(InvalidInput) as refused:
        joined({"k": [1], "t": [START], "x": [1.0], "s": ["a"]}, {"k": [1], "at": [START]}, features, **options)
    assert message in refused.value.message
