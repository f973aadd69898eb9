"""Runs side by side: what differs in params and metrics, and of two of them the code, the environment and the data."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from trine import data, tracking
from trine.data.changes import Diff
from trine.errors import InvalidInput, TrineError
from trine.server.ui.pages import Asked, page
from trine.server.ui.patches import FilePatch, side_by_side
from trine.server.ui.runs import MOST_CHARTS, charting
from trine.tracking import RunInfo
from trine.tracking.comparison import different

MOST_RUNS = 20
MOST_DATASETS = 12


@page("/compare")
def compare(asked: Asked) -> Response:
    """Runs side by side, what differs first."""
    names = list(dict.fromkeys(asked.texts("run")))[:MOST_RUNS]
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
        **charting(asked),
        data=[[node for node in row if node.startswith("dataset:")] for row in found.inputs],
    )


# -- two of them ------------------------------------------------------------------------------------------------------


class DataPair(msgspec.Struct, frozen=True):
    """One dataset as each of two runs read it; a run that did not read it has no node. `diff` is None where it is the same."""

    name: str
    before: str
    after: str
    diff: Diff | None = None
    problem: str = ""


@page("/compare/changes")
def changes(asked: Asked) -> Response:
    """From one run to another: code, environment and data, each side by side."""
    names = asked.texts("run")
    if len(names) != 2:
        raise InvalidInput("Say which two runs: ?run=RUN&run=RUN")
    before, after = (tracking.get_run(name, ws=asked.ws) for name in names)
    files, is_whole, problem = _code(asked, before, after)
    return asked.show(
        "changes.html",
        before=before,
        after=after,
        files=files,
        is_whole=is_whole,
        problem=problem,
        environments=_environments(asked, before, after),
        uncaptured=[one.name for one in (before, after) if not one.environment],
        datasets=_datasets(asked, before, after),
    )


def _code(asked: Asked, before: RunInfo, after: RunInfo) -> tuple[list[FilePatch], bool, str]:
    """The files that differ. A server has no repository, and asks no other machine for one."""
    if before.code and before.code == after.code:
        return [], True, "The code is the same."
    if before.code and after.code and not asked.viewer.principal.local:
        return [], True, f"The code is compared where its repository is: trine runs diff {before.id} {after.id}"
    try:
        return *side_by_side(tracking.code_difference(before, after, ws=asked.ws)), ""
    except TrineError as error:
        return [], True, error.message


def _environments(asked: Asked, before: RunInfo, after: RunInfo) -> dict[str, list[Any]]:
    """What differs in the software under two runs; of a run whose environment was not captured, only what the run itself knows."""
    runs = (before, after)
    known = [tracking.environment_of(one.environment, ws=asked.ws) if one.environment else None for one in runs]
    tables: list[dict[str, str]] = []
    for run, found in zip(runs, known, strict=True):
        table = {"Python": run.context.python, "host": run.context.host}
        if found is not None and None not in known:
            table |= {"interpreter": found.implementation, "platform": found.platform, "machine": found.machine}
            table |= {"GPU": ", ".join(found.gpu)}
            table |= {name: f"{version} {found.origins.get(name, '')}" for name, version in found.packages.items()}
        tables.append({name: value.strip() for name, value in table.items() if value and value.strip()})
    keys = dict.fromkeys([*tables[0], *tables[1]])
    return different({name: [table.get(name) for table in tables] for name in keys})


def _datasets(asked: Asked, before: RunInfo, after: RunInfo) -> list[DataPair]:
    one, two = (
        {node.partition("@")[0]: node for node in run.inputs if node.startswith("dataset:")} for run in (before, after)
    )
    pairs: list[DataPair] = []
    for key in dict.fromkeys([*one, *two]):
        name, left, right = key.removeprefix("dataset:"), one.get(key, ""), two.get(key, "")
        if left == right or not (left and right) or len(pairs) >= MOST_DATASETS:
            pairs.append(DataPair(name, left, right))
            continue
        try:
            found = data.diff(left.removeprefix("dataset:"), right.removeprefix("dataset:"), ws=asked.ws)
            pairs.append(DataPair(name, left, right, found))
        except TrineError as error:
            pairs.append(DataPair(name, left, right, None, error.message))
    return pairs
