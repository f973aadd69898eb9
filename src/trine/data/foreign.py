"""Rows of other datasets, for expectations about keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trine.data.reading import scan_commit
from trine.data.references import resolve
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

    from trine.data.row_rules import LookUp


def foreign_rows(ws: Workspace | None = None) -> LookUp:
    """Gives a dataset's rows by reference; it looks into the workspace only when it is asked."""

    def rows(ref: str) -> pl.LazyFrame:
        at = ws or current_workspace()
        return scan_commit(at, resolve(ref, ws=at))

    return rows
