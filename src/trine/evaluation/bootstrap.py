"""The bootstrap: how far a metric might have come out differently on other rows of the same kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trine.distributions import normal_below, normal_quantile
from trine.evaluation.metrics import Metric, Moments, Scored, Weighted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

RESAMPLES = 1_000
_CELLS = 1 << 16
"""Weights held at a time: half a MiB, so that they stay in the cache."""
_BLOCKS = 100
"""Parts that the jackknife of a ranking leaves out in turn."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; None where it is undefined (one class only, no rows)."""

    value: float | None
    low: float | None = None
    high: float | None = None


def resampled(rows: int, draws: int, seed: int, groups: Codes | None = None) -> Iterator[Floats]:
    """Weights of the rows in bootstrap samples, some lines at a time: how often each row was drawn.

    With `groups` whole groups are drawn, so that rows which belong together stay together. Seeded: the same every time.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    units = rows if groups is None else int(groups.max()) + 1
    at_a_time = max(1, _CELLS // max(rows, units))
    for start in range(0, draws, at_a_time):
        lines = min(at_a_time, draws - start)
        counts = np.empty((lines, units))
        for line in counts:
            line[:] = np.bincount(generator.integers(units, size=units), minlength=units)
        yield counts if groups is None else counts[:, groups]


def intervals(
    metrics: Sequence[Metric],
    scored: Scored,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Codes | None = None,
) -> dict[str, Interval]:
    """Each metric with its BCa bootstrap interval (Efron 1987), all from the same samples. O(rows x resamples)."""
    import numpy as np

    if not len(scored):
        return {one.name: Interval(None) for one in metrics}
    forms = {one.name: one.of(scored) for one in metrics}
    ones = np.ones((1, len(scored)))
    values = {name: float(form.values(ones)[0]) for name, form in forms.items()}
    draws = _draws(forms, len(scored), resamples, seed, groups)
    return {
        name: _bca(values[name], draws[name], left_out(forms[name], len(scored), groups, seed), confidence)
        for name in forms
    }


def _draws(
    forms: Mapping[str, Weighted], rows: int, resamples: int, seed: int, groups: Codes | None
) -> dict[str, Floats]:
    import numpy as np

    found: dict[str, list[Floats]] = {name: [] for name in forms}
    for weights in resampled(rows, resamples, seed, groups):
        for name, form in forms.items():
            found[name].append(form.values(weights))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def left_out(form: Weighted, rows: int, groups: Codes | None, seed: int) -> Floats:
    """The metric with each row or group left out; of a ranking, with each of a hundred random parts of them (seeded)."""
    import numpy as np

    if isinstance(form, Moments):
        return form.without_each(groups)
    units = rows if groups is None else int(groups.max()) + 1
    blocks = min(_BLOCKS, units)
    place = np.random.default_rng(seed).permutation(units) % blocks
    if groups is not None:
        place = place[groups]
    return np.concatenate(
        [form.values((place[None, :] != np.arange(start, min(start + 8, blocks))[:, None]).astype(np.float64))
         for start in range(0, blocks, 8)]
    )  # fmt: skip


def _bca(value: float, draws: Floats, without: Floats, confidence: float) -> Interval:
    import numpy as np

    draws = draws[np.isfinite(draws)]
    if math.isnan(value) or len(draws) < 20:
        return Interval(None if math.isnan(value) else value)
    below = (np.count_nonzero(draws < value) + np.count_nonzero(draws == value) / 2) / len(draws)
    bias = normal_quantile(min(max(below, 1 / (len(draws) + 1)), len(draws) / (len(draws) + 1)))
    without = without[np.isfinite(without)]
    gaps = without.mean() - without if len(without) else np.zeros(1)
    size = float((gaps**2).sum())
    speed = float((gaps**3).sum()) / (6 * size**1.5) if size > 0 else 0.0
    tails = [bias + normal_quantile(share) for share in ((1 - confidence) / 2, (1 + confidence) / 2)]
    low, high = np.quantile(draws, [normal_below(bias + tail / (1 - speed * tail)) for tail in tails])
    return Interval(value, float(low), float(high))
