"""Runs: the table with its search, one run, several side by side."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from trine import tracking
from trine.errors import InvalidInput, NotFound, TrineError
from trine.ids import now_us
from trine.server.ui.files import PICTURES, kind_of, preview, raw
from trine.server.ui.links import path, with_query
from trine.server.ui.pages import Asked, action, page
from trine.tracking import RunInfo
from trine.tracking import operations as door
from trine.tracking.comparison import different

PARTS = ("last", "best", "min", "max")
MOST_COLUMNS = 40
MOST_CHARTS = 200
MOST_PICTURES = 12
VIEWS = ("table", "scatter", "parallel")


class Column(msgspec.Struct, frozen=True):
    """A metric, param or tag as a column of the table."""

    kind: str
    key: str
    part: str = "last"

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.key}"

    @property
    def field(self) -> str:
        """As the search grammar names it."""
        plain = self.key if self.key.replace("_", "").replace("/", "").isalnum() else f'"{self.key}"'
        return f"{self.kind}s.{plain}" + (f".{self.part}" if self.kind == "metric" and self.part != "last" else "")

    def of(self, run: RunInfo) -> Any:
        if self.kind == "metric":
            return getattr(run.metrics.get(self.key), self.part, None)
        return (run.params if self.kind == "param" else run.tags).get(self.key)


class Table(msgspec.Struct, frozen=True):
    """What the list shows: its rows in groups, its columns, and what could be a column."""

    groups: list[tuple[str, list[RunInfo], dict[str, float | None]]]
    columns: list[Column]
    possible: list[Column]


@page("/runs")
def runs(asked: Asked) -> Response:
    """Runs that a search finds, as a table, points or lines."""
    expression, experiment, order = asked.text("q"), asked.text("experiment"), asked.text("order")
    part = asked.text("part") if asked.text("part") in PARTS else "last"
    view = asked.text("view") if asked.text("view") in VIEWS else "table"
    limit = asked.whole("limit", 50 if view == "table" else 500, 1000)
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
    table = _table(found, part, asked.texts("c"), asked.text("group"))
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
        plot=_plot(found, table.columns, view) if view != "table" and found else None,
        sorted_by=_sorting(asked, order),
    )


def _table(found: list[RunInfo], part: str, chosen: list[str], group: str) -> Table:
    possible = _possible(found, part)
    by_name = {one.name: one for one in possible}
    columns = [by_name.get(name) or _named(name, part) for name in chosen[:MOST_COLUMNS]] or _common(found, possible)
    groups = [("", found, {})] if not group else _groups(found, columns, group)
    return Table(groups, columns, possible)


def _named(name: str, part: str) -> Column:
    kind, _, key = name.partition(".")
    return Column(kind if kind in ("metric", "param", "tag") else "param", key, part)


def _possible(found: list[RunInfo], part: str) -> list[Column]:
    metrics = Counter(key for one in found for key in one.metrics)
    params = Counter(key for one in found for key in one.params)
    tags = Counter(key for one in found for key in one.tags)
    return [
        *(Column("metric", key, part) for key, _ in metrics.most_common(100)),
        *(Column("param", key) for key, _ in params.most_common(100)),
        *(Column("tag", key) for key, _ in tags.most_common(50)),
    ]


def _common(found: list[RunInfo], possible: list[Column]) -> list[Column]:
    """The most common metrics, and the params that differ."""
    metrics = [one for one in possible if one.kind == "metric" and not one.key.startswith("system")][:5]
    texts = [one for one in possible if one.kind != "metric" and _varies(one, found)]
    return [*metrics, *texts[:5]]


def _varies(column: Column, found: list[RunInfo]) -> bool:
    """Whether the runs that have it do not all have the same."""
    values = {column.of(one) for one in found}
    return len(values - {None, ""}) > 1


def _groups(
    found: list[RunInfo], columns: list[Column], group: str
) -> list[tuple[str, list[RunInfo], dict[str, float | None]]]:
    """Runs by the value of one column, each group with the medians of its metrics."""
    by, grouped = _named(group, "last"), dict[str, list[RunInfo]]()
    for one in found:
        grouped.setdefault(str(by.of(one) if by.of(one) is not None else "–"), []).append(one)
    metrics = [one for one in columns if one.kind == "metric"]
    return [
        (
            f"{by.key} {value}",
            members,
            {column.name: _median([column.of(one) for one in members]) for column in metrics},
        )
        for value, members in grouped.items()
    ]


def _median(values: Sequence[Any]) -> float | None:
    known = [one for one in values if isinstance(one, (int, float)) and one == one]
    return statistics.median(known) if known else None


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


def _plot(found: list[RunInfo], columns: list[Column], view: str) -> dict[str, Any]:
    """The runs as numbers, texts as their places in a list of texts."""
    chosen = columns[:2] if view == "scatter" else columns[:10]
    shown: list[dict[str, Any]] = []
    places: list[list[float | None]] = []
    for column in chosen:
        values = [_number(column.of(one)) for one in found]
        if all(isinstance(one, float) or one is None for one in values):
            shown.append({"name": column.key})
            places.append([one if isinstance(one, float) else None for one in values])
            continue
        texts = sorted({str(one) for one in values if one is not None})
        shown.append({"name": column.key, "values": texts})
        places.append([float(texts.index(str(one))) if one is not None else None for one in values])
    return {
        "kind": view,
        "columns": shown,
        "rows": [list(row) for row in zip(*places, strict=True)],
        "names": [one.name for one in found],
        "addresses": [path("runs", one.id) for one in found],
    }


def _number(value: Any) -> float | str | None:
    if value is None or isinstance(value, float):
        return value if value is None or value == value else None
    try:
        return float(value)
    except ValueError:
        return str(value)


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
        smooth=asked.text("smooth") if asked.text("smooth") in ("0.6", "0.9", "0.97") else "",
        log=asked.text("log"),
        axis=asked.text("axis"),
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
    patch = ""
    if found.patch:
        patch = asked.ws.store.get(found.patch).decode("utf-8", "replace")[:200_000]
    runs_of = door.search_runs(asked.ws, expression=f"code = '{found.node}'", limit=50).items
    return asked.show("code.html", code=found, patch=patch, runs=runs_of)


# -- several ----------------------------------------------------------------------------------------------------------


@page("/compare")
def compare(asked: Asked) -> Response:
    """Runs side by side, what differs first."""
    names = list(dict.fromkeys(asked.texts("run")))[:20]
    if len(names) < 2:
        return asked.show("compare_none.html", names=names)
    found = tracking.compare(*names, ws=asked.ws)
    everything = asked.text("all") == "1"
    metrics = {key: [one and one.last for one in row] for key, row in found.metrics.items()}
    best = {key: [one and one.best for one in row] for key, row in found.metrics.items()}
    charted = [key for key, row in found.metrics.items() if any(one and one.count > 1 for one in row)]
    return asked.show(
        "compare.html",
        found=found,
        everything=everything,
        sections=[
            ("Params", found.params if everything else different(found.params), len(found.params)),
            ("Metrics, last", metrics if everything else different(metrics), len(metrics)),
            ("Metrics, best", {key: row for key, row in best.items() if row != metrics[key]}, 0),
            ("Tags", found.tags if everything else different(found.tags), len(found.tags)),
            ("Context", found.context | {f"{name} random state": row for name, row in found.seeds.items()}, 0),
            ("Packages", found.packages, 0),
        ],
        charted=charted[:MOST_CHARTS],
        data=[[node for node in row if node.startswith("dataset:")] for row in found.inputs],
    )
