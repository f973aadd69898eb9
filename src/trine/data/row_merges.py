"""Rows of two versions against each other by key, and the three-way merge of tables that builds on it."""

from __future__ import annotations

import msgspec
import polars as pl

from trine.data.commits import Commit
from trine.data.reading import scan_commit
from trine.data.references import resolve
from trine.data.row_edits import Edit, Key, apply, check_key, key_of
from trine.data.rows import commit_edited
from trine.errors import Conflict, InvalidInput
from trine.workspace import Workspace, current_workspace

SHOWN = 20
"""Conflicting rows that an error holds; `merge_conflicts` gives all."""


class RowDiff(msgspec.Struct, frozen=True):
    """Rows that are different by key: new ones, gone ones, and changed ones as they were and as they are, in the same order."""

    key: list[str]
    added: pl.DataFrame
    removed: pl.DataFrame
    before: pl.DataFrame
    after: pl.DataFrame


def diff_rows(before: str, after: str, *, key: Key = (), ws: Workspace | None = None) -> RowDiff:
    """The rows that differ between two versions of a table. `key` are the columns that tell rows apart (default: those of the
    `unique` check that the table passed). Values that are missing on both sides are the same, and so are two NaN."""
    ws = ws or current_workspace()
    one, two = resolve(before, ws=ws), resolve(after, ws=ws)
    columns = key_of(two, key)
    return _compare(_rows(ws, one, columns), _rows(ws, two, columns), columns)


def merge_rows(
    ws: Workspace, base: Commit, ours: Commit, theirs: Commit, *, branch: str, key: Key, prefer: str, message: str
) -> Commit:
    """Bring what `theirs` changed since `base` into `ours`. Raises Conflict with rows that both changed, unless `prefer` says
    whose count (ours or theirs)."""
    columns = key_of(ours, key)
    mine, yours = _sides(ws, base, ours, theirs, columns)
    clash = _clash(mine, yours, columns)
    if clash.height and not prefer:
        shown = _table(ws, base, ours, theirs, clash.head(SHOWN), columns)
        raise Conflict(
            f"{clash.height:,} rows were changed on both sides, {clash.row(0, named=True)} first. Look at all with "
            f'trine.data.merge_conflicts("{ours.dataset}", "{theirs.id[:12]}", into="{branch}"), or say whose version counts: '
            "--ours '*' or --theirs '*'.",
            conflicts=clash.height,
            rows=shown.rows(named=True),
        )
    upserts, gone = pl.concat([yours.added, yours.after]), yours.removed.select(columns)
    if prefer == "ours":
        upserts, gone = (one.join(clash, on=columns, how="anti", maintain_order="left") for one in (upserts, gone))
    edited = apply(ws, ours, Edit(columns, upserts=upserts, gone=gone))
    return commit_edited(ws, ours, edited, branch=branch, message=message, merged=theirs.id)


def merge_conflicts(
    name: str, source: str, *, into: str = "main", key: Key = (), ws: Workspace | None = None
) -> pl.DataFrame:
    """The rows that both sides of a merge changed: each as in the common version, in `into` and in `source`, which the first
    column (`side`: base, ours, theirs) says. A side where the row is not there has no line."""
    from trine.data import operations as door

    ws = ws or current_workspace()
    ours, theirs = resolve(f"{name}@{into}", ws=ws), resolve(f"{name}@{source}", ws=ws)
    base = door.common_commit(ws, name=name, one=ours.id, two=theirs.id)
    columns = key_of(ours, key)
    clash = _clash(*_sides(ws, base, ours, theirs, columns), columns)
    return _table(ws, base, ours, theirs, clash, columns)


def _sides(ws: Workspace, base: Commit, ours: Commit, theirs: Commit, key: list[str]) -> tuple[RowDiff, RowDiff]:
    for one in (ours, theirs):
        if one.schema != base.schema:
            raise InvalidInput(
                f"{one.ref} has other columns than {base.ref}, from which it came: such tables do not merge."
            )
    before, mine, yours = (_rows(ws, side, key) for side in (base, ours, theirs))
    return _compare(before, mine, key), _compare(before, yours, key)


def _rows(ws: Workspace, table: Commit, key: list[str]) -> pl.DataFrame:
    rows = scan_commit(ws, table).collect()
    if missing := [one for one in key if one not in rows.columns]:
        raise InvalidInput(f'{table.ref} has no column "{missing[0]}", so its rows cannot be told apart by it.')
    check_key(rows, key, table.ref)
    return rows


def _compare(before: pl.DataFrame, after: pl.DataFrame, key: list[str]) -> RowDiff:
    added = after.join(before, on=key, how="anti", maintain_order="left")
    removed = before.join(after, on=key, how="anti", maintain_order="left")
    both = after.join(before, on=key, how="inner", suffix="__was", maintain_order="left")
    others = [one for one in after.columns if one not in key]
    shared = [one for one in others if f"{one}__was" in both.columns]
    alone = len(shared) < len(others) or len(shared) + len(key) < before.width
    differs = (
        pl.lit(True) if alone else pl.any_horizontal([pl.col(f"{one}__was").ne_missing(pl.col(one)) for one in shared])
    )
    changed = both.filter(differs).select(key) if shared or alone else both.select(key).clear()
    now = changed.join(after, on=key, how="left", maintain_order="left")
    then = changed.join(before, on=key, how="left", maintain_order="left")
    return RowDiff(key, added, removed, then.select(before.columns), now.select(after.columns))


def _clash(mine: RowDiff, yours: RowDiff, key: list[str]) -> pl.DataFrame:
    """The keys of rows that both sides changed, and not in the same way."""
    ours, theirs = (pl.concat([one.added, one.after]) for one in (mine, yours))
    lost = pl.concat([_both(mine.removed, theirs, key), _both(ours, yours.removed, key)])
    differ = _compare(ours, theirs, key).after.select(key)
    return pl.concat([lost, differ]).sort(key)


def _both(one: pl.DataFrame, two: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    return one.select(key).join(two.select(key), on=key, how="semi")


def _table(
    ws: Workspace, base: Commit, ours: Commit, theirs: Commit, keys: pl.DataFrame, columns: list[str]
) -> pl.DataFrame:
    sides = [
        scan_commit(ws, side)
        .join(keys.lazy(), on=columns, how="semi")
        .select(pl.lit(name).alias("side"), pl.all())
        .collect()
        for name, side in (("base", base), ("ours", ours), ("theirs", theirs))
    ]
    return pl.concat(sides).sort(columns, maintain_order=True)
