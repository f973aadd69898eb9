"""`trine data`: the rows of tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.data import data
from trine.cli.shell import argument, command, counted, echo, is_json, option, print_table, show, size_of

if TYPE_CHECKING:
    import polars as pl

    from trine.data import Commit
    from trine.data.row_edits import Compat
    from trine.workspace import Located, Workspace

FILE = click.Path(path_type=Path)
SHOWN = 20


@data.command("upsert")
@argument("path", type=FILE)
@option("--name", required=True, help="The table.")
@option("--key", "-k", multiple=True, help="Columns that tell rows apart; default: those of its unique check.")
@option("--branch", default="main", show_default=True)
@option("--message", "-m", default="", help="What this version is.")
@option("--tag", default="", help="Also name this version for good.")
@option("--checks", type=FILE, help="Expectations (YAML) that the table must hold.")
@option("--copy-on-write", is_flag=True, help="Write touched files anew, for readers that know no deletion vectors.")
@command(example="trine data upsert corrections.csv --name sales --key id")
def upsert(
    ws: Workspace,
    path: Path,
    name: str,
    key: tuple[str, ...],
    branch: str,
    message: str,
    tag: str,
    checks: Path | None,
    copy_on_write: bool,
) -> None:
    """Commit the rows of a .parquet or .csv file in place of those with the same key; costs what changes."""
    from trine import data as room
    from trine.data.frames import read_table

    rows = read_table(path)
    compat = _compat(copy_on_write)
    made = room.upsert(
        rows, name=name, key=key, branch=branch, message=message, tag=tag, checks=checks, compat=compat, ws=ws
    )
    _told(made)


@data.command("delete")
@argument("name")
@option("--where", required=True, help="Which rows go: SQL, such as \"delay < 0 AND carrier = 'UA'\".")
@option("--branch", default="main", show_default=True)
@option("--message", "-m", default="", help="What this version is.")
@option("--tag", default="", help="Also name this version for good.")
@option("--copy-on-write", is_flag=True, help="Write touched files anew, for readers that know no deletion vectors.")
@command(example='trine data delete sales --where "amount < 0"')
def delete(ws: Workspace, name: str, where: str, branch: str, message: str, tag: str, copy_on_write: bool) -> None:
    """Commit a table without the rows for which a condition is true."""
    from trine import data as room

    compat = _compat(copy_on_write)
    _told(room.delete(where, name=name, branch=branch, message=message, tag=tag, compat=compat, ws=ws))


@data.command("compact")
@argument("name")
@option("--branch", default="main", show_default=True)
@option("--message", "-m", default="", help="What this version is.")
@command(example="trine data compact sales")
def compact(ws: Workspace, name: str, branch: str, message: str) -> None:
    """Commit the same rows of a table in fewer files, without deletion vectors."""
    from trine import data as room

    made = room.compact(name, branch=branch, message=message, ws=ws)
    show(made, text=f"{made.ref}  {counted(made.rows or 0, 'row')} in {counted(made.files, 'file')}")


@data.command("delta")
@argument("ref")
@argument("folder", type=FILE)
@option(
    "--link",
    type=click.Choice(["auto", "hard", "copy"]),
    default="auto",
    show_default=True,
    help="Parts: share bytes where the disk can, hard links (read-only), or copies.",
)
@command(example="trine data delta sales out/\ntrine data delta sales@v1 out/ --link hard")
def delta(ws: Workspace, ref: str, folder: Path, link: Any) -> None:
    """Write the table REF with its history into FOLDER as a Delta table, which Polars, DuckDB and Spark read as it is.

    Run again, it adds the versions that came.
    """
    from trine import data as room

    made = room.write_delta(ref, folder, link=link, ws=ws)
    show(made, text=f"{made.ref} is in {folder} as a Delta table ({counted(made.rows or 0, 'row')})")


def _compat(copy_on_write: bool) -> Compat:
    return "copy-on-write" if copy_on_write else ""


def _told(made: Commit) -> None:
    show(made, text=f"{made.ref}  {counted(made.rows or 0, 'row')}, {size_of(made.size_bytes)}")


def show_row_diff(ws: Located, before: str, after: str, key: tuple[str, ...]) -> None:
    """What `trine data diff --rows` prints."""
    from trine import data as room
    from trine.workspace import existing

    with existing(ws.location, project=ws.project) as open_:
        found = room.diff_rows(before, after, key=key, ws=open_)
    if is_json():
        parts = {"added": found.added, "removed": found.removed, "before": found.before, "after": found.after}
        show({"key": found.key, **{name: rows.rows(named=True) for name, rows in parts.items()}})
        return
    for mark, what, rows in (
        ("+", "added", found.added),
        ("-", "removed", found.removed),
        ("~", "changed", found.after),
    ):
        echo(f"{mark} {counted(rows.height, 'row')} {what}")
        if what == "changed":
            _print_changes(found.key, found.before, found.after)
        elif rows.height:
            print_table(rows.columns, rows.head(SHOWN).rows())


def _print_changes(key: list[str], before: pl.DataFrame, after: pl.DataFrame) -> None:
    for old, new in zip(before.head(SHOWN).rows(named=True), after.head(SHOWN).rows(named=True), strict=True):
        told = [f"{name} {old.get(name)} → {value}" for name, value in new.items() if old.get(name) != value]
        echo(f"  {', '.join(f'{name}={new[name]}' for name in key)}: {', '.join(told)}")
