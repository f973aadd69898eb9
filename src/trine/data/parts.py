"""The parts of a table: Parquet files in its tree, each perhaps with a deletion vector beside it that says which of its rows
are gone. A part is never changed; an edit writes a small vector, and new rows into a part of their own.

The newest part has all columns of the table; an older one may lack some, or have narrower types: it is read as the newest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from trine.data.reading import local_file
from trine.data.trees import Entry, read_tree
from trine.data.vectors import Positions, decode_vector
from trine.storage import Store
from trine.workspace import Workspace

FILE = ".parquet"
VECTOR = ".deletions.bin"
PART, ROW = "__trine_part", "__trine_row"
"""Where a row is: the number of its part among those that are scanned, and its own in that file."""

WIDEN = pl.ScanCastOptions(
    integer_cast=["upcast", "allow-float"],
    float_cast="upcast",
    datetime_cast="upcast",
    missing_struct_fields="insert",
    categorical_to_string="allow",
)


class Part(NamedTuple):
    """A part that is stored: its file, and the vector of rows that are gone."""

    file: Entry
    vector: Entry | None = None

    def beside(self, hash_: str, size: int) -> Part:
        """The part with another vector, which is stored."""
        return Part(self.file, Entry(self.file.path.removesuffix(FILE) + VECTOR, hash_, size))


def parts_of(entries: Iterable[Entry]) -> list[Part]:
    """The parts in a tree, in the order of their rows."""
    entries = list(entries)
    vectors = {one.path.removesuffix(VECTOR): one for one in entries if one.path.endswith(VECTOR)}
    return [Part(one, vectors.get(one.path.removesuffix(FILE))) for one in entries if one.path.endswith(FILE)]


def read_parts(store: Store, tree: str) -> list[Part]:
    return parts_of(read_tree(store, tree))


def entries_of(parts: Iterable[Part]) -> list[Entry]:
    """What is in the tree of a table with these parts."""
    return [entry for part in parts for entry in part if entry]


def positions_of(ws: Workspace, part: Part) -> Positions:
    """The rows of a part's file that are gone."""
    if part.vector is None:
        return np.empty(0, dtype=np.uint64)
    return decode_vector(ws.store.get(part.vector.hash), part.vector.hash)


def schema_of(ws: Workspace, parts: Sequence[Part]) -> pl.Schema:
    """The columns of the table."""
    return pl.Schema(pl.read_parquet_schema(local_file(ws, parts[-1].file.hash)))


def scan_parts(ws: Workspace, parts: Sequence[Part], schema: pl.Schema | None = None) -> pl.LazyFrame:
    """The rows that are there, from checked local files."""
    schema = schema or schema_of(ws, parts)
    frames: list[pl.LazyFrame] = []
    for has_vector, group in itertools.groupby(parts, lambda part: part.vector is not None):
        if has_vector:
            frames += [_left(ws, part, _scan(ws, [part], schema, ROW)).drop(ROW) for part in group]
        else:
            frames.append(_scan(ws, list(group), schema))
    return pl.concat(frames)


def scan_numbered(ws: Workspace, parts: Sequence[Part], schema: pl.Schema | None = None) -> pl.LazyFrame:
    """The rows that are there, with `PART` and `ROW` in front."""
    schema = schema or schema_of(ws, parts)
    return pl.concat(
        _left(ws, part, _scan(ws, [part], schema, ROW)).select(pl.lit(number, pl.UInt32).alias(PART), ROW, *schema)
        for number, part in enumerate(parts)
    )


def _scan(ws: Workspace, parts: list[Part], schema: pl.Schema, number: str | None = None) -> pl.LazyFrame:
    return pl.scan_parquet(
        [local_file(ws, part.file.hash) for part in parts],
        glob=False,
        schema=schema,
        row_index_name=number,
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=WIDEN,
    )


def _left(ws: Workspace, part: Part, rows: pl.LazyFrame) -> pl.LazyFrame:
    if part.vector is None:
        return rows
    gone = pl.Series(positions_of(ws, part).astype(np.uint32))
    return rows.filter(~pl.col(ROW).is_in(gone.implode()))


def rows_in(ws: Workspace, part: Part) -> int:
    """All rows of a part's file, those that are gone too."""
    return pl.scan_parquet(local_file(ws, part.file.hash), glob=False).select(pl.len()).collect().item()
