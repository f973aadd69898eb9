"""Runs: what a search finds, and one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from trine import tracking
from trine.errors import InvalidInput, NotFound, TrineError
from trine.ids import now_us
from trine.server.ui.files import PICTURES, kind_of, preview, raw
from trine.server.ui.links import path, with_query
from trine.server.ui.pages import Asked, action, page
from trine.server.ui.patches import side_by_side
from trine.server.ui.run_table import plot_of, table_of
from trine.server.ui.series import MOST_LINES
from trine.tracking import RunInfo
from trine.tracking import operations as door

PARTS = ("last", "best", "min", "max")
MOST_CHARTS = 200
MOST_PICTURES = 12
VIEWS = {"table": "Table", "charts": "Charts", "scatter": "Scatter", "parallel": "Parallel coordinates"}
ROWS = {"table": 50, "charts": MOST_LINES}
"""Runs at once; of a view that is not here: 500."""

GROUPED = 200

SMOOTHINGS = {"": "not", "0.6": "a little", "0.9": "more", "0.97": "much"}


@page("/runs")
def runs(asked: Asked) -> Response:
    """Runs that a search finds, as a table, their metrics over each other, points or lines."""
    expression, experiment, order = asked.text("q"), asked.text("experiment"), asked.text("order")
    part = asked.text("part") if asked.text("part") in PARTS else "last"
    view = asked.text("view") if asked.text("view") in VIEWS else "table"
    group = asked.text("group") if view == "table" else ""
    limit = asked.whole("limit", GROUPED if group else ROWS.get(view, 500), MOST_LINES if view == "charts" else 1000)
    found: list[RunInfo] = []
    following, problem, status = "", "", 200
    try:
        answer = door.search_runs(
            asked.ws,
            expression=expression,
            experiment_name=experiment,
            order_by=order,
            limit=limit,
            page=asked.text("page"),
        )
        found, following = answer.items, answer.next
    except (InvalidInput, NotFound) as error:
        problem, status = error.message, error.status
    table = table_of(found, part, asked.texts("c"), asked.texts("pin"), group)
    return asked.show(
        "runs.html",
        status=status,
        table=table,
        found=found,
        following=following,
        problem=problem,
        part=part,
        parts_of=PARTS,
        view=view,
        views=VIEWS,
        expression=expression,
        experiment=experiment,
        order=order,
        group=asked.text("group"),
        chosen=asked.texts("c"),
        experiments=door.list_experiments(asked.ws, limit=500).items,
        plot=plot_of(found, table.columns, view) if view in ("scatter", "parallel") and found else None,
        charted=_charted(found) if view == "charts" else [],
        sorted_by=_sorting(asked, order),
        **charting(asked),
    )


def charting(asked: Asked) -> dict[str, Any]:
    """How line charts are drawn, from the query."""
    smooth = asked.text("smooth")
    return {
        "smooth": smooth if smooth in SMOOTHINGS else "",
        "smoothings": SMOOTHINGS,
        "log": asked.text("log"),
        "axis": "time" if asked.text("axis") == "time" else "",
    }


def _charted(found: Sequence[RunInfo]) -> list[str]:
    """The metrics that are lines, those that most of the runs have first; the machine's last."""
    counted = Counter(key for one in found for key, metric in one.metrics.items() if metric.count > 1)
    return sorted(counted, key=lambda key: (key.startswith("system/"), -counted[key], key))[:MOST_CHARTS]


def _sorting(asked: Asked, order: str) -> Any:
    """For a column's head: the address that sorts by it, the other way round when it is sorted so already; and how it is sorted."""
    field, _, direction = order.partition(" ")

    def sorted_by(name: str) -> tuple[str, str]:
        now = "" if field != name else "descending" if direction == "desc" else "ascending"
        wanted = f"{name} desc" if now != "descending" else name
        query = [
            (key, value) for key, value in asked.request.query_params.multi_items() if key not in ("order", "page")
        ]
        grouped: dict[str, list[str]] = {}
        for key, value in [*query, ("order", wanted)]:
            grouped.setdefault(key, []).append(value)
        return with_query("/runs", **grouped), now

    return sorted_by


# -- one run ----------------------------------------------------------------------------------------------------------


@page("/runs/{id}")
def run(asked: Asked) -> Response:
    """One run."""
    found = tracking.get_run(asked.path["id"], ws=asked.ws)
    files = door.list_artifacts(asked.ws, id=found.id, limit=200)
    charted = [key for key, one in found.metrics.items() if one.count > 1]
    return asked.show(
        "run.html",
        run=found,
        seconds=((found.ended_us or now_us()) - found.started_us) / 1e6,
        environment=_environment(asked, found),
        code=_code(asked, found),
        files=files,
        groups=[
            ("Charts", [key for key in charted if not key.startswith("system/")][:MOST_CHARTS]),
            ("The machine", [key for key in charted if key.startswith("system/")][:MOST_CHARTS]),
        ],
        pictures=[one for one in files.items if kind_of(one.path) in PICTURES][-MOST_PICTURES:],
        children=door.search_runs(asked.ws, expression=f"parent = '{found.id}'", limit=50).items,
        **charting(asked),
    )


def _environment(asked: Asked, found: RunInfo) -> tracking.Environment | None:
    try:
        return tracking.environment_of(found.environment, ws=asked.ws) if found.environment else None
    except TrineError:
        return None


def _code(asked: Asked, found: RunInfo) -> tracking.CodeVersion | None:
    try:
        return tracking.code_of(found.code, ws=asked.ws) if found.code else None
    except NotFound:
        return None


@action("/runs/{id}/delete")
def delete(asked: Asked) -> Response:
    door.delete_run(asked.ws, id=asked.path["id"])
    return asked.back("/runs", f"The run is removed. Back: trine runs restore {asked.path['id'][:12]}")


@page("/runs/{id}/artifacts/{file:path}")
def artifact(asked: Asked) -> Response:
    """One file of a run."""
    found = door.get_run(asked.ws, id=asked.path["id"])
    one = _artifact(asked)
    back = [("Runs", "/runs"), (found.name, path("runs", found.id))]
    return preview(asked, one.path, one.hash, one.size_bytes, back, f"{path('runs', found.id)}/raw/{one.path}")


@page("/runs/{id}/raw/{file:path}")
def artifact_bytes(asked: Asked) -> Response:
    """The bytes of a file of a run, inert."""
    one = _artifact(asked)
    return raw(asked, one.path, one.hash, one.size_bytes)


def _artifact(asked: Asked) -> tracking.Artifact:
    name = asked.path["file"]
    found = door.list_artifacts(asked.ws, id=asked.path["id"], prefix=name, limit=1000).items
    for one in found:
        if one.path == name:
            return one
    raise NotFound(f'The run has no file "{name}".')


@page("/code/{node:path}")
def code(asked: Asked) -> Response:
    """A state of the code: its commit, and the patch of what was not committed."""
    found = tracking.code_of(asked.path["node"], ws=asked.ws)
    patch = asked.ws.store.get(found.patch).decode("utf-8", "replace") if found.patch else ""
    files, is_whole = side_by_side(patch)
    runs_of = door.search_runs(asked.ws, expression=f"code = '{found.node}'", limit=50).items
    return asked.show("code.html", code=found, files=files, is_whole=is_whole, runs=runs_of)
