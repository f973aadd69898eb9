"""Is one model better than another on the same rows? Tests and confidence bounds of the paired difference.

Which method answers depends on the metric: exact McNemar or Tango's score for shares of right answers, DeLong for the area under the
ROC curve, the paired t-test for mean losses (with the jackknife's standard error for what is no mean), the paired bootstrap
for the calibration error. Rows that belong together (`groups`) count as one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trine.distributions import (
    beta_quantile,
    fair_above,
    normal_above,
    normal_below,
    normal_quantile,
    root,
    student_above,
    student_quantile,
)
from trine.evaluation.bootstrap import left_out, resampled
from trine.evaluation.metrics import Metric, Scored, average_ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

RESAMPLES = 2_000


@dataclass(frozen=True)
class Paired:
    """How much better the candidate is: positive is better, whichever way the metric counts.

    `low` and `high` are one-sided bounds, each at the stated confidence. `p_above` is the chance of such a difference were the
    truth at most the margin, `p_below` were it at least the margin. `error` is the standard error, where the method has one.
    """

    difference: float
    low: float
    high: float
    p_above: float
    p_below: float
    method: str
    error: float | None = None


def paired(
    metric: Metric,
    candidate: Scored,
    baseline: Scored,
    *,
    margin: float = 0.0,
    confidence: float = 0.95,
    groups: Codes | None = None,
    seed: int = 0,
) -> Paired | None:
    """The paired comparison of two models on the same rows; None where the metric is undefined."""
    import numpy as np

    values = metric.value(candidate), metric.value(baseline)
    if not np.isfinite(values).all():
        return None
    if metric.name == "accuracy" and groups is None:
        right, before = candidate.truth == candidate.predicted, baseline.truth == baseline.predicted
        gained, lost = int(np.count_nonzero(right & ~before)), int(np.count_nonzero(before & ~right))
        if margin == 0:
            return exact_mcnemar(gained, lost, len(candidate), confidence)
        return tango(gained, lost, len(candidate), margin, confidence)
    if metric.name == "roc_auc":
        return delong(candidate, baseline, margin, confidence, groups)
    sign = 1.0 if metric.higher_is_better else -1.0
    first, second = metric.of(candidate), metric.of(baseline)
    difference = sign * (values[0] - values[1])
    if metric.name == "ece":  # a sum of absolute values, whose error no jackknife gives
        drawn = resampled(len(candidate), RESAMPLES, seed, groups)
        draws = np.concatenate([sign * (first.values(weights) - second.values(weights)) for weights in drawn])
        return _of_draws(difference, draws, margin, confidence)
    parts = [left_out(form, len(candidate), groups, seed) for form in (first, second)]
    is_mean = metric.name in ("accuracy", "log_loss", "brier", "mae", "mape")
    name = ("paired t-test" if is_mean else "paired jackknife t-test") + ("" if groups is None else " by groups")
    return _jackknife(difference, sign * (parts[0] - parts[1]), margin, confidence, name)


def exact_mcnemar(gained: int, lost: int, rows: int, confidence: float) -> Paired:
    """McNemar's test (1947), exact: among the rows where one is right and the other wrong, either is as likely.

    The bounds are Clopper and Pearson's (1934) for that share, scaled to all rows: they exclude 0 exactly when the test rejects.
    """
    apart = gained + lost
    tail = 1 - confidence
    low = beta_quantile(tail, gained, lost + 1) if gained else 0.0
    high = beta_quantile(confidence, gained + 1, lost) if lost else 1.0
    p_above = fair_above(gained, apart)
    p_below = fair_above(lost, apart)
    scale = apart / rows
    return Paired(
        (gained - lost) / rows, (2 * low - 1) * scale, (2 * high - 1) * scale, p_above, p_below, "exact McNemar"
    )


def tango(gained: int, lost: int, rows: int, margin: float, confidence: float) -> Paired:
    """Tango's (1998) score test and interval of the difference of two paired shares, at any margin."""

    def score(delta: float) -> float:
        spread = rows * (2 * _lost_share(gained, lost, rows, delta) + delta * (1 - delta))
        gap = gained - lost - rows * delta
        if spread <= 0:
            return 0.0 if gap == 0 else float("inf") if gap > 0 else float("-inf")
        return gap / spread**0.5

    z = normal_quantile(confidence)
    edge = 1 - 1e-12
    low = root(lambda delta: _bounded(score(delta) - z), -edge, edge) if score(-edge) > z else -1.0
    high = root(lambda delta: _bounded(score(delta) + z), -edge, edge) if score(edge) < -z else 1.0
    reached = score(margin)
    return Paired((gained - lost) / rows, low, high, normal_above(reached), normal_below(reached), "Tango score test")


