"""Accuracy and calibration once labels arrive: values against scikit-learn, errors against repetition, joins by id."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from trine.errors import InvalidInput
from trine.monitoring import metrics
from trine.monitoring.monitors import BaselineMetric
from trine.monitoring.performance import measure
from trine.monitoring.verdicts import MetricReport, Performance


def sample(seed: int, n: int, *, slope: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels and scores; with slope 1 the scores are calibrated, under 1 they are too sure of themselves."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    label = rng.random(n) < 1 / (1 + np.exp(-slope * logit))
    return label, 1 / (1 + np.exp(-logit))


@given(st.integers(0, 2**32 - 1), st.integers(5, 400))
def test_values_are_those_of_scikit_learn(seed: int, n: int) -> None:
    label, score = sample(seed, n)
    label[:2] = [True, False]
    score = np.round(score, 2).clip(0.01, 0.99)  # with ties
    assert metrics.roc_auc(label, score).value == pytest.approx(sk.roc_auc_score(label, score))
    assert metrics.brier(label, score).value == pytest.approx(sk.brier_score_loss(label, score))
    assert metrics.log_loss(label, score).value == pytest.approx(sk.log_loss(label, score))
    assert metrics.accuracy((score >= 0.5) == label).value == pytest.approx(sk.accuracy_score(label, score >= 0.5))
    truth, guess = score * 10, score * 9 + label
    assert metrics.mae(truth, guess).value == pytest.approx(sk.mean_absolute_error(truth, guess))
    assert metrics.rmse(truth, guess).value == pytest.approx(sk.root_mean_squared_error(truth, guess))


@pytest.mark.parametrize("name", ["roc_auc", "brier", "log_loss", "accuracy", "rmse", "mae"])
def test_the_standard_error_is_the_spread_over_repetitions(name: str) -> None:
    def one(seed: int) -> metrics.Estimate:
        label, score = sample(seed, 400)
        if name == "accuracy":
            return metrics.accuracy((score >= 0.5) == label)
        if name in ("rmse", "mae"):
            return getattr(metrics, name)(label.astype(float), score)
        return getattr(metrics, name)(label, score)

    found = [one(seed) for seed in range(300)]
    spread = np.std([estimate.value for estimate in found])  # type: ignore[arg-type]
    assert np.mean([estimate.error for estimate in found]) == pytest.approx(spread, rel=0.12)


def test_the_calibration_error_of_a_calibrated_model_is_its_floor() -> None:
    for n in (100, 1000, 10_000):
        found = [metrics.ece(*sample(seed, n)) for seed in range(60)]
        assert np.mean([one.value for one in found]) == pytest.approx(np.mean([one.floor for one in found]), rel=0.1)  # type: ignore[arg-type]
    assert metrics.ece(*sample(1, 10_000, slope=0.4)).value > 0.1  # type: ignore[operator]


def test_one_class_of_labels_has_no_area_under_the_curve() -> None:
    found = metrics.roc_auc(np.ones(5, bool), np.linspace(0, 1, 5))
    assert found.value is None and found.reason == "all labels are positive"


def log(seed: int = 0, n: int = 2000, *, slope: float = 1.0, **columns: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A prediction log and its labels."""
    label, score = sample(seed, n, slope=slope)
    ids = [f"p{i:05}" for i in range(n)]
    predictions = pl.DataFrame(
        {"prediction_id": ids, "time_us": range(n), "prediction": (score >= 0.5).astype(int), "probability": score}
    )
    labels = pl.DataFrame({"prediction_id": ids, "label": label.astype(int), "time_us": np.arange(n) + 3_600_000_000})
    return predictions.with_columns(**columns), labels


def by_name(performance: Performance) -> dict[str, MetricReport]:
    return {one.name: one for one in performance.metrics}


def test_labels_are_joined_by_prediction_id_with_coverage_and_lag() -> None:
    predictions, labels = log()
    some = labels.sample(500, shuffle=True, seed=1)
    other = pl.DataFrame({"prediction_id": ["elsewhere"], "label": [1], "time_us": [0]})
    found = measure(predictions, pl.concat([some, other]))
    assert (found.predictions, found.labelled, found.coverage, found.label_lag_s) == (2000, 500, 0.25, 3600)
    both = predictions.join(some, on="prediction_id")
    assert by_name(found)["brier"].value == pytest.approx(sk.brier_score_loss(both["label"], both["probability"]))
    assert by_name(found)["accuracy"].value == pytest.approx((both["label"] == both["prediction"]).mean())


def test_of_a_repeated_label_the_last_counts_and_of_a_repeated_prediction_the_first() -> None:
    predictions, labels = log(n=100)
    corrected = labels.with_columns(pl.lit(0, pl.Int64).alias("label"), pl.col("time_us") + 9)
    found = measure(
        pl.concat([predictions, predictions.head(10).with_columns(probability=pl.lit(1.0))]),
        pl.concat([corrected, labels]),
    )
    assert found.duplicates == 10 and found.predictions == found.labelled == 100
    assert by_name(found)["accuracy"].value == pytest.approx((predictions["prediction"] == 0).mean())
    assert by_name(found)["roc_auc"].reason == "all labels are negative"


