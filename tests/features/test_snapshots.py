"""Online equals training, cell by cell and bit by bit: the snapshot of a view against the join."""

import datetime as dt

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import Damaged, InvalidInput
from trine.features.definitions import Entity, FeatureService, FeatureView, count, latest, max_, mean, min_, std, sum_
from trine.features.join import join_service
from trine.features.online_file import Header, OnlineFile, OnlineRow
from trine.features.snapshots import encode_key, read_snapshot, take_snapshot
from trine.ids import to_us

START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
hours = st.integers(0, 15)
row = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.sampled_from([1, 2, -(2**40)]),
    st.none() | hours,
    st.none() | hours,
    st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.1, 0.2, 1e16, float("nan"), float("inf")]),
    st.none() | st.integers(-9, 9),
    st.none() | st.booleans(),
)


def at(hour):
    return None if hour is None else START + dt.timedelta(hours=hour)


def view_of(created, delay, ttl, loose):
    return FeatureView(
        "v",
        Entity("thing", ["k", "l"] if loose else {"k": str, "l": int}),
        source="s",
        time="time",
        created="loaded" if created else None,
        delay=delay,
        ttl=ttl,
        features={
            "last": latest("x"),
            "word": latest("word"),
            "day": latest("day"),
            "price": latest("price"),
            "rows": count(window="3h"),
            "values": count("word", window="5h", where="flag"),
            "total": sum_("x", window="7h"),
            "whole": sum_("i", window="3h"),
            "rate": mean("flag", window="5h"),
            "average": mean("x", window="7h"),
            "spread": std("x", window="7h"),
            "least": min_("day", window="4h"),
            "most": max_("i", window="2h", where="flag"),
        },
    )


def table(rows):
    return pl.DataFrame(
        {
            "k": pl.Series([r[0] for r in rows], dtype=pl.String),
            "l": pl.Series([r[1] for r in rows], dtype=pl.Int64),
            "time": pl.Series([at(r[2]) for r in rows], dtype=pl.Datetime("us", "UTC")),
            "loaded": pl.Series([at(r[3]) for r in rows], dtype=pl.Datetime("us", "UTC")),
            "x": pl.Series([r[4] for r in rows], dtype=pl.Float64),
            "i": pl.Series([r[5] for r in rows], dtype=pl.Int8),
            "flag": pl.Series([r[6] for r in rows], dtype=pl.Boolean),
        }
    ).with_columns(
        pl.concat_str("k", pl.col("i").cast(pl.String)).cast(pl.Categorical).alias("word"),
        pl.col("loaded").dt.date().alias("day"),
        pl.col("i").cast(pl.Decimal(10, 2)).alias("price"),
    )


def online(service, snapshot, keys, at_us):
    selection = service.selections[0]
    wire = msgspec.json.decode(msgspec.json.encode(snapshot.header), type=Header)
    encoded = [encode_key(selection, wire.kinds, key, row) for row, key in enumerate(keys)]
    return read_snapshot(selection, wire, encoded, {r.key: r.value for r in snapshot.rows}, at_us)


@settings(max_examples=50)
@given(
    rows=st.lists(row, min_size=1, max_size=25),
    created=st.booleans(),
    delay=st.sampled_from(["", "2h"]),
    ttl=st.sampled_from(["", "3h"]),
    loose=st.booleans(),
    until=hours,
    later=st.integers(0, 9),
)
def test_online_after_materialising_gives_the_bits_of_the_training_join(rows, created, delay, ttl, loose, until, later):
    view, source = view_of(created, delay, ttl, loose), table(rows)
    service = FeatureService("s", [view])
    snapshot = take_snapshot(view, source.lazy(), to_us(at(until)))
    keys = [{"k": k, "l": l} for k in ("a", "b", "zz", None) for l in (1, 2, -(2**40), None)]  # noqa: E741

    lag = dt.timedelta(hours=2 if delay else 0)
    known = pl.max_horizontal("time", (pl.col("loaded") if created else pl.col("time")) + lag)
    for moment, seen in ((at(until), source), (at(until + later), source.filter(known <= at(until)))):
        spine = pl.DataFrame(keys, schema={"k": pl.String, "l": pl.Int64}).with_columns(at=pl.lit(moment))
        trained = join_service(spine, service, {"v": seen.lazy()}).select(service.columns)
        served = online(service, snapshot, keys, to_us(moment))
        assert list(served) == trained.columns
        for name in service.columns:
            assert repr(served[name]) == repr(trained[name].to_list()), name


def test_a_view_without_time_is_served_whatever_the_moment():
    view = FeatureView("p", Entity("plane", {"tail": str}), source="p", time=None, features=["year"])
    source = pl.DataFrame({"tail": ["N1", "N2", "N1"], "year": [1999, 2004, 2001]})
    snapshot = take_snapshot(view, source.lazy(), 0)
    got = online(FeatureService("s", [view]), snapshot, [{"tail": "N1"}, {"tail": "N2"}, {"tail": "N3"}], -1)
    assert got["year"] == [2001, 2004, None] and snapshot.newest_us is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [("str", 1), ("int", "1"), ("int", 1.5), ("int", True), ("bool", 1), ("date", START), ("str", [])],
)
def test_a_key_of_the_wrong_type_is_refused_by_row_and_column(kind, value):
    selection = FeatureView("v", Entity("e", {"k": kind}), source="s", time="t", features=["x"]).on({})
    with pytest.raises(InvalidInput, match='"k" in row 3'):
        encode_key(selection, [kind], {"k": value}, 3)
    with pytest.raises(InvalidInput, match=r'Row 3 of the keys has no "k".*Did you mean "kk"'):
        encode_key(selection, [kind], {"kk": value}, 3)


def test_a_column_of_lists_cannot_be_kept_online():
    view = FeatureView("v", Entity("e", ["k"]), source="s", time=None, features=["x"])
    with pytest.raises(InvalidInput, match="does not keep"):
        take_snapshot(view, pl.DataFrame({"k": [1], "x": [[1, 2]]}).lazy(), 0)


def fill(file, published, *keys):
    rows = [OnlineRow(key, 1, b"%d" % published) for key in keys]
    return file.fill("p", "v", "h", published_us=published, until_us=published, header="{}", rows=rows)


def test_a_later_snapshot_replaces_all_rows_and_an_earlier_one_none(tmp_path):
    file = OnlineFile(tmp_path / "deep" / "online.sqlite")
    assert file.read("p", "v", "h", 0, []) is None
    assert fill(file, 5, b"a", b"b")
    assert fill(file, 7, b"b", b"c")
    assert not fill(file, 6, b"a")
    held = file.read("p", "v", "h", 6, [b"a", b"b", b"c"])
    assert held.until_us == 7 and sorted(held.rows) == [(b"b", b"7"), (b"c", b"7")]
    assert file.read("p", "v", "h", 8, []) is None and file.read("q", "v", "h", 0, []) is None


def test_a_fill_that_breaks_off_leaves_the_old_rows(tmp_path):
    file = OnlineFile(tmp_path / "online.sqlite")
    fill(file, 1, b"a")

    def broken():
        yield OnlineRow(b"b", 1, b"")
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        file.fill("p", "v", "h", published_us=2, until_us=2, header="{}", rows=broken())
    assert file.read("p", "v", "h", 1, [b"a", b"b"]).rows == [(b"a", b"1")]


def test_a_damaged_online_file_is_named(tmp_path):
    path = tmp_path / "online.sqlite"
    path.write_bytes(b"not a database" * 500)
    with pytest.raises(Damaged, match=r"online\.sqlite is damaged"):
        OnlineFile(path).read("p", "v", "h", 0, [])
