"""Charts in text: a course of values in a line, or in a few."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def _scaled(values: Sequence[float]) -> tuple[list[float | None], float, float]:
    """Values from 0 to 1, None for what is no finite number, with the least and the greatest."""
    finite = [one for one in values if abs(one) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    wide = high - low
    return [(one - low) / wide if wide else 0.5 if abs(one) < float("inf") else None for one in values], low, high


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of values in one line of `width` characters at most; a dot where one is no finite number."""
    if len(values) > width:
        values = [values[at * len(values) // width] for at in range(width)]
    scaled, _, _ = _scaled(values)
    return "".join("·" if one is None or one != one else _BARS[min(7, max(0, int(one * 8)))] for one in scaled)


def chart(steps: Sequence[int], values: Sequence[float], width: int = 72, height: int = 10) -> list[str]:
    """A line chart in text: one column per part of the steps, the mean of its values in eighths of a row."""
    first, last = steps[0], steps[-1]
    cells: list[list[float]] = [[] for _ in range(min(width, max(1, len(set(steps)))))]
    scaled, low, high = _scaled(values)
    for step, one in zip(steps, scaled, strict=True):
        if one is not None and one == one and 0 <= one <= 1:
            cells[int((step - first) * (len(cells) - 1) / max(1, last - first))].append(one)
    levels = [sum(cell) / len(cell) if cell else None for cell in cells]
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    margin = max(map(len, labels.values()))
    rows: list[str] = []
    for row in range(height):
        base = height - 1 - row
        marks = [_mark(level, base, height) for level in levels]
        rows.append(f"{labels.get(row, '').rjust(margin)} ┤ {''.join(marks)}".rstrip())
    rows.append(f"{' ' * margin} └ step {first:,} to {last:,}")
    return rows


def _mark(level: float | None, base: int, height: int) -> str:
    if level is None:
        return " "
    inside = level * height - base
    return _BARS[min(7, int(inside * 8))] if 0 <= inside < 1 or (inside == 1 and base == height - 1) else " "
