"""The metrics: which way is good, what they need, and how each is computed from weighted rows.

A metric is a smooth function of sums over rows (`Moments`), or of the ranking of scores (`Ranking`). Either form gives its value
for any weights of the rows at once, which is what the bootstrap, the jackknife and slices ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trine.errors import InvalidInput, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

BINS = 10
"""Bins of equal counts that the expected calibration error is taken over."""


@dataclass(frozen=True)
class Scored:
    """Rows with their truth and a model's answers. With classes, truth and prediction are positions in `classes`.

    `shares` are the probabilities, a column for a class, when the model gives any.
    """

    truth: NDArray[Any]
    predicted: NDArray[Any]
    shares: Floats | None = None
    classes: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[Any]) -> Scored:
        """Some of the rows, by a mask or positions."""
        shares = None if self.shares is None else self.shares[rows]
        return Scored(self.truth[rows], self.predicted[rows], shares, self.classes)


class Weighted(Protocol):
    """A metric of certain rows, as a function of their weights."""

    def values(self, weights: Floats) -> Floats:
        """The metric for each line of weights (lines × rows); NaN where it is undefined."""
        ...


class Moments:
    """A metric that is a function of sums: `combine(sums)` for sums of `terms` (rows × terms) over rows."""

    def __init__(self, terms: Floats, combine: Callable[[Floats], Floats]) -> None:
        self.terms = terms
        self.combine = combine

    def values(self, weights: Floats) -> Floats:
        return self.combine(weights @ self.terms)

    def without_each(self, groups: Codes | None) -> Floats:
        """The metric without each row in turn, or without each group; O(rows)."""
        import numpy as np

        parts = self.terms
        if groups is not None:
            parts = np.zeros((int(groups.max()) + 1, self.terms.shape[1]))
            np.add.at(parts, groups, self.terms)
        return self.combine(self.terms.sum(axis=0) - parts)


class Ranking:
    """A metric of the order of scores: `combine(ranking, own, others)` gets the weights of positives and negatives, by rising score.

    `below` and `upto` count, for each positive, the negatives with a lower score, and with a lower or equal one; `first` the
    positives with a lower score.
    """

    def __init__(
        self,
        score: Floats,
        positive: NDArray[np.bool_],
        combine: Callable[[Ranking, Floats, Floats], Floats],
    ) -> None:
        import numpy as np

        order = np.argsort(score, kind="stable")
        self.positives, self.negatives = order[positive[order]], order[~positive[order]]
        scores, others = score[self.positives], score[self.negatives]
        self.below = np.searchsorted(others, scores, side="left")
        self.upto = np.searchsorted(others, scores, side="right")
        self.first = np.searchsorted(scores, scores, side="left")
        self.ties = bool((self.below != self.upto).any())
        self.combine = combine

    def values(self, weights: Floats) -> Floats:
        return self.combine(self, weights.take(self.positives, axis=1), weights.take(self.negatives, axis=1))


def average_ranks(values: Any) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    import numpy as np

    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]


def _sums(weights: Floats) -> Floats:
    """Running sums, from 0 to the total."""
    import numpy as np

    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


@dataclass(frozen=True)
class Metric:
    """One metric. `loss` says that it is in the label's own unit or in nats, not a share between 0 and 1."""

    name: str
    higher_is_better: bool
    needs: Literal["classes", "probabilities", "numbers"]
    of: Callable[[Scored], Weighted]
    loss: bool = False
    two_classes: bool = False

    def check(self, scored: Scored) -> None:
        """Raise InvalidInput when the metric says nothing about such answers."""
        if self.needs == "numbers" and scored.classes:
            raise InvalidInput(f'Metric "{self.name}" is for numbers, this model answers classes. {_others(scored)}')
        if self.needs != "numbers" and not scored.classes:
            raise InvalidInput(f'Metric "{self.name}" is for classes, this model answers numbers. {_others(scored)}')
        if self.needs == "probabilities" and scored.shares is None:
            raise InvalidInput(
                f'Metric "{self.name}" needs probabilities, and this model gives none. {_others(scored)}'
            )
        if self.two_classes and len(scored.classes) != 2:
            raise InvalidInput(
                f'Metric "{self.name}" is for two classes, this model has {len(scored.classes)}. {_others(scored)}'
            )

    def value(self, scored: Scored) -> float:
        """The metric over rows that count the same; NaN where it is undefined. O(n log n)."""
        import numpy as np

        return float(self.of(scored).values(np.ones((1, len(scored))))[0]) if len(scored) else float("nan")


def _others(scored: Scored) -> str:
    return f"Try {', '.join(default_metrics(scored))}."


