"""`trine.dataset("flights")`: a dataset by name, with its verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trine.data import operations as door
from trine.data.changes import Diff, diff
from trine.data.checkouts import checkout
from trine.data.commits import Commit
from trine.data.edits import move, remove
from trine.data.expectations import Checks, Expectation
from trine.data.folders import add
from trine.data.merges import merge
from trine.data.reading import load, profile
from trine.data.references import resolve
from trine.data.suites import Suite, expect, expected
from trine.data.verification import verify
from trine.storage import Damage
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

    from trine.data.profiles import Profile
    from trine.data.row_merges import RowDiff


class Dataset:
    """One dataset of a workspace; nothing is read or written until a verb is called."""

    def __init__(self, name: str, ws: Workspace) -> None:
        self.name = name
        self.ws = ws

    def __repr__(self) -> str:
        return f"<Dataset {self.name}>"

    def add(self, path: Path | str, **options: Any) -> Commit:
        """Commit a folder or file (`trine.data.add`)."""
        return add(path, name=self.name, ws=self.ws, **options)

    def commit(self, frame: Any, **options: Any) -> Commit:
        """Commit rows (`trine.data.commit`)."""
        from trine.data.rows import commit

        return commit(frame, name=self.name, ws=self.ws, **options)

    def expect(self, checks: Checks) -> Suite:
        """Keep expectations with the dataset: each commit of rows from now on has to hold them."""
        return expect(self.name, checks, ws=self.ws)

    def expected(self, number: int = 0) -> Suite:
        """The expectations that are kept with the dataset, the newest or those with a number."""
        return expected(self.name, number=number, ws=self.ws)

    def suggest(self, ref: str = "main") -> list[Expectation]:
        """Expectations that a version's profile suggests."""
        from trine.data.suggestions import suggest

        return suggest(f"{self.name}@{ref}", ws=self.ws)

    def load(self, ref: str = "main") -> pl.LazyFrame:
        """The rows at a branch, tag or commit."""
        return load(f"{self.name}@{ref}", ws=self.ws)

    def profile(self, ref: str = "main") -> Profile:
        """The profile of a table commit."""
        return profile(f"{self.name}@{ref}", ws=self.ws)

    def resolve(self, ref: str = "main") -> Commit:
        """The commit a branch, tag or prefix means now."""
        return resolve(f"{self.name}@{ref}", ws=self.ws)

    def log(self, ref: str = "", limit: int = 100) -> list[Commit]:
        """The commit a reference means and those before it, newest first; without one: all, rejected ones too."""
        return door.list_commits(self.ws, name=self.name, ref=ref, limit=limit).items

    def tag(self, tag: str, ref: str = "main", *, move: bool = False) -> Commit:
        """Name a commit for good; moving a tag has to be asked for."""
        return door.tag_commit(self.ws, name=self.name, tag=tag, ref=ref, move=move)

    def branch(self, branch: str, ref: str = "main") -> Commit:
        """Start a branch at a commit."""
        return door.create_branch(self.ws, name=self.name, branch=branch, ref=ref)

    def checkout(self, folder: Path | str, ref: str = "main", *, force: bool = False) -> Commit:
        """Write the files into a folder (`trine.data.checkout`)."""
        return checkout(f"{self.name}@{ref}", folder, force=force, ws=self.ws)

    def diff(self, before: str, after: str = "main") -> Diff:
        """What changed from one commit to another."""
        return diff(f"{self.name}@{before}", f"{self.name}@{after}", ws=self.ws)

    def merge(self, source: str, into: str = "main", **options: Any) -> Commit:
        """Bring a branch, tag or commit into a branch (`trine.data.merge`)."""
        return merge(self.name, source, into=into, ws=self.ws, **options)

    def upsert(self, frame: Any, **options: Any) -> Commit:
        """Commit rows over those with the same key (`trine.data.upsert`)."""
        from trine.data.row_edits import upsert

        return upsert(frame, name=self.name, ws=self.ws, **options)

    def delete(self, where: pl.Expr | str, **options: Any) -> Commit:
        """Commit a table without the rows for which a predicate is true (`trine.data.delete`)."""
        from trine.data.row_edits import delete

        return delete(where, name=self.name, ws=self.ws, **options)

    def diff_rows(self, before: str, after: str = "main", **options: Any) -> RowDiff:
        """The rows that differ between two versions, by key (`trine.data.diff_rows`)."""
        from trine.data.row_merges import diff_rows

        return diff_rows(f"{self.name}@{before}", f"{self.name}@{after}", ws=self.ws, **options)

    def move(self, source: str, target: str, **options: Any) -> Commit:
        """Give a file or folder another path (`trine.data.move`)."""
        return move(self.name, source, target, ws=self.ws, **options)

    def remove(self, *paths: str, **options: Any) -> Commit:
        """Commit without these files and folders (`trine.data.remove`)."""
        return remove(self.name, paths, ws=self.ws, **options)

    def verify(self, ref: str = "main") -> list[Damage]:
        """Read and check everything a commit needs; the damaged objects are named."""
        return verify(f"{self.name}@{ref}", ws=self.ws)


def dataset(name: str, *, ws: Workspace | None = None) -> Dataset:
    """A dataset by name; it need not exist yet."""
    return Dataset(name, ws or current_workspace())
