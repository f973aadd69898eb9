"""`trine data pin`, `pins`, `unpin`, `trace`, `merge-lock`: data beside code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trine.cli.data import FILE, data
from trine.cli.shell import argument, command, counted, is_json, option, show

if TYPE_CHECKING:
    from trine.data.pins import PinState
    from trine.workspace import Workspace


@data.command("pin")
@argument("refs", nargs=-1, required=True)
@option("--folder", type=FILE, help="Where it is checked out, below the lock; it is kept for the next time.")
@command(example="trine data pin flights\ntrine data pin images@v2 --folder data/images")
def pin(ws: Workspace, refs: tuple[str, ...], folder: Path | None) -> None:
    """Write into trine.lock that the code here needs these versions (name, name@branch, name@tag, name@commit).

    Commit the file with the code. `trine data pull` brings the data to where it says.
    """
    from trine import data as room

    made = room.pin(*refs, folder=folder, ws=ws)
    show(made, text="\n".join(f"pinned {one.ref}" + (f" in {one.folder}" if one.folder else "") for one in made))


@data.command("unpin")
@argument("names", nargs=-1, required=True)
@command(example="trine data unpin flights", workspace=False)
def unpin(names: tuple[str, ...]) -> None:
    """Take datasets out of trine.lock."""
    from trine import data as room

    room.unpin(*names)
    show({"unpinned": list(names)}, text=f"unpinned {', '.join(names)}")


@data.command("pins")
@option("--check", is_flag=True, help="Say only what deviates, and end with exit code 5 if anything does.")
@command(example="trine data pins\ntrine data pins --check")
def pins(ws: Workspace, check: bool) -> None:
    """What trine.lock pins, and whether it holds: the commits are here, the folders are as pinned."""
    from trine import data as room
    from trine.errors import Conflict

    found = room.pin_states(ws=ws)
    wrong = [one for one in found if not one.holds]
    if check and wrong:
        told = "; ".join(_deviation(one) for one in wrong)
        raise Conflict(f"The data is not as trine.lock says: {told}.", pins=[one.dataset for one in wrong])
    show(
        found,
        text="All as pinned." if check else None,
        table=[
            ("dataset", lambda p: p.dataset),
            ("pinned", lambda p: p.commit[:12]),
            ("here", lambda p: p.here),
            ("main", lambda p: "the same" if p.main == p.commit else p.main[:12] or None),
            ("folder", lambda p: p.folder or None),
            ("is", lambda p: p.folder_state),
        ],
        empty="Nothing is pinned here. Pin what the code needs: trine data pin NAME",
    )


def _deviation(one: PinState) -> str:
    ref = f"{one.dataset}@{one.commit[:12]}"
    if not one.here:
        return f"{ref} is not here (trine data pull)"
    if one.folder_state == "changed":
        return (
            f"{one.folder} was changed (trine data add {one.folder} --name {one.dataset}, trine data pin {one.dataset})"
        )
    if one.folder_state == "other version":
        return f"{one.folder} is at {one.folder_commit[:12]}, not at {ref} (trine data pull, or trine data pin {one.dataset})"
    return f"{one.folder} is not there (trine data pull)"


@data.command("trace")
@argument("what", metavar="[REV|NAME@REF]", default="HEAD")
@option("--record", is_flag=True, help="Also have the lineage graph say so, for the commit that is checked out.")
@command(example="trine data trace\ntrine data trace v1.2\ntrine data trace flights@main~1")
def trace(ws: Workspace, what: str, record: bool) -> None:
    """From a git commit to the data it needs, or from a version of a dataset to the git commits that pinned it."""
    from trine.data import pins as room

    if record:
        room.record_head(ws=ws)
    if "@" in what and "@{" not in what:
        show(
            room.code_of(what, ws=ws),
            table=[
                ("code", lambda t: t.code[:12]),
                ("pin", lambda t: f"{t.before[:12] or 'nothing'} → {t.after[:12] or 'nothing'}"),
                ("time", lambda t: t.time),
                ("author", lambda t: t.author),
                ("subject", lambda t: t.subject),
            ],
            empty=f"No git commit here has {what} in its trine.lock.",
        )
        return
    code, found = room.data_of(what)
    lines = [f"code {code[:12]} needs {counted(len(found), 'dataset')}", *(f"  {one.ref}" for one in found.values())]
    show({"code": code, "data": list(found.values())}, text="\n".join(lines))


@data.command("merge-lock", hidden=True)
@argument("base", type=FILE)
@argument("ours", type=FILE)
@argument("theirs", type=FILE)
@command(example="trine data merge-lock %O %A %B", workspace=False)
def merge_lock(base: Path, ours: Path, theirs: Path) -> None:
    """git's merge driver for trine.lock: merges dataset by dataset; of two versions the one that builds on the other."""
    from trine.data.pins import merge_lock_files
    from trine.errors import NotFound
    from trine.workspace import existing

    try:
        ws = existing()
    except NotFound:
        ws = None
    conflicts = merge_lock_files(base, ours, theirs, ws=ws)
    if is_json():
        show({"conflicts": conflicts})
    if conflicts:
        told = ", ".join(conflicts)
        click.echo(f"trine.lock: both sides moved {told}. Merge the data, then pin it: trine data pin NAME", err=True)
        raise click.exceptions.Exit(1)
