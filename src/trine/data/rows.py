"""Committing rows to a table: they are stored as a part, profiled and checked, and then the branch moves."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import polars as pl
from blake3 import blake3

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.expectations import Checks, Expectation
from trine.data.frames import as_polars, first_line
from trine.data.gate import Gate
from trine.data.references import head_of
from trine.data.suites import rules_of
from trine.data.trees import Entry, encode_tree, read_tree
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

    Raises CheckFailed when an expectation of severity error fails: the commit is kept as rejected, the branch stays.
    Raises Conflict when the branch moves meanwhile; an append tries again by itself.
    """
    ws = ws or current_workspace()
    if mode not in ("append", "replace"):
        raise InvalidInput(f'The mode of a commit is "append" or "replace", not "{mode}".')
    rules = rules_of(ws, name, checks)
    part = Part(as_polars(frame), name)
    data = part.data  # rows that cannot be kept are refused first
    for attempt in range(1, ATTEMPTS + 1):
        head = head_of(ws, name, branch)
        base = head if head and head.kind == "table" and mode == "append" else None
        if base and list(base.schema.items()) != list(part.schema.items()):
            raise InvalidInput(_difference(name, base.schema, part.schema))
        entries = read_tree(ws.store, base.tree) if base else []
        entries.append(part.entry(entries))
        ws.store.put(data)
        try:
            return _commit(ws, head, base, part, entries, rules, name, branch, message, tag, inputs)
        except Conflict as error:
            if mode == "replace" or attempt == ATTEMPTS or "now" not in error.details:
                raise
            continue
    raise AssertionError("the last attempt returns or raises")


def commit_edited(
    ws: Workspace,
    head: Commit,
    entries: list[Entry],
    rows: pl.DataFrame,
    *,
    branch: str,
    message: str,
    tag: str = "",
    checks: Checks = None,
    inputs: Sequence[str] = (),
    merged: str = "",
) -> Commit:
    """Commit a table some of whose parts were changed, and are stored: `entries` are its parts, `rows` all that is in them."""
    name = head.dataset
    rules = rules_of(ws, name, checks)
    return _commit(ws, head, None, Part(rows, name), entries, rules, name, branch, message, tag, inputs, merged)


def _commit(
    ws: Workspace,
    head: Commit | None,
    base: Commit | None,
    part: Part,
    entries: list[Entry],
    rules: Sequence[Expectation],
    name: str,
    branch: str,
    message: str,
    tag: str,
    inputs: Sequence[str],
    merged: str = "",
) -> Commit:
    """Commit parts that are stored, the last of which comes after those of `base`, or is all there is."""
    results, profile, objects = part.gate(ws).look(rules, base=base, head=head)
    tree, pages = encode_tree(entries)
    *_, profile_object = ws.store.put_many([*pages, *objects, msgspec.json.encode(profile)])
    made = door.commit_dataset(
        ws,
        name=name,
        kind="table",
        tree=tree,
        expect=head.id if head else "",
        branch=branch,
        rows=profile.rows,
        files=len(entries),
        size_bytes=sum(entry.size for entry in entries),
        schema=part.schema,
        profile=profile_object,
        checks=results,
        message=message,
        tag=tag,
        producer=active_producer(),
        inputs=list(inputs),
        merged=merged,
    )
    if made.state == "rejected":
        raise refusal(made)
    return made


class Part:
    """Rows on their way into a table; what does not depend on the table is made once."""

    def __init__(self, rows: pl.DataFrame, name: str) -> None:
        if not rows.width:
            raise InvalidInput(f'There are no columns to commit to "{name}".')
        self.rows = rows
        self.schema = {column: str(kind) for column, kind in rows.schema.items()}
        self.name = name
        self._gate: Gate | None = None

    def gate(self, ws: Workspace) -> Gate:
        """What looks at the rows before they are in the table."""
        self._gate = self._gate or Gate(ws, self.rows)
        return self._gate

    @functools.cached_property
    def data(self) -> bytes:
        """The rows as a Parquet file."""
        buffer = io.BytesIO()
        try:
            self.rows.write_parquet(buffer, compression="zstd", compression_level=3)
        except pl.exceptions.PolarsError as error:
            raise InvalidInput(f'The rows for "{self.name}" cannot be kept as Parquet: {first_line(error)}') from error
        return buffer.getvalue()

    def entry(self, before: Sequence[Entry]) -> Entry:
        """The part's place in the table, after those that are there."""
        number = int(before[-1].path.removeprefix("part-").removesuffix(".parquet")) + 1 if before else 0
        return Entry(f"part-{number:05d}.parquet", blake3(self.data).hexdigest(), len(self.data))


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
    return f'The rows do not fit dataset "{name}": {"; ".join(told[:5])}. Change them, or commit with mode="replace".'
