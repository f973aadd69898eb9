"""`ladder` and `metrics`: what the workspace and the git repository around it say together."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from trine.ids import to_us
from trine.insights import operations as door
from trine.insights.measures import Metrics, measure
from trine.insights.repository import open_repository
from trine.insights.rungs import Ladder, Standing, rungs_of
from trine.workspace import Workspace, current_workspace


def metrics(
    *,
    since: dt.datetime | None = None,
    model: str = "",
    repository: Path | str = ".",
    ws: Workspace | None = None,
) -> Metrics:
    """Delivery metrics since a time (default: the first event), of one model or of all.

    `repository` is a folder in the git work tree that the training code is in, for the metrics of code.
    """
    ws = ws or current_workspace()
    since_us = to_us(since) if since else 0
    facts = door.get_delivery(ws, model=model, since_us=since_us)
    return measure(facts, open_repository(repository), since_us=since_us, model=model)


def ladder(*, model: str = "", repository: Path | str = ".", ws: Workspace | None = None) -> Ladder:
    """Where each model (or one) stands, with evidence for each rung and the next command.

    A workspace without models has one standing without a name: what a first model needs.
    """
    found = open_repository(repository)
    below = rungs_of(found)
    standings = door.get_standing(ws or current_workspace(), model=model) or [Standing(model="", version=0, rungs=[])]
    models = [msgspec.structs.replace(one, rungs=[*below, *one.rungs]) for one in standings]
    return Ladder(repository=found.root if found else "", models=models)
