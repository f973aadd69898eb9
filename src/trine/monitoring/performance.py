"""How good predictions were, once labels arrive: joined by prediction id, with coverage, lag and a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trine.monitoring import metrics
from trine.monitoring.metrics import HIGHER_IS_BETTER, Estimate
from trine.monitoring.verdicts import Finding, MetricReport, Performance

if TYPE_CHECKING:
    import polars as pl

TOLERANCES: dict[str, float] = {"accuracy": 0.02, "roc_auc": 0.02, "brier": 0.01, "log_loss": 0.02, "ece": 0.03}
"""How much worse than the baseline a metric may be before it matters; `mae` and `rmse` are in the label's unit, and
are compared in units of the baseline (5 %)."""

RELATIVE = 0.05


class BaselineMetric(msgspec.Struct, frozen=True):
    """A metric as measured when the model was accepted, with its standard error (0: taken as exact)."""

    value: float
    error: float = 0.0


def measure(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    score: str = "",
    predicted: str = "",
    positive: Any = None,
    baseline: Mapping[str, BaselineMetric] | None = None,
    tolerances: Mapping[str, float] | None = None,
    false_alarm_rate: float = 0.02,
    confidence: float = 0.95,
) -> tuple[Performance, list[Finding]]:
    """Join labels to predictions by `prediction_id` and measure what the columns allow.

    `score` is the column with the probability of the positive class, `predicted` the one with the answer. Predictions
    need `prediction_id` and, for the lag, `time_us`; labels `prediction_id`, `label` and, for the lag, `time_us`.
    A repeated prediction id keeps its first row, a repeated label its last; both are counted and told.
    """
    joined, performance, findings = _join(predictions, labels)
    if not performance.labelled:
        return performance, findings
    estimates, reason = _estimates(joined, score=score, predicted=predicted, positive=positive)
    known = {name: base for name, base in (baseline or {}).items() if name in estimates}
    reports = [
        _report(
            name,
            one,
            known.get(name),
            tolerance=_tolerance(name, known.get(name), tolerances or {}),
            rate=false_alarm_rate / max(len(known), 1),
            confidence=confidence,
        )
        for name, one in estimates.items()
    ]
    return msgspec.structs.replace(performance, metrics=tuple(reports), reason=reason), findings


def _join(predictions: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, Performance, list[Finding]]:
    import polars as pl

    unique = predictions.unique("prediction_id", keep="first", maintain_order=True)
    duplicates = len(predictions) - len(unique)
    if len(labels):
        order = labels.sort("time_us") if "time_us" in labels.columns else labels
        last = order.unique("prediction_id", keep="last", maintain_order=True).filter(pl.col("label").is_not_null())
    else:
        last = pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.Float64})
    if "time_us" in last.columns:
        last = last.rename({"time_us": "label_time_us"})
    kept = [name for name in ("prediction_id", "label", "label_time_us") if name in last.columns]
    joined = unique.join(last.select(kept), on="prediction_id", how="inner", maintain_order="left", suffix="_given")
    unknown = len(last) - len(joined)
    lag = None
    if len(joined) and {"label_time_us", "time_us"} <= set(joined.columns):
        seconds = (joined.get_column("label_time_us") - joined.get_column("time_us")).median()
        lag = float(seconds) / 1e6 if isinstance(seconds, (int, float)) else None
    findings: list[Finding] = []
    if duplicates:
        text = f"{duplicates:,} predictions repeat an id that was there before; the first of each counts."
        findings.append(
            Finding(kind="duplicate_ids", message=text, count=duplicates, share=duplicates / len(predictions))
        )
    performance = Performance(
        predictions=len(unique),
        labelled=len(joined),
        coverage=len(joined) / len(unique) if len(unique) else 0.0,
        label_lag_s=lag,
        duplicates=duplicates,
        unknown_labels=unknown,
        reason="" if len(joined) else "no labels have arrived for this window",
    )
    return joined, performance, findings


def _estimates(joined: pl.DataFrame, *, score: str, predicted: str, positive: Any) -> tuple[dict[str, Estimate], str]:
    label_name = "label_given" if "label_given" in joined.columns else "label"
    label = joined.get_column(label_name)
    found: dict[str, Estimate] = {}
    if score and score in joined.columns:
        given = joined.filter(joined.get_column(score).cast(float, strict=False).is_finite())
        probability = given.get_column(score).cast(float).to_numpy()
        if len(given) and (probability.min() < 0 or probability.max() > 1):
            return found, f'column "{score}" holds values outside [0, 1], so it is no probability'
        if len(given):
            truth = _is_positive(given.get_column(label_name), positive)
            found["roc_auc"] = metrics.roc_auc(truth, probability)
            found["brier"] = metrics.brier(truth, probability)
            found["log_loss"] = metrics.log_loss(truth, probability)
            found["ece"] = metrics.ece(truth, probability)
            if not (predicted and predicted in joined.columns):
                found["accuracy"] = metrics.accuracy((probability >= 0.5) == truth)
    if predicted and predicted in joined.columns:
        answer = joined.get_column(predicted)
        if not score and label.dtype.is_float() and answer.dtype.is_float():
            truth, guess = label.to_numpy(), answer.to_numpy()
            whole = np.isfinite(truth) & np.isfinite(guess)
            if whole.any():
                found["mae"] = metrics.mae(truth[whole], guess[whole])
                found["rmse"] = metrics.rmse(truth[whole], guess[whole])
        else:
            found["accuracy"] = metrics.accuracy(_agree(label, answer))
    return found, "" if found else "no column of the predictions is named as score or answer"


def _is_positive(label: pl.Series, positive: Any) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    import polars as pl

    if positive is not None:
        return (
            (label.cast(pl.String) == str(positive)).to_numpy()
            if label.dtype == pl.String
            else (label == positive).to_numpy()
        )
    if label.dtype == pl.Boolean:
        return label.to_numpy()
    if label.dtype.is_numeric():
        return (label > 0).to_numpy()
    return label.cast(pl.String).str.to_lowercase().is_in(["1", "1.0", "true", "yes"]).to_numpy()


def _agree(label: pl.Series, answer: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Row-wise equality where true, 1 and 1.0 are one, and text is compared as text."""
    import polars as pl

    def plain(series: pl.Series) -> pl.Series:
        return (
            series.cast(pl.Float64)
            if series.dtype == pl.Boolean or series.dtype.is_numeric()
            else series.cast(pl.String)
        )

    left, right = plain(label), plain(answer)
    if left.dtype != right.dtype:
        left, right = label.cast(pl.String), answer.cast(pl.String)
    return (left == right).fill_null(False).to_numpy()


