"""Tables as they come: any frame, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trine.errors import InvalidInput, NotFound


def as_polars(frame: Any) -> pl.DataFrame:
    """Any frame as a Polars frame: Polars, pandas, Arrow, a dict of columns or a list of dicts.

    What pandas calls missing (NaN, NaT, NA) becomes null; an index that means something becomes columns.
    """
    try:
        if isinstance(frame, pl.DataFrame):
            return frame
        if isinstance(frame, pl.LazyFrame):
            return frame.collect()
        if type(frame).__module__.partition(".")[0] == "pandas":
            return _from_pandas(frame)
        if isinstance(frame, Mapping) or hasattr(frame, "__arrow_c_stream__") or _is_records(frame):
            return pl.DataFrame(frame)
    except (TypeError, ValueError, ImportError, AttributeError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"That {type(frame).__name__} cannot be read as a table: {first_line(error)}") from error
    raise InvalidInput(
        f"A {type(frame).__name__} is no frame Trine takes: give a Polars, pandas or Arrow frame, or a dict of columns."
    )


def _is_records(frame: Any) -> bool:
    return isinstance(frame, list) and all(isinstance(row, Mapping) for row in frame)


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Column by column, so that pyarrow is not needed."""
    counted = type(frame.index).__name__ == "RangeIndex" and frame.index.name is None
    frame = frame if counted else frame.reset_index()
    return pl.DataFrame([_pandas_column(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)])


def _pandas_column(name: str, column: Any) -> pl.Series:
    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "iufbmM":
        return pl.Series(name, column.to_numpy(), nan_to_null=True)
    if zone := getattr(kind, "tz", None):
        instants = pl.Series(name, column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
        return instants.dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone))
    missing = column.isna().tolist()
    values = pl.Series(name, [None if gone else value for value, gone in zip(column.tolist(), missing, strict=True)])
    return values.cast(pl.Categorical) if kind.name == "category" and values.dtype == pl.String else values


def read_table(path: Path) -> pl.DataFrame:
    """A table from a .parquet or .csv file, or a folder of .parquet files (by name). Raises InvalidInput naming the file."""
    if not path.exists():
        raise NotFound(f"There is nothing at {path}.")
    try:
        if (path / "_delta_log").is_dir():  # its files alone hold rows that are gone, too
            raise InvalidInput(f"{path} is a Delta table. Bring it with its history: trine data import delta {path}")
        if path.is_dir():
            return pl.read_parquet(path / "**/*.parquet")
        if path.suffix in (".parquet", ".pq"):
            return pl.read_parquet(path)
        if path.suffix == ".csv":
            return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as a table: {first_line(error)}") from error
    raise InvalidInput(f"{path} is no table Trine reads: it takes .parquet, .csv or a folder of .parquet files.")


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
