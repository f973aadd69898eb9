"""Editing the rows of a table: upsert by key, delete by predicate. No part of the table is changed: deletion vectors say
which of their rows are gone, and new rows are a part of their own, so an edit costs what it changes.

For readers that know no deletion vectors, `compat="copy-on-write"` writes the parts that are touched anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.expectations import Checks
from trine.data.frames import as_polars, first_line
from trine.data.parts import PART, ROW, Part, positions_of, read_parts, rows_in, scan_numbered, schema_of
from trine.data.references import head_of
from trine.data.rows import ATTEMPTS, Edited, NewRows, commit_edited
from trine.data.trees import Entry
from trine.data.vectors import Positions, encode_vector
from trine.errors import Conflict, InvalidInput
from trine.workspace import Workspace, current_workspace

Key = str | Sequence[str]
"""The columns that tell rows apart."""

Compat = Literal["", "copy-on-write"]


class Edit(NamedTuple):
    """What happens to a table: rows to write over those of the same key or to add, keys of rows that go, or which go."""

    key: list[str]
    upserts: pl.DataFrame | None = None
    gone: pl.DataFrame | None = None
    where: pl.Expr | None = None

    @property
    def keys(self) -> pl.DataFrame:
        """Of the rows that do not stay as they are."""
        found = [one.select(self.key) for one in (self.upserts, self.gone) if one is not None]
        return pl.concat(found).unique() if found else pl.DataFrame()


def upsert(
    frame: Any,
    *,
    name: str,
    key: Key = (),
    branch: str = "main",
    message: str = "",
    tag: str = "",
    checks: Checks = None,
    compat: Compat = "",
    ws: Workspace | None = None,
) -> Commit:
    """Commit rows by key: a row whose key is there replaces the old one, and all of them come after the rows that stay.

    `key` are the columns that tell rows apart (default: those of the `unique` check that the table passed). O(rows given):
    old parts are looked through, not written again; with `compat="copy-on-write"` they are, and each row keeps its place.
    Raises InvalidInput when a key is missing, or there twice; as `trine.data.commit` does otherwise.
    """
    ws = ws or current_workspace()
    rows = as_polars(frame)

    def edit(head: Commit) -> Edit:
        columns = key_of(head, key)
        if {column: str(kind) for column, kind in rows.schema.items()} != dict(head.schema):
            raise InvalidInput(
                f'The rows have the columns {_told(rows)}, dataset "{name}" has {_shown(head.schema)}: they must be the same.'
            )
        check_key(rows, columns, "the new rows")
        return Edit(columns, upserts=rows.select(list(head.schema)))

    return _commit(ws, name, branch, edit, message or f"upsert {rows.height:,} rows", tag, checks, compat)


def delete(
    where: pl.Expr | str,
    *,
    name: str,
    branch: str = "main",
    message: str = "",
    tag: str = "",
    checks: Checks = None,
    compat: Compat = "",
    ws: Workspace | None = None,
) -> Commit:
    """Commit a table without the rows for which a predicate is true: a Polars expression, or SQL such as "delay < 0".

    What it says of other rows (a mean, a rank) is about the whole table. `compat` as for `upsert`.
    """
    ws = ws or current_workspace()
    if isinstance(where, str):
        try:
            predicate = pl.sql_expr(where)
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f'"{where}" is no SQL condition: {first_line(error)}') from error
        message = message or f"delete where {where}"
    else:
        predicate = where
    return _commit(ws, name, branch, lambda _: Edit([], where=predicate), message or "delete rows", tag, checks, compat)


def key_of(table: Commit, key: Key) -> list[str]:
    """The key columns, checked; without any given, those of the `unique` check that the table passed."""
    columns = [key] if isinstance(key, str) else list(key)
    if not columns:
        columns = next((list(one.rule.columns) for one in table.checks if one.rule.kind == "unique" and one.passed), [])
    if not columns:
        raise InvalidInput(f'Which columns tell the rows of "{table.dataset}" apart? Give them as key (--key).')
    if unknown := [column for column in columns if column not in table.schema]:
        raise InvalidInput(f'"{table.dataset}" has no column "{unknown[0]}". It has {_shown(table.schema)}.')
    return columns


def check_key(rows: pl.DataFrame, key: list[str], what: str) -> None:
    """Raise InvalidInput when a row has no key, or two have the same."""
    floats = [pl.col(one).is_nan() for one in key if rows.schema[one].is_float()]
    bad = rows.filter(pl.any_horizontal([pl.col(one).is_null() for one in key] + floats))
    if bad.height:
        raise InvalidInput(f"{bad.height:,} of {what} have no value for their key ({', '.join(key)}).")
    twice = rows.select(key).filter(pl.struct(key).is_duplicated())
    if twice.height:
        raise InvalidInput(f"The key is there more than once in {what}, for instance {twice.row(0, named=True)}.")


def apply(ws: Workspace, table: Commit, edit: Edit, compat: Compat = "") -> Edited:
    """The table after an edit; what is new of it is stored."""
    parts = read_parts(ws.store, table.tree)
    schema = schema_of(ws, parts)
    found = _found(scan_numbered(ws, parts, schema), edit)
    if edit.upserts is not None and found.height:
        check_key(found, edit.key, "the table's rows")
    if compat == "copy-on-write":
        return _rewritten(ws, table, parts, schema, found, edit)
    kept = _marked(ws, parts, found)
    fresh = edit.upserts if edit.upserts is not None else pl.DataFrame(schema=schema)
    if fresh.height:
        new = NewRows(fresh, table.dataset)
        kept.append(new.after(parts))
        ws.store.put(new.data)
    return Edited(kept, fresh, gone=found.drop(PART, ROW))


def _found(rows: pl.LazyFrame, edit: Edit) -> pl.DataFrame:
    """The rows that do not stay as they are, and where they are."""
    try:
        if edit.where is not None:
            return rows.filter(edit.where).collect(engine="streaming")
        keys = edit.keys
        if not keys.height:
            return rows.collect_schema().to_frame()
        if len(edit.key) == 1 and _is_plain(
            keys.dtypes[0]
        ):  # a filter reads the other columns where it finds something only
            (name,) = edit.key
            return rows.filter(pl.col(name).is_in(keys[name].implode())).collect(engine="streaming")
        return rows.join(keys.lazy(), on=edit.key, how="semi", maintain_order="left").collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"The rows to change cannot be found: {first_line(error)}") from error


def _is_plain(kind: pl.DataType) -> bool:
    return kind.is_integer() or kind.is_temporal() or kind == pl.String


def _marked(ws: Workspace, parts: list[Part], found: pl.DataFrame) -> list[Part]:
    """The parts with what was found marked as gone. One with nothing left goes, but for the newest: it has all columns."""
    marks = {int(key[0]): rows[ROW] for key, rows in found.select(PART, ROW).partition_by(PART, as_dict=True).items()}
    kept: list[Part] = []
    vectors: list[bytes] = []
    touched: list[int] = []
    for number, part in enumerate(parts):
        if number in marks:
            gone: Positions = np.union1d(positions_of(ws, part), marks[number].to_numpy().astype(np.uint64))
            if number < len(parts) - 1 and len(gone) == rows_in(ws, part):
                continue
            touched.append(len(kept))
            vectors.append(encode_vector(gone))
        kept.append(part)
    for at, name, data in zip(touched, ws.store.put_many(vectors), vectors, strict=True):
        kept[at] = kept[at].beside(name, len(data))
    return kept


def _rewritten(
    ws: Workspace, table: Commit, parts: list[Part], schema: pl.Schema, found: pl.DataFrame, edit: Edit
) -> Edited:
    """The table with the parts that are touched, or have a vector, written anew; a row that is replaced keeps its place."""
    new = edit.upserts if edit.upserts is not None else pl.DataFrame(schema=schema)
    made: list[Part] = []
    frames: list[pl.DataFrame] = []
    for number, part in enumerate(parts):
        rows = scan_numbered(ws, [part], schema).drop(PART).collect()
        here = found.filter(pl.col(PART) == number)
        if here.height:
            rows = rows.join(here.select(ROW), on=ROW, how="anti", maintain_order="left")
            if edit.key:
                put = here.select(ROW, *edit.key).join(new, on=edit.key, how="inner").select(rows.columns)
                rows = pl.concat([rows, put]).sort(ROW)
        rows = rows.drop(ROW)
        if here.height or part.vector:
            if not rows.height and number < len(parts) - 1:
                continue
            part = _store(ws, part, rows)
        made.append(part)
        frames.append(rows)
    if edit.key:
        new = new.join(found.select(edit.key), on=edit.key, how="anti", maintain_order="left")
    if new.height:
        added = NewRows(new, table.dataset)
        made.append(added.after(parts))
        ws.store.put(added.data)
        frames.append(new)
    return Edited(made, pl.concat(frames))


def _store(ws: Workspace, old: Part, rows: pl.DataFrame) -> Part:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        rows.write_parquet(path, compression="zstd", compression_level=3)
        ((hash_, size),) = ws.store.put_files([path], [old.file.hash])
    return Part(Entry(old.file.path, hash_, size))


def _commit(
    ws: Workspace,
    name: str,
    branch: str,
    edit: Callable[[Commit], Edit],
    message: str,
    tag: str,
    checks: Checks,
    compat: Compat,
) -> Commit:
    if compat not in ("", "copy-on-write"):
        raise InvalidInput(f'There is one compat, "copy-on-write", not "{compat}".')
    for attempt in range(1, ATTEMPTS + 1):
        head = head_of(ws, name, branch) or door.get_commit(ws, name=name, ref=branch)
        if head.kind != "table":
            raise InvalidInput(f'Dataset "{name}" holds files, not rows.')
        edited = apply(ws, head, edit(head), compat)
        try:
            return commit_edited(ws, head, edited, branch=branch, message=message, tag=tag, checks=checks)
        except Conflict as error:  # what is edited is told by key or condition, so it can be done on the new head
            if attempt == ATTEMPTS or "now" not in error.details:
                raise
    raise AssertionError("the last attempt returns or raises")


def _told(rows: pl.DataFrame) -> str:
    return _shown({column: str(kind) for column, kind in rows.schema.items()})


def _shown(schema: dict[str, str]) -> str:
    return ", ".join(f"{column} ({kind})" for column, kind in schema.items())
