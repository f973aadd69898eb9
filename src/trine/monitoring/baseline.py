"""How good a model was when it was accepted: what a window's performance is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trine.distributions import normal_quantile
from trine.monitoring.monitors import HIGHER_IS_BETTER, BaselineMetric

if TYPE_CHECKING:
    from trine.evaluation import MetricValue
    from trine.models import ModelVersion
    from trine.workspace import Workspace


def accepted_metrics(version: ModelVersion, ws: Workspace) -> dict[str, BaselineMetric]:
    """Each metric from the version's first evaluation, else from its first passed gate, else as it was registered.

    The first, because what is measured later is what the monitor is to judge. Only evaluations tell how sure they are.
    """
    from trine.evaluation import list_evaluations, list_gates

    found = {name: BaselineMetric(value) for name, value in version.metrics.items()}
    for report in list_gates(ws, model=version.ref, outcome="pass", limit=1000).items:  # newest first: the oldest stays
        if report.candidate_value is not None:
            found[report.metric] = BaselineMetric(report.candidate_value)
    for evaluation in list_evaluations(ws, model=version.name, limit=1000).items:
        if evaluation.model == version.ref:
            found |= {
                one.name: _measured(one, evaluation.confidence) for one in evaluation.metrics if one.value is not None
            }
    return {name: base for name, base in found.items() if name in HIGHER_IS_BETTER}


def _measured(one: MetricValue, confidence: float) -> BaselineMetric:
    """A metric with the standard error that its interval stands for."""
    assert one.value is not None
    if one.low is None or one.high is None:
        return BaselineMetric(one.value)
    return BaselineMetric(one.value, (one.high - one.low) / (2 * normal_quantile(0.5 + confidence / 2)))
