"""Drift of a window against a reference, column by column, with a false-alarm rate that holds for the whole table.

Numbers are compared by Kolmogorov-Smirnov, categories by a two-sample chi-square with rare levels pooled, missing
values, values never seen before and values outside the known range by tests of their own. Sample sizes are effective
ones: rows that follow each other in time repeat themselves (`trine.data.autocorrelation`). All tests of the table are corrected
together (`correction`), and a column has moved only when a test is significant *and* its effect is not small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trine.data.autocorrelation import effective_size_of_events, sure_size
from trine.monitoring.correction import q_values
from trine.monitoring.monitors import Thresholds
from trine.monitoring.reference import Reference, ReferenceColumn, kind_of
from trine.monitoring.significance import (
    chi_square,
    detectable_distance,
    kolmogorov_smirnov,
    never_before,
    two_shares,
)
from trine.monitoring.verdicts import ColumnState, ColumnVerdict, Test
from trine.monitoring.window import Sample, sample_of

if TYPE_CHECKING:
    import polars as pl


Floats = NDArray[np.float64]

_NULLS_THAT_TELL = 30


@dataclass(frozen=True)
class _Trial:
    """A test that waits for the table's correction."""

    name: str
    method: str
    effect: float
    at_least: float
    p: float
    statistic: float | None = None


def compare(
    reference: Reference,
    window: pl.DataFrame,
    *,
    columns: Sequence[str] = (),
    thresholds: Thresholds | None = None,
) -> tuple[ColumnVerdict, ...]:
    """Judge each column that both sides have, farthest moved first; rows of `window` are in time order.

    Without `columns`, all are compared that can be, except times, which always move on. Columns that only one side
    has, or whose type changed, are `quality.schema_findings`' business and are left out here.
    """
    limits = thresholds or Thresholds()
    wanted = columns or [name for name in window.columns if name in reference and reference[name].kind != "time"]
    names = [name for name in wanted if _comparable(reference, window, name)]
    samples = [sample_of(window.get_column(name), reference[name].kind) for name in names]
    sides = list(zip([reference[name] for name in names], samples, strict=True))
    trials: list[list[_Trial]] = [_missing(one, sample, limits) for one, sample in sides]
    for found, more in zip(trials, _numbers(sides, limits), strict=True):
        found += more
    for found, (one, sample) in zip(trials, sides, strict=True):
        found += _categories(one, sample, limits)
    flat = [trial for found in trials for trial in found]
    corrected = iter(q_values([trial.p for trial in flat], limits.correction))
    verdicts = [
        _verdict(one, sample, [_judged(trial, float(next(corrected)), limits) for trial in found], limits, len(flat))
        for found, (one, sample) in zip(trials, sides, strict=True)
    ]
    return tuple(sorted(verdicts, key=lambda verdict: (not verdict.moved, -verdict.weight, verdict.column)))


def _comparable(reference: Reference, window: pl.DataFrame, name: str) -> bool:
    if name not in reference or name not in window.columns:
        return False
    known, now = kind_of(reference[name].dtype), kind_of(str(window.schema[name]))
    return known != "other" and (now == known or window.get_column(name).null_count() == len(window))


def _sizes(one: ReferenceColumn, sample: Sample) -> tuple[float, float]:
    """Careful effective sizes of both sides. Rows of the reference are never worth more than rows of the window: a
    training set that was shuffled hides the memory that its rows have."""
    m = sure_size(sample.size, sample.present)
    n = sure_size(one.size, one.present)
    return min(n, one.present * m / sample.present) if sample.present else n, m


def _judgeable(one: ReferenceColumn, sample: Sample, limits: Thresholds) -> bool:
    return min(_sizes(one, sample)) >= limits.least_rows


def _missing(one: ReferenceColumn, sample: Sample, limits: Thresholds) -> list[_Trial]:
    if not (one.nulls or sample.nulls) or not (one.count and sample.rows):
        return []
    memory = _null_memory(one, sample)
    n, m = one.count / memory, sample.rows / memory
    if min(n, m) < limits.least_rows:
        return []
    p = float(two_shares(one.null_share, sample.null_share, n, m)[0])
    return [_Trial("missing", "two shares", abs(sample.null_share - one.null_share), limits.missing_share, p)]


def _null_memory(one: ReferenceColumn, sample: Sample) -> float:
    """How many rows repeat one null mark. A profile tells the memory of the values only, so the marks' own is taken
    from the window when it has enough nulls to show that there is none, and else the values' stands in for it."""
    if sample.nulls >= _NULLS_THAT_TELL and sample.null_size >= sample.rows:
        return 1.0
    n, m = _sizes(one, sample)
    of_values = max(one.present / n if n else 1.0, sample.present / m if m else 1.0)
    return max(of_values, sample.rows / sample.null_size)


def _numbers(sides: list[tuple[ReferenceColumn, Sample]], limits: Thresholds) -> list[list[_Trial]]:
    """Kolmogorov-Smirnov and range for every numeric column, p-values in one vector."""
    found: list[list[_Trial]] = [[] for _ in sides]
    chosen: list[int] = []
    distances: list[float] = []
    sizes: list[tuple[float, float]] = []
    for place, (one, sample) in enumerate(sides):
        if one.steps is None or sample.values is None or not _judgeable(one, sample, limits):
            continue
        ordered = np.sort(sample.values)
        chosen.append(place)
        distances.append(one.steps.distance(ordered))
        n, m = _sizes(one, sample)
        sizes.append((n if one.seen is None else min(n, one.seen), m))
        found[place] += _range(one, sample, ordered, limits)
    if not chosen:
        return found
    n, m = np.array(sizes).T
    for place, distance, p in zip(chosen, distances, kolmogorov_smirnov(distances, n, m), strict=True):
        found[place].insert(
            0, _Trial("distribution", "Kolmogorov-Smirnov", distance, limits.distance, float(p), distance)
        )
    return found


