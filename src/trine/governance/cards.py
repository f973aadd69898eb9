"""`card`: the card of a model version, by reference."""

from __future__ import annotations

from trine.governance import operations as door
from trine.governance.document import Card
from trine.models.versions import split_ref
from trine.workspace import Workspace, current_workspace


def card(ref: str, *, ws: Workspace | None = None) -> Card:
    """The card of `name@3`, `name@production` or `name` (the newest version): `.markdown` and `.json` are its text.

    Each value is evidenced (with the node of the graph that shows it), declared by somebody, or missing. The text is
    the same to the byte as long as nothing about the version changes.
    """
    name, version = split_ref(ref)
    return door.get_card(ws or current_workspace(), name=name, ref=version)
