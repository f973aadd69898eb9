"""Small charts drawn on the server as SVG: they need no JavaScript, take their colours from the style sheet, and move nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

from trine.data import ColumnProfile

Shares = Sequence[float]
BINS = 24


def sparkline(values: Sequence[float | None], width: int = 96, height: int = 22) -> Markup:
    """A line without axes."""
    known = [(at, one) for at, one in enumerate(values) if one is not None and math.isfinite(one)]
    if len(known) < 2:
        return Markup('<svg class="spark" width="{}" height="{}" aria-hidden="true"></svg>').format(width, height)
    low, high = min(one for _, one in known), max(one for _, one in known)
    across, up = (width - 4) / max(1, len(values) - 1), (height - 4) / ((high - low) or 1)
    points = " ".join(f"{2 + at * across:.1f},{height - 2 - (one - low) * up:.1f}" for at, one in known)
    return Markup(
        '<svg class="spark" width="{}" height="{}" viewBox="0 0 {} {}" aria-hidden="true"><polyline points="{}"/></svg>'
    ).format(width, height, width, height, points)


def bars(*series: Shares, labels: Sequence[str] = (), width: int = 240, height: int = 56, title: str = "") -> Markup:
    """Shares as bars; a second series is drawn as an outline over the first."""
    most = max((value for one in series for value in one), default=0.0) or 1.0
    count = max((len(one) for one in series), default=0)
    step = width / max(1, count)
    parts: list[Markup] = []
    for index, one in enumerate(series):
        for at, value in enumerate(one):
            tall = value / most * (height - 2)
            if tall <= 0:
                continue
            told = f"{labels[at]}: {value:.1%}" if at < len(labels) else f"{value:.1%}"
            parts.append(
                Markup(
                    '<rect class="s{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
                ).format(index, at * step + 0.5, height - tall, max(step - 1, 0.5), tall, told)
            )
    return Markup(
        '<svg class="bars" viewBox="0 0 {} {}" width="{}" height="{}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(width, height, width, height, title or "distribution", Markup("").join(parts))


def interval(low: float | None, value: float | None, high: float | None, *, margin: float = 0.0) -> Markup:
    """A difference with its bounds, against zero and a margin."""
    if value is None:
        return Markup("")
    ends = [one for one in (low, value, high, 0.0, margin) if one is not None and math.isfinite(one)]
    left, right = min(ends), max(ends)
    pad = (right - left) * 0.08 or 1.0
    left, right = left - pad, right + pad

    def x(one: float | None, other: float) -> float:
        return ((one if one is not None else other) - left) / (right - left) * 240

    return Markup(
        '<svg class="interval" viewBox="0 0 240 28" width="240" height="28" role="img" aria-label="difference {:.4g}">'
        '<line class="zero" x1="{:.1f}" x2="{:.1f}" y1="2" y2="26"/>'
        '<line class="margin" x1="{:.1f}" x2="{:.1f}" y1="2" y2="26"/>'
        '<line class="range" x1="{:.1f}" x2="{:.1f}" y1="14" y2="14"/><circle cx="{:.1f}" cy="14" r="4"/></svg>'
    ).format(value, x(0, 0), x(0, 0), x(margin, 0), x(margin, 0), x(low, left), x(high, right), x(value, 0))


def histogram(column: ColumnProfile) -> tuple[list[str], list[float]]:
    """A column's distribution as labels and shares: its common values, or equal bins read off its quantiles."""
    present = max(1, column.count - column.nulls)
    if column.top and (len(column.quantiles) < 2 or column.distinct <= 12):
        pairs = column.top[:BINS]
        if all(isinstance(value, (int, float)) for value, _ in pairs):
            pairs = tuple(sorted(pairs))
        return [str(value) for value, _ in pairs], [count / present for _, count in pairs]
    if len(column.quantiles) < 2:
        return [], []
    edges = edges_of([column.quantiles])
    return [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)], shares_between(
        column.quantiles, edges
    )


def edges_of(quantiles: Sequence[Sequence[float]], bins: int = BINS) -> list[float]:
    """Equal bins over the middle 99 % of one or several distributions."""
    inner = [(one[max(0, len(one) // 200)], one[-1 - len(one) // 200]) for one in quantiles if len(one) > 1]
    low, high = min(one for one, _ in inner), max(one for _, one in inner)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [low + (high - low) * at / bins for at in range(bins + 1)]


def shares_between(quantiles: Sequence[float], edges: Sequence[float]) -> list[float]:
    """The share of a distribution, known by evenly spaced quantiles, in each bin."""
    from bisect import bisect_left, bisect_right

    def below(value: float) -> float:
        first, last = bisect_left(quantiles, value), bisect_right(quantiles, value)
        if first != last:
            return (first + last - 1) / 2 / (len(quantiles) - 1)
        if first == 0 or first == len(quantiles):
            return float(first > 0)
        low, high = quantiles[first - 1], quantiles[first]
        return (first - 1 + (value - low) / (high - low)) / (len(quantiles) - 1)

    marks = [0.0, *(below(edge) for edge in edges[1:-1]), 1.0]
    return [max(0.0, high - low) for low, high in itertools.pairwise(marks)]
