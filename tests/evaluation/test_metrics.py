from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from trine.errors import InvalidInput
from trine.evaluation.bootstrap import intervals, resampled
from trine.evaluation.metrics import METRICS, Moments, Scored, default_metrics, metric_of


def binary(seed: int, rows: int, ties: bool = False) -> Scored:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    truth[:2] = [0, 1]
    share = 1 / (1 + np.exp(-(truth - 0.5 + rng.normal(size=rows))))
    if ties:
        share = share.round(1)
    return Scored(truth, (share > 0.5).astype(int), np.column_stack([1 - share, share]), (0, 1))


def multi(seed: int, rows: int, classes: int = 4) -> Scored:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    truth[:classes] = range(classes)
    shares = rng.dirichlet(np.ones(classes), rows) + np.eye(classes)[truth] * 0.3
    shares /= shares.sum(axis=1, keepdims=True)
    return Scored(truth, shares.argmax(axis=1), shares, tuple(range(classes)))


def numbers(seed: int, rows: int) -> Scored:
    rng = np.random.default_rng(seed)
    truth = rng.normal(50, 10, rows)
    return Scored(truth, truth + rng.normal(size=rows) * 3)


def by_scikit(name: str, s: Scored, weights: Any = None) -> float:
    share: Any = s.shares[:, 1] if s.shares is not None and len(s.classes) == 2 else s.shares
    average: Any = {"average": "binary" if len(s.classes) == 2 else "macro", "zero_division": 0}
    labels = list(range(len(s.classes)))
    functions: dict[str, Any] = {
        "accuracy": lambda: sk.accuracy_score(s.truth, s.predicted, sample_weight=weights),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(s.truth, s.predicted, sample_weight=weights),
        "precision": lambda: sk.precision_score(s.truth, s.predicted, sample_weight=weights, **average),
        "recall": lambda: sk.recall_score(s.truth, s.predicted, sample_weight=weights, **average),
        "f1": lambda: sk.f1_score(s.truth, s.predicted, sample_weight=weights, **average),
        "roc_auc": lambda: sk.roc_auc_score(s.truth, share, sample_weight=weights),
        "average_precision": lambda: sk.average_precision_score(s.truth, share, sample_weight=weights),
        "log_loss": lambda: sk.log_loss(s.truth, s.shares, labels=labels, sample_weight=weights),
        "brier": lambda: sk.brier_score_loss(s.truth, share, labels=labels, sample_weight=weights),
        "mae": lambda: sk.mean_absolute_error(s.truth, s.predicted, sample_weight=weights),
        "rmse": lambda: sk.root_mean_squared_error(s.truth, s.predicted, sample_weight=weights),
        "r2": lambda: sk.r2_score(s.truth, s.predicted, sample_weight=weights),
        "mape": lambda: sk.mean_absolute_percentage_error(s.truth, s.predicted, sample_weight=weights),
    }
    return functions[name]()


CLASSES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "log_loss", "brier")
RANKED = ("roc_auc", "average_precision")
NUMBERS = ("mae", "rmse", "r2", "mape")


@given(st.integers(0, 10_000), st.integers(5, 60), st.booleans())
def test_metrics_agree_with_scikit_learn_for_rows_and_for_weights(seed: int, rows: int, ties: bool) -> None:
    weights = np.random.default_rng(seed).integers(0, 3, rows).astype(float)
    weights[:2] = 1  # both classes stay
    for scored, names in (
        (binary(seed, rows, ties), CLASSES + RANKED),
        (multi(seed, rows), CLASSES),
        (numbers(seed, rows), NUMBERS),
    ):
        for name in names:
            assert METRICS[name].value(scored) == pytest.approx(by_scikit(name, scored), rel=1e-9, abs=1e-12), name
            if (
                scored.classes
                and len(scored.classes) > 2
                and name in ("precision", "recall", "f1", "balanced_accuracy")
            ):
                continue  # scikit-learn counts a class of weight 0 among the classes
            found = METRICS[name].of(scored).values(weights[None, :])[0]
            assert found == pytest.approx(by_scikit(name, scored, weights), rel=1e-9, abs=1e-12), name


def test_calibration_error_is_that_of_bins_of_equal_counts() -> None:
    for scored in (binary(1, 1_003), multi(1, 1_003)):
        assert scored.shares is not None
        if len(scored.classes) == 2:
            score, hit = scored.shares[:, 1], scored.truth == 1
        else:
            score, hit = scored.shares.max(axis=1), scored.shares.argmax(axis=1) == scored.truth
        order = np.argsort(score, kind="stable")
        place = np.arange(len(order)) * 10 // len(order)
        expected = sum(
            abs(hit[order[place == b]].mean() - score[order[place == b]].mean()) * (place == b).mean()
            for b in range(10)
        )
        assert METRICS["ece"].value(scored) == pytest.approx(expected)


