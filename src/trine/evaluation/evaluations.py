"""Evaluating one version: metrics with confidence intervals, over all rows and by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trine.evaluation import operations as door
from trine.evaluation.bootstrap import RESAMPLES, Interval, intervals
from trine.evaluation.comparison import group_codes, rows_of
from trine.evaluation.metrics import default_metrics, metric_of
from trine.evaluation.reports import Evaluation, MetricValue, SliceEvaluation
from trine.evaluation.scoring import labelled, score
from trine.evaluation.slices import slices_of
from trine.models.loading import LoadedModel, load_model
from trine.workspace import Workspace, active_producer, current_workspace

SMALLEST = 30
"""Slices of fewer rows are left out: their intervals say nothing."""


def evaluate(
    model: str | LoadedModel,
    rows: Any,
    *,
    label: str,
    metrics: Sequence[str] = (),
    slices: Sequence[str] = (),
    groups: str = "",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    record: bool = True,
    ws: Workspace | None = None,
) -> Evaluation:
    """A version's metrics on labelled rows, each with its bootstrap interval (BCa, seeded), overall and by slice; kept.

    `rows` is a dataset reference or a frame; rows without a label are left out and counted. `metrics` default to what fits the model;
    `slices` are `column` or `column:bins`; `groups` names a column of what is drawn together. O(rows × resamples).
    """
    ws = ws or current_workspace()
    wanted = [metric_of(name) for name in metrics]
    loaded = load_model(model, ws=ws) if isinstance(model, str) else model
    dataset, frame = rows_of(rows, ws)
    frame, unlabelled = labelled(frame, label)
    scored = score(loaded, frame, label, as_classes=any(one.needs != "numbers" for one in wanted))
    wanted = wanted or [metric_of(name) for name in default_metrics(scored)]
    for one in wanted:
        one.check(scored)
    together = group_codes(frame, groups)

    def measure(part: Any = slice(None)) -> tuple[MetricValue, ...]:
        import numpy as np

        inner = None if together is None else np.unique(together[part], return_inverse=True)[1]
        found = intervals(
            wanted, scored.take(part), confidence=confidence, resamples=resamples, seed=seed, groups=inner
        )
        return _values(found)

    parts = [
        SliceEvaluation(one.column, one.value, count, measure(one.rows))
        for one in slices_of(frame, slices)
        if (count := int(one.rows.sum())) >= SMALLEST
    ]
    report = Evaluation(
        model=loaded.version.ref,
        dataset=dataset,
        label=label,
        rows=len(scored),
        unlabelled=unlabelled,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=groups,
        metrics=measure(),
        slices=tuple(parts),
    )
    if not record:
        return report
    return door.record_evaluation(ws, body=ws.store.put(msgspec.json.encode(report)), producer=active_producer())


def _values(found: Mapping[str, Interval]) -> tuple[MetricValue, ...]:
    return tuple(MetricValue(name, one.value, one.low, one.high) for name, one in found.items())
