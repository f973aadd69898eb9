"""Reading runs: one, many by an expression, the points of a metric. What was logged on this machine is seen at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from trine.tracking import operations as door
from trine.tracking.results import Runs
from trine.tracking.runs import Experiment, RunInfo, id_of
from trine.tracking.spool import collect
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

    from trine.tracking.live import Run
    from trine.tracking.operations import Chart


def resolve(ws: Workspace, run: Run | RunInfo | str) -> str:
    """The id of a run given as a handle, a RunInfo, a node, an id, the beginning of one, or its name."""
    name = id_of(run)
    return name if re.fullmatch(r"[0-9a-f]{32}", name) else door.find_run(ws, name=name).id


def get_run(run: Run | RunInfo | str, *, ws: Workspace | None = None) -> RunInfo:
    """A run as it is now. Raises NotFound with the nearest name."""
    ws = ws or current_workspace()
    identity = resolve(ws, run)
    collect(ws, identity)
    return door.get_run(ws, id=identity)


def search(
    expression: str = "",
    *,
    experiment: str = "",
    order_by: str = "",
    limit: int = 100,
    ws: Workspace | None = None,
) -> Runs:
    """Runs for which an expression is true (all without one), newest first or in the order asked for.

    `search("metrics.auc.best > 0.9 and params.model in ('forest', 'boost') order by metrics.auc.best desc")`. The answer is a
    list that is also a table: `.polars()`, `.pandas()`, `.arrow()`. Raises InvalidInput pointing at the column that cannot be
    read.
    """
    ws = ws or current_workspace()
    collect(ws)
    found = Runs()
    page = ""
    while len(found) < limit:
        part = door.search_runs(
            ws,
            expression=expression,
            experiment_name=experiment,
            order_by=order_by,
            limit=min(limit - len(found), 500),
            page=page,
        )
        found += part.items
        page = part.next
        if not page:
            break
    return found


def rewind(run: Run | RunInfo | str, step: int, *, ws: Workspace | None = None) -> RunInfo:
    """Forget the points of an ended run after a step; resumed, it counts on from there. Files and params stay."""
    ws = ws or current_workspace()
    identity = resolve(ws, run)
    collect(ws, identity)
    door.rewind_run(ws, id=identity, step=step)
    return door.get_run(ws, id=identity)


def declare_metric(key: str, *, better: Literal["less", "more"], ws: Workspace | None = None) -> None:
    """Say whether less or more of a metric is better; until then its name decides (losses and errors: less)."""
    door.declare_metric(ws or current_workspace(), key=key, better=better)


def experiments(*, ws: Workspace | None = None) -> list[Experiment]:
    """The experiments, by name."""
    return door.list_experiments(ws or current_workspace(), limit=1000).items


def chart(
    run: Run | RunInfo | str,
    key: str,
    *,
    pixels: int = 1_000,
    since: int | None = None,
    until: int | None = None,
    ws: Workspace | None = None,
) -> Chart:
    """A metric as a line chart of that many pixels shows it: least, greatest and last value of each part of its steps, or of
    those from `since` to `until`."""
    ws = ws or current_workspace()
    identity = resolve(ws, run)
    collect(ws, identity)
    return door.read_chart(ws, id=identity, key=key, pixels=pixels, since=since, until=until)


def history(run: Run | RunInfo | str, key: str, *, ws: Workspace | None = None) -> pl.DataFrame:
    """All points of a metric: columns step, time_us and value, by step, then time, then order of arrival."""
    import polars as pl

    ws = ws or current_workspace()
    identity = resolve(ws, run)
    collect(ws, identity)
    schema = {"step": pl.Int64, "time_us": pl.Int64, "value": pl.Float64}
    parts: list[pl.DataFrame] = []
    start: int | None = 0
    while start is not None:
        page = door.read_points(ws, id=identity, key=key, start=start, limit=100_000)
        parts.append(pl.DataFrame([page.steps, page.times_us, page.values], schema=schema))
        start = page.next
    return pl.concat(parts).sort("step", "time_us", maintain_order=True)
