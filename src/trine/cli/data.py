"""`trine data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, counted, echo, group, is_json, option, print_table, show, size_of

if TYPE_CHECKING:
    from trine.data import Changes, Commit, Diff
    from trine.workspace import Located, Workspace

FILE = click.Path(path_type=Path)
SHOWN = 50
"""Paths of a kind that are printed; --json has them all."""


@group()
def data() -> None:
    """Datasets: versioned folders and tables, verified whenever they are read."""


@data.command("add")
@argument("path", type=FILE)
@option("--name", required=True, help="The dataset.")
@option("--message", "-m", default="", help="What this version is.")
@option("--kind", type=click.Choice(["files", "table"]), help="table: a .parquet or .csv file becomes the table.")
@option("--append", is_flag=True, help="With --kind table: after the rows that are there.")
@option(
    "--schema",
    type=click.Choice(["strict", "additive", "breaking"]),
    default="strict",
    show_default=True,
    help="With --append: whether columns may come and widen (additive), or go and change (breaking).",
)
@option("--branch", default="main", show_default=True)
@option("--tag", default="", help="Also name this version for good.")
@option("--checks", type=FILE, help="Expectations (YAML) that a table must hold.")
@option("--force", is_flag=True, help="Add a folder although the branch has moved since it was checked out.")
@command(
    example="trine data add images/ --name images -m 'first 2,000'\n"
    "trine data add feb.csv --name sales --kind table --append --checks sales.yaml",
    opened=False,
)
def add(ws: Located, path: Path, **options: Any) -> None:
    """Commit PATH, a folder or file, as the next version of a dataset."""
    from trine import data as room

    made = room.add(path, ws=ws, **options)
    size = counted(made.files, "file") if made.rows is None else counted(made.rows, "row")
    show(made, text=f"{made.ref}  {size}, {size_of(made.size_bytes)}")


@data.command("status")
@argument("path", type=FILE, default=".")
@command(example="trine data status images/", opened=False)
def status(ws: Located, path: Path) -> None:
    """What changed in PATH since it was added or checked out; reads only files whose time or size changed."""
    from trine import data as room

    found = room.status(path, ws=ws)
    head = f"{found.path} is {found.dataset}@{found.commit[:12]}"
    show(found, text=head if found.changes.clean else f"{head} with changes:\n{_changes(found.changes)}")


@data.command("checkout")
@argument("ref")
@argument("folder", type=FILE)
@option("--force", is_flag=True, help="Overwrite files that were changed here.")
@option(
    "--link",
    type=click.Choice(["auto", "hard", "copy"]),
    default="auto",
    show_default=True,
    help="Large files: share bytes where the disk can, hard links (read-only), or copies.",
)
@command(example="trine data checkout images@v1 out/\ntrine data checkout images@v1 out/ --link hard", opened=False)
def checkout(ws: Located, ref: str, folder: Path, force: bool, link: Any) -> None:
    """Write the files of REF (name, name@branch, name@tag, name@commit) into FOLDER."""
    from trine import data as room

    made = room.checkout(ref, folder, force=force, link=link, ws=ws)
    show(made, text=f"{made.ref} is in {folder} ({counted(made.files, 'file')})")


@data.command("ls")
@command(example="trine data ls")
def list_(ws: Workspace) -> None:
    """Datasets with their branches and tags."""
    from trine.data import operations

    show(
        operations.list_datasets(ws, limit=1000),
        table=[
            ("dataset", lambda d: d.name),
            ("kind", lambda d: d.kind),
            ("branches", lambda d: [f"{name}={commit[:8]}" for name, commit in d.branches.items()]),
            ("tags", lambda d: list(d.tags)),
        ],
        empty="No datasets yet. Add one: trine data add PATH --name NAME",
    )


@data.command("log")
@argument("ref")
@option("--limit", default=50, show_default=True)
@command(example="trine data log images\ntrine data log images@v1")
def log(ws: Workspace, ref: str, limit: int) -> None:
    """Versions of a dataset, newest first: all (NAME), or one and those before it (NAME@REF)."""
    from trine.data import operations
    from trine.data.commits import split_ref

    name, version = split_ref(ref)
    show(
        operations.list_commits(ws, name=name, ref=version if "@" in ref else "", limit=limit),
        table=[
            ("commit", lambda c: c.id[:12]),
            ("branch", lambda c: c.branch),
            ("state", lambda c: c.state),
            ("rows", lambda c: c.rows),
            ("files", lambda c: c.files),
            ("author", lambda c: c.author),
            ("made", lambda c: ago(c.created_us)),
            ("message", lambda c: c.message),
        ],
    )


@data.command("show")
@argument("ref")
@command(example="trine data show sales@v1")
def show_(ws: Workspace, ref: str) -> None:
    """A version's columns with their profile, its checks with rows that fail them; of a folder: its files."""
    from trine import data as room

    commit = room.resolve(ref, ws=ws)
    size = counted(commit.files, "file") if commit.rows is None else counted(commit.rows, "row")
    echo(f"{commit.ref}  {size}, {size_of(commit.size_bytes)}  {commit.state}  {commit.message}".rstrip())
    if is_json():
        show(commit)
    elif commit.profile:
        _show_table(ws, commit)
    else:
        _show_files(ws, commit)


