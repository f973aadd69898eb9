"""Committing data: a folder, a file or a frame becomes a commit. Bytes are durable first, then rows, then the branch moves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl

from trine.data import operations as door
from trine.data.commits import Commit, Kind, split_ref
from trine.data.expectations import Expectation, read_expectations, run_checks
from trine.data.profile import profile_frame
from trine.data.statcache import Checkout, StatCache
from trine.data.trees import Entry, check_path, read_tree, scan_folder, write_tree
from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound
from trine.workspace import Workspace, active_producer, current_workspace, record_resolution

Checks = Sequence[Expectation] | Path | str | None
Mode = Literal["append", "replace"]

ATTEMPTS = 8
"""How often an append whose branch moved meanwhile is built anew on the new head: appended rows do not depend on it."""


def add(
    path: Path | str,
    *,
    name: str,
    message: str = "",
    branch: str = "main",
    kind: Kind | None = None,
    tag: str = "",
    checks: Checks = None,
    ws: Workspace | None = None,
) -> Commit:
    """Commit a folder, or one file; a `.parquet` or `.csv` file with kind "table" becomes the whole table.

    Reads only files that changed since the last time. Raises CheckFailed when an expectation of severity error fails
    (the commit is kept as rejected), Conflict when a file changed while it was read.
    """
    ws = ws or current_workspace()
    path = Path(path)
    if not path.exists():
        raise NotFound(f"There is nothing at {path}.")
    if kind == "table":
        return commit(
            _read_table(path), name=name, message=message, branch=branch, mode="replace", tag=tag, checks=checks, ws=ws
        )
    if checks:
        raise InvalidInput("Expectations are about tables: add the file with kind='table'.")
    entries, cache, seen = _store_files(ws, path)
    head = _head(ws, name, branch)
    found = door.commit_dataset(
        ws,
        name=name,
        kind="files",
        tree=write_tree(ws.store, entries),
        expect=head.id if head else "",
        branch=branch,
        files=len(entries),
        size_bytes=sum(entry.size for entry in entries),
        message=message,
        tag=tag,
        producer=active_producer(),
    )
    cache.save(seen, Checkout(name, found.id))
    return found


def _store_files(ws: Workspace, path: Path) -> tuple[list[Entry], StatCache, dict[str, Any]]:
    """The entries of a folder or file, every file's bytes in the store."""
    root = path if path.is_dir() else path.parent
    files = scan_folder(path) if path.is_dir() else [f for f in scan_folder(root) if f.path == check_path(path.name)]
    cache = StatCache(ws, path)
    known = {one.path: hash_ for one in files if (hash_ := cache.hash_of(one.path, one.stat))}
    here = ws.store.has(set(known.values()))
    fresh = [one for one in files if known.get(one.path) not in here]
    stored = ws.store.put_files([root / one.path for one in fresh])
    for one, (hash_, size) in zip(fresh, stored, strict=True):
        again = (root / one.path).stat()
        if size != one.stat.st_size or again.st_mtime_ns != one.stat.st_mtime_ns:
            raise Conflict(f"{root / one.path} changed while it was read. Wait until it is written, and add again.")
        known[one.path] = hash_
    entries = [Entry(one.path, known[one.path], one.stat.st_size, bool(one.stat.st_mode & 0o100)) for one in files]
    return entries, cache, {one.path: (one.stat, known[one.path]) for one in files}


def commit(
    frame: Any,
    *,
    name: str,
    message: str = "",
    branch: str = "main",
    mode: Mode = "append",
    tag: str = "",
    checks: Checks = None,
    inputs: Sequence[str] = (),
    ws: Workspace | None = None,
) -> Commit:
    """Commit rows to a table dataset: after those that are there (append), or instead of them (replace).

    Takes a Polars, pandas or Arrow frame. Schema, profile and expectations are of the whole table as committed.
    `inputs` are lineage nodes the rows were derived from.
    """
    ws = ws or current_workspace()
    rows = as_polars(frame)
    if not rows.width:
        raise InvalidInput(f'There are no columns to commit to "{name}".')
    part = _store_part(ws, rows)
    rules = _rules(checks)
    for attempt in range(1, ATTEMPTS + 1):
        head = _head(ws, name, branch)
        try:
            found = _commit_table(ws, name, branch, head, rows, part, mode, rules, message, tag, inputs)
        except Conflict as error:
            if mode == "replace" or attempt == ATTEMPTS or "now" not in error.details:
                raise
            continue
        if found.state == "rejected":
            failed = [one for one in found.checks if not one.passed and one.severity == "error"]
            raise CheckFailed(
                f"{len(failed)} of {len(found.checks)} expectations failed, so {branch} of {name} stays where it is: "
                + "; ".join(f"{one.name}: {one.failing} rows" for one in failed[:3])
                + f". The rows are kept for inspection as {found.ref}.",
                commit=found.id,
                checks=msgspec.to_builtins(found.checks),
            )
        return found
    raise AssertionError("the last attempt raises")


