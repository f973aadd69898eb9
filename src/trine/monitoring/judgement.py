"""From a window's rows to a verdict: everything but reading the data and storing the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trine.monitoring.drift import compare
from trine.monitoring.monitors import Monitor
from trine.monitoring.performance import measure
from trine.monitoring.quality import schema_findings, test_findings, value_findings
from trine.monitoring.reference import Reference
from trine.monitoring.verdicts import ColumnVerdict, Finding, Outcome, Performance, Verdict

if TYPE_CHECKING:
    import polars as pl


def judge(
    monitor: Monitor,
    reference: Reference,
    window: pl.DataFrame,
    *,
    window_start_us: int,
    window_end_us: int,
    labels: pl.DataFrame | None = None,
    expected: Sequence[str] = (),
    reference_node: str = "",
) -> Verdict:
    """The verdict of a window, not stored. Rows are in time order.

    `expected` are the columns that must be there (default: what the monitor names, else all of the reference).
    `labels` are joined to the window by `prediction_id` and measured against the monitor's baseline.
    """
    if not len(window):
        return Verdict(
            monitor=monitor.name,
            window_start_us=window_start_us,
            window_end_us=window_end_us,
            rows=0,
            outcome="no_data",
            reference=reference_node,
            reason="No rows in the window.",
        )
    names = list(monitor.columns or expected)
    findings = schema_findings(reference, window, names)
    columns = compare(reference, window, columns=_present(reference, window, names), thresholds=monitor.thresholds)
    ranges = {name: (limit[0], limit[1]) for name, limit in monitor.ranges.items()}
    findings += value_findings(window, [name for name in window.columns if name in reference or name in ranges], ranges)
    findings += test_findings(columns)
    performance = None
    if labels is not None and "prediction_id" in window.columns:
        performance, more = measure(
            window,
            labels,
            score=monitor.score,
            predicted=monitor.predicted,
            positive=monitor.positive or None,
            baseline=monitor.baseline,
            tolerances=monitor.tolerances,
            false_alarm_rate=monitor.thresholds.false_alarm_rate,
        )
        findings += more
    outcome, reason = _outcome(columns, findings, performance)
    return Verdict(
        monitor=monitor.name,
        window_start_us=window_start_us,
        window_end_us=window_end_us,
        rows=len(window),
        outcome=outcome,
        reference=reference_node,
        columns=columns,
        findings=tuple(sorted(findings, key=lambda one: not one.serious)),
        performance=performance,
        reason=reason,
    )


def _present(reference: Reference, window: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Columns to compare; times are left out unless they were asked for, since they always move on."""
    return [
        name for name in (names or reference) if name in window.columns and (names or reference[name].kind != "time")
    ]


def _outcome(
    columns: Sequence[ColumnVerdict], findings: Sequence[Finding], performance: Performance | None
) -> tuple[Outcome, str]:
    failed = {test.name for one in columns for test in one.tests if test.failed}
    if performance is not None and performance.worse:
        return "degraded", f"Worse than at acceptance: {', '.join(performance.worse)}."
    if "distribution" in failed:
        moved = [one.column for one in columns if any(t.failed and t.name == "distribution" for t in one.tests)]
        return "drift", f"{len(moved)} of {len(columns)} columns moved."
    if failed or any(one.serious for one in findings):
        return "quality", "The data of the window is not what the reference was."
    if columns and all(one.state == "too_small" for one in columns):
        return "too_small", _too_small(columns)
    return "ok", ""


def _too_small(columns: Sequence[ColumnVerdict]) -> str:
    sizes = sorted(one.size for one in columns)
    return (
        f"The window is worth {sizes[len(sizes) // 2]:.0f} independent rows (median of its columns): too few to judge."
    )
