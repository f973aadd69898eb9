"""Any frame as a Polars frame: Polars, pandas (no pyarrow needed), Arrow, a dict of columns, a list of rows, a named array."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from trine.errors import InvalidInput

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["polars", "pandas", "numpy"]


def kind_of(frame: Any) -> Kind:
    """What a model that was fitted on this frame expects to be given again."""
    if _is_pandas(frame):
        return "pandas"
    return "numpy" if _is_array(frame) else "polars"


def as_frame(frame: Any, names: Sequence[str] = ()) -> pl.DataFrame:
    """Rows as a Polars frame; `names` are the columns of a bare two-dimensional array. Raises InvalidInput."""
    import polars as pl

    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    try:
        if _is_pandas(frame):
            return pl.DataFrame([_of_pandas(str(name), frame[name]) for name in frame.columns])
        if _is_array(frame):
            return _of_array(frame, names)
        if isinstance(frame, Mapping):
            return pl.DataFrame([_column(str(name), frame[name]) for name in frame])
        if _is_rows(frame):
            keys = dict.fromkeys(name for row in frame for name in row)
            return pl.DataFrame([_column(str(key), [row.get(key) for row in frame]) for key in keys])
        if hasattr(frame, "__arrow_c_stream__"):
            return pl.DataFrame(frame)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"These rows make no table: {str(error).splitlines()[0]}") from error
    raise InvalidInput(
        f"A {type(frame).__name__} is no table of rows: give a Polars or pandas frame, a dict of columns or a list of dicts."
    )


def _is_pandas(frame: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(frame, pandas.DataFrame)


def _is_array(frame: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(frame, numpy.ndarray)


def _is_rows(frame: Any) -> bool:
    return isinstance(frame, (list, tuple)) and all(isinstance(row, Mapping) for row in frame)  # pyright: ignore[reportUnknownVariableType]


def _of_array(array: Any, names: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    if array.ndim != 2:
        raise InvalidInput(f"An array of rows has two dimensions, this one {array.ndim}.")
    names = list(names) or [f"x{index}" for index in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise InvalidInput(f"The array has {array.shape[1]} columns, not {len(names)}: {', '.join(names[:8])}.")
    return pl.DataFrame({name: _plain(array[:, index]) for index, name in enumerate(names)}, strict=True)


def _column(name: str, values: Any) -> pl.Series:
    """Plain values as a column; integers among floats become floats. Raises InvalidInput naming the row that is unlike the others."""
    import polars as pl

    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        present = [(row, value) for row, value in enumerate(values) if value is not None]
        if all(type(value) in (int, float) for _, value in present):
            return pl.Series(name, [None if value is None else float(value) for value in values])
        kind = type(present[0][1]) if present else type(None)
        row, value = next((pair for pair in present if type(pair[1]) is not kind), (0, kind.__name__))
        raise InvalidInput(
            f'Row {row}, column "{name}": {value!r} does not go with {present[0][1] if present else None!r} in row {present[0][0]}.',
            row=row,
            column=name,
        ) from None


def _plain(column: Any) -> Any:
    return column.tolist() if column.dtype == object else column


def _of_pandas(name: str, column: Any) -> pl.Series:
    """A pandas column: what pandas calls missing becomes null, but in a float column NaN stays NaN."""
    import numpy as np
    import polars as pl

    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "fiub":
        return pl.Series(name, column.to_numpy())
    if isinstance(kind, np.dtype) and kind.kind == "M":
        return pl.Series(name, column.to_numpy()).cast(pl.Datetime("us"))
    if str(kind).startswith("datetime64"):  # with a time zone: the instants, in UTC
        utc = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return pl.Series(name, utc).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    return pl.Series(name, [None if gone else value for gone, value in zip(missing, values, strict=True)], strict=True)


def to_pandas(frame: pl.DataFrame) -> Any:
    """A Polars frame as pandas, column by column; nulls in numbers become NaN."""
    import pandas as pd

    return pd.DataFrame(
        {
            one.name: one.to_numpy() if one.dtype.is_numeric() or one.dtype.is_temporal() else one.to_list()
            for one in frame.iter_columns()
        }
    )