def metric_of(name: str) -> Metric:
    """A metric by name. Raises InvalidInput."""
    if name not in METRICS:
        raise InvalidInput(f'There is no metric "{name}".{nearest(name, METRICS)} Metrics: {", ".join(METRICS)}.')
    return METRICS[name]


def default_metrics(scored: Scored) -> Sequence[str]:
    """What is worth knowing about such answers."""
    if not scored.classes:
        return ("mae", "rmse", "r2")
    if scored.shares is None:
        return ("accuracy", "balanced_accuracy", "f1")
    if len(scored.classes) != 2:
        return ("accuracy", "balanced_accuracy", "log_loss", "brier", "ece")
    return ("roc_auc", "average_precision", "log_loss", "brier", "ece", "accuracy")


# -- classes --------------------------------------------------------------------------------------------------------


def _stack(*columns: Any) -> Floats:
    import numpy as np

    return np.column_stack([np.asarray(one, dtype=np.float64) for one in columns])


def _ratio(over: Floats, under: Floats, empty: float) -> Floats:
    import numpy as np

    return np.divide(over, under, out=np.full(np.shape(over), empty), where=np.asarray(under) > 0)


def _mean(values: Any) -> Moments:
    import numpy as np

    return Moments(_stack(np.ones(len(values)), values), lambda sums: _ratio(sums[..., 1], sums[..., 0], float("nan")))


def _accuracy(scored: Scored) -> Moments:
    return _mean(scored.truth == scored.predicted)


def _indicators(codes: Any, classes: int) -> Floats:
    import numpy as np

    return np.eye(classes)[codes]


def _balanced_accuracy(scored: Scored) -> Moments:
    """Mean recall over the classes that occur."""
    count = len(scored.classes)
    truth = _indicators(scored.truth, count)
    hits = truth * (scored.truth == scored.predicted)[:, None]

    def combine(sums: Floats) -> Floats:
        there = sums[..., :count] > 0
        return _ratio((_ratio(sums[..., count:], sums[..., :count], 0.0) * there).sum(-1), there.sum(-1), float("nan"))

    return Moments(_stack(truth, hits), combine)


def _confusion(scored: Scored, share: Callable[[Floats, Floats, Floats], Floats]) -> Moments:
    """`share(hits, predicted, true)` of the second of two classes, or the mean over classes that occur (macro)."""
    import numpy as np

    count = len(scored.classes)
    truth, predicted = _indicators(scored.truth, count), _indicators(scored.predicted, count)
    columns = slice(1, 2) if count == 2 else slice(None)
    parts = [(truth * predicted)[:, columns], predicted[:, columns], truth[:, columns]]
    width = parts[0].shape[1]

    def combine(sums: Floats) -> Floats:
        hits, marked, true = (sums[..., part * width : (part + 1) * width] for part in range(3))
        if width == 1:
            return share(hits, marked, true)[..., 0]
        there = (marked + true) > 0
        return _ratio((share(hits, marked, true) * there).sum(-1), there.sum(-1), float("nan"))

    return Moments(np.concatenate(parts, axis=1), combine)


def _precision(scored: Scored) -> Moments:
    return _confusion(scored, lambda hits, marked, true: _ratio(hits, marked, 0.0))


def _recall(scored: Scored) -> Moments:
    return _confusion(scored, lambda hits, marked, true: _ratio(hits, true, 0.0))


def _f1(scored: Scored) -> Moments:
    return _confusion(scored, lambda hits, marked, true: _ratio(2 * hits, marked + true, 0.0))


# -- probabilities --------------------------------------------------------------------------------------------------


def _shares(scored: Scored) -> Floats:
    assert scored.shares is not None
    return scored.shares


def _roc_auc(scored: Scored) -> Ranking:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half (Mann and Whitney 1947)."""
    import numpy as np

    def combine(ranking: Ranking, own: Floats, others: Floats) -> Floats:
        passed = _sums(others)
        wins = np.einsum("ij,ij->i", own, passed.take(ranking.below, axis=1))
        if ranking.ties:
            wins = (wins + np.einsum("ij,ij->i", own, passed.take(ranking.upto, axis=1))) / 2
        return _ratio(wins, own.sum(axis=1) * passed[:, -1], float("nan"))

    return Ranking(_shares(scored)[:, 1], scored.truth == 1, combine)


def _average_precision(scored: Scored) -> Ranking:
    """Mean precision at each positive, from the highest score down: sum of (R_k - R_{k-1}) P_k."""
    import numpy as np

    def combine(ranking: Ranking, own: Floats, others: Floats) -> Floats:
        passed, seen = _sums(others), _sums(own)
        hits = seen[:, -1:] - seen.take(ranking.first, axis=1)
        marked = hits + passed[:, -1:] - passed.take(ranking.below, axis=1)
        marked[marked <= 0] = 1  # no weight here, so nothing counts
        return _ratio(np.einsum("ij,ij->i", own, hits / marked), seen[:, -1], float("nan"))

    return Ranking(_shares(scored)[:, 1], scored.truth == 1, combine)


def _log_loss(scored: Scored) -> Moments:
    """Mean negative log-likelihood in nats; probabilities are held off 0 and 1 by the float's epsilon, as scikit-learn does."""
    import numpy as np

    shares = _shares(scored)
    tiny = float(np.finfo(np.float64).eps)
    given = np.clip(shares[np.arange(len(scored)), scored.truth], tiny, 1 - tiny)
    return _mean(-np.log(given))