def _tolerance(name: str, base: BaselineMetric | None, asked: Mapping[str, float]) -> float:
    if name in asked:
        return asked[name]
    return TOLERANCES.get(name, RELATIVE * abs(base.value) if base else 0.0)


def _report(
    name: str, one: Estimate, base: BaselineMetric | None, *, tolerance: float, rate: float, confidence: float
) -> MetricReport:
    from scipy.stats import norm

    if one.value is None:
        return MetricReport(name=name, baseline=base.value if base else None, reason=one.reason)
    width = float(norm.ppf(0.5 + confidence / 2))
    error = one.error if np.isfinite(one.error) else None
    low, high = (one.value - width * error, one.value + width * error) if error is not None else (None, None)
    if name in ("accuracy", "roc_auc", "brier", "ece"):
        low, high = (max(0.0, low), min(1.0, high)) if low is not None and high is not None else (None, None)
    if base is None:
        return MetricReport(name=name, value=one.value, low=low, high=high)
    change = one.value - base.value
    if error is None:
        return MetricReport(
            name=name, value=one.value, baseline=base.value, change=change, reason="too few labels for an interval"
        )
    together = float(np.hypot(error, base.error))
    loss = -change if HIGHER_IS_BETTER[name] else change
    sure = loss > float(norm.isf(rate)) * together
    return MetricReport(
        name=name,
        value=one.value,
        low=low,
        high=high,
        baseline=base.value,
        change=change,
        change_low=change - width * together,
        change_high=change + width * together,
        worse=bool(sure and loss >= tolerance),
    )
