"""The report of an evaluation."""

from __future__ import annotations

import msgspec


class MetricValue(msgspec.Struct, frozen=True):
    """A metric with its confidence interval; None where it is undefined."""

    name: str
    value: float | None
    low: float | None
    high: float | None


class SliceEvaluation(msgspec.Struct, frozen=True):
    """The metrics on some of the rows."""

    column: str
    value: str
    rows: int
    metrics: tuple[MetricValue, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """A version's metrics on labelled rows. `dataset` empty: rows that are no dataset commit."""

    model: str
    dataset: str
    label: str
    rows: int
    unlabelled: int
    confidence: float
    resamples: int
    seed: int
    groups: str
    metrics: tuple[MetricValue, ...]
    slices: tuple[SliceEvaluation, ...] = ()
    id: str = ""
    author: str = ""
    created_us: int = 0

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"evaluation:{self.id}"

    def metric(self, name: str) -> MetricValue | None:
        """One metric over all rows."""
        return next((one for one in self.metrics if one.name == name), None)