def _show_table(ws: Workspace, commit: Commit) -> None:
    from trine import data as room
    from trine.data.profiles import shown

    rows = [
        [c.name, c.dtype, c.nulls, c.distinct, shown(c.min, c.dtype), shown(c.mean, c.dtype), shown(c.max, c.dtype)]
        for c in room.profile_of(ws, commit).columns
    ]
    print_table(["column", "type", "nulls", "distinct", "min", "mean", "max"], rows)
    for one in commit.checks:
        echo(f"{'ok' if one.passed else one.severity:<6} {one.message}")
        for row in one.examples:
            echo("       " + "  ".join(f"{name}={value}" for name, value in row.items()))


def _show_files(ws: Workspace, commit: Commit) -> None:
    from trine.data.trees import read_tree

    entries = read_tree(ws.store, commit.tree)
    for entry in entries[:SHOWN]:
        echo(f"  {size_of(entry.size):>12}  {entry.path}")
    if len(entries) > SHOWN:
        echo(f"  … and {len(entries) - SHOWN:,} more")


@data.command("diff")
@argument("before")
@argument("after")
@option("--rows", is_flag=True, help="Of a table: which rows are new, gone and changed.")
@option("--key", "-k", multiple=True, help="With --rows: columns that tell rows apart.")
@command(example="trine data diff sales@v1 sales\ntrine data diff sales@v1 sales --rows --key id", opened=False)
def diff(ws: Located, before: str, after: str, rows: bool, key: tuple[str, ...]) -> None:
    """What changed from one version to another."""
    from trine import data as room

    if rows:
        from trine.cli.data_rows import show_row_diff

        show_row_diff(ws, before, after, key)
        return
    found = room.diff(before, after, ws=ws)
    show(found, text=difference(found))


def difference(found: Diff) -> str:
    """What changed between two commits, for people."""
    lines = [f"{found.before} → {found.after}"]
    if found.rows_before is not None and found.rows_after is not None:
        lines.append(f"rows   {found.rows_before:,} → {found.rows_after:,}")
        for one in found.columns:
            if one.before is None or one.after is None:
                lines.append(f"column {one.name}: {'new' if one.before is None else 'gone'}")
                continue
            told = [
                f"{field} {a if not isinstance(a, float) else f'{a:.5g}'} → {b if not isinstance(b, float) else f'{b:.5g}'}"
                for field in ("dtype", "nulls", "distinct", "min", "mean", "max")
                if (a := getattr(one.before, field)) != (b := getattr(one.after, field))
            ]
            lines.append(f"column {one.name}: {', '.join(told) or 'distribution'}")
    else:
        lines.append(_changes(found.files) or "no changes")
    return "\n".join(lines)


def _changes(changes: Changes) -> str:
    parts = (("+", changes.added), ("-", changes.removed), ("~", changes.changed))
    lines = [f"  {mark} {path}" for mark, paths in parts for path in paths[:SHOWN]]
    hidden = sum(max(0, len(paths) - SHOWN) for _, paths in parts)
    return "\n".join([*lines, f"  … and {hidden:,} more"] if hidden else lines)


@data.command("tag")
@argument("ref")
@argument("tag")
@option("--move", is_flag=True, help="Move a tag that is there.")
@command(example="trine data tag sales@main v1")
def tag(ws: Workspace, ref: str, tag: str, move: bool) -> None:
    """Name a version for good."""
    from trine.data import operations
    from trine.data.commits import split_ref

    name, version = split_ref(ref)
    made = operations.tag_commit(ws, name=name, tag=tag, ref=version, move=move)
    show(made, text=f"{name}@{tag} is {made.id[:12]}")


@data.command("branch")
@argument("ref")
@argument("branch")
@command(example="trine data branch sales@v1 cleanup")
def branch(ws: Workspace, ref: str, branch: str) -> None:
    """Start a branch at a version."""
    from trine.data import operations
    from trine.data.commits import split_ref

    name, version = split_ref(ref)
    made = operations.create_branch(ws, name=name, branch=branch, ref=version)
    show(made, text=f"{name}@{branch} starts at {made.id[:12]}")


