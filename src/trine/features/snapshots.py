"""What the online store holds of a view: per key, all that any read from `until` on can need.

That is the newest visible row (its time to live is judged at read time) and the visible rows that the longest window still
covers. A read rebuilds rows from it and runs the same `latest` rule and the same window functions as the training join; the
sums are exact, so both give the same bits. A snapshot is a header (types, layout) and rows (key, newest event, value).
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, SupportsIndex, cast

import msgspec
import numpy as np
import polars as pl

from trine.errors import InvalidInput, nearest
from trine.features.columns import check_source, key_columns, key_types, to_int
from trine.features.definitions import Feature, FeatureView, KeyType, Selection
from trine.features.durations import duration_us
from trine.features.join import Rows, keeps_type, latest_rows, visible_rows, window_column, window_feature
from trine.features.online_file import Header, OnlineRow
from trine.features.timeline import Moments
from trine.features.windows import Column, Windows


class Value(msgspec.Struct, frozen=True, array_like=True):
    """One key: its newest row (time, values of `latest` columns), then the window's rows, oldest first, as packed arrays."""

    event_us: int
    newest: list[Any]
    times_us: bytes
    columns: list[tuple[bytes, bytes]]


class Snapshot(msgspec.Struct, frozen=True):
    """A view's online rows as known at `until_us`."""

    header: Header
    rows: list[OnlineRow]
    until_us: int
    newest_us: int | None


def latest_columns(view: FeatureView) -> list[str]:
    """The columns whose newest values are kept, each once."""
    return list(dict.fromkeys(feature.column for feature in view.features if feature.how == "latest"))


def _layout(view: FeatureView) -> list[Feature]:
    """One feature for each distinct thing that windows aggregate."""
    kept: dict[tuple[str, str, bool], Feature] = {}
    for feature in view.features:
        if feature.how != "latest":
            kept.setdefault(_slot(feature), feature)
    return list(kept.values())


def _slot(feature: Feature) -> tuple[str, str, bool]:
    return feature.column, feature.where, feature.how == "count"


def take_snapshot(view: FeatureView, source: pl.LazyFrame, until_us: int) -> Snapshot:
    """The view's state from everything that happened and was known by `until_us`."""
    schema = source.collect_schema()
    check_source(view, schema)
    kinds = key_types(view.entity, view.source_keys, schema, f'dataset "{view.source}"')
    visible = visible_rows(view, source, schema, key_columns(view.source_keys, kinds))
    if view.time is not None:
        visible = visible.filter(pl.max_horizontal("event_us", "known_us") <= until_us)
    table = visible.collect()
    names = [f"key{at}" for at in range(len(kinds))]
    distinct = table.select(names).unique(maintain_order=True).with_row_index("code").cast({"code": pl.Int64})
    codes = to_int(table.select(names).join(distinct, on=names, how="left", maintain_order="left")["code"])
    event_us = to_int(table["event_us"])
    known_us = to_int(table["known_us"]) if view.created is not None or view.delay else event_us
    groups = distinct.height
    rows = Rows(codes, event_us, known_us, groups)
    now = Moments(np.arange(groups), np.full(groups, until_us), groups)
    newest = latest_rows(rows, now, 0)

    whole, tails = _tails(view, table, rows, until_us)
    values = [_plain(table[f"column:{name}"].gather(newest), view) for name in latest_columns(view)]
    newest_rows: list[list[Any]] = [list(row) for row in zip(*values, strict=True)] if values else [[]] * groups
    keys = distinct.select(
        pl.col(name).to_physical() if kind == "date" else name for name, kind in zip(names, kinds, strict=True)
    )
    made: list[OnlineRow] = []
    for key, event, row, (times, columns) in zip(
        keys.rows(), event_us[newest].tolist(), newest_rows, tails, strict=True
    ):
        value = Value(event, row, times, columns)
        made.append(OnlineRow(msgspec.msgpack.encode(key), event, msgspec.msgpack.encode(value)))
    newest_us = int(event_us.max()) if len(event_us) and view.time is not None else None
    empty = io.BytesIO()
    pl.DataFrame(schema=pl.Schema({name: schema[name] for name in view.source_columns})).write_ipc(empty)
    return Snapshot(Header(kinds, empty.getvalue(), whole), made, until_us, newest_us)


def _tails(
    view: FeatureView, table: pl.DataFrame, rows: Rows, until_us: int
) -> tuple[list[bool], Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]]:
    """Which columns are whole numbers, and per key code the packed rows that windows still cover."""
    covered = np.flatnonzero(rows.event_us > until_us - view.longest_window_us)
    order = covered[np.lexsort((rows.event_us[covered], rows.codes[covered]))]
    bounds = np.searchsorted(rows.codes[order], np.arange(rows.groups + 1)).tolist()
    times = rows.event_us[order]
    what = f'dataset "{view.source}"'
    columns = [
        window_column(feature, lambda name: table[f"column:{name}"], table.height, what) for feature in _layout(view)
    ]
    packed = [(column.values[order], column.valid[order]) for column in columns]

    def slices() -> Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]:
        for start, end in itertools.pairwise(bounds):
            yield (
                times[start:end].tobytes(),
                [(v[start:end].tobytes(), np.packbits(ok[start:end]).tobytes()) for v, ok in packed],
            )

    return [column.is_whole for column in columns], slices()


