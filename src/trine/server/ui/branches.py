"""The commits of a dataset as a graph of branches: a lane for each line of history, newest first, drawn row by row."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from trine.data.commits import Commit

LANE = 16
"""Width of a lane. A row's drawing is 100 high and is stretched to the row."""

MIDDLE = 50
COLOURS = 8


def branches(commits: Sequence[Commit]) -> list[Markup]:
    """For each commit its piece of the graph. A commit comes before those it was made from; where these are not among them
    (an older page), its lane runs on."""
    lanes: list[str] = []  # the commit that each lane leads down to
    rows: list[list[Markup]] = []
    widest = 1
    for one in commits:
        ending = [at for at, awaited in enumerate(lanes) if awaited == one.id]
        passing = [at for at, awaited in enumerate(lanes) if awaited and awaited != one.id]
        own = ending[0] if ending else _free(lanes)
        for at in ending:
            lanes[at] = ""
        onward = [_lane_to(parent, lanes, own if parent == one.parents[0] else None) for parent in one.parents]
        widest = max(widest, len(lanes))
        rows.append(
            [
                *(_line(at, at, 0, 100, colour=at) for at in passing),
                *(_line(at, own, 0, MIDDLE, colour=at) for at in ending),
                *(_line(own, at, MIDDLE, 100, colour=at) for at in onward),
                Markup('<path class="l{} dot" d="M{} {}h.01"/>').format(own % COLOURS, _x(own), MIDDLE),
            ]
        )
    return [_drawn(row, one, widest * LANE) for row, one in zip(rows, commits, strict=True)]


def _free(lanes: list[str]) -> int:
    """The first lane that leads nowhere."""
    if "" not in lanes:
        lanes.append("")
    return lanes.index("")


def _lane_to(parent: str, lanes: list[str], own: int | None) -> int:
    """The lane that leads to a commit: one that is there, else the child's own, else a free one."""
    if parent in lanes:
        return lanes.index(parent)
    at = _free(lanes) if own is None else own
    lanes[at] = parent
    return at


def _line(start: int, end: int, top: int, bottom: int, colour: int) -> Markup:
    half = (top + bottom) // 2
    shape = "M{0} {2}V{3}" if start == end else "M{0} {2}C{0} {4} {1} {4} {1} {3}"
    way = shape.format(_x(start), _x(end), top, bottom, half)
    return Markup('<path class="l{}" d="{}"/>').format(colour % COLOURS, way)


def _x(lane: int) -> int:
    return lane * LANE + LANE // 2


def _drawn(parts: list[Markup], one: Commit, width: int) -> Markup:
    told = f"from {' and '.join(parent[:12] for parent in one.parents)}" if one.parents else "the first"
    return Markup(
        '<svg width="{0}" height="1" aria-hidden="true"></svg><svg class="lanes" viewBox="0 0 {0} 100" width="{0}" '
        'preserveAspectRatio="none" role="img" aria-label="{1}">{2}</svg>'
    ).format(width, told, Markup("").join(parts))
