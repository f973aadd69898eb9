"""Commits of datasets, as values, and the form of references to them."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from trine.data.expectations import CheckResult
from trine.errors import InvalidInput

Kind = Literal["files", "table"]


class Commit(msgspec.Struct, frozen=True):
    """One version of a dataset: fixed content, schema, profile and check results. `profile` is the object that holds it."""

    dataset: str
    id: str
    kind: Kind
    parents: list[str]
    branch: str
    tree: str
    rows: int | None
    files: int
    size_bytes: int
    schema: dict[str, str]
    profile: str
    checks: list[CheckResult]
    message: str
    author: str
    state: Literal["accepted", "rejected"]
    created_us: int

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"dataset:{self.dataset}@{self.id[:12]}"

    @property
    def ref(self) -> str:
        """A reference to exactly this commit."""
        return f"{self.dataset}@{self.id[:12]}"


class DatasetInfo(msgspec.Struct, frozen=True):
    """A dataset and the head of its main branch."""

    name: str
    kind: Kind
    description: str
    created_us: int
    branches: dict[str, str]
    tags: dict[str, str]


def split_ref(ref: str) -> tuple[str, str]:
    """`name@ref` as name and ref; without `@` the ref is `main`."""
    name, at, version = ref.partition("@")
    if (at and not version) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name):
        raise InvalidInput(f'"{ref}" is no reference to a dataset: write name or name@branch, name@tag, name@commit.')
    return name, version or "main"


def commit_of(row: Any) -> Commit:
    """A commit from its row in the ledger."""
    return Commit(
        row.dataset,
        row.id,
        row.kind,
        msgspec.json.decode(row.parents),
        row.branch,
        row.tree,
        row.rows,
        row.files,
        row.size_bytes,
        msgspec.json.decode(row.schema),
        row.profile,
        msgspec.json.decode(row.checks, type=list[CheckResult]),
        row.message,
        row.author,
        row.state,
        row.created_us,
    )
