"""The point-in-time join: for each row of a spine, the features as they were known at its time.

Method: keys become codes, (code, time) becomes one sortable integer, and each view needs one sort of its source and one binary
search of the spine (`timeline.py`); then a gather for `latest`, prefix sums for windows (`windows.py`). O((n + m) log n).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from trine.errors import InvalidInput
from trine.features.columns import (
    check_source,
    key_columns,
    key_types,
    need_columns,
    nullable,
    number,
    time_us,
    to_int,
    truth,
)
from trine.features.definitions import Feature, FeatureService, FeatureView, KeyType, Selection
from trine.features.durations import duration_us
from trine.features.timeline import Ints, Moments, Timeline
from trine.features.windows import Bools, Column, Windows


@dataclass(frozen=True)
class Rows:
    """Source rows that have a key and a time: key code, when each happened, when it was known."""

    codes: Ints
    event_us: Ints
    known_us: Ints
    groups: int


def latest_rows(rows: Rows, moments: Moments, ttl_us: int) -> Ints:
    """For each moment the position of the newest visible row by (event, known, position), or -1."""
    if not len(rows.codes):
        return np.full(len(moments.codes), -1)
    has_known = rows.known_us is not rows.event_us
    newest = Timeline(rows.codes, rows.event_us, rows.groups, rows.known_us if has_known else None)
    seen_us = np.maximum(rows.event_us, rows.known_us)
    if has_known and bool((seen_us > rows.event_us).any()):
        rank = np.empty_like(newest.order)
        rank[newest.order] = np.arange(len(newest.order))
        arriving = Timeline(rows.codes, seen_us, rows.groups)
        best = newest.order[np.maximum.accumulate(rank[arriving.order])]  # newest among all that have arrived
    else:
        arriving, best = newest, newest.order
    end = arriving.upto_each(moments)
    found = best[np.maximum(end - 1, 0)]
    seen = (end > 0) & (rows.codes[found] == moments.codes)
    if ttl_us:
        seen &= rows.event_us[found] >= moments.times_us - ttl_us
    return np.where(seen, found, -1)


def window_feature(feature: Feature, windows: Windows, column: Column, asked: Bools) -> Column:
    """One windowed feature at every moment; not there where nothing was asked or the aggregate has no value."""
    span = feature.window_us
    match feature.how:
        case "count":
            return Column(windows.count(column, span), asked)
        case "sum":
            return Column(windows.total(column, span), asked)
        case "mean":
            return Column(windows.mean(column, span), asked & (windows.count(column, span) > 0))
        case "std":
            return Column(windows.std(column, span), asked & (windows.count(column, span) > 1))
        case "min":
            return Column(windows.least(column, span), asked & (windows.count(column, span) > 0))
        case _:
            return Column(windows.greatest(column, span), asked & (windows.count(column, span) > 0))


def keeps_type(feature: Feature, dtype: pl.DataType) -> bool:
    """Whether a windowed feature has its column's own type: the least and the greatest value do, as far as they can."""
    return feature.how in ("min", "max") and dtype != pl.Null and not dtype.is_decimal()


def window_column(feature: Feature, of: Callable[[str], pl.Series], size: int, what: str) -> Column:
    """What a windowed feature aggregates: its column, where its `where` is true."""
    if feature.column:
        column = number(of(feature.column), feature.how, f'Column "{feature.column}" of {what}')
    else:
        column = Column(np.zeros(size, np.int64), np.ones(size, bool))
    if feature.where:
        keep = truth(of(feature.where), f'Column "{feature.where}" of {what}')
        column = Column(column.values, column.valid & keep)
    return column


def visible_rows(view: FeatureView, source: pl.LazyFrame, schema: pl.Schema, keys: list[pl.Expr]) -> pl.LazyFrame:
    """The source's rows that have keys and times: `key…`, `event_us`, `known_us`, then the columns that features read."""
    what = f'dataset "{view.source}"'
    columns = [*keys]
    if view.time is not None:
        event = time_us(pl.col(view.time), schema[view.time], f'Column "{view.time}" of {what}')
        known = event
        if view.created is not None:
            known = time_us(pl.col(view.created), schema[view.created], f'Column "{view.created}" of {what}')
        columns += [event.alias("event_us"), (known + duration_us(view.delay)).alias("known_us")]
    else:
        columns += [pl.lit(0, pl.Int64).alias("event_us"), pl.lit(0, pl.Int64).alias("known_us")]
    own = [column.meta.output_name() for column in columns]
    needed = [name for feature in view.features for name in (feature.column, feature.where) if name]
    columns += [pl.col(name).alias(f"column:{name}") for name in dict.fromkeys(needed)]
    return source.select(columns).drop_nulls(own)


