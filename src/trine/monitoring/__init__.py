"""Monitors over predictions and datasets: drift, quality, performance, alerts.

create_monitor(ws, name="flights", subject="dataset:flights@main", reference="dataset:flights@january", time_column="at")
verdict = check("flights", since_us, until_us)
verdict.outcome, verdict.moved
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.monitoring.alerts import Alert, AlertRule, Transition
    from trine.monitoring.checks import check, compare
    from trine.monitoring.judgement import judge
    from trine.monitoring.monitors import BaselineMetric, Monitor, Thresholds
    from trine.monitoring.operations import (
        acknowledge_alert,
        create_monitor,
        delete_monitor,
        get_monitor,
        get_verdict,
        list_alerts,
        list_monitors,
        list_transitions,
        list_verdicts,
        mute_alert,
        record_verdict,
    )
    from trine.monitoring.performance import measure
    from trine.monitoring.verdicts import ColumnVerdict, Finding, MetricReport, Performance, Test, Verdict

_HOMES = {
    "alerts": ("Alert", "AlertRule", "Transition"),
    "checks": ("check", "compare"),
    "judgement": ("judge",),
    "monitors": ("BaselineMetric", "Monitor", "Thresholds"),
    "operations": (
        "acknowledge_alert", "create_monitor", "delete_monitor", "get_monitor", "get_verdict", "list_alerts",
        "list_monitors", "list_transitions", "list_verdicts", "mute_alert", "record_verdict",
    ),
    "performance": ("measure",),
    "verdicts": ("ColumnVerdict", "Finding", "MetricReport", "Performance", "Test", "Verdict"),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "Alert",
    "AlertRule",
    "BaselineMetric",
    "ColumnVerdict",
    "Finding",
    "MetricReport",
    "Monitor",
    "Performance",
    "Test",
    "Thresholds",
    "Transition",
    "Verdict",
    "acknowledge_alert",
    "check",
    "compare",
    "create_monitor",
    "delete_monitor",
    "get_monitor",
    "get_verdict",
    "judge",
    "list_alerts",
    "list_monitors",
    "list_transitions",
    "list_verdicts",
    "measure",
    "mute_alert",
    "record_verdict",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