@data.command("verify")
@argument("ref")
@option("--repair", is_flag=True, help="Fetch what is damaged or missing from the remotes that have it.")
@command(example="trine data verify sales@v1\ntrine data verify sales --repair")
def verify(ws: Workspace, ref: str, repair: bool) -> None:
    """Read and check everything a version needs; damage is named and ends with exit code 1."""
    from trine import data as room
    from trine.errors import Damaged

    damage = room.verify(ref, ws=ws)
    mended = room.mend([one.hash for one in damage], ws=ws) if repair and damage else set[str]()
    if mended:
        echo(f"Mended from a remote: {counted(len(mended), 'object')}")
        damage = room.verify(ref, ws=ws)
    if damage:
        raise Damaged(
            f"Damaged in {ref}: {counted(len(damage), 'object')}. {damage[0].problem}", objects=[d.hash for d in damage]
        )
    show({"ref": ref, "intact": True}, text=f"{ref} is intact")


@data.command("merge")
@argument("ref")
@option("--into", default="main", show_default=True, help="The branch that gets it.")
@option("--ours", multiple=True, metavar="PATTERN", help="Paths of which the branch's version counts.")
@option("--theirs", multiple=True, metavar="PATTERN", help="Paths of which the other version counts.")
@option("--key", "-k", multiple=True, help="Of a table: columns that tell rows apart; default: its unique check's.")
@option("--message", "-m", default="")
@command(
    example="trine data merge images@cleanup\ntrine data merge images@cleanup --theirs 'labels/*' --ours '*'\n"
    "trine data merge sales@corrections --key id"
)
def merge(
    ws: Workspace,
    ref: str,
    into: str,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    key: tuple[str, ...],
    message: str,
) -> None:
    """Bring a branch (NAME@BRANCH), tag or commit into a branch; what both sides changed is named."""
    from trine import data as room
    from trine.data.commits import split_ref
    from trine.data.merges import Side
    from trine.errors import Conflict

    name, version = split_ref(ref)
    prefer: dict[str, Side] = dict.fromkeys(theirs, "theirs")
    prefer |= dict.fromkeys(ours, "ours")
    try:
        made = room.merge(name, version, into=into, prefer=prefer, key=key, message=message, ws=ws)
    except Conflict as error:
        if rows := error.details.get("rows"):
            print_table(list(rows[0]), [list(row.values()) for row in rows])
        elif conflicts := error.details.get("conflicts"):
            for one in conflicts[:SHOWN]:
                echo(f"  ! {one['path']}")
        raise
    size = counted(made.files, "file") if made.rows is None else counted(made.rows, "row")
    show(made, text=f"{made.ref} has {ref}  {size}, {size_of(made.size_bytes)}")


@data.command("mv")
@argument("ref")
@argument("source")
@argument("target")
@option("--message", "-m", default="")
@command(example="trine data mv images cats felines")
def move(ws: Workspace, ref: str, source: str, target: str, message: str) -> None:
    """Give a file or folder of a branch (NAME or NAME@BRANCH) another path, without a checkout."""
    from trine import data as room
    from trine.data.commits import split_ref

    name, branch = split_ref(ref)
    made = room.move(name, source, target, branch=branch, message=message, ws=ws)
    show(made, text=f"{made.ref} has {target}")


@data.command("rm")
@argument("ref")
@argument("paths", nargs=-1)
@option("--yes", is_flag=True, help="Do not ask.")
@option("--message", "-m", default="", help="With PATHS: what this version is.")
@command(example="trine data rm sales@cleanup\ntrine data rm images cats/3.txt dogs")
def remove(ws: Workspace, ref: str, paths: tuple[str, ...], yes: bool, message: str) -> None:
    """Remove a branch or tag (NAME@REF), or a whole dataset (NAME); with PATHS: commit without these files and folders."""
    from trine import data as room
    from trine.data import operations
    from trine.data.commits import split_ref

    if paths:
        name, branch = split_ref(ref)
        made = room.remove(name, paths, branch=branch, message=message, ws=ws)
        show(made, text=f"{made.ref}  {counted(made.files, 'file')}, {size_of(made.size_bytes)}")
        return
    if not yes:
        click.confirm(f"Remove {ref}?", abort=True, err=True)
    name, at, version = ref.partition("@")
    if at:
        done = operations.delete_ref(ws, name=name, ref=version)
    else:
        done = operations.delete_dataset(ws, name=name)
    show(done, text=f"Removed {ref}.")


from trine.cli import data_card as data_card  # noqa: E402
from trine.cli import data_checks as data_checks  # noqa: E402 (their commands join the group)
from trine.cli import data_import as data_import  # noqa: E402
from trine.cli import data_lock as data_lock  # noqa: E402
from trine.cli import data_remotes as data_remotes  # noqa: E402
from trine.cli import data_rows as data_rows  # noqa: E402
from trine.cli import data_staged as data_staged  # noqa: E402
