"""Runs read from the ledger: by reference, and a page of them at once with all that belongs to them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import select

from trine.errors import InvalidInput, NotFound, nearest
from trine.ledger.tables import edge, node
from trine.tracking.query import Sorting
from trine.tracking.runs import Context, MetricSummary, RunInfo, is_loss
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
    query = select(run, experiment.c.name.label("experiment_name")).select_from(source).where(run.c.id.in_(ids))
    rows = {row.id: row for row in ws.tx.all(query)}
    params, tags = _texts(ws, run_param, ids), _texts(ws, run_tag, ids)
    metrics: dict[str, dict[str, MetricSummary]] = {}
    for row in ws.tx.all(select(run_metric).where(run_metric.c.run.in_(ids)).order_by(run_metric.c.key)):
        metrics.setdefault(row.run, {})[row.key] = _summary(row)
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
    query = select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(ids)).order_by(table.c.key)
    for row in ws.tx.all(query):
        found.setdefault(row.run, {})[row.key] = row.value
    return found


def _summary(row: Any) -> MetricSummary:
    best = "min" if is_loss(row.key) else "max"
    numbers = {name: _number(getattr(row, name)) for name in ("first", "last", "min", "max")}
    return MetricSummary(
        count=row.points,
        nans=row.nans,
        first_step=row.first_step,
        last_step=row.last_step,
        last_us=row.last_us,
        min_step=row.min_step,
        max_step=row.max_step,
        best=numbers[best],
        best_step=getattr(row, f"{best}_step"),
        **numbers,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _neighbours(ws: Workspace, ids: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What the runs used (their code apart) and what they produced (child runs apart)."""
    wanted = select(node.c.id, node.c.ref).where(
        node.c.project == ws.project, node.c.ref.in_([f"run:{id}" for id in ids])
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


def page_key(row: Any) -> list[str | int]:
    """The sort keys of a row, as JSON keeps them exactly: floats as text."""
    return [repr(value) if isinstance(value, float) else value for value in tuple(row)[1:]]


def page_values(sorting: Sorting, start: list[str | int] | None) -> list[Any] | None:
    """The sort keys of a page token as the database compares them. Raises InvalidInput for a token of another search."""
    if start is None:
        return None
    try:
        found = [key.type.python_type(value) for value, (key, _) in zip(start, sorting.keys, strict=True)]
    except ValueError:
        found = []
    if not found or any(abs(one) >= 2**63 if isinstance(one, int) else "\0" in str(one) for one in found):
        raise InvalidInput("That page token belongs to another search. Start again without a page token.")
    return found
