"""The numbers behind line charts, thinned on the server to what a chart can show: a line, and the band it moves in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec
from starlette.responses import Response

from trine.errors import InvalidInput, NotFound
from trine.server.ui.pages import Asked, page
from trine.server.ui.rendering import compressed
from trine.tracking import RunInfo
from trine.tracking import operations as door
from trine.tracking import series as points
from trine.tracking.spool import collect
from trine.workspace import Workspace

STROKES = 600
"""Of a line: about one for each pixel of a chart; fewer where there are many lines."""

FEWEST = 150

FINEST = 100_000
"""Points that a line over time is made from."""

MOST_LINES = 60
FARTHEST = 2**62


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Places and values; where a place stands for several points, the value is the last and lies between `low` and `high`."""

    label: str
    x: Sequence[float]
    y: list[float | None]
    low: list[float | None] = []
    high: list[float | None] = []


class Lines(msgspec.Struct, frozen=True):
    lines: list[Line]
    time: bool = False


@page("/series")
def series(asked: Asked) -> Response:
    """One metric of one or several runs, by step or time; of a part between `from` and `to` when they are given."""
    key, by_time = asked.text("key"), asked.text("axis") == "time"
    start, stop = _bound(asked.text("from"), -math.inf), _bound(asked.text("to"), math.inf)
    drawn = _over_time if by_time else _over_steps
    lines: list[Line] = []
    ids = asked.texts("run")[:MOST_LINES]
    strokes = max(FEWEST, min(STROKES, STROKES * 8 // max(1, len(ids))))
    for id in ids:
        try:
            run = door.get_run(asked.ws, id=id)
            if run.state == "running":
                collect(asked.ws, run.id)
            lines.append(drawn(asked.ws, run, key, strokes, start, stop))
        except NotFound:
            if len(ids) == 1:
                raise
    return compressed(asked.request, msgspec.json.encode(Lines(lines, by_time)), "application/json")


def _over_steps(ws: Workspace, run: RunInfo, key: str, strokes: int, start: float, stop: float) -> Line:
    since, until = _whole(start, math.ceil), _whole(stop, math.floor)
    found = door.read_chart(ws, id=run.id, key=key, pixels=strokes, since=since, until=until)
    return _line(run.name, found.steps, found.counts, found.low, found.high, found.last)


def _over_time(ws: Workspace, run: RunInfo, key: str, strokes: int, start: float, stop: float) -> Line:
    import numpy as np

    found = door.read_points(ws, id=run.id, key=key, thin=FINEST)
    times = np.asarray(found.times_us, np.int64)
    whole = points.ordered(points.Points(times, times, np.asarray(found.values, np.float64)))
    part = points.between(whole, _whole(start * 1e6, math.ceil), _whole(stop * 1e6, math.floor))
    if not len(part.steps):
        return Line(run.name, [], [])
    columns = [one.tolist() for one in points.buckets(part, strokes)]
    return _line(run.name, [us / 1e6 for us in columns[0]], *columns[1:])


def _line(label: str, places: Sequence[float], counts: Sequence[int], *values: Iterable[float]) -> Line:
    low, high, last = ([_short(one) for one in column] for column in values)
    if max(counts, default=1) == 1:
        return Line(label, places, last)
    return Line(label, places, last, low, high)


def _short(value: float) -> float | None:
    """So many digits as a chart can show: half as much to send."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _bound(text: str, otherwise: float) -> float:
    try:
        found = float(text) if text else otherwise
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise InvalidInput(f'"{text[:40]}" is no number.')
    return found


def _whole(bound: float, rounded: Callable[[float], int]) -> int | None:
    return None if math.isinf(bound) else max(-FARTHEST, min(FARTHEST, rounded(bound)))
