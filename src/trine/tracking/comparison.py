"""Runs side by side: what differs between them in params, metrics, code, packages and data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trine.errors import InvalidInput
from trine.tracking.environment import environment_of
from trine.tracking.reading import get_run
from trine.tracking.runs import Context, MetricSummary, RunInfo
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    from trine.tracking.live import Run

T = TypeVar("T")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Each table has a name and one entry per run, None where a run has no such thing. `params`, `tags` and `metrics` hold
    all names; `packages`, `seeds` and `context` only what differs."""

    runs: list[RunInfo]
    params: dict[str, list[str | None]]
    tags: dict[str, list[str | None]]
    metrics: dict[str, list[MetricSummary | None]]
    code: list[str | None]
    inputs: list[list[str]]
    packages: dict[str, list[str | None]]
    seeds: dict[str, list[str | None]]
    context: dict[str, list[str | None]]

    @property
    def different_params(self) -> dict[str, list[str | None]]:
        """The params that are not the same in all runs."""
        return different(self.params)

    def _repr_html_(self) -> str:
        """A notebook's table of what differs."""
        from trine.tracking.results import table_html

        rows = [[name, *(value or "" for value in values)] for name, values in different(self.params).items()]
        rows += [
            [name, *("" if one is None else f"{one.last:.6g}" for one in values)]
            for name, values in self.metrics.items()
        ]
        rows += [[name, *(value or "" for value in values)] for name, values in self.packages.items()]
        return table_html(["", *(one.name for one in self.runs)], rows)


def compare(*runs: Run | RunInfo | str, ws: Workspace | None = None) -> Comparison:
    """What is the same and what differs between two or more runs."""
    ws = ws or current_workspace()
    if len(runs) < 2:
        raise InvalidInput("Compare two or more runs.")
    found = [get_run(one, ws=ws) for one in runs]
    packages = [environment_of(one.environment, ws=ws).packages if one.environment else {} for one in found]
    return Comparison(
        runs=found,
        params=_table([one.params for one in found]),
        tags=_table([one.tags for one in found]),
        metrics=_table([one.metrics for one in found]),
        code=[one.code for one in found],
        inputs=[one.inputs for one in found],
        packages=different(_table(packages)),
        seeds=different(_table([one.context.seeds for one in found])),
        context=different({name: [get(one.context) for one in found] for name, get in _CONTEXT.items()}),
    )


_CONTEXT: dict[str, Callable[[Context], str | None]] = {
    "arguments": lambda one: " ".join(one.arguments) or None,
    "host": lambda one: one.host or None,
    "user": lambda one: one.user or None,
    "python": lambda one: one.python or None,
}


def _table(rows: list[dict[str, T]]) -> dict[str, list[T | None]]:
    return {name: [row.get(name) for row in rows] for name in sorted({name for row in rows for name in row})}


def different(table: dict[str, list[T]]) -> dict[str, list[T]]:
    """The lines of a table whose entries are not all the same."""
    return {name: values for name, values in table.items() if any(value != values[0] for value in values)}