def _bounded(value: float) -> float:
    return max(-1e6, min(1e6, value))


def _lost_share(gained: int, lost: int, rows: int, delta: float) -> float:
    """The most likely share of rows that only the baseline gets right, when the difference is `delta`."""
    a = 2 * rows
    b = -gained - lost + (2 * rows - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    return (max(b * b - 4 * a * c, 0.0) ** 0.5 - b) / (2 * a)


def delong(
    candidate: Scored, baseline: Scored, margin: float, confidence: float, groups: Codes | None = None
) -> Paired:
    """The difference of two areas under the ROC curve (DeLong, DeLong and Clarke-Pearson 1988); by groups as Obuchowski (1997)."""
    import numpy as np

    positive = candidate.truth == 1
    first, second = _placements(candidate, positive), _placements(baseline, positive)
    gap = first - second
    difference = float(gap[positive].mean())
    if groups is None:
        parts = [gap[positive], gap[~positive]]
        variance = sum(float(part.var(ddof=1)) / len(part) if len(part) > 1 else float("inf") for part in parts)
        return _of_error(difference, variance**0.5, None, margin, confidence, "DeLong")
    count = int(groups.max()) + 1
    terms = np.where(positive, (gap - difference) / positive.sum(), (gap - difference) / (~positive).sum())
    sums = np.bincount(groups, terms, minlength=count)
    error = float(np.sqrt((sums**2).sum() * count / max(count - 1, 1)))
    return _of_error(difference, error, count - 1, margin, confidence, "DeLong by groups (Obuchowski)")


def _placements(scored: Scored, positive: NDArray[np.bool_]) -> Floats:
    """For each row, the share of the other class that it is ranked right against, ties half."""
    import numpy as np

    assert scored.shares is not None
    score = scored.shares[:, 1]
    ranks = average_ranks(score)
    found = np.empty(len(score))
    positives, negatives = int(positive.sum()), int((~positive).sum())
    found[positive] = (ranks[positive] - average_ranks(score[positive])) / negatives
    found[~positive] = 1 - (ranks[~positive] - average_ranks(score[~positive])) / positives
    return found


def _jackknife(difference: float, without: Floats, margin: float, confidence: float, method: str) -> Paired:
    """A t-test with the jackknife's standard error (Tukey 1958): of a mean loss exactly the paired t-test."""
    import numpy as np

    count = len(without)
    if not np.isfinite(without).all():  # leaving one out takes a class away
        return _of_error(difference, float("inf"), count - 1, margin, confidence, method)
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    return _of_error(difference, error, count - 1, margin, confidence, method)


def _of_error(
    difference: float, error: float, degrees: int | None, margin: float, confidence: float, method: str
) -> Paired:
    gap = difference - margin
    if error <= 1e-15 * max(1.0, abs(difference)):  # the same answers, or the same gap on every row
        return Paired(difference, difference, difference, float(gap <= 0), float(gap >= 0), method, error)
    if error == float("inf"):
        return Paired(difference, float("-inf"), float("inf"), 1.0, 1.0, method, error)
    if degrees is None:
        reach, p_above, p_below = normal_quantile(confidence), normal_above(gap / error), normal_below(gap / error)
    else:
        reach = student_quantile(confidence, degrees)
        p_above, p_below = student_above(gap / error, degrees), student_above(-gap / error, degrees)
    return Paired(difference, difference - reach * error, difference + reach * error, p_above, p_below, method, error)


def _of_draws(difference: float, draws: Floats, margin: float, confidence: float) -> Paired | None:
    """Percentile bounds of a paired bootstrap: each sample draws the same rows for both."""
    import numpy as np

    draws = draws[np.isfinite(draws)]
    if len(draws) < 20:
        return None
    low, high = np.quantile(draws, [1 - confidence, confidence])
    p_above = (1 + np.count_nonzero(draws <= margin)) / (1 + len(draws))
    p_below = (1 + np.count_nonzero(draws >= margin)) / (1 + len(draws))
    return Paired(
        difference, float(low), float(high), float(p_above), float(p_below), "paired bootstrap", float(draws.std())
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: rejecting those below alpha keeps the chance of any false rejection below alpha."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
