"""Multiple testing: q-values that keep a whole table's false alarms at a stated rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trine.monitoring.monitors import Correction


def q_values(p_values: ArrayLike, method: Correction = "benjamini-hochberg") -> NDArray[np.float64]:
    """Adjusted p-values in the order given: reject where q ≤ the rate asked for.

    `benjamini-hochberg` (1995) keeps the false discovery rate under independence or positive dependence,
    `benjamini-yekutieli` (2001) under any dependence, `holm` (1979) the family-wise error rate. With no true change
    at all, all three bound the probability of a single false alarm. NaN (a test that could not be made) stays NaN and
    does not count.
    """
    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    count = len(made)
    if not count:
        return q
    order = made[np.argsort(p[made], kind="stable")]
    ranks = np.arange(1, count + 1)
    if method == "holm":
        steps = np.maximum.accumulate(p[order] * (count - ranks + 1))
    else:
        factor = float(np.sum(1 / ranks)) if method == "benjamini-yekutieli" else 1.0
        steps = np.minimum.accumulate((p[order] * count * factor / ranks)[::-1])[::-1]
    q[order] = np.minimum(steps, 1.0)
    return q
