"""Compacting a table: small parts become larger ones and deletion vectors go, while every row stays where it is."""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec
import polars as pl

from trine.data.commits import Commit
from trine.data.gate import Seen
from trine.data.one_pass import look_through
from trine.data.parts import Part, read_parts, scan_parts, schema_of
from trine.data.profiles import Profile
from trine.data.reading import profile_of
from trine.data.references import head_of
from trine.data.rows import ATTEMPTS, NewRows, commit_parts
from trine.data.sketched import Sketched
from trine.data.trees import Entry
from trine.errors import Conflict, Failure, InvalidInput, NotFound
from trine.workspace import Workspace, current_workspace

TARGET = 128 << 20
"""Bytes that a part grows to; one of half of that is not small any more."""


def compact(name: str, *, branch: str = "main", message: str = "", ws: Workspace | None = None) -> Commit:
    """Commit the same rows, in the same order, in fewer files and without deletion vectors; gives the head when there is
    nothing to do. Older versions keep their files.

    Profile and check results stay; a profile that was corrected for rows that went is made anew. What was written is read
    back and compared.
    """
    ws = ws or current_workspace()
    for attempt in range(1, ATTEMPTS + 1):
        head = head_of(ws, name, branch)
        if head is None:
            raise NotFound(f'There is no branch "{branch}" of a dataset "{name}".')
        if head.kind != "table":
            raise InvalidInput(f'Dataset "{name}" holds files, not rows.')
        parts = read_parts(ws.store, head.tree)
        groups = _groups(parts)
        if len(groups) == len(parts) and not any(part.vector for part in parts):
            return head
        schema = schema_of(ws, parts)
        made = [one for group in groups for one in _together(ws, name, group, schema, is_last=group is groups[-1])]
        profile, objects = _profile(ws, head, made)
        told = message or f"compact {len(parts):,} parts into {len(made):,}"
        try:
            seen = Seen(list(head.checks), profile, objects)
            return commit_parts(ws, head, name, branch, made, head.schema, seen, told, "", [])
        except Conflict as error:
            if attempt == ATTEMPTS or "now" not in error.details:
                raise
    raise AssertionError("the last attempt returns or raises")


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that come together, in their order."""
    groups: list[list[Part]] = []
    size = TARGET
    for part in parts:
        grows = size + part.file.size <= TARGET and part.file.size < TARGET // 2
        if grows:
            groups[-1].append(part)
        else:
            groups.append([part])
        size = size + part.file.size if grows else part.file.size
    return groups


def _together(ws: Workspace, name: str, group: list[Part], schema: pl.Schema, *, is_last: bool) -> list[Part]:
    """One part with the rows of several, stored; none when all of its rows are gone and others say the table's columns."""
    if len(group) == 1 and not group[0].vector:
        return group
    rows = scan_parts(ws, group, schema).collect()
    if not rows.height and not is_last:
        return []
    new = NewRows(rows, name)
    if not pl.read_parquet(io.BytesIO(new.data)).equals(rows):
        raise Failure(f'Parts of "{name}" do not read back as they were written; nothing was changed.')
    hash_ = ws.store.put(new.data)
    return [Part(Entry(group[0].file.path, hash_, len(new.data)))]


def _profile(ws: Workspace, head: Commit, parts: list[Part]) -> tuple[Profile, list[bytes]]:
    before = profile_of(ws, head)
    if not before.gone:
        return before, []
    whole = scan_parts(ws, parts)
    profile, objects = Sketched().with_rows(look_through(whole)[0]).summed_up(lambda: whole)
    return msgspec.structs.replace(profile, failing=before.failing), objects