def _range(one: ReferenceColumn, sample: Sample, ordered: Floats, limits: Thresholds) -> list[_Trial]:
    if one.low is None or one.high is None or not (np.isfinite(one.low) and np.isfinite(one.high)):
        return []
    below = int(np.searchsorted(ordered, one.low, side="left"))
    above = len(ordered) - int(np.searchsorted(ordered, one.high, side="right"))
    if not (below or above):
        return []
    n, m = _sizes(one, sample)
    independent = m / len(ordered)
    p = min(1.0, 2 * min(never_before(below * independent, n, m), never_before(above * independent, n, m)))
    return [_Trial("range", "outside the range", (below + above) / len(ordered), limits.range_share, p)]


def _categories(one: ReferenceColumn, sample: Sample, limits: Thresholds) -> list[_Trial]:
    if one.kind not in ("category", "boolean") or not one.levels or not sample.levels:
        return []
    if not _judgeable(one, sample, limits):
        return []
    n, m = _sizes(one, sample)
    known = one.levels if one.whole else _sure_levels(one.levels)
    names = list(known)
    if one.whole:
        names += [name for name in sample.levels if name not in known]
    before = np.array([known.get(name, 0) for name in names], dtype=np.float64)
    now = np.array([sample.levels.get(name, 0) for name in names], dtype=np.float64)
    if not one.whole:
        before = np.append(before, max(one.present - before.sum(), 0.0))
        now = np.append(now, max(sample.present - now.sum(), 0.0))
    effect = float(np.abs(before / before.sum() - now / now.sum()).sum() / 2)
    found: list[_Trial] = []
    test = chi_square(before, now, n, m)
    if not np.isnan(test.p):
        found.append(_Trial("distribution", "chi-square", effect, limits.variation, test.p, test.statistic))
    return found + (_unseen(one, sample, n, m, limits) if one.whole else [])


def _sure_levels(levels: object) -> dict[str, int]:
    """The levels of a cut-off top list that are in it for sure, and not by luck of the draw: the head of the list.

    Levels near the cut were chosen *because* their count came out high, so their shares are overstated; those that
    lie more than four standard errors above the cut would be in the list of any such sample.
    """
    counts: dict[str, int] = dict(levels)  # type: ignore[call-overload]
    cut = min(counts.values())
    return {name: number for name, number in counts.items() if number - 4 * np.sqrt(number) > cut + 4 * np.sqrt(cut)}


def _unseen(one: ReferenceColumn, sample: Sample, n: float, m: float, limits: Thresholds) -> list[_Trial]:
    new = {name: number for name, number in sample.levels.items() if name not in one.levels}
    if not new:
        return []
    name, most = max(new.items(), key=lambda pair: pair[1])
    own = m / sample.present
    if own < 1 and sample.codes is not None:
        happened = sample.codes == list(sample.levels).index(name)
        own = min(own, effective_size_of_events(happened) / sample.present)
    p = never_before(most * own, n, m, choices=len(one.levels) + len(new))
    return [_Trial("unseen", "never seen before", sum(new.values()) / sample.present, limits.unseen_share, p)]


def _judged(trial: _Trial, q: float, limits: Thresholds) -> Test:
    return Test(
        name=trial.name,  # type: ignore[arg-type]
        method=trial.method,
        effect=trial.effect,
        at_least=trial.at_least,
        statistic=trial.statistic,
        p=trial.p,
        q=q,
        failed=bool(q <= limits.false_alarm_rate and trial.effect >= trial.at_least),
    )


def _verdict(one: ReferenceColumn, sample: Sample, tests: list[Test], limits: Thresholds, count: int) -> ColumnVerdict:
    n, m = _sizes(one, sample)
    distribution = next((test for test in tests if test.name == "distribution"), None)
    state: ColumnState = "ok"
    reason = ""
    if any(test.failed for test in tests):
        state = "moved"
    elif distribution is None:
        state, reason = _why_not(one, sample, limits)
    return ColumnVerdict(
        column=one.name,
        kind=one.kind,
        state=state,
        effect=distribution.effect if distribution else 0.0,
        tests=tuple(tests),
        rows=sample.rows,
        size=m,
        reference_size=n,
        null_share=sample.null_share,
        reference_null_share=one.null_share,
        detectable=detectable_distance(n, m, limits.false_alarm_rate, max(count, 1)) if n and m else None,
        reason=reason,
    )


def _why_not(one: ReferenceColumn, sample: Sample, limits: Thresholds) -> tuple[ColumnState, str]:
    if not sample.present:
        return "untested", "every value is missing in the window"
    if not one.present:
        return "untested", "every value is missing in the reference"
    n, m = _sizes(one, sample)
    if min(n, m) < limits.least_rows:
        side = "the reference" if n < m else "the window"
        return "too_small", f"{side} is worth {min(n, m):.0f} independent rows; at least {limits.least_rows} are needed"
    return "untested", "its values are too many or too rare to compare their shares, or all the same"
