"""What a model takes and answers, column by column, and the check of rows against it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trine.errors import InvalidInput, nearest
from trine.models.frames import as_frame

if TYPE_CHECKING:
    import polars as pl

Dtype = Literal[
    "float64", "float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8",
    "boolean", "string", "date", "datetime",
]  # fmt: skip
"""Column types. `datetime` is in microseconds; a time with a zone is taken as its instant in UTC."""


class Field(msgspec.Struct, frozen=True):
    """One column; one that is not required may be missing, null or NaN."""

    name: str
    dtype: Dtype
    required: bool = True

    @property
    def family(self) -> str:
        """float, integer, boolean, string, date or datetime: values of one family fit each other, and integers fit floats."""
        return family_of(self.dtype)


class Signature(msgspec.Struct, frozen=True):
    """The inputs a model needs, in order, and the columns it answers."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...] = ()

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.inputs]

    def conform(self, frame: Any, *, extra: Literal["refuse", "ignore"] = "refuse") -> pl.DataFrame:
        """The rows as the model wants them: its columns, in its order and types.

        Raises InvalidInput that names row (counted from 0) and column: a column missing or not known, another type (only an integer
        may stand for a float), a number out of range, null or NaN where a value is required, an infinite number.
        """
        rows = as_frame(frame, self.names)
        if extra == "refuse" and (unknown := [name for name in rows.columns if name not in self.names]):
            raise InvalidInput(
                f'The model has no input "{unknown[0]}".{nearest(unknown[0], self.names)} It takes: {", ".join(self.names)}.',
                column=unknown[0],
            )
        return rows.select([_conform(rows, one) for one in self.inputs])


def _conform(rows: pl.DataFrame, field: Field) -> pl.Series:
    import polars as pl

    wanted = polars_type(field.dtype)
    if field.name not in rows.columns:
        if field.required:
            raise InvalidInput(
                f'Column "{field.name}" ({field.dtype}) is missing.{nearest(field.name, rows.columns)}',
                column=field.name,
            )
        return pl.Series(field.name, [None] * rows.height, dtype=wanted)
    found = cast(rows[field.name], field)
    is_float = found.dtype.is_float()
    if not found.null_count() and not (is_float and not found.is_finite().all()):
        return found  # the common case costs one pass
    if field.required:
        missing = found.is_null() | found.is_nan() if is_float else found.is_null()
        if missing.any():
            raise _bad(field, missing, "a value is missing, and the model was not made for that")
    if is_float and (infinite := found.is_infinite().fill_null(False)).any():
        raise _bad(field, infinite, f"{found.filter(infinite)[0]} is no finite number")
    return found


def cast(given: pl.Series, field: Field) -> pl.Series:
    """A column in the type of a field. Raises InvalidInput naming row and column where a value does not fit."""
    import polars as pl

    wanted = polars_type(field.dtype)
    if given.dtype == wanted:
        return given
    if given.dtype == pl.Null:
        return given.cast(wanted)
    family = family_of(dtype_of(given))
    if family != field.family and not (family == "integer" and field.family == "float"):
        raise InvalidInput(
            f'Column "{field.name}" is {dtype_of(given) or given.dtype}, the model takes {field.dtype}: '
            f"row {_first(given.is_not_null())} has {_shown(given)}.",
            column=field.name,
            row=_first(given.is_not_null()),
        )
    if field.family == "datetime" and getattr(given.dtype, "time_zone", None):
        given = given.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    found = given.cast(wanted, strict=False)
    lost = found.is_null() & given.is_not_null()
    if field.dtype == "float32":
        lost = lost | (found.is_infinite() & given.cast(pl.Float64).is_finite())
    if lost.any():
        raise _bad(field, lost, f"{given.filter(lost)[0]} is out of range for {field.dtype}")
    return found


def _bad(field: Field, where: pl.Series, what: str) -> InvalidInput:
    row = _first(where)
    more = f" ({int(where.sum())} rows)" if where.sum() > 1 else ""
    return InvalidInput(f'Row {row}, column "{field.name}": {what}{more}.', row=row, column=field.name)


