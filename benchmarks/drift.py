"""Drift of 100 columns x 100,000 rows against scipy called column by column.

    python benchmarks/drift.py [ROWS] [ROUNDS]

80 numeric and 20 text columns. scipy gets both sides as arrays and does one test a column (`ks_2samp`,
`chi2_contingency`), with no correction, no missing values, no effective sizes; Trine starts from the stored profile.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from scipy import stats

from trine.data import profile_frame
from trine.monitoring.drift import compare
from trine.monitoring.reference import of_frame, of_profile


def frame(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {f"n{i}": pl.Series(rng.standard_normal(rows)) for i in range(80)}
    columns |= {f"c{i}": pl.Series(rng.integers(0, 10, rows)).cast(pl.String) for i in range(20)}
    return pl.DataFrame(columns)


def by_scipy(reference: pl.DataFrame, window: pl.DataFrame) -> list[float]:
    found: list[float] = []
    for name in window.columns:
        before, now = reference.get_column(name).to_numpy(), window.get_column(name).to_numpy()
        if name.startswith("n"):
            found.append(float(stats.ks_2samp(before, now, method="asymp").pvalue))
        else:
            values = np.unique(np.concatenate([before, now]))
            counts = [[int((side == value).sum()) for value in values] for side in (before, now)]
            found.append(float(stats.chi2_contingency(counts, correction=False).pvalue))
    return found


def main(rows: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    reference, window = frame(rng, rows), frame(rng, rows)
    profile = of_profile(profile_frame(reference))
    rivals: dict[str, Callable[[], object]] = {
        "raw: sort every numeric column": lambda: [np.sort(window.get_column(f"n{i}").to_numpy()) for i in range(80)],
        "scipy, column by column": lambda: by_scipy(reference, window),
        "trine, against the profile": lambda: compare(profile, window),
        "trine, against a frame": lambda: compare(of_frame(reference), window),
        "trine, profiling the window": lambda: profile_frame(window),
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for work in rivals.values():
        work()  # imports and caches
    for _ in range(rounds):
        for name, work in rivals.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) for name, found in times.items()}
    base = medians["scipy, column by column"]
    print(f"{len(window.columns)} columns x {rows:,} rows, median of {rounds}")
    for name, median in medians.items():
        print(f"  {name:<32} {median * 1000:9.1f} ms   {median / base:6.2f} x scipy")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
