"""From a window's rows to a verdict: everything but reading the data and storing the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trine.monitoring.drift import compare
from trine.monitoring.monitors import Monitor
from trine.monitoring.quality import findings_of_tests, schema_findings, value_findings
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
    expected: Sequence[str] = (),
    performance: Performance | None = None,
    reference_node: str = "",
) -> Verdict:
    """The verdict of a window, not stored. Rows are in time order.

    `expected` are the columns that must be there (default: what the monitor names, else all of the reference); times
    among them are compared only when the monitor names them, since they always move on.
    """
    verdict = Verdict(
        monitor=monitor.name,
        window_start_us=window_start_us,
        window_end_us=window_end_us,
        rows=len(window),
        outcome="no_data",
        reference=reference_node,
        performance=performance,
        reason="No rows in the window.",
    )
    if not len(window):
        return verdict
    names = list(monitor.columns or expected or reference)
    compared = monitor.columns or [name for name in names if name not in reference or reference[name].kind != "time"]
    columns = compare(reference, window, columns=compared, thresholds=monitor.thresholds)
    looked_at = [name for name in dict.fromkeys([*names, *monitor.ranges]) if name in window.columns]
    # a prediction log has columns of its own, which no training data has
    schema = window if monitor.subject_kind == "dataset" else window.select(n for n in names if n in window.columns)
    findings = [
        *schema_findings(reference, schema, names, monitor.columns),
        *value_findings(window, looked_at, monitor.ranges),
        *findings_of_tests(columns),
    ]
    outcome, reason = _outcome(columns, findings, performance)
    return msgspec.structs.replace(
        verdict,
        outcome=outcome,
        reason=reason,
        columns=columns,
        findings=tuple(sorted(findings, key=lambda one: not one.serious)),
    )


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
    if any(one.state in ("ok", "moved") for one in columns) or (performance is not None and performance.metrics):
        return "ok", ""
    if any(one.state == "too_small" for one in columns):
        return "too_small", _too_small(columns)
    return "no_data", "There is nothing in the window that could be compared."


def _too_small(columns: Sequence[ColumnVerdict]) -> str:
    sizes = sorted(one.size for one in columns)
    return (
        f"The window is worth {sizes[len(sizes) // 2]:.0f} independent rows (median of its columns): too few to judge."
    )
