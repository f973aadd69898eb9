"""Reading datasets: a view's source, a spine named by its dataset."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trine import data
from trine.workspace import Workspace


@dataclass(frozen=True)
class Source:
    """A dataset at one commit: its rows, and the commit's name in the lineage graph."""

    node: str
    frame: pl.LazyFrame


def open_source(reference: str, ws: Workspace) -> Source:
    """The commit that a dataset reference means now, and its rows; the read is recorded as a use of that commit."""
    commit = data.resolve(reference, ws=ws)
    return Source(commit.node, data.load(f"{commit.dataset}@{commit.id}", ws=ws))
