"""Editing the rows of a table: upsert by key, delete by predicate. Parts of the table that no edit touches stay as they are;
one that is touched is stored as what is new of it, where it is large."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.expectations import Checks
from trine.data.frames import as_polars, first_line
from trine.data.reading import local_file
from trine.data.references import head_of
from trine.data.rows import ATTEMPTS, Part, commit_edited
from trine.data.trees import Entry, read_tree
from trine.errors import Conflict, InvalidInput
from trine.workspace import Workspace, current_workspace

Key = str | Sequence[str]
"""The columns that tell rows apart."""

_ROW = "__trine_row"


class Edit(NamedTuple):
    """What happens to a table: rows to write over those of the same key or to add, keys of rows that go, or which go."""

    key: list[str]
    upserts: pl.DataFrame | None = None
    gone: pl.DataFrame | None = None
    where: pl.Expr | None = None


def upsert(
    frame: Any,
    *,
    name: str,
    key: Key = (),
    branch: str = "main",
    message: str = "",
    tag: str = "",
    checks: Checks = None,
    ws: Workspace | None = None,
) -> Commit:
    """Commit rows by key: a row whose key is there takes the place of the old one, the others come after the last.

    `key` are the columns that tell rows apart (default: those of the `unique` check that the table passed). Raises
    InvalidInput when a key is missing, or there twice; as `trine.data.commit` does otherwise.
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

    return _commit(ws, name, branch, edit, message or f"upsert {rows.height:,} rows", tag, checks)


def delete(
    where: pl.Expr | str,
    *,
    name: str,
    branch: str = "main",
    message: str = "",
    tag: str = "",
    checks: Checks = None,
    ws: Workspace | None = None,
) -> Commit:
    """Commit a table without the rows for which a predicate is true: a Polars expression, or SQL such as "delay < 0"."""
    ws = ws or current_workspace()
    if isinstance(where, str):
        try:
            predicate = pl.sql_expr(where)
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f'"{where}" is no SQL condition: {first_line(error)}') from error
        message = message or f"delete where {where}"
    else:
        predicate = where
    return _commit(ws, name, branch, lambda _: Edit([], where=predicate), message or "delete rows", tag, checks)


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


def apply(ws: Workspace, table: Commit, edit: Edit) -> tuple[list[Entry], pl.DataFrame]:
    """The parts of the edited table, all stored, and all its rows."""
    entries: list[Entry] = []
    frames: list[pl.DataFrame] = []
    left = edit.upserts
    old = read_tree(ws.store, table.tree)
    for entry in old:
        rows = pl.read_parquet(local_file(ws, entry.hash), glob=False)
        edited, left = _edited(rows, edit, left)
        if edited is rows:
            entries.append(entry)
        elif edited.height:
            entries.append(_store(ws, entry, edited))
        frames.append(edited)
    if left is not None and left.height:
        part = Part(left, table.dataset)
        entries.append(part.entry(old))
        ws.store.put(part.data)
        frames.append(left)
    if not entries:  # a table keeps its columns when all its rows are gone
        entries.append(_store(ws, old[0], frames[0]))
    return entries, pl.concat(frames)


def _edited(rows: pl.DataFrame, edit: Edit, left: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """One part as it is after the edit (the same object when nothing changes), and the upserts that are not in it."""
    made = rows
    if edit.where is not None:
        try:
            kept = made.filter(~edit.where.fill_null(False))
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f"The rows to delete cannot be found: {first_line(error)}") from error
        made = kept if kept.height < made.height else made
    if edit.gone is not None and edit.gone.height:
        kept = made.join(edit.gone, on=edit.key, how="anti", maintain_order="left")
        made = kept if kept.height < made.height else made
    if left is not None and left.height:
        numbered = made.with_row_index(_ROW)
        hits = left.join(numbered.select(_ROW, *edit.key), on=edit.key, how="inner")
        if hits.height:
            check_key(hits, edit.key, "the table's rows")
            rest = numbered.join(hits.select(_ROW), on=_ROW, how="anti")
            made = pl.concat([rest, hits.select(rest.columns)]).sort(_ROW).drop(_ROW)
            left = left.join(hits.select(edit.key), on=edit.key, how="anti", maintain_order="left")
    return made, left


def _store(ws: Workspace, old: Entry, rows: pl.DataFrame) -> Entry:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        rows.write_parquet(path, compression="zstd", compression_level=3)
        ((hash_, size),) = ws.store.put_files([path], [old.hash])
    return Entry(old.path, hash_, size)


def _commit(
    ws: Workspace, name: str, branch: str, edit: Callable[[Commit], Edit], message: str, tag: str, checks: Checks
) -> Commit:
    for attempt in range(1, ATTEMPTS + 1):
        head = head_of(ws, name, branch) or door.get_commit(ws, name=name, ref=branch)
        if head.kind != "table":
            raise InvalidInput(f'Dataset "{name}" holds files, not rows.')
        entries, rows = apply(ws, head, edit(head))
        try:
            return commit_edited(ws, head, entries, rows, branch=branch, message=message, tag=tag, checks=checks)
        except Conflict as error:  # what is edited is told by key or condition, so it can be done on the new head
            if attempt == ATTEMPTS or "now" not in error.details:
                raise
    raise AssertionError("the last attempt returns or raises")


def _told(rows: pl.DataFrame) -> str:
    return _shown({column: str(kind) for column, kind in rows.schema.items()})


def _shown(schema: dict[str, str]) -> str:
    return ", ".join(f"{column} ({kind})" for column, kind in schema.items())