class _Spine:
    """The rows that ask. What views share that look at the same columns is worked out once."""

    def __init__(self, frame: pl.DataFrame, times: pl.Series | None) -> None:
        self.frame = frame
        self.times = times
        self._keys: dict[tuple[bool, tuple[str, ...]], _Keys] = {}

    def keys(self, columns: list[str], kinds: list[KeyType], timed: bool) -> _Keys:
        """The different keys in those columns, numbered, and which of them each row asks for, at its time if `timed`."""
        mark = timed, (*columns, *kinds)
        if mark not in self._keys:
            self._keys[mark] = self._number(columns, kinds, self.times if timed else None)
        return self._keys[mark]

    def _number(self, columns: list[str], kinds: list[KeyType], times: pl.Series | None) -> _Keys:
        asked = self.frame.select(key_columns(columns, kinds))
        distinct = asked.drop_nulls().unique().with_row_index("code").cast({"code": pl.Int64})
        codes = asked.join(distinct, on=asked.columns, how="left", maintain_order="left")["code"]
        asks = codes.is_not_null()
        if times is not None:
            asks = asks & times.is_not_null()
        times_us = np.zeros(len(codes), np.int64) if times is None else to_int(times)
        return _Keys(distinct, asks.to_numpy(), Moments(to_int(codes, distinct.height), times_us, distinct.height))


@dataclass(frozen=True)
class _Keys:
    distinct: pl.DataFrame
    asked: Bools
    moments: Moments


def _join_view(spine: _Spine, selection: Selection, source: pl.LazyFrame) -> list[pl.Series]:
    view = selection.view
    schema = source.collect_schema()
    check_source(view, schema)
    what = f'dataset "{view.source}"'
    need_columns(spine.frame.columns, selection.spine_keys, "The spine")
    source_kinds = key_types(view.entity, view.source_keys, schema, what)
    kinds = key_types(view.entity, selection.spine_keys, spine.frame.schema, "the spine", source_kinds)
    keys = spine.keys(selection.spine_keys, kinds, timed=view.time is not None)
    found = visible_rows(view, source, schema, key_columns(view.source_keys, kinds))
    if bounds := _span(selection, spine.times):
        found = found.filter(pl.col("event_us").is_between(*bounds))
    names = [name for name in keys.distinct.columns if name != "code"]
    table = found.join(keys.distinct.lazy(), on=names, how="inner", maintain_order="left").drop(names).collect()
    event_us = to_int(table["event_us"])
    has_known = view.created is not None or bool(view.delay)
    known_us = to_int(table["known_us"]) if has_known else event_us
    rows = Rows(to_int(table["code"]), event_us, known_us, keys.moments.groups)
    return _features(selection, table, rows, keys.moments, keys.asked, what)


def _span(selection: Selection, times: pl.Series | None) -> tuple[int, int] | None:
    """The times of rows that can matter to any moment, where that is bounded on both sides."""
    view = selection.view
    if view.time is None or times is None or times.null_count() == len(times):
        return None
    earliest, newest = to_int(times.drop_nulls()).min(), to_int(times.drop_nulls()).max()
    wanted = [view.feature(name) for name in selection.features]
    reach = [each.window_us if each.how != "latest" else duration_us(view.ttl) for each in wanted]
    return (int(earliest) - max(reach) if all(reach) else -(1 << 62), int(newest))


def _features(
    selection: Selection, table: pl.DataFrame, rows: Rows, moments: Moments, asked: Bools, what: str
) -> list[pl.Series]:
    view = selection.view
    windows = Windows(rows.codes, rows.event_us, rows.known_us, rows.groups, moments)
    newest: pl.Series | None = None
    made: list[pl.Series] = []

    def column(name: str) -> pl.Series:
        return table[f"column:{name}"]

    for name in selection.features:
        feature = view.feature(name)
        out = selection.prefix + name
        if feature.how == "latest":
            if newest is None:
                positions = latest_rows(rows, moments, duration_us(view.ttl))
                newest = nullable(positions, asked & (positions >= 0), "position")
            made.append(column(feature.column).gather(newest).alias(out))
        else:
            found = window_feature(feature, windows, window_column(feature, column, table.height, what), asked)
            values = nullable(found.values, found.valid, out)
            own = column(feature.column).dtype if feature.column else values.dtype
            made.append(values.cast(own) if keeps_type(feature, own) else values)
    return made


def spine_time(spine: pl.DataFrame, time: str) -> str:
    """The spine's time column: the one named, or else the only one it has."""
    if time:
        need_columns(spine.columns, [time], "The spine")
        return time
    timed = [name for name, dtype in spine.schema.items() if dtype == pl.Date or isinstance(dtype, pl.Datetime)]
    if len(timed) != 1:
        which = f"several ({', '.join(timed)})" if timed else "none"
        raise InvalidInput(
            f'The spine needs one time column, and has {which}. Say which: time="…"; it must be a Date or Datetime.'
        )
    return timed[0]


def join_service(
    spine: pl.DataFrame, service: FeatureService, sources: Mapping[str, pl.LazyFrame], time: str = ""
) -> pl.DataFrame:
    """The spine with the service's features: exactly its rows, in its order. `sources` maps view names to their data."""
    for column in service.columns:
        if column in spine.columns:
            raise InvalidInput(
                f'The spine already has a column "{column}", which feature service "{service.name}" adds. '
                'Drop or rename it, or use .on(…, prefix="…") in the service.'
            )
    times: pl.Series | None = None
    if any(view.time is not None for view in service.views):
        named = spine_time(spine, time)
        times = spine.select(
            time_us(pl.col(named), spine.schema[named], f'Time column "{named}" of the spine')
        ).to_series()
    asking = _Spine(spine, times)
    made: list[pl.Series] = []
    for selection in service.selections:
        made += _join_view(asking, selection, sources[selection.view.name])
    out = spine.hstack(made)
    assert out.height == spine.height, "a point-in-time join must keep the spine's rows"
    return out