def test_without_labels_nothing_is_claimed() -> None:
    predictions, labels = log(n=100)
    for none in (labels.clear(), labels.with_columns(label=pl.lit(None, pl.Int64))):
        found = measure(predictions, none, baseline={"brier": BaselineMetric(0.0)})
        assert (found.labelled, found.metrics) == (0, ()) and "no labels have arrived" in found.reason


ACCEPTED = {
    name: BaselineMetric(one.value or 0.0, one.error)
    for name, one in {
        "roc_auc": metrics.roc_auc(*sample(99, 20_000)),
        "brier": metrics.brier(*sample(99, 20_000)),
        "ece": metrics.ece(*sample(99, 20_000)),
        "log_loss": metrics.log_loss(*sample(99, 20_000)),
    }.items()
}


@pytest.mark.parametrize("n", [50, 400, 3000])
def test_a_model_that_is_as_good_as_accepted_is_rarely_called_worse(n: int) -> None:
    worse = sum(bool(measure(*log(seed, n), baseline=ACCEPTED).worse) for seed in range(150))
    assert worse <= 150 * 0.02 + 4


def test_a_model_that_lost_its_calibration_is_called_worse_with_the_interval_of_the_change() -> None:
    found = by_name(measure(*log(3, 3000, slope=0.5), baseline=ACCEPTED))
    assert {name for name, one in found.items() if one.worse} == {"roc_auc", "brier", "ece", "log_loss"}
    brier = found["brier"]
    assert brier.baseline == ACCEPTED["brier"].value and brier.change_low > 0.01  # type: ignore[operator]
    assert brier.low < brier.value < brier.high  # type: ignore[operator]
    few = by_name(measure(*log(3, 30, slope=0.5), baseline=ACCEPTED))
    assert not any(one.worse for one in few.values())  # as bad, but too few to be sure


def test_a_loss_within_the_tolerance_is_none() -> None:
    given = log(3, 20_000, slope=0.95)
    strict = measure(*given, baseline=ACCEPTED, tolerances={"brier": 1e-6})
    assert by_name(strict)["brier"].worse and not by_name(measure(*given, baseline=ACCEPTED))["brier"].worse


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        ((0, 1), ""),
        ((False, True), ""),
        (("ontime", "late"), ""),
        (("ontime", "late"), "late"),
        ((0, 1), "1"),
        ((1, 2), "2"),
        ((1, 2), ""),
    ],
)
@pytest.mark.parametrize("answered", [True, False])
def test_the_positive_class_is_found_whatever_labels_look_like(classes: Any, positive: str, answered: bool) -> None:
    predictions, labels = log(n=500)
    named = labels.with_columns(label=pl.Series([classes[i] for i in labels["label"]]))
    if answered:
        answers = predictions.with_columns(prediction=pl.Series([classes[i] for i in predictions["prediction"]]))
    else:
        answers = predictions.drop("prediction")
    found = measure(answers, named, positive=positive)
    if not answered and not positive and classes[0] == "ontime":
        assert found.metrics == () and "positive=" in found.reason
    elif answered or positive or classes != (1, 2):
        assert by_name(found)["brier"].value == by_name(measure(predictions, labels))["brier"].value
        assert by_name(found)["accuracy"].value == by_name(measure(predictions, labels))["accuracy"].value


def test_labels_that_are_written_otherwise_than_answers_still_agree() -> None:
    predictions, labels = log(n=200)
    expected = by_name(measure(predictions, labels))["accuracy"].value
    for form in (pl.col("label").cast(pl.String), pl.col("label") == 1, pl.col("label").cast(pl.Float64)):
        assert by_name(measure(predictions, labels.with_columns(label=form)))["accuracy"].value == expected


def test_numbers_are_measured_as_numbers() -> None:
    predictions, labels = log(n=300)
    answers = predictions.select("prediction_id", prediction=pl.col("probability") * 60)
    minutes = labels.with_columns(label=pl.col("label") * 30)
    found = by_name(measure(answers, minutes, baseline={"mae": BaselineMetric(1.0)}))
    assert set(found) == {"mae", "rmse"} and found["mae"].worse
    assert found["mae"].value == pytest.approx(sk.mean_absolute_error(minutes["label"], answers["prediction"]))


def test_scores_that_are_no_probabilities_are_said_to_be_none() -> None:
    predictions, labels = log(n=50, probability=pl.col("probability") * 3)
    found = measure(predictions, labels)
    assert set(by_name(found)) == {"accuracy"} and "outside [0, 1]" in found.reason
    with pytest.raises(InvalidInput, match='no column "score"'):
        measure(predictions, labels, score="score")


def test_errors_in_streaks_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    spread = rng.random(4000) < 0.8
    streaks = np.sort(spread.reshape(40, 100), axis=1).ravel()
    assert metrics.accuracy(streaks).value == metrics.accuracy(spread).value
    assert metrics.accuracy(streaks).error > 2 * metrics.accuracy(spread).error
