"""Importers: histories of other tools as runs. Others come in through the entry points `trine.importers`.

An importer is a function `(where, options) -> Source`; a `Source` gives one run after another in Trine's form, and, where the
tool has one, its model registry. `writer.move_in` brings what a source gives into a workspace.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trine.errors import InvalidInput, nearest

if TYPE_CHECKING:
    from trine.tracking.importers.source import Source

__all__ = ["IMPORTERS", "importers", "open_source"]

IMPORTERS = ("mlflow", "wandb", "neptune", "aim", "tensorboard", "trackio")
"""The importers that come with Trine; each is the function `open_source` of its file."""

Importer = Callable[[str, Mapping[str, str]], "Source"]


def importers() -> list[str]:
    """The names of all importers that are installed."""
    others = {entry.name for entry in importlib.metadata.entry_points(group="trine.importers")}
    return [*IMPORTERS, *sorted(others.difference(IMPORTERS))]


def open_source(kind: str, where: str, options: Mapping[str, str] | None = None) -> Source:
    """What another tool kept at a place. Raises NotFound or InvalidInput when there is nothing of that kind."""
    if kind in IMPORTERS:
        opened: Importer = importlib.import_module(f"{__name__}.{kind}").open_source
    else:
        found = [one for one in importlib.metadata.entry_points(group="trine.importers") if one.name == kind]
        if not found:
            known = importers()
            raise InvalidInput(f'There is no importer "{kind}".{nearest(kind, known)} Importers: {", ".join(known)}.')
        opened = found[0].load()
    return opened(where, options or {})
