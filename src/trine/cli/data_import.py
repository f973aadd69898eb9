"""`trine data import`: datasets of other tools."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trine.cli.data import FILE, data
from trine.cli.shell import argument, command, counted, echo, option, show, size_of

if TYPE_CHECKING:
    from trine.data.importers import Imported
    from trine.workspace import Workspace


@data.group("import")
def import_() -> None:
    """Move in from DVC, git-lfs, Delta Lake, Hugging Face or a bucket, with history as far as it is there.

    What is here already is not written again, so an import whose source went on is simply run again.
    """


@import_.command("dvc")
@argument("folder", type=FILE, default=".")
@option("--rev", default="HEAD", show_default=True, help="Up to which git commit.")
@option("--only", default="", metavar="PATH", help="Only this tracked file or folder.")
@option("--name", "names", multiple=True, metavar="PATH=NAME", help="Another name than the path with - for /.")
@option("--branch", default="main", show_default=True, help="The branch of each dataset that is moved.")
@command(example="trine data import dvc\ntrine data import dvc ../old --name data/images=images")
def dvc(ws: Workspace, folder: Path, rev: str, only: str, names: tuple[str, ...], branch: str) -> None:
    """Each file and folder that DVC tracks in FOLDER, a version for each git commit that changed it.

    Bytes come from DVC's cache, else from its remotes; every MD5 is checked. DVC itself is not needed.
    """
    from trine.data.importers import import_dvc
    from trine.errors import InvalidInput

    if wrong := [one for one in names if "=" not in one]:
        raise InvalidInput(f'"{wrong[0]}" names nothing: write PATH=NAME.')
    named = dict(one.split("=", 1) for one in names)
    with _telling() as tell:
        done = import_dvc(folder, rev=rev, names=named, only=only, branch=branch, tell=tell, ws=ws)
    _show(done)


@import_.command("git-lfs")
@argument("folder", type=FILE, default=".")
@option("--name", required=True, help="The dataset.")
@option("--path", default="", help="Only what is below this path of the repository.")
@option("--rev", default="HEAD", show_default=True, help="Up to which git commit.")
@option("--branch", default="main", show_default=True)
@command(example="trine data import git-lfs --name images --path images")
def git_lfs(ws: Workspace, folder: Path, name: str, path: str, rev: str, branch: str) -> None:
    """The files that git-lfs keeps in the repository at FOLDER, a version for each git commit that changed them.

    To have all of them here, run before: git lfs fetch --all
    """
    from trine.data.importers import import_git_lfs

    _show([import_git_lfs(folder, name=name, path=path, rev=rev, branch=branch, ws=ws)])


@import_.command("hf")
@argument("folder", type=FILE)
@option("--name", default="", help="The dataset; default: its name on the Hub.")
@option("--branch", default="main", show_default=True)
@command(example="trine data import hf ~/.cache/huggingface/hub/datasets--stanfordnlp--imdb")
def hugging_face(ws: Workspace, folder: Path, name: str, branch: str) -> None:
    """A dataset of the Hugging Face Hub from the folder it was downloaded to; of a cache folder, each snapshot."""
    from trine.data.importers import import_hugging_face

    _show([import_hugging_face(folder, name=name, branch=branch, ws=ws)])


@import_.command("s3")
@argument("url")
@option("--name", required=True, help="The dataset.")
@option("--message", "-m", default="", help="What this version is.")
@option("--branch", default="main", show_default=True)
@command(example="trine data import s3 s3://bucket/images --name images")
def bucket(ws: Workspace, url: str, name: str, message: str, branch: str) -> None:
    """What is below s3://bucket/prefix (gs://…, az://…) now, as the next version; again, only new objects are copied."""
    from trine.data.importers import import_bucket

    _show([import_bucket(url, name=name, message=message, branch=branch, ws=ws)])


@import_.command("delta")
@argument("table")
@option("--name", required=True, help="The dataset.")
@option("--branch", default="main", show_default=True)
@command(example="trine data import delta ./events --name events")
def delta(ws: Workspace, table: str, name: str, branch: str) -> None:
    """The versions of the Delta table at TABLE (a folder, s3://…), each with a tag delta-N; needs trine[delta].

    What was appended is stored as such. Versions whose files were vacuumed are left out and named.
    """
    from trine.data.importers import import_delta

    with _telling() as tell:
        done = import_delta(table, name=name, branch=branch, tell=tell, ws=ws)
    _show([done])


@contextlib.contextmanager
def _telling() -> Generator[Callable[[str], None] | None]:
    """A line on a terminal that says where an import is."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        yield lambda what: click.echo(f"\r\x1b[K{what} …", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


def _show(done: list[Imported]) -> None:
    show(
        done,
        table=[
            ("dataset", lambda d: d.dataset),
            ("versions", lambda d: d.versions),
            ("new", lambda d: d.added),
            ("files", lambda d: d.files),
            ("size", lambda d: size_of(d.size_bytes)),
            ("commit", lambda d: d.commit[:12]),
        ],
    )
    problems = [problem for one in done for problem in one.problems]
    for one in problems[:20]:
        echo(f"left out: {one}")
    if problems:
        more = f" {len(problems) - 20:,} more: --json has all." if len(problems) > 20 else ""
        echo(f"{counted(len(problems), 'version')} could not be had, the rest is here.{more}")
        raise click.exceptions.Exit(1)
