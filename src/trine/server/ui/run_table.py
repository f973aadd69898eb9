"""The table of runs: which columns it has, which are pinned, its groups, and the same rows as points or lines."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from trine.server.ui.links import path
from trine.tracking import RunInfo

MOST_COLUMNS = 40
MOST_PINNED = 3
"""Columns that stay in sight beside the name: more would leave no room on a small screen."""


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
    """What the list shows: its rows in groups, its columns (the pinned ones first), and what could be a column."""

    groups: list[tuple[str, list[RunInfo], dict[str, float | None]]]
    columns: list[Column]
    possible: list[Column]
    pinned: int


def table_of(found: list[RunInfo], part: str, chosen: Sequence[str], pins: Sequence[str], group: str) -> Table:
    """The table of some runs; without chosen columns, of those that tell most."""
    possible = _possible(found, part)
    by_name = {one.name: one for one in possible}
    pinned = [by_name.get(name) or _named(name, part) for name in dict.fromkeys(pins)][:MOST_PINNED]
    others = [by_name.get(name) or _named(name, part) for name in chosen[:MOST_COLUMNS]] or _common(found, possible)
    columns = [*pinned, *(one for one in others if one not in pinned)]
    groups = [("", found, {})] if not group else _groups(found, columns, group)
    return Table(groups, columns, possible, len(pinned))


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


def plot_of(found: list[RunInfo], columns: list[Column], view: str) -> dict[str, Any]:
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