def _first(where: pl.Series) -> int:
    return int(where.arg_max() or 0)


def _shown(given: pl.Series) -> str:
    present = given.drop_nulls()
    return repr(present[0]) if len(present) else "nothing"


def family_of(dtype: str) -> str:
    """The family of a column type; a type that no signature can hold is a family of its own."""
    if dtype.startswith("float"):
        return "float"
    return "integer" if dtype.startswith(("int", "uint")) else dtype


def polars_type(dtype: str) -> Any:
    """The Polars type of a column type."""
    import polars as pl

    kinds: dict[str, Any] = {
        "float64": pl.Float64, "float32": pl.Float32, "boolean": pl.Boolean, "string": pl.String,
        "int64": pl.Int64, "int32": pl.Int32, "int16": pl.Int16, "int8": pl.Int8,
        "uint64": pl.UInt64, "uint32": pl.UInt32, "uint16": pl.UInt16, "uint8": pl.UInt8,
        "date": pl.Date, "datetime": pl.Datetime("us"),
    }  # fmt: skip
    return kinds[dtype]


def dtype_of(column: pl.Series) -> str:
    """The column type of a Polars column, or its own name for one that no signature can hold."""
    import polars as pl

    kind = column.dtype
    if isinstance(kind, (pl.Categorical, pl.Enum)):
        return "string"
    if isinstance(kind, pl.Datetime):
        return "datetime"
    if isinstance(kind, pl.Decimal):
        return "float64"
    return str(kind).lower()


def infer_signature(
    inputs: Any, outputs: Any = None, *, names: Sequence[str] = (), optional: Collection[str] = ()
) -> Signature:
    """The signature that example rows show: a column is required when none of its values is missing, unless it is `optional`.

    `inputs` and `outputs` are frames of any kind, a dict of columns or a list of rows; `names` name the columns of a bare array.
    """
    rows = as_frame(inputs, names)
    if not rows.width:
        raise InvalidInput("The example has no columns: a signature needs at least one.")
    if not rows.height:
        raise InvalidInput("The example has no rows: a signature is inferred from at least one.")
    for name in optional:
        if name not in rows.columns:
            raise InvalidInput(
                f'The example has no column "{name}", which is named as optional.{nearest(name, rows.columns)}'
            )
    fields = tuple(
        msgspec.structs.replace(one, required=False) if one.name in optional else one for one in _fields(rows)
    )
    return Signature(fields, _fields(as_frame(outputs)) if outputs is not None else ())


def _fields(rows: pl.DataFrame) -> tuple[Field, ...]:
    return tuple(_field(one) for one in rows.iter_columns())


def _field(column: pl.Series) -> Field:
    import polars as pl

    if column.dtype == pl.Null:
        raise InvalidInput(
            f'Column "{column.name}" has no value in the example, so its type is not known: give more rows, or signature=.',
            column=column.name,
        )
    dtype = dtype_of(column)
    if dtype not in _DTYPES:
        raise InvalidInput(
            f'Column "{column.name}" is {column.dtype}, which no model here can take. Types: {", ".join(_DTYPES)}.',
            column=column.name,
        )
    missing = column.is_null().any() or (column.dtype.is_float() and bool(column.is_nan().any()))
    return Field(column.name, msgspec.convert(dtype, Dtype), not missing)


_DTYPES: tuple[str, ...] = Dtype.__args__  # type: ignore[attr-defined]


def checked(signature: Signature) -> Signature:
    """The signature, when its names are told apart. Raises InvalidInput."""
    for fields in (signature.inputs, signature.outputs):
        names = [one.name for one in fields]
        if doubled := _doubled(names):
            raise InvalidInput(f'The signature names column "{doubled}" twice.', column=doubled)
    if not signature.inputs:
        raise InvalidInput("The signature has no inputs.")
    return signature


def _doubled(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), "")