def _brier(scored: Scored) -> Moments:
    """Mean squared error of the probabilities (Brier 1950): of the second of two classes, else summed over classes."""
    shares = _shares(scored)
    if len(scored.classes) == 2:
        return _mean((shares[:, 1] - scored.truth) ** 2)
    return _mean(((shares - _indicators(scored.truth, len(scored.classes))) ** 2).sum(axis=1))


def _ece(scored: Scored) -> Moments:
    """Expected calibration error: mean |share of hits - mean score| over bins of equal counts (Naeini et al. 2015).

    Of the second of two classes; with more, of the most probable class.
    """
    import numpy as np

    shares = _shares(scored)
    if len(scored.classes) == 2:
        score, hit = shares[:, 1], scored.truth == 1
    else:
        score, hit = shares.max(axis=1), shares.argmax(axis=1) == scored.truth
    bins = min(BINS, len(scored))
    place = np.empty(len(scored), dtype=np.int64)
    place[np.argsort(score, kind="stable")] = np.arange(len(scored)) * bins // max(len(scored), 1)
    terms = np.zeros((len(scored), bins + 1))
    terms[np.arange(len(scored)), place] = hit - score
    terms[:, bins] = 1
    return Moments(terms, lambda sums: _ratio(np.abs(sums[..., :bins]).sum(-1), sums[..., bins], float("nan")))


# -- numbers --------------------------------------------------------------------------------------------------------


def _mae(scored: Scored) -> Moments:
    import numpy as np

    return _mean(np.abs(scored.truth - scored.predicted))


def _rmse(scored: Scored) -> Moments:
    import numpy as np

    squares = _mean((scored.truth - scored.predicted) ** 2)
    return Moments(squares.terms, lambda sums: np.sqrt(np.maximum(squares.combine(sums), 0)))


def _mape(scored: Scored) -> Moments:
    """Mean of |error| / |truth|; a truth of 0 counts as the float's epsilon, as in scikit-learn."""
    import numpy as np

    size = np.maximum(np.abs(scored.truth), np.finfo(np.float64).eps)
    return _mean(np.abs(scored.truth - scored.predicted) / size)


def _r2(scored: Scored) -> Moments:
    """Coefficient of determination; undefined where all truths are the same."""
    import numpy as np

    centred = scored.truth - scored.truth.mean() if len(scored) else scored.truth
    terms = _stack(np.ones(len(scored)), (scored.truth - scored.predicted) ** 2, centred, centred**2)

    def combine(sums: Floats) -> Floats:
        count, errors, first, second = (sums[..., part] for part in range(4))
        spread = second - _ratio(first**2, count, 0.0)
        spread = np.where(spread > 1e-12 * np.maximum(second, 1e-300), spread, 0.0)
        return 1 - _ratio(errors, spread, float("nan"))

    return Moments(terms, combine)


METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        Metric("accuracy", True, "classes", _accuracy),
        Metric("balanced_accuracy", True, "classes", _balanced_accuracy),
        Metric("precision", True, "classes", _precision),
        Metric("recall", True, "classes", _recall),
        Metric("f1", True, "classes", _f1),
        Metric("roc_auc", True, "probabilities", _roc_auc, two_classes=True),
        Metric("average_precision", True, "probabilities", _average_precision, two_classes=True),
        Metric("log_loss", False, "probabilities", _log_loss, loss=True),
        Metric("brier", False, "probabilities", _brier, loss=True),
        Metric("ece", False, "probabilities", _ece),
        Metric("mae", False, "numbers", _mae, loss=True),
        Metric("rmse", False, "numbers", _rmse, loss=True),
        Metric("r2", True, "numbers", _r2),
        Metric("mape", False, "numbers", _mape, loss=True),
    )
}
"""All metrics by name."""
