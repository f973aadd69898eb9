"""Committing rows to a table: they are stored as a part, profiled and checked, and then the branch moves."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import polars as pl
from blake3 import blake3

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.evolution import Evolution, evolve, fit
from trine.data.expectations import Checks
from trine.data.frames import as_polars, first_line
from trine.data.gate import Gate, Seen
from trine.data.parts import FILE, Part, entries_of, read_parts, scan_parts, schema_of
from trine.data.references import head_of
from trine.data.suites import rules_of
from trine.data.trees import Entry, encode_tree
from trine.errors import CheckFailed, Conflict, InvalidInput
from trine.workspace import Workspace, active_producer, current_workspace

Mode = Literal["append", "replace"]

ATTEMPTS = 32
"""How often an append whose branch moved meanwhile is built anew on the new head: appended rows do not depend on it."""


def commit(
    frame: Any,
    *,
    name: str,
    message: str = "",
    branch: str = "main",
    mode: Mode = "append",
    schema: Evolution = "strict",
    tag: str = "",
    checks: Checks = None,
    inputs: Sequence[str] = (),
    ws: Workspace | None = None,
) -> Commit:
    """Commit rows to a table dataset: after those that are there (append), or instead of them (replace).

    Takes a Polars, pandas or Arrow frame. The expectations are those kept with the dataset (`trine.data.expect`), and
    `checks` on top of them. Schema, profile and expectations are of the whole table as committed, yet an
    append costs O(new rows): old ones are read again only for rules that need them (`unique`, `foreign_key`, sums, whatever
    looks at other rows, and rules that the commit before did not have). `inputs` are lineage nodes the rows were derived from.

    Appended rows have the table's columns, unless `schema` is "additive" (new columns may come, which old rows have nulls in,
    columns may be missing, types widen) or "breaking" (columns go and types change, and all rows are written anew). A
    commit that changes the columns looks at all rows.

    Raises CheckFailed when an expectation of severity error fails: the commit is kept as rejected, the branch stays.
    Raises Conflict when the branch moves meanwhile; an append tries again by itself.
    """
    ws = ws or current_workspace()
    if mode not in ("append", "replace"):
        raise InvalidInput(f'The mode of a commit is "append" or "replace", not "{mode}".')
    if schema not in ("strict", "additive", "breaking"):
        raise InvalidInput(f'The schema of a commit is "strict", "additive" or "breaking", not "{schema}".')
    rules = rules_of(ws, name, checks)
    given = NewRows(as_polars(frame), name)
    given.data  # noqa: B018 (rows that cannot be kept are refused first)
    whole = Gate(ws, given.rows)
    for attempt in range(1, ATTEMPTS + 1):
        head = head_of(ws, name, branch)
        base = head if head and head.kind == "table" and mode == "append" else None
        parts = read_parts(ws.store, base.tree) if base else []
        new, gate = given, whole
        if base and list(base.schema.items()) != list(new.schema.items()):
            if schema == "strict":
                raise InvalidInput(_difference(name, base.schema, new.schema))
            parts, new, every = _evolved(ws, parts, given, schema)
            gate = Gate(ws, new.rows if every is None else every)
            base = base if every is None else None
        parts.append(new.after(parts))
        ws.store.put(new.data)
        seen = gate.look(rules, base=base, head=head)
        try:
            return commit_parts(ws, head, name, branch, parts, new.schema, seen, message, tag, inputs)
        except Conflict as error:
            if mode == "replace" or attempt == ATTEMPTS or "now" not in error.details:
                raise
            continue
    raise AssertionError("the last attempt returns or raises")


def _evolved(
    ws: Workspace, parts: list[Part], given: NewRows, how: Evolution
) -> tuple[list[Part], NewRows, pl.DataFrame | None]:
    """The parts that stay, the rows to write after them, and all rows of the table when its columns change."""
    before = schema_of(ws, parts)
    after = evolve(before, given.rows.schema, how, given.name)
    rows = fit(given.rows.lazy(), after, given.name)
    if after == before:
        return parts, NewRows(rows, given.name), None
    old = fit(scan_parts(ws, parts, before), after, given.name)
    every = pl.concat([old, rows])
    return (parts, NewRows(rows, given.name), every) if how == "additive" else ([], NewRows(every, given.name), every)


class Edited(NamedTuple):
    """A table that was changed: its parts, all stored, and what is new and gone. Without `gone`, `fresh` is all of its rows."""

    parts: list[Part]
    fresh: pl.DataFrame
    gone: pl.DataFrame | None = None


def commit_edited(
    ws: Workspace,
    head: Commit,
    edited: Edited,
    *,
    branch: str,
    message: str,
    tag: str = "",
    checks: Checks = None,
    inputs: Sequence[str] = (),
    merged: str = "",
) -> Commit:
    """Commit an edited table: profile and expectations are of all of it."""
    rules = rules_of(ws, head.dataset, checks)
    gate = Gate(ws, edited.fresh, gone=edited.gone, whole=lambda: scan_parts(ws, edited.parts))
    seen = gate.look(rules, base=None if edited.gone is None else head, head=head)
    return commit_parts(ws, head, head.dataset, branch, edited.parts, head.schema, seen, message, tag, inputs, merged)


def commit_parts(
    ws: Workspace,
    head: Commit | None,
    name: str,
    branch: str,
    parts: list[Part],
    schema: dict[str, str],
    seen: Seen,
    message: str,
    tag: str,
    inputs: Sequence[str],
    merged: str = "",
) -> Commit:
    """Commit parts that are stored, and what was seen of their rows."""
    entries = entries_of(parts)
    tree, pages = encode_tree(entries)
    *_, profile = ws.store.put_many([*pages, *seen.objects, msgspec.json.encode(seen.profile)])
    made = door.commit_dataset(
        ws,
        name=name,
        kind="table",
        tree=tree,
        expect=head.id if head else "",
        branch=branch,
        rows=seen.profile.rows,
        files=len(entries),
        size_bytes=sum(entry.size for entry in entries),
        schema=schema,
        profile=profile,
        checks=seen.results,
        message=message,
        tag=tag,
        producer=active_producer(),
        inputs=list(inputs),
        merged=merged,
    )
    if made.state == "rejected":
        raise refusal(made)
    return made


class NewRows:
    """Rows on their way into a table."""

    def __init__(self, rows: pl.DataFrame, name: str) -> None:
        if not rows.width:
            raise InvalidInput(f'There are no columns to commit to "{name}".')
        self.rows = rows
        self.schema = {column: str(kind) for column, kind in rows.schema.items()}
        self.name = name

    @functools.cached_property
    def data(self) -> bytes:
        """The rows as a Parquet file."""
        buffer = io.BytesIO()
        try:
            self.rows.write_parquet(buffer, compression="zstd", compression_level=3)
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f'The rows for "{self.name}" cannot be kept as Parquet: {first_line(error)}') from error
        return buffer.getvalue()

    def after(self, parts: Sequence[Part]) -> Part:
        """The part that they are, after those that are there."""
        number = int(parts[-1].file.path.removeprefix("part-").removesuffix(FILE)) + 1 if parts else 0
        return Part(Entry(f"part-{number:08d}{FILE}", blake3(self.data).hexdigest(), len(self.data)))


def refusal(made: Commit) -> CheckFailed:
    failed = [one for one in made.checks if one.refuses]
    told = "; ".join(one.message for one in failed[:3])
    return CheckFailed(
        f"{len(failed)} of {len(made.checks)} expectations failed, so {made.branch} of {made.dataset} stays where it is: "
        f"{told}. The rows are kept for inspection: trine data checks {made.ref}",
        commit=made.id,
        checks=msgspec.to_builtins(made.checks),
    )


def _difference(name: str, before: dict[str, str], now: dict[str, str]) -> str:
    told = [f'column "{c}" is missing' for c in before if c not in now]
    told += [f'column "{c}" ({kind}) is new' for c, kind in now.items() if c not in before]
    told += [f'column "{c}" is {now[c]}, not {kind}' for c, kind in before.items() if c in now and now[c] != kind]
    told = told or [f"its columns are in another order: {', '.join(before)}"]
    return (
        f'The rows do not fit dataset "{name}": {"; ".join(told[:5])}. Change them, or allow it with schema="additive" or '
        '"breaking" (--schema), or with mode="replace".'
    )
