"""`trine data remote`, `trine data push`, `trine data pull`: datasets in other places."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.data import data
from trine.cli.shell import argument, command, counted, echo, is_json, option, show, size_of

if TYPE_CHECKING:
    from trine.data.moving import Moved, Progress
    from trine.workspace import Workspace


@data.group("remote")
def remote() -> None:
    """Other places that hold datasets: folders, buckets, workspaces, Trine servers."""


@remote.command("add")
@argument("name")
@argument("url")
@option("--project-there", default="", help="The project, when it is a workspace or a server. Default: default.")
@command(
    example="trine data remote add origin s3://bucket/trine\ntrine data remote add team https://trine.example --project-there vision"
)
def add(ws: Workspace, name: str, url: str, project_there: str) -> None:
    """Remember a place under NAME: a folder, s3://…, gs://…, az://…, or http(s)://… of a Trine server.

    The token of a server is the one that `trine login URL` kept; credentials of buckets come from the environment.
    """
    from trine.data.remotes import add_remote

    where = url if "://" in url else str(Path(url).expanduser().resolve())
    made = add_remote(ws, name=name, url=where, project_there=project_there)
    show(made, text=f"{made.name} is {made.url}\nNext: trine data push NAME --to {made.name}")


@remote.command("ls")
@command(example="trine data remote ls")
def list_(ws: Workspace) -> None:
    """The remotes of this project."""
    from trine.data.remotes import list_remotes

    show(
        list_remotes(ws, limit=1000),
        table=[("remote", lambda r: r.name), ("address", lambda r: r.url), ("project", lambda r: r.project)],
        empty="No remotes yet. Add one: trine data remote add origin s3://bucket/prefix",
    )


@remote.command("rm")
@argument("name")
@command(example="trine data remote rm origin")
def remove(ws: Workspace, name: str) -> None:
    """Forget a remote; what is there stays there."""
    from trine.data.remotes import remove_remote

    show(remove_remote(ws, name=name), text=f"Forgot {name}.")


@data.command("push")
@argument("ref", default="")
@option("--to", "remote", default="", metavar="REMOTE|URL", help="Default: the only remote, or the one called origin.")
@option("--force", is_flag=True, help="Move a branch or tag there although it went on, or names something else.")
@command(example="trine data push images\ntrine data push images@v1 --to s3://bucket/trine")
def push(ws: Workspace, ref: str, remote: str, force: bool) -> None:
    """Give a remote what it lacks of a dataset (NAME: all branches and tags), of one version of it (NAME@REF), or of all
    that trine.lock pins (nothing named).

    Interrupted, it goes on where it was when it is called again.
    """
    from trine import data as room

    if not ref:
        _push_pinned(ws, remote)
        return
    with _progress("pushing") as tell:
        done = room.push(ref, remote=remote, force=force, tell=tell, ws=ws)
    _show(done)


@data.command("pull")
@argument("ref", default="")
@option(
    "--from", "remote", default="", metavar="REMOTE|URL", help="Default: the only remote, or the one called origin."
)
@option("--force", is_flag=True, help="Take the branch or tag, or the folder, although it changed here.")
@command(example="trine data pull images\ntrine data pull images@v1 --from s3://bucket/trine")
def pull(ws: Workspace, ref: str, remote: str, force: bool) -> None:
    """Get from a remote what is not here of a dataset (NAME: all branches and tags), of one version of it (NAME@REF), or
    follow trine.lock (nothing named): get what it pins, and check its folders out.

    Interrupted, it goes on where it was when it is called again.
    """
    from trine import data as room

    if not ref:
        _follow(ws, remote, force)
        return
    with _progress("pulling") as tell:
        done = room.pull(ref, remote=remote, force=force, tell=tell, ws=ws)
    _show(done)


def _push_pinned(ws: Workspace, remote: str) -> None:
    from trine.data.lock import lock_path, read_lock
    from trine.data.pins import push_pinned
    from trine.data.remotes import list_remotes

    if not remote and read_lock(lock_path()) and not list_remotes(ws).items:
        show([], text="There is no remote, so the pinned data stays here.")
        return
    with _progress("pushing") as tell:
        done = push_pinned(remote=remote, tell=tell, ws=ws)
    lines = [
        f"{one.dataset}: {counted(one.objects, 'object')}, {size_of(one.size_bytes)}  → {one.target}" for one in done
    ]
    show(done, text="\n".join(lines) or "Nothing is pinned here. Pin what the code needs: trine data pin NAME")


def _follow(ws: Workspace, remote: str, force: bool) -> None:
    from trine.data.pins import follow

    with _progress("pulling") as tell:
        done = follow(remote=remote, force=force, tell=tell, ws=ws)
    lines = [
        f"{one.dataset}@{one.commit[:12]}"
        + (" was pulled" if one.pulled else "")
        + (f" is in {one.folder}" if one.folder else "")
        for one in done
        if one.pulled or one.folder
    ]
    nothing = "All as pinned." if done else "Nothing is pinned here. Pin what the code needs: trine data pin NAME"
    show(done, text="\n".join(lines) or nothing)


def _show(done: Moved) -> None:
    size = f"{counted(done.objects, 'object')}, {size_of(done.size_bytes)}"
    lines = [f"{done.dataset}: {counted(done.commits, 'commit')}, {size}  {done.source} → {done.target}"]
    words = {
        "same": "is there",
        "new": "is new",
        "moved": "moved",
        "behind": "is further there",
        "diverged": "went on at both ends",
    }
    for one in done.refs:
        came = (
            f"  {one.before[:12]} → {one.after[:12]}" if one.outcome in ("moved", "diverged") else f"  {one.after[:12]}"
        )
        lines.append(f"  {one.name}{came}  {words[one.outcome]}")
    show(done, text="\n".join(lines))
    if stuck := [one.name for one in done.refs if one.outcome == "diverged"]:
        echo(
            f"Left where they were: {', '.join(stuck)}. What to do, for each: trine data pull {done.dataset}@{stuck[0]}"
        )
        raise click.exceptions.Exit(5)


@contextlib.contextmanager
def _progress(what: str) -> Generator[Callable[[Progress], None] | None]:
    """A bar on a terminal; nothing elsewhere."""
    if is_json() or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns: list[Any] = [TextColumn(what), BarColumn(), TextColumn("{task.fields[objects]}"), DownloadColumn()]
    columns += [TransferSpeedColumn(), TimeRemainingColumn()]
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, objects="")

        def tell(now: Progress) -> None:
            told = f"{now.objects:,} of {now.objects_total:,} objects"
            bar.update(task, completed=now.size_bytes, total=now.size_bytes_total, objects=told)

        yield tell
