"""The numbers behind line charts, thinned on the server to what a chart can show."""

from __future__ import annotations

import math

import msgspec
from starlette.responses import Response

from trine.errors import InvalidInput, NotFound
from trine.server.ui.pages import Asked, page
from trine.server.ui.rendering import compressed
from trine.tracking import operations as door
from trine.tracking.spool import collect

POINTS = 1_200
"""Of a line: two for each pixel of a chart, about."""

FINEST = 100_000
"""Points a part of a line is chosen from."""

MOST_LINES = 60


class Line(msgspec.Struct, frozen=True):
    label: str
    x: list[float]
    y: list[float | None]


class Lines(msgspec.Struct, frozen=True):
    lines: list[Line]
    time: bool = False


@page("/series")
def series(asked: Asked) -> Response:
    """One metric of one or several runs, by step or time; of a part between `from` and `to` when they are given."""
    key, by_time = asked.text("key"), asked.text("axis") == "time"
    start, stop = _bound(asked.text("from"), -math.inf), _bound(asked.text("to"), math.inf)
    is_part = math.isfinite(start) or math.isfinite(stop)
    lines: list[Line] = []
    for id in asked.texts("run")[:MOST_LINES]:
        try:
            run = door.get_run(asked.ws, id=id)
            if run.state == "running":
                collect(asked.ws, run.id)
            found = door.read_points(asked.ws, id=id, key=key, thin=FINEST if is_part else POINTS)
        except NotFound:
            if len(asked.texts("run")) == 1:
                raise
            continue
        x = [us / 1e6 for us in found.times_us] if by_time else [float(step) for step in found.steps]
        points = [(at, value) for at, value in zip(x, found.values, strict=True) if start <= at <= stop]
        if by_time:
            points.sort(key=lambda one: one[0])
        lines.append(_line(run.name, points))
    return compressed(asked.request, msgspec.json.encode(Lines(lines, by_time)), "application/json")


def _line(label: str, points: list[tuple[float, float]]) -> Line:
    """A line with at most one value for each place; of more points than fit, the least and the greatest of equal parts."""
    if len(points) > POINTS:
        size = len(points) / (POINTS / 2)
        kept: list[tuple[float, float]] = []
        for part in range(POINTS // 2):
            inside = points[int(part * size) : int((part + 1) * size)]
            ends = {min(inside, key=lambda one: one[1]), max(inside, key=lambda one: one[1])}
            kept += sorted(ends)
        points = kept
    by_place = dict(points)
    places = sorted(by_place)
    values = [by_place[one] for one in places]
    return Line(label, places, [one if math.isfinite(one) else None for one in values])


def _bound(text: str, otherwise: float) -> float:
    try:
        return float(text) if text else otherwise
    except ValueError:
        raise InvalidInput(f'"{text[:40]}" is no number.') from None
