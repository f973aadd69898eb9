"""How good predictions were, once labels arrive: joined by prediction id, with coverage, lag and a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from trine.distributions import normal_quantile
from trine.errors import InvalidInput
from trine.monitoring import metrics
from trine.monitoring.metrics import Estimate
from trine.monitoring.monitors import HIGHER_IS_BETTER, BaselineMetric
from trine.monitoring.verdicts import MetricReport, Performance

if TYPE_CHECKING:
    import polars as pl

Bools = NDArray[np.bool_]

TOLERANCES: dict[str, float] = {"accuracy": 0.02, "roc_auc": 0.02, "brier": 0.01, "log_loss": 0.02, "ece": 0.03}
"""How much worse than the baseline a metric may be before it matters; `mae` and `rmse` are in the label's unit, and
are compared in units of the baseline (5 %)."""

RELATIVE = 0.05
CONFIDENCE = 0.95


def measure(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    score: str = "",
    predicted: str = "",
    positive: str = "",
    baseline: Mapping[str, BaselineMetric] | None = None,
    tolerances: Mapping[str, float] | None = None,
    false_alarm_rate: float = 0.02,
) -> Performance:
    """Join labels to predictions by `prediction_id` and measure what the columns allow, each with a 95 % interval.

    `score` is the column with the probability of the positive class (default `probability`), `predicted` the one with
    the answer (default `prediction`). Predictions need `prediction_id`, labels `prediction_id` and `label`; with
    `time_us` in both the lag is told. Of a repeated prediction id the first row counts, of a repeated label the last.
    A metric is worse when it is so by more than its tolerance, and surely: all of them together cry wolf at
    `false_alarm_rate` (one-sided z-tests with Bonferroni's correction).
    """
    joined, performance = _join(predictions, labels)
    if not len(joined):
        return performance
    estimates, reason = _estimates(
        joined, _column(joined, score, "probability"), _column(joined, predicted, "prediction"), positive
    )
    bases = {name: base for name, base in (baseline or {}).items() if name in estimates}
    rate = false_alarm_rate / max(len(bases), 1)
    reports = [
        _report(name, one, bases.get(name), _tolerance(name, bases.get(name), tolerances or {}), rate)
        for name, one in estimates.items()
    ]
    return msgspec.structs.replace(performance, metrics=tuple(reports), reason=reason)


def _column(joined: pl.DataFrame, asked: str, usual: str) -> str:
    if asked and asked not in joined.columns:
        raise InvalidInput(f'The predictions have no column "{asked}", which the monitor measures.')
    return asked or (usual if usual in joined.columns else "")


def _join(predictions: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, Performance]:
    """Labelled predictions with `label_given`, in the predictions' order."""
    import polars as pl

    unique = predictions.unique("prediction_id", keep="first", maintain_order=True)
    ordered = labels.sort("time_us", maintain_order=True) if "time_us" in labels.columns else labels
    last = ordered.unique("prediction_id", keep="last", maintain_order=True).filter(pl.col("label").is_not_null())
    given = last.select("prediction_id", pl.col("^label|time_us$").name.suffix("_given"))
    joined = unique.join(given, on="prediction_id", how="inner", maintain_order="left")
    lag = None
    if len(joined) and {"time_us", "time_us_given"} <= set(joined.columns):
        lag = joined.select((pl.col("time_us_given") - pl.col("time_us")).median() / 1e6).item()
    return joined, Performance(
        predictions=len(unique),
        labelled=len(joined),
        coverage=len(joined) / len(unique) if len(unique) else 0.0,
        label_lag_s=lag,
        duplicates=len(predictions) - len(unique),
        reason="" if len(joined) else "no labels have arrived for this window",
    )


def _estimates(joined: pl.DataFrame, score: str, predicted: str, positive: str) -> tuple[dict[str, Estimate], str]:
    """The metrics that the columns allow, and why there are not more."""
    import polars as pl

    found: dict[str, Estimate] = {}
    label = joined.get_column("label_given")
    if predicted and not score and label.dtype.is_numeric() and joined.schema[predicted].is_float():
        return _regression(joined.select("label_given", predicted).cast(pl.Float64)), ""
    if predicted:
        found["accuracy"] = metrics.accuracy(_agree(label, joined.get_column(predicted)))
    if not score:
        return found, "" if found else "the predictions have neither answers nor probabilities"
    given = joined.with_columns(joined.get_column(score).cast(pl.Float64, strict=False)).filter(_finite(score))
    if not len(given):
        return found, f'column "{score}" holds no numbers'
    probability = given.get_column(score).to_numpy()
    if probability.min() < 0 or probability.max() > 1:
        return found, f'column "{score}" holds values outside [0, 1], so it is no probability'
    truth = _is_positive(given, score, predicted, positive)
    if truth is None:
        return found, "it is not known which label is the positive one: name it in the monitor (positive=…)"
    found |= {
        "roc_auc": metrics.roc_auc(truth, probability),
        "brier": metrics.brier(truth, probability),
        "log_loss": metrics.log_loss(truth, probability),
        "ece": metrics.ece(truth, probability),
    }
    if not predicted:
        found["accuracy"] = metrics.accuracy((probability >= 0.5) == truth)
    return found, ""


def _finite(column: str) -> pl.Expr:
    import polars as pl

    return pl.col(column).is_finite().fill_null(False)


def _regression(pairs: pl.DataFrame) -> dict[str, Estimate]:
    truth, guess = (column.to_numpy() for column in pairs.filter(*map(_finite, pairs.columns)).iter_columns())
    return {"mae": metrics.mae(truth, guess), "rmse": metrics.rmse(truth, guess)} if len(truth) else {}


def _is_positive(joined: pl.DataFrame, score: str, predicted: str, positive: str) -> Bools | None:
    """Which labels are the class that `score` is the probability of: the one that is named; else true; else the answer
    that is given where the score is high; else what is over 0. None when nothing of that tells."""
    import polars as pl

    label = joined.get_column("label_given")
    if positive:
        return _agree(label, pl.Series([positive]))
    if label.dtype == pl.Boolean:
        return label.to_numpy()
    if predicted:
        likely = joined.get_column(score) >= 0.5
        for side, sense in ((likely, True), (~likely, False)):
            answers = joined.filter(side).get_column(predicted).unique()
            if len(answers) == 1:
                return _agree(label, answers) == sense
    return (label > 0).to_numpy() if label.dtype.is_numeric() else None


def _agree(label: pl.Series, answer: pl.Series) -> Bools:
    """Row-wise equality (to one answer, or to one each) where true, 1, 1.0 and "1" are one, and other text is itself."""
    return (_plain(label) == _plain(answer)).fill_null(False).to_numpy()


def _plain(series: pl.Series) -> pl.Series:
    """One form of text for values that mean the same."""
    import polars as pl

    if series.dtype == pl.Boolean or series.dtype.is_numeric():
        return series.cast(pl.Float64).cast(pl.String)
    text = series.cast(pl.String)
    return (
        text.replace({"true": "1", "false": "0", "True": "1", "False": "0"})
        .cast(pl.Float64, strict=False)
        .cast(pl.String)
        .fill_null(text)
    )


def _tolerance(name: str, base: BaselineMetric | None, asked: Mapping[str, float]) -> float:
    if name in asked:
        return asked[name]
    return TOLERANCES.get(name, RELATIVE * abs(base.value) if base else 0.0)


def _report(name: str, one: Estimate, base: BaselineMetric | None, tolerance: float, rate: float) -> MetricReport:
    if one.value is None:
        return MetricReport(name=name, baseline=base.value if base else None, reason=one.reason)
    report = MetricReport(
        name=name, value=one.value, reason="" if np.isfinite(one.error) else "too few labels for an interval"
    )
    width = normal_quantile(0.5 + CONFIDENCE / 2)
    if np.isfinite(one.error):
        low, high = one.value - one.floor - width * one.error, one.value + width * one.error
        if name not in ("mae", "rmse", "log_loss"):
            high = min(1.0, high)
        report = msgspec.structs.replace(report, low=max(0.0, low), high=high)
    if base is None:
        return report
    change, error = one.value - base.value, float(np.hypot(one.error, base.error))
    report = msgspec.structs.replace(report, baseline=base.value, change=change)
    if not np.isfinite(error):
        return report
    loss = -change if HIGHER_IS_BETTER[name] else change - one.floor
    return msgspec.structs.replace(
        report,
        change_low=change - one.floor - width * error,
        change_high=change + width * error,
        worse=bool(loss > normal_quantile(1 - rate) * error and loss >= tolerance),
    )
