"""Polars' types in the words of Delta Lake, and what to write for those it has none for."""

from __future__ import annotations

from typing import Any

import polars as pl

from trine.errors import InvalidInput

_PLAIN: dict[Any, str] = {
    pl.Int8: "byte",
    pl.Int16: "short",
    pl.Int32: "integer",
    pl.Int64: "long",
    pl.UInt8: "short",
    pl.UInt16: "integer",
    pl.UInt32: "long",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.String: "string",
    pl.Categorical: "string",
    pl.Binary: "binary",
    pl.Date: "date",
    pl.Null: "void",
}
_WRITTEN: dict[Any, pl.DataType] = {
    pl.UInt64: pl.Decimal(20, 0),
    pl.Int128: pl.Decimal(38, 0),
    pl.Enum: pl.String(),
    pl.Duration: pl.Int64(),
    pl.Time: pl.Int64(),
}


def delta_schema(schema: pl.Schema) -> dict[str, Any]:
    """A table's columns as Delta's log has them. Raises InvalidInput for a column that Delta cannot hold."""
    return {"type": "struct", "fields": [_field(name, kind) for name, kind in schema.items()]}


def _field(name: str, kind: pl.DataType) -> dict[str, Any]:
    try:
        return {"name": name, "type": _type(written_as(kind)), "nullable": True, "metadata": {}}
    except KeyError:
        raise InvalidInput(f'Column "{name}" is {kind}, for which Delta Lake has no type.') from None


def _type(kind: pl.DataType) -> Any:
    if isinstance(kind, pl.Datetime):
        return "timestamp" if kind.time_zone else "timestamp_ntz"
    if isinstance(kind, pl.Decimal):
        return f"decimal({kind.precision},{kind.scale})"
    if isinstance(kind, pl.List):
        return {"type": "array", "elementType": _type(_inner(kind)), "containsNull": True}
    if isinstance(kind, pl.Struct):
        return {"type": "struct", "fields": [_field(one.name, _given(one.dtype)) for one in kind.fields]}
    return _PLAIN[kind.base_type()]


def written_as(kind: pl.DataType) -> pl.DataType:
    """The type that a column of a part has to have for readers of Delta: the same, or one that holds as much.

    Times of day and spans become integers, in nanoseconds and microseconds.
    """
    if isinstance(kind, (pl.List, pl.Array)):
        return pl.List(written_as(_inner(kind)))
    if isinstance(kind, pl.Struct):
        return pl.Struct({one.name: written_as(_given(one.dtype)) for one in kind.fields})
    return _WRITTEN.get(kind.base_type(), kind)


def rewritten(schema: pl.Schema) -> list[pl.Expr]:
    """What to select from a part whose columns readers of Delta do not know; nothing when they know all."""
    if all(written_as(kind) == kind for kind in schema.values()):
        return []
    return [_cast(name, kind) for name, kind in schema.items()]


def _cast(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.Duration):
        column = column.cast(pl.Duration("us"))
    return column.cast(written_as(kind))


def _inner(kind: pl.List | pl.Array) -> pl.DataType:
    return _given(kind.inner)


def _given(kind: Any) -> pl.DataType:
    return kind() if isinstance(kind, type) else kind
