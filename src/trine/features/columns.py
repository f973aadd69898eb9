"""From table columns to the arrays that joins work on: keys to codes, times to microseconds, numbers to values and validity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trine.errors import InvalidInput, nearest
from trine.features.definitions import Entity, FeatureView, KeyType
from trine.features.timeline import Ints
from trine.features.windows import Column

_FAR_US = 1 << 60
"""Times are held between the years -34,566 and 38,505, so that adding a window cannot overflow."""
_KEY_DTYPES: dict[KeyType, Any] = {"str": pl.String, "int": pl.Int64, "bool": pl.Boolean, "date": pl.Date}


def need_columns(columns: Sequence[str], needed: Sequence[str], what: str) -> None:
    """InvalidInput for the first needed column that is not there."""
    for column in needed:
        if column not in columns:
            raise InvalidInput(
                f'{what} has no column "{column}".{nearest(column, columns)} It has: {", ".join(columns)}.'
            )


def key_type(dtype: pl.DataType, where: str) -> KeyType:
    """What kind of key a column holds; `""` for one that holds only nulls."""
    if dtype == pl.Null:
        return ""
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return "str"
    if dtype.is_integer():
        return "int"
    if dtype == pl.Boolean:
        return "bool"
    if dtype == pl.Date:
        return "date"
    raise InvalidInput(
        f"{where} is {dtype}; keys are text, whole numbers, true/false or dates. Cast it first, for instance to String."
    )


def key_types(
    entity: Entity, columns: Sequence[str], schema: pl.Schema, what: str, like: Sequence[KeyType] | None = None
) -> list[KeyType]:
    """The kinds of the key columns, agreeing with the entity's and with `like`."""
    kinds: list[KeyType] = []
    for at, (key, column) in enumerate(zip(entity.keys, columns, strict=True)):
        kind = key_type(schema[column], f'Key column "{column}" of {what}')
        wanted = entity.keys[key] or (like[at] if like else "")
        if kind and wanted and kind != wanted:
            raise InvalidInput(
                f'Key column "{column}" of {what} is {schema[column]}, but key "{key}" of entity "{entity.name}" is '
                f"{wanted}. Cast one of them."
            )
        kinds.append(kind or wanted)
    return kinds


def key_columns(columns: Sequence[str], kinds: Sequence[KeyType]) -> list[pl.Expr]:
    """The key columns as `key0`, `key1`, … in the one type of their kind."""
    return [
        pl.col(column).cast(_KEY_DTYPES[kind or "str"]).alias(f"key{at}")
        for at, (column, kind) in enumerate(zip(columns, kinds, strict=True))
    ]


def time_us(column: pl.Expr, dtype: pl.DataType, where: str) -> pl.Expr:
    """A Date or Datetime column as whole microseconds since the epoch, UTC; finer ones are cut down."""
    if isinstance(dtype, pl.Datetime):
        physical = column.to_physical()
        scaled = {"ms": physical * 1000, "us": physical, "ns": physical.floordiv(1000)}[dtype.time_unit]
    elif dtype == pl.Date:
        scaled = column.to_physical().cast(pl.Int64) * 86_400_000_000
    elif dtype == pl.Null:
        scaled = column.cast(pl.Int64)
    else:
        raise InvalidInput(f"{where} is {dtype}, not a time. Make it one first, for instance with .str.to_datetime().")
    return scaled.clip(-_FAR_US, _FAR_US)


def number(series: pl.Series, how: str, where: str) -> Column:
    """A column as 64-bit values and validity, for aggregating."""
    valid: npt.NDArray[np.bool_] = series.is_not_null().to_numpy()
    dtype = series.dtype
    if how == "count":
        return Column(np.zeros(len(series), np.int64), valid)
    if dtype == pl.Null:
        return Column(np.zeros(len(series), np.float64), valid)
    if how in ("min", "max") and dtype.is_temporal():
        return Column(series.to_physical().cast(pl.Int64).fill_null(0).to_numpy(), valid)
    if dtype == pl.Boolean or dtype.is_integer():
        whole = series.cast(pl.Int64, strict=False)
        if whole.null_count() != series.null_count():
            raise InvalidInput(f"{where} holds numbers over 2^63. Cast it to Float64 first.")
        return Column(whole.fill_null(0).to_numpy(), valid)
    if dtype.is_float() or dtype.is_decimal():
        values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return Column(values, ~np.isnan(values))
    raise InvalidInput(f"{where} is {dtype}; {how} needs numbers or true/false.")


def truth(series: pl.Series, where: str) -> npt.NDArray[np.bool_]:
    """A boolean column as an array; null is false."""
    if not isinstance(series.dtype, (pl.Boolean, pl.Null)):
        raise InvalidInput(f"{where} is {series.dtype}; `where` needs a true/false column.")
    return series.cast(pl.Boolean).fill_null(False).to_numpy()


def check_source(view: FeatureView, schema: pl.Schema) -> None:
    """InvalidInput where the view's source lacks a column, or holds one of a type that the view cannot use."""
    what = f'dataset "{view.source}" (feature view "{view.name}")'
    need_columns(schema.names(), view.source_columns, f"Dataset{what.removeprefix('dataset')}")
    key_types(view.entity, view.source_keys, schema, what)
    for column in (view.time, view.created):
        if column:
            time_us(pl.col(column), schema[column], f'Column "{column}" of {what}')
    for feature in view.features:
        if feature.column and feature.how != "latest":
            empty = pl.Series(feature.column, [], schema[feature.column])
            number(empty, feature.how, f'Column "{feature.column}" of {what}')
        if feature.where:
            truth(pl.Series(feature.where, [], schema[feature.where]), f'Column "{feature.where}" of {what}')


def nullable(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], name: str) -> pl.Series:
    """A column of the values, null where they are not valid."""
    return (
        pl.DataFrame({"value": values, "valid": valid}).select(pl.when("valid").then("value").alias(name)).to_series()
    )


def to_int(series: pl.Series, default: int = 0) -> Ints:
    """A whole-number column as an array, nulls as `default`."""
    return series.cast(pl.Int64).fill_null(default).to_numpy()
