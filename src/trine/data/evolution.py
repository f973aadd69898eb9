"""How the columns of a table may change when rows are added to it."""

from __future__ import annotations

from typing import Literal

import polars as pl

from trine.data.frames import first_line
from trine.errors import InvalidInput

Evolution = Literal["strict", "additive", "breaking"]
"""strict: the columns stay. additive: new ones may come, missing ones are null, types may widen, so every reader of the table
goes on working. breaking: columns may go and types change; the rows that are there are written anew."""


def evolve(before: pl.Schema, rows: pl.Schema, how: Evolution, name: str) -> pl.Schema:
    """The table's columns with rows of these columns in it. Raises InvalidInput that lists what does not fit."""
    if how == "breaking":
        return rows
    shared = [column for column in before if column in rows]
    widened = {column: wider(before[column], rows[column]) for column in shared}
    told = [
        f'column "{column}" is {rows[column]}, not {before[column]}' for column, kind in widened.items() if kind is None
    ]
    if told:
        raise InvalidInput(
            f'The rows do not fit dataset "{name}": {"; ".join(told[:5])}. Such a change breaks readers of the table: change '
            'the rows, or say so with schema="breaking" (--schema breaking).'
        )
    columns = {column: widened.get(column) or kind for column, kind in before.items()}
    return pl.Schema(columns | {column: kind for column, kind in rows.items() if column not in before})


def wider(table: pl.DataType, rows: pl.DataType) -> pl.DataType | None:
    """The one of two types that holds every value of the other exactly; None when neither does, or when readers of a table's
    older files would not take it for the other."""
    if rows.is_integer() and table == pl.Float64 and _bits(rows) <= 32:
        return table
    for small, large in ((table, rows), (rows, table)):
        if small == large or small == pl.Null or (small == pl.Float32 and large == pl.Float64):
            return large
        is_signed = large.is_signed_integer() or small.is_unsigned_integer()
        is_integer = small.is_integer() and large.is_integer()
        if is_integer and is_signed and _bits(small) + _needs_sign(small, large) <= _bits(large):
            return large
    return None


def _bits(kind: pl.DataType) -> int:
    return int("".join(filter(str.isdigit, str(kind))))


def _needs_sign(small: pl.DataType, large: pl.DataType) -> int:
    return int(small.is_unsigned_integer() and large.is_signed_integer())


def fit(rows: pl.LazyFrame, schema: pl.Schema, name: str) -> pl.DataFrame:
    """Rows with these columns. Raises InvalidInput naming a value that cannot be one of its column's type."""
    here = rows.collect_schema()
    columns = [
        (pl.col(column) if column in here else pl.lit(None)).cast(kind).alias(column) for column, kind in schema.items()
    ]
    try:
        return rows.select(columns).collect()
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f'The rows of "{name}" do not fit its new columns: {first_line(error)}') from error
