"""Metrics of predictions with standard errors, so that a window can be told from a baseline.

Every metric is a mean of one value a row, or has a first-order expansion of that form; the standard error is that of
the mean of these values, with their effective number where errors come in streaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trine.data.autocorrelation import effective_size, sure_size
from trine.evaluation.metrics import average_ranks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; `value` is None where the metric is undefined, and `reason` says why.

    `floor` is what sampling alone adds to the value on average, 0 for metrics without bias.
    """

    value: float | None
    error: float = 0.0
    reason: str = ""
    floor: float = 0.0


def _of_terms(value: float, terms: Floats) -> Estimate:
    """From a value and its per-row terms (mean of terms = value, up to second order)."""
    n = len(terms)
    if n < 2:
        return Estimate(value, float("inf"))
    size = max(sure_size(effective_size(terms), n), 2.0)
    return Estimate(value, float(np.std(terms, ddof=1) / np.sqrt(size)))


def accuracy(correct: NDArray[np.bool_]) -> Estimate:
    """Share of right answers; the error is that of a share with one of each added (Agresti and Coull 1998)."""
    terms = correct.astype(np.float64)
    n = len(terms)
    size = max(sure_size(effective_size(terms), n), 1.0)
    share = (terms.sum() * size / n + 2) / (size + 4)
    return Estimate(float(terms.mean()), float(np.sqrt(share * (1 - share) / (size + 4))))


def brier(label: NDArray[np.bool_], score: Floats) -> Estimate:
    """Mean squared error of probabilities (Brier 1950)."""
    terms = (score - label) ** 2
    return _of_terms(float(terms.mean()), terms)


def log_loss(label: NDArray[np.bool_], score: Floats) -> Estimate:
    """Mean negative log-likelihood in nats, probabilities held 1e-12 off 0 and 1."""
    clipped = np.clip(score, 1e-12, 1 - 1e-12)
    terms = -np.log(np.where(label, clipped, 1 - clipped))
    return _of_terms(float(terms.mean()), terms)


def roc_auc(label: NDArray[np.bool_], score: Floats) -> Estimate:
    """Area under the ROC curve (Mann-Whitney, ties half) with DeLong's (1988) standard error."""
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        only = "positive" if positive else "negative"
        return Estimate(None, reason=f"all labels are {only}")
    ranks = average_ranks(score)
    area = (ranks[label].sum() - positive * (positive + 1) / 2) / (positive * negative)
    above = (ranks[label] - average_ranks(score[label])) / negative
    below = 1 - (ranks[~label] - average_ranks(score[~label])) / positive
    if min(positive, negative) < 2:
        return Estimate(float(area), float("inf"))
    # a row's term: how far its placement lies from the area, weighted by how rare its class is
    terms = np.empty(len(label))
    terms[label] = area + (above - area) * len(label) / positive
    terms[~label] = area + (below - area) * len(label) / negative
    size = max(sure_size(effective_size(terms), len(terms)), 2.0)
    variance = (above.var(ddof=1) / positive + below.var(ddof=1) / negative) * len(terms) / size
    return Estimate(float(area), float(np.sqrt(variance)))


def ece(label: NDArray[np.bool_], score: Floats, bins: int = 10) -> Estimate:
    """Expected calibration error over bins of equal counts: mean |share of positives − mean score|.

    A perfectly calibrated model has a value over 0 too, since gaps of either sign count: the mean of its folded normal
    gaps is the floor. The error is that of the gaps together.
    """
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = np.array([abs(label[part].mean() - score[part].mean()) for part in parts])
    weights = np.array([len(part) for part in parts]) / len(label)
    spread = np.array([(score[part] * (1 - score[part])).sum() / len(part) ** 2 for part in parts])
    residual = label - score
    stretch = len(label) / max(sure_size(effective_size(residual), len(label)), 1.0)
    gap_errors = np.sqrt(spread * stretch)
    floor = float(weights @ gap_errors * np.sqrt(2 / np.pi))
    return Estimate(float(gaps @ weights), float(np.sqrt(weights**2 @ gap_errors**2)), floor=floor)


def mae(label: Floats, predicted: Floats) -> Estimate:
    """Mean absolute error."""
    terms = np.abs(label - predicted)
    return _of_terms(float(terms.mean()), terms)


def rmse(label: Floats, predicted: Floats) -> Estimate:
    """Root of the mean squared error; its standard error by the delta method."""
    squares = (label - predicted) ** 2
    root = float(np.sqrt(squares.mean()))
    if root == 0:
        return Estimate(0.0, 0.0)
    return _of_terms(root, root + (squares - squares.mean()) / (2 * root))