def _plain(series: pl.Series, view: FeatureView) -> list[Any]:
    """A column's values as msgpack can hold them; `_typed` turns them back."""
    dtype = series.dtype
    if dtype.is_nested() or dtype == pl.Object:
        raise InvalidInput(
            f'Column "{series.name}" of feature view "{view.name}" is {dtype}, which the online store does not keep. '
            "Split it into columns of single values."
        )
    if dtype.is_temporal():
        return series.to_physical().to_list()
    if isinstance(dtype, (pl.Categorical, pl.Enum)) or dtype.is_decimal():
        return series.cast(pl.String).to_list()
    return series.to_list()


def _typed(values: list[Any], dtype: pl.DataType) -> list[Any]:
    """The values that a column of that type gives; text and numbers are themselves already."""
    if dtype.is_temporal():
        whole = pl.Series(values, dtype=pl.Int64)
        return whole.cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype).to_list()
    if dtype.is_decimal():
        return pl.Series(values, dtype=pl.String).cast(dtype).to_list()
    if dtype == pl.Boolean:
        return [None if value is None else bool(value) for value in values]
    return values


def encode_key(selection: Selection, kinds: Sequence[KeyType], keys: dict[str, Any], row: int) -> bytes | None:
    """The bytes a key is stored under, or None for one with a null in it. Raises InvalidInput naming row and key."""
    values: list[Any] = []
    for column, kind in zip(selection.spine_keys, kinds, strict=True):
        if column not in keys:
            raise InvalidInput(
                f'Row {row} of the keys has no "{column}", which feature view "{selection.view.name}" is looked up by.'
                f"{nearest(column, keys)}",
                row=row,
                column=column,
            )
        values.append(_key_value(keys[column], kind, column, row))
    return None if None in values else msgspec.msgpack.encode(values)


_EPOCH = dt.date(1970, 1, 1)


def _key_value(value: Any, kind: KeyType, column: str, row: int) -> Any:
    match kind:
        case _ if value is None:
            return None
        case "str" if isinstance(value, str):
            return str(value)
        case "bool" if isinstance(value, (bool, np.bool_)):
            return bool(value)
        case "date" if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return (value - _EPOCH).days
        case "int" if not isinstance(value, (bool, np.bool_)) and hasattr(value, "__index__"):
            return operator.index(cast(SupportsIndex, value))
        case _:
            raise InvalidInput(
                f'Key "{column}" in row {row} is {value!r}, a {type(value).__name__}; it must be {kind or "null"}.',
                row=row,
                column=column,
            )


def read_snapshot(
    selection: Selection, header: Header, keys: Sequence[bytes | None], found: Mapping[bytes, bytes], at_us: int
) -> dict[str, list[Any]]:
    """The selected features of the keys at one moment, from the values found for them. A None key has null features."""
    view = selection.view
    types = header.types()
    size = len(keys)
    asked = np.array([key is not None for key in keys], bool)
    encoded = [None if key is None else found.get(key) for key in keys]
    values = [None if each is None else msgspec.msgpack.decode(each, type=Value) for each in encoded]
    here = np.array([value is not None for value in values], bool)
    kept = [value for value in values if value is not None]
    alive = _alive(view, values, at_us)
    columns = latest_columns(view)
    moments = Moments(np.arange(size), np.full(size, at_us), size)
    windows, tail = _windows(view, header, kept, np.flatnonzero(here), moments)
    made: dict[str, list[Any]] = {}
    for name in selection.features:
        feature = view.feature(name)
        out = selection.prefix + name
        if feature.how == "latest":
            position = columns.index(feature.column)
            plain = [
                value.newest[position] if value and live else None for value, live in zip(values, alive, strict=True)
            ]
            made[out] = _typed(plain, types[feature.column])
        else:
            answer = window_feature(feature, windows, tail[_slot(feature)], asked)
            answers = [
                value if there else None
                for value, there in zip(answer.values.tolist(), answer.valid.tolist(), strict=True)
            ]
            own = types[feature.column] if feature.column else pl.Int64()
            made[out] = _typed(answers, own) if keeps_type(feature, own) else answers
    return made


def _alive(view: FeatureView, values: Sequence[Value | None], at_us: int) -> list[bool]:
    """Whether each key's newest row is within its time to live."""
    oldest = at_us - duration_us(view.ttl)
    return [value is not None and (not view.ttl or value.event_us >= oldest) for value in values]


def _windows(
    view: FeatureView, header: Header, kept: list[Value], places: Any, moments: Moments
) -> tuple[Windows, dict[tuple[str, str, bool], Column]]:
    """The kept rows of all keys asked for, as the windows and columns that the training join works on."""
    times = [np.frombuffer(value.times_us, np.int64) for value in kept]
    lengths = [len(each) for each in times]
    codes = np.repeat(places, lengths).astype(np.int64)
    event_us = np.concatenate([np.zeros(0, np.int64), *times])
    columns: dict[tuple[str, str, bool], Column] = {}
    for position, feature in enumerate(_layout(view)):
        dtype = np.int64 if header.whole[position] else np.float64
        numbers = [np.frombuffer(value.columns[position][0], dtype) for value in kept]
        masks = [
            np.unpackbits(np.frombuffer(value.columns[position][1], np.uint8), count=length).astype(bool)
            for value, length in zip(kept, lengths, strict=True)
        ]
        columns[_slot(feature)] = Column(
            np.concatenate([np.zeros(0, dtype), *numbers]), np.concatenate([np.zeros(0, bool), *masks])
        )
    return Windows(codes, event_us, event_us, len(moments.codes), moments), columns
