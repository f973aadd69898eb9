"""What a monitor answers: the verdict of a window, column by column, with the findings and the performance beside it."""

from __future__ import annotations

from typing import Literal

import msgspec

from trine.ids import to_datetime

Outcome = Literal["ok", "drift", "quality", "degraded", "too_small", "no_data"]
TestName = Literal["distribution", "missing", "unseen", "range"]
ColumnState = Literal["ok", "moved", "too_small", "untested"]


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one column. It `failed` when q is at or under the rate asked for *and* the effect is not small."""

    __test__ = False  # not a pytest class

    name: TestName
    method: str
    effect: float
    at_least: float
    statistic: float | None = None
    p: float | None = None
    q: float | None = None
    failed: bool = False


class ColumnVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a window against its reference.

    `effect` is the distance of the distributions (Kolmogorov-Smirnov for numbers, total variation for categories),
    between 0 and 1. `size` and `reference_size` are effective sample sizes; `detectable` is the smallest effect that
    this window would show four times in five.
    """

    column: str
    kind: str
    state: ColumnState
    effect: float = 0.0
    tests: tuple[Test, ...] = ()
    rows: int = 0
    size: float = 0.0
    reference_size: float = 0.0
    null_share: float = 0.0
    reference_null_share: float = 0.0
    detectable: float | None = None
    reason: str = ""

    @property
    def moved(self) -> bool:
        return self.state == "moved"

    @property
    def weight(self) -> float:
        """The largest effect among the tests in units of its threshold: what columns are sorted by."""
        return max((test.effect / test.at_least for test in self.tests if test.at_least > 0), default=0.0)


FindingKind = Literal[
    "column_missing",
    "column_added",
    "column_retyped",
    "all_missing",
    "missing_share",
    "unseen_values",
    "out_of_range",
    "infinite",
]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something about the window that can be said without a model of it. A `serious` one makes the outcome `quality`."""

    kind: FindingKind
    column: str = ""
    message: str
    count: int = 0
    share: float = 0.0
    serious: bool = False


class MetricReport(msgspec.Struct, frozen=True, kw_only=True):
    """One metric on the labelled part of a window, with its interval and its difference to the baseline.

    `value` is None when the metric is not defined there, and `reason` says why.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    worse: bool = False
    reason: str = ""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """How good the predictions of a window were, as far as labels have arrived.

    `coverage` is the labelled share of them; `label_lag_s` the median time from a prediction to its label.
    """

    predictions: int
    labelled: int
    coverage: float
    label_lag_s: float | None = None
    duplicates: int = 0
    metrics: tuple[MetricReport, ...] = ()
    reason: str = ""

    @property
    def worse(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.metrics if one.worse)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a monitor for one window; columns are sorted by how far they moved, farthest first."""

    monitor: str
    window_start_us: int
    window_end_us: int
    rows: int
    outcome: Outcome
    id: str = ""
    reference: str = ""
    columns: tuple[ColumnVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    performance: Performance | None = None
    reason: str = ""
    created_us: int = 0

    @property
    def moved(self) -> tuple[str, ...]:
        """Names of the columns that moved, farthest first."""
        return tuple(one.column for one in self.columns if one.moved)

    @property
    def node(self) -> str:
        return f"verdict:{self.id}"

    def text(self) -> str:
        """The verdict in a few lines for people."""
        since, until = to_datetime(self.window_start_us), to_datetime(self.window_end_us)
        lines = [
            f"{self.monitor}: {self.outcome} · {self.rows:,} rows · {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        ]
        if self.reason:
            lines.append(f"  {self.reason}")
        lines += [f"  {one.message}" for one in self.findings if one.serious]
        lines += [f"  {_told(one)}" for one in self.columns if one.moved]
        if self.performance is not None:
            lines += [f"  {line}" for line in _told_performance(self.performance)]
        small = [one.column for one in self.columns if one.state == "too_small"]
        if small and self.outcome != "no_data":
            names = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
            lines.append(f"  too few independent rows to judge {names}")
        return "\n".join(lines)


def _told(one: ColumnVerdict) -> str:
    parts: list[str] = []
    for test in one.tests:
        if not test.failed:
            continue
        if test.name == "distribution":
            parts.append(f"{test.method} distance {test.effect:.3f} (q = {test.q:.2g})")
        elif test.name == "missing":
            parts.append(f"missing {one.reference_null_share:.1%} → {one.null_share:.1%} (q = {test.q:.2g})")
        elif test.name == "unseen":
            parts.append(f"{test.effect:.1%} values never seen before")
        else:
            parts.append(f"{test.effect:.1%} outside the range seen before")
    return f"{one.column} moved: " + "; ".join(parts)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _told_performance(performance: Performance) -> list[str]:
    lag = "" if performance.label_lag_s is None else f", median lag {_duration(performance.label_lag_s)}"
    lines = [
        f"labels for {performance.labelled:,} of {performance.predictions:,} predictions "
        f"({performance.coverage:.0%}{lag})"
    ]
    if performance.duplicates:
        lines.append(f"{performance.duplicates:,} predictions repeat an id; the first of each counts")
    if performance.reason:
        lines.append(f"not measured: {performance.reason}")
    for one in performance.metrics:
        if one.value is None:
            lines.append(f"{one.name}: undefined, {one.reason}")
            continue
        interval = "" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]"
        against = "" if one.baseline is None else f" against {one.baseline:.4f} at acceptance"
        lines.append(f"{one.name} {one.value:.4f}{interval}{against}{' WORSE' if one.worse else ''}")
    return lines
