"""Runs read from the ledger: by reference, and a page of them at once with all that belongs to them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import select

from trine.errors import InvalidInput, NotFound, nearest
from trine.ledger.tables import among, edge, node
from trine.tracking.directions import losses_of
from trine.tracking.runs import Context, MetricSummary, RunInfo
from trine.tracking.tables import experiment, run, run_metric, run_param, run_tag
from trine.workspace import Workspace


def row_of(ws: Workspace, id: str) -> Any:
    """The row of a run (with `experiment_name`) by id, the beginning of one, or name. Raises NotFound with the nearest name."""
    tx = ws.tx
    source = run.join(experiment, run.c.experiment == experiment.c.id)
    mine = (
        select(run, experiment.c.name.label("experiment_name")).select_from(source).where(run.c.project == ws.project)
    )
    if re.fullmatch(r"[0-9a-f]{32}", id):
        found = tx.all(mine.where(run.c.id == id))
    else:
        found = tx.all(mine.where(run.c.name == id).limit(2))
        if not found and re.fullmatch(r"[0-9a-f]{6,31}", id):
            found = tx.all(mine.where(run.c.id >= id, run.c.id < id + "g").limit(2))
    if len(found) == 1:
        return found[0]
    if found:
        same = f"{found[0].id} and {found[1].id}"
        raise InvalidInput(f'"{id}" means several runs, {same} among them. Give the id, or more of its digits.')
    names = [one.name for one in tx.all(mine.order_by(run.c.started_us.desc()).limit(500))]
    raise NotFound(f'No run "{id}" in project "{ws.project}".{nearest(id, names)} See: trine runs ls')


def load(ws: Workspace, ids: list[str]) -> list[RunInfo]:
    """Runs with their params, tags, metrics, inputs and outputs, in the order asked for."""
    if not ids:
        return []
    source = run.join(experiment, run.c.experiment == experiment.c.id)
    query = (
        select(run, experiment.c.name.label("experiment_name"))
        .select_from(source)
        .where(among(ws.tx.connection, run.c.id, ids))
    )
    rows = {row.id: row for row in ws.tx.all(query)}
    params, tags = _texts(ws, run_param, ids), _texts(ws, run_tag, ids)
    metrics, is_loss = dict[str, dict[str, MetricSummary]](), losses_of(ws)
    summaries: Any = ws.tx.all(_METRICS.where(among(ws.tx.connection, run_metric.c.run, ids)))
    for id, key, *values in summaries:  # rows are taken apart as tuples, which is quicker than by name
        metrics.setdefault(id, {})[key] = _summary(is_loss(key), *values)
    inputs, outputs = _neighbours(ws, ids)
    return [
        RunInfo(
            id=row.id,
            experiment=row.experiment_name,
            name=row.name,
            state=row.state,
            reason=row.reason,
            parent=row.parent,
            author=row.author,
            started_us=row.started_us,
            ended_us=row.ended_us,
            deleted_us=row.deleted_us,
            lost=row.lost,
            code=row.code,
            environment=row.environment,
            context=msgspec.json.decode(row.context, type=Context),
            params=params.get(row.id, {}),
            tags=tags.get(row.id, {}),
            metrics=metrics.get(row.id, {}),
            inputs=inputs.get(row.id, []),
            outputs=outputs.get(row.id, []),
        )
        for row in (rows[id] for id in ids)
    ]


def _texts(ws: Workspace, table: Any, ids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    query = select(table.c.run, table.c.key, table.c.value)
    query = query.where(among(ws.tx.connection, table.c.run, ids)).order_by(table.c.key)
    rows: Any = ws.tx.all(query)
    for id, key, value in rows:
        found.setdefault(id, {})[key] = value
    return found


_METRICS = select(
    *(
        run_metric.c[name]
        for name in (
            "run", "key", "points", "nans", "first", "first_step", "last", "last_step", "last_us",
            "min", "min_step", "max", "max_step",
        )
    )
).order_by(run_metric.c.key)  # fmt: skip
_NAN = float("nan")


def _summary(
    is_loss: bool,
    count: int,
    nans: int,
    first: float | None,
    first_step: int,
    last: float | None,
    last_step: int,
    last_us: int,
    low: float | None,
    low_step: int,
    high: float | None,
    high_step: int,
) -> MetricSummary:
    low, high = _NAN if low is None else low, _NAN if high is None else high
    return MetricSummary(
        count=count,
        nans=nans,
        first=_NAN if first is None else first,
        first_step=first_step,
        last=_NAN if last is None else last,
        last_step=last_step,
        last_us=last_us,
        min=low,
        min_step=low_step,
        max=high,
        max_step=high_step,
        best=low if is_loss else high,
        best_step=low_step if is_loss else high_step,
    )


def _neighbours(ws: Workspace, ids: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What the runs used (their code apart) and what they produced (child runs apart)."""
    wanted = select(node.c.id, node.c.ref).where(
        node.c.project == ws.project, among(ws.tx.connection, node.c.ref, [f"run:{id}" for id in ids])
    )
    names = {row.id: row.ref.removeprefix("run:") for row in ws.tx.all(wanted)}
    sides: list[dict[str, list[str]]] = []
    for near, far, kind, apart in (
        (edge.c.down, edge.c.up, "used", "code:"),
        (edge.c.up, edge.c.down, "produced", "run:"),
    ):
        query = (
            select(near.label("near"), node.c.ref)
            .join(node, node.c.id == far)
            .where(near.in_(list(names)), edge.c.kind == kind)
            .order_by(edge.c.time_us, far)
        )
        side: dict[str, list[str]] = {}
        for row in ws.tx.all(query) if names else ():
            if not row.ref.startswith(apart):
                side.setdefault(names[row.near], []).append(row.ref)
        sides.append(side)
    return sides[0], sides[1]