def test_a_metric_that_says_nothing_is_undefined_not_wrong() -> None:
    one_class = Scored(np.ones(5, int), np.ones(5, int), np.tile([0.4, 0.6], (5, 1)), (0, 1))
    assert np.isnan(METRICS["roc_auc"].value(one_class))
    assert METRICS["average_precision"].value(one_class) == 1
    assert METRICS["balanced_accuracy"].value(one_class) == 1
    assert np.isnan(METRICS["r2"].value(Scored(np.full(4, 2.5), np.arange(4.0))))
    assert np.isnan(METRICS["accuracy"].value(one_class.take(np.zeros(5, bool))))
    never = Scored(np.array([0, 1, 1]), np.zeros(3, int), None, (0, 1))
    assert [METRICS[name].value(never) for name in ("precision", "recall", "f1")] == [0, 0, 0]


def test_a_metric_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidInput, match=r'no metric "roc_auk"\. Did you mean "roc_auc"'):
        metric_of("roc_auk")
    with pytest.raises(InvalidInput, match="for numbers"):
        METRICS["rmse"].check(binary(0, 5))
    with pytest.raises(InvalidInput, match=r"for classes.*Try mae, rmse, r2"):
        METRICS["accuracy"].check(numbers(0, 5))
    with pytest.raises(InvalidInput, match="for two classes, this model has 4"):
        METRICS["roc_auc"].check(multi(0, 5))
    with pytest.raises(InvalidInput, match="needs probabilities"):
        METRICS["brier"].check(Scored(np.array([0, 1]), np.array([0, 1]), None, (0, 1)))
    assert set(default_metrics(multi(0, 5))) <= set(METRICS)


@given(st.integers(0, 1_000), st.integers(5, 40))
def test_leaving_out_gives_the_metric_of_the_other_rows(seed: int, rows: int) -> None:
    groups = np.unique(np.random.default_rng(seed).integers(0, 5, rows), return_inverse=True)[1]
    for scored in (multi(seed, rows), binary(seed, rows), numbers(seed, rows)):
        for name in CLASSES if scored.classes else NUMBERS:
            form = METRICS[name].of(scored)
            assert isinstance(form, Moments)
            for codes in (None, groups):
                without = form.without_each(codes)
                for unit in range(len(without)):
                    rest = np.arange(rows) != unit if codes is None else codes != unit
                    if codes is None or rest.any():
                        expected = METRICS[name].value(scored.take(rest))
                        assert without[unit] == pytest.approx(expected, nan_ok=True, rel=1e-7, abs=1e-9), name


def test_resamples_are_seeded_and_keep_groups_together() -> None:
    first = np.concatenate(list(resampled(50, 40, seed=3)))
    assert np.array_equal(first, np.concatenate(list(resampled(50, 40, seed=3))))
    assert not np.array_equal(first, np.concatenate(list(resampled(50, 40, seed=4))))
    assert (first.sum(axis=1) == 50).all()
    codes = np.repeat(np.arange(10), 5)
    grouped = np.concatenate(list(resampled(50, 40, seed=3, groups=codes)))
    assert all(len(np.unique(line[codes == code])) == 1 for line in grouped for code in range(10))


def test_intervals_are_those_of_scipy() -> None:
    from scipy import stats

    scored = numbers(2, 200)
    losses = np.abs(scored.truth - scored.predicted) ** 3  # skewed, so that BCa differs from plain percentiles
    skewed = Scored(np.zeros(200), losses)
    found = intervals([METRICS["mae"]], skewed, resamples=4_000, seed=1)["mae"]
    expected = stats.bootstrap((losses,), np.mean, n_resamples=4_000, method="BCa", rng=np.random.default_rng(5))
    assert found.value == pytest.approx(losses.mean())
    spread = expected.confidence_interval.high - expected.confidence_interval.low
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.06 * spread)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.06 * spread)


def test_intervals_of_the_area_under_the_curve_cover_the_truth() -> None:
    from scipy.stats import norm

    truth = norm.cdf(1 / np.sqrt(2))  # scores N(0, 1) and N(1, 1)
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        label = np.r_[np.zeros(150, int), np.ones(50, int)]
        share = 1 / (1 + np.exp(-(label + rng.normal(size=200))))
        scored = Scored(label, label, np.column_stack([1 - share, share]), (0, 1))
        one = intervals([METRICS["roc_auc"]], scored, resamples=300, seed=seed)["roc_auc"]
        assert one.low is not None and one.high is not None
        covered += one.low <= truth <= one.high
    assert 106 <= covered <= 120  # 95 % of 120 is 114; 106 has a chance of about 1 in 1,000