def _commit_table(
    ws: Workspace,
    name: str,
    branch: str,
    head: Commit | None,
    rows: pl.DataFrame,
    part: tuple[str, int],
    mode: Mode,
    rules: list[Expectation],
    message: str,
    tag: str,
    inputs: Sequence[str],
) -> Commit:
    from trine.data.load import scan_commit

    schema = {column: str(kind) for column, kind in rows.schema.items()}
    entries: list[Entry] = []
    whole = rows.lazy()
    if head and mode == "append":
        if head.kind == "table" and head.schema != schema:
            raise InvalidInput(_schema_difference(name, head.schema, schema))
        entries = read_tree(ws.store, head.tree)
        if head.kind == "table" and entries:
            whole = pl.concat([scan_commit(ws, head), rows.lazy()])
    entries.append(Entry(f"part-{len(entries):05d}.parquet", *part))
    table = whole.collect()
    profile = profile_frame(table)
    return door.commit_dataset(
        ws,
        name=name,
        kind="table",
        tree=write_tree(ws.store, entries),
        expect=head.id if head else "",
        branch=branch,
        rows=table.height,
        files=len(entries),
        size_bytes=sum(entry.size for entry in entries),
        schema=schema,
        profile=ws.store.put(msgspec.json.encode(profile)),
        checks=run_checks(table.lazy(), rules),
        message=message,
        tag=tag,
        producer=active_producer(),
        inputs=list(inputs),
    )


def _schema_difference(name: str, before: dict[str, str], now: dict[str, str]) -> str:
    told = [f'column "{c}" is missing' for c in before if c not in now]
    told += [f'column "{c}" ({kind}) is new' for c, kind in now.items() if c not in before]
    told += [f'column "{c}" is {now[c]}, not {kind}' for c, kind in before.items() if c in now and now[c] != kind]
    told = told or ["the columns are in another order"]
    return f'The rows do not fit dataset "{name}": {"; ".join(told[:5])}. Cast them, or commit with mode="replace".'


def _store_part(ws: Workspace, rows: pl.DataFrame) -> tuple[str, int]:
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", compression_level=3, statistics=True)
    data = buffer.getvalue()
    return ws.store.put(data), len(data)


def _read_table(path: Path) -> pl.DataFrame:
    try:
        if path.is_dir() or path.suffix in (".parquet", ".pq"):
            return pl.read_parquet(path / "**/*.parquet" if path.is_dir() else path)
        if path.suffix == ".csv":
            return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    raise InvalidInput(f"{path} is no table Trine reads: it takes .parquet, .csv or a folder of .parquet files.")


def as_polars(frame: Any) -> pl.DataFrame:
    """Any frame (Polars, pandas, Arrow, or a dict of columns) as a Polars frame."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    try:
        found = pl.DataFrame(frame)
    except (TypeError, ValueError, ModuleNotFoundError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"A {type(frame).__name__} is no frame Trine takes: {str(error).splitlines()[0]}") from error
    return found


def _rules(checks: Checks) -> list[Expectation]:
    if checks is None:
        return []
    return read_expectations(checks) if isinstance(checks, (str, Path)) else list(checks)


def _head(ws: Workspace, name: str, branch: str) -> Commit | None:
    try:
        if branch not in door.get_dataset(ws, name=name).branches:
            return None
        return door.get_commit(ws, name=name, ref=branch)
    except NotFound:
        return None


def resolve(ref: str, *, ws: Workspace | None = None) -> Commit:
    """The commit a reference means now: `name`, `name@branch`, `name@tag`, `name@commit`, `name@main~1`."""
    ws = ws or current_workspace()
    name, version = split_ref(ref)
    found = door.get_commit(ws, name=name, ref=version)
    record_resolution(f"dataset:{name}@{version}", found.node)
    return found
