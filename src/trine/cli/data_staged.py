"""`trine data staged`, `trine data commit`, `trine data discard`: what clients of S3 left on a branch.
`trine data digests`, `trine data find`: files by MD5 and SHA-256."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trine.cli.data import data
from trine.cli.shell import ago, argument, command, counted, option, show, size_of

if TYPE_CHECKING:
    from trine.workspace import Workspace

ALGORITHM = click.Choice(["sha256", "md5"])


@data.command("staged")
@argument("ref")
@command(example="trine data staged images\ntrine data staged images@dev --json")
def staged(ws: Workspace, ref: str) -> None:
    """What is staged on a branch (NAME or NAME@BRANCH) and not committed yet."""
    from trine.data.commits import split_ref
    from trine.data.staging import list_staged
    from trine.operations import every

    name, branch = split_ref(ref)
    show(
        list(every(list_staged, ws, name=name, branch=branch)),
        table=[
            ("", lambda one: "+" if one.object else "-"),
            ("path", lambda one: one.path),
            ("size", lambda one: size_of(one.size_bytes) if one.object else ""),
            ("staged", lambda one: ago(one.changed_us)),
        ],
        empty=f"Nothing is staged on {name}@{branch}.",
    )


@data.command("commit")
@argument("ref")
@option("--message", "-m", default="", help="What this version is.")
@command(example="trine data commit images -m 'new cats'")
def commit(ws: Workspace, ref: str, message: str) -> None:
    """Commit all that is staged on a branch (NAME or NAME@BRANCH) through S3.

    A folder is committed by `trine data add`.
    """
    from trine.data.commits import split_ref
    from trine.data.staging import commit_staged

    name, branch = split_ref(ref)
    made = commit_staged(name, branch=branch, message=message, ws=ws)
    show(made, text=f"{made.ref}  {counted(made.files, 'file')}, {size_of(made.size_bytes)}")


@data.command("discard")
@argument("ref")
@argument("prefix", default="")
@command(example="trine data discard images@dev cats/")
def discard(ws: Workspace, ref: str, prefix: str) -> None:
    """Let go of what is staged on a branch (NAME or NAME@BRANCH), or of what is staged below PREFIX."""
    from trine.data.commits import split_ref
    from trine.data.staging import discard_staged

    name, branch = split_ref(ref)
    done = discard_staged(ws, name=name, branch=branch, prefix=prefix)
    show(done, text=f"{name}@{branch} is as it was committed." if done.changed else "There was nothing to discard.")


@data.command("digests")
@argument("ref")
@option("--algorithm", type=ALGORITHM, default="sha256", show_default=True)
@command(example="trine data digests images@v1 > v1.sha256\ntrine data digests images --algorithm md5")
def digests(ws: Workspace, ref: str, algorithm: Any) -> None:
    """SHA-256 or MD5 of each file of a version, as sha256sum and md5sum write and check them.

    What nobody asked for before is read, and known from then on.
    """
    from trine import data as room

    found = room.digests(ref, algorithm, ws=ws)
    show(found, text="\n".join(f"{one.digest}  {one.path}" for one in found))


@data.command("find")
@argument("digest")
@command(example="trine data find md5:5d41402abc4b2a76b9719d911017c592")
def find(ws: Workspace, digest: str) -> None:
    """The object with an MD5 or SHA-256 that is known: its BLAKE3 and size."""
    from trine import data as room

    found = room.find_object(digest, ws=ws)
    show(found, text=f"{found.object}  {size_of(found.size_bytes)}")
