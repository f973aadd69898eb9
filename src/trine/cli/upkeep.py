"""`trine verify`, `trine gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trine.cli.shell import command, counted, option, show, single, size_of

if TYPE_CHECKING:
    from trine.upkeep import Report
    from trine.workspace import Workspace


@single("verify")
@command(example="trine verify\ntrine verify --json | jq .missing")
def verify(ws: Workspace) -> None:
    """Read every object of the store against its hash, and look whether all that the ledger needs are there.

    Ends with exit code 1 when something is damaged or missing. It reads the whole store: run it where that is.
    """
    from trine import upkeep

    found = upkeep.verify(ws)
    show(found, text=_told(found))
    if not found.is_sound:
        raise click.exceptions.Exit(1)


def _told(found: Report) -> str:
    lines = [f"damaged  {one.hash[:12] or one.path}  {one.problem}" for one in found.damaged]
    lines += [f"missing  {one.hash[:12]}  needed by {', '.join(one.needed_by)}" for one in found.missing]
    held = f"{counted(found.objects, 'object')}, {found.needed:,} needed"
    if not lines:
        return f"Sound: {held}, all there and whole." + (f" {found.spare:,} can go: trine gc" if found.spare else "")
    return "\n".join([*lines, f"{held}: {len(found.missing)} missing, {len(found.damaged)} damaged."])


@single("gc")
@option("--grace", "grace_h", default=24.0, show_default=True, help="Hours that what is not needed is kept.")
@option("--dry-run", is_flag=True, help="Only say what would go.")
@command(example="trine gc --dry-run\ntrine gc --grace 168")
def gc(ws: Workspace, grace_h: float, dry_run: bool) -> None:
    """Free the space of what nothing needs any more: removed datasets, runs and versions, work that never finished.

    It goes to the trash first, and for good when it has been there for the grace period: call it every day. Safe while
    others write, as long as nobody takes longer than the grace period from storing data to committing it.
    """
    from trine import upkeep

    done = upkeep.collect(ws, grace_s=grace_h * 3600, dry_run=dry_run)
    would = "would go" if dry_run else "went"
    lines = [
        f"{counted(done.objects, 'object')} ({size_of(done.bytes)}) {would} to the trash, {done.deleted:,} for good."
    ]
    if done.repacked:
        lines.append(f"{done.repacked:,} objects that are needed {'would be' if dry_run else 'were'} packed anew.")
    if done.brought_back:
        lines.append(f"{done.brought_back:,} {'would come' if dry_run else 'came'} back: they are needed again.")
    show(done, text="\n".join(lines))
