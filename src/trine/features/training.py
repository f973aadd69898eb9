"""Training sets: a spine joined point-in-time, kept as a dataset commit that knows what it came from."""

from __future__ import annotations

from typing import Any

import polars as pl

from trine import data
from trine.errors import InvalidInput
from trine.features.columns import need_columns
from trine.features.definitions import FeatureService, FeatureView
from trine.features.join import join_service
from trine.features.registry import apply, nodes, service_of
from trine.features.sources import Source, open_source
from trine.workspace import Workspace, current_workspace


def join_features(
    spine: Any, service: FeatureService | FeatureView | str, *, time: str = "", ws: Workspace | None = None
) -> pl.DataFrame:
    """The spine with the service's features as they were known at each row's time; exactly its rows, in its order.

    `spine` is a Polars, pandas or Arrow table, or a dataset reference (`flights@2013-03`); `time` names its time column where it has
    more than one. Views read the newest commit of their datasets. Nothing is committed; the reads are recorded as uses.
    """
    ws = ws or current_workspace()
    return _join(spine, service_of(service, ws), time, ws)[0]


def training_set(
    spine: Any,
    service: FeatureService | FeatureView | str,
    *,
    name: str,
    message: str = "",
    time: str = "",
    label: str = "",
    branch: str = "main",
    tag: str = "",
    ws: Workspace | None = None,
) -> data.Commit:
    """Join the features and commit the result as dataset `name`, with its lineage: source commits, view and service versions.

    `label` names the spine's column of truth: it must be there, and rows without it are left out.
    """
    ws = ws or current_workspace()
    found = service_of(service, ws)
    registered = apply(found, ws=ws)
    joined, inputs = _join(spine, found, time, ws, label)
    said = message or f"Training set of feature service {found.name}"
    definitions = [*nodes(registered, "view"), *nodes(registered, "service")]
    return data.commit(
        joined, name=name, message=said, branch=branch, mode="replace", tag=tag, inputs=[*inputs, *definitions], ws=ws
    )


def _join(
    spine: Any, service: FeatureService, time: str, ws: Workspace, label: str = ""
) -> tuple[pl.DataFrame, list[str]]:
    """The joined table, and the dataset commits that it came from."""
    inputs: list[str] = []
    if isinstance(spine, str):
        source = open_source(spine, ws)
        inputs.append(source.node)
        rows = source.frame.collect()
    else:
        rows = data.as_polars(spine)
    if label:
        need_columns(rows.columns, [label], "The spine")
        if label in service.columns:
            raise InvalidInput(f'"{label}" is both the label and a feature of service "{service.name}". Rename one.')
        rows = rows.filter(pl.col(label).is_not_null())
    opened: dict[str, Source] = {}
    for view in service.views:
        if view.source not in opened:
            opened[view.source] = open_source(view.source, ws)
            inputs.append(opened[view.source].node)
    frames = {view.name: opened[view.source].frame for view in service.views}
    return join_service(rows, service, frames, time), list(dict.fromkeys(inputs))
