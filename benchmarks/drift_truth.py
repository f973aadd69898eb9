"""Drift verdicts on data whose truth is known: false alarms without drift, and shifts that must be seen.

    python benchmarks/drift_truth.py [BASE_SEED]          200 seeds of the small tables, about 50 s
    python benchmarks/drift_truth.py BASE_SEED --full     200 seeds of every table, about 8 min

Prints, per scenario, the share of seeds in which any column of the table was flagged (no drift), or the share of seeds in
which the shifted column was flagged. The reference is the profile that a commit stores; both sides come from the same
process. Without BASE_SEED the seeds are fresh ones, and the base is printed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import secrets
import sys
from collections.abc import Callable

import numpy as np
import polars as pl
from scipy.signal import lfilter
from scipy.stats import norm

from trine.data import profile_frame
from trine.monitoring.drift import compare
from trine.monitoring.reference import of_profile
from trine.monitoring.verdicts import ColumnVerdict

UNIFORM_50 = np.full(50, 1 / 50)
UNIFORM_1000 = np.full(1000, 1 / 1000)
ZIPF_50 = 1 / np.arange(1, 51) / np.sum(1 / np.arange(1, 51))
ZIPF_1000 = 1 / np.arange(1, 1001) / np.sum(1 / np.arange(1, 1001))
FIVE = np.full(5, 0.2)


def latent(rng: np.random.Generator, rows: int, columns: int, phi: float) -> np.ndarray:
    """Standard normal columns, AR(1) with coefficient phi."""
    noise = rng.standard_normal((rows, columns))
    noise[1:] *= np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=0)


def levels(uniform: np.ndarray, shares: np.ndarray) -> pl.Series:
    return pl.Series(np.searchsorted(np.cumsum(shares)[:-1], uniform)).cast(pl.String)


def table(rng: np.random.Generator, rows: int, columns: int, phi: float) -> pl.DataFrame:
    """Ten kinds of columns in turn: numbers of light and heavy tails, counts, and 3 to 1000 categories; every fifth
    column has 2 % missing values, half of them in streaks when phi > 0."""
    normal = latent(rng, rows, columns, phi)
    missing = latent(rng, rows, columns, phi)
    found: dict[str, pl.Series] = {}
    for place in range(columns):
        z, kind, odd = normal[:, place], place % 10, place % 20 >= 10
        u = norm.cdf(z)
        if kind <= 2:
            series = pl.Series(z)
        elif kind == 3:
            series = pl.Series(np.exp(z))
        elif kind == 4:
            series = pl.Series((1 - u) ** (-1 / 1.5))
        elif kind == 5:
            series = pl.Series(np.floor(-np.log1p(-u) * 8).astype(np.int64))
        elif kind == 6:
            series = levels(u, FIVE)
        elif kind == 7:
            series = levels(u, ZIPF_50 if odd else UNIFORM_50)
        elif kind == 8:
            series = levels(u, ZIPF_1000 if odd else UNIFORM_1000)
        else:
            series = levels(u, np.array([0.6, 0.3, 0.1])).cast(pl.Int64)
        if place % 5 == 0:
            gone = missing[:, place] < norm.ppf(0.02) if odd else rng.random(rows) < 0.02
            series = pl.select(pl.when(pl.Series(~gone)).then(series)).to_series()
        found[f"c{place:03}"] = series
    return pl.DataFrame(found)


def moved(reference: pl.DataFrame, window: pl.DataFrame) -> list[ColumnVerdict]:
    return [one for one in compare(of_profile(profile_frame(reference)), window) if one.moved]


def false_alarms(base: int, rows: int, phi: float, columns: int, seeds: int, *, shuffled: bool = False) -> float:
    """Share of seeds in which at least one column of an undrifted table was flagged.

    `shuffled` mixes the rows of the reference, as training sets often are: it no longer shows the memory it has.
    """
    hits = 0
    for seed in range(seeds):
        rng = np.random.default_rng([base, seed, rows, int(phi * 1000), columns])
        reference = table(rng, rows, columns, phi)
        if shuffled:
            reference = reference[rng.permutation(rows)]
        hits += bool(moved(reference, table(rng, rows, columns, phi)))
    return hits / seeds


Draw = Callable[[np.random.Generator, int], pl.Series]


def normals(mean: float = 0.0, spread: float = 1.0) -> Draw:
    return lambda rng, rows: pl.Series(rng.normal(mean, spread, rows))


def five(first: float = 0.2) -> Draw:
    shares = np.array([first, *[(1 - first) / 4] * 4])
    return lambda rng, rows: levels(rng.random(rows), shares)


def with_new_level(share: float) -> Draw:
    def draw(rng: np.random.Generator, rows: int) -> pl.Series:
        new = pl.Series(rng.random(rows) < share)
        return pl.select(pl.when(new).then(pl.lit("new")).otherwise(five()(rng, rows))).to_series()

    return draw


def with_nulls(share: float) -> Draw:
    def draw(rng: np.random.Generator, rows: int) -> pl.Series:
        there = pl.Series(rng.random(rows) >= share)
        return pl.select(pl.when(there).then(pl.Series(rng.standard_normal(rows)))).to_series()

    return draw


SHIFTS: dict[str, tuple[Draw, Draw]] = {
    "mean +0.02 sd (immaterial)": (normals(), normals(0.02)),
    "mean +0.1 sd": (normals(), normals(0.1)),
    "mean +0.5 sd": (normals(), normals(0.5)),
    "sd x 1.25": (normals(), normals(0, 1.25)),
    "one of 5 levels 20 -> 26 %": (five(), five(0.26)),
    "new level at 0.5 %": (five(), with_new_level(0.005)),
    "nulls 2 -> 10 %": (with_nulls(0.02), with_nulls(0.10)),
}


def power(base: int, shift: str, rows: int, seeds: int, columns: int = 20) -> tuple[float, float]:
    """One of `columns` has shifted: share of seeds in which it was flagged, and in which any other was."""
    before, after = SHIFTS[shift]
    found = wrong = 0
    for seed in range(seeds):
        rng = np.random.default_rng([base, seed, rows, sum(shift.encode())])
        reference = table(rng, rows, columns - 1, 0.0).with_columns(before(rng, rows).alias("shifted"))
        window = table(rng, rows, columns - 1, 0.0).with_columns(after(rng, rows).alias("shifted"))
        names = {one.column for one in moved(reference, window)}
        found += "shifted" in names
        wrong += bool(names - {"shifted"})
    return found / seeds, wrong / seeds


SMALL = ((1_000, 0.0, 20, False), (1_000, 0.99, 20, False), (10_000, 0.99, 20, False))
FULL = (
    *SMALL,
    (10_000, 0.0, 20, False), (1_000, 0.0, 100, False), (10_000, 0.0, 100, False), (1_000, 0.9, 100, False),
    (1_000, 0.99, 100, False), (10_000, 0.99, 100, False), (10_000, 0.99, 100, True),
)  # fmt: skip


def main(base: int, full: bool) -> None:
    seeds = 200
    print(f"no drift: share of {seeds} seeds with any flag (base {base}; bar: 5 % independent, 10 % AR)")
    for rows, phi, columns, shuffled in FULL if full else SMALL:
        rate = false_alarms(base, rows, phi, columns, seeds, shuffled=shuffled)
        note = "  reference shuffled" if shuffled else ""
        print(f"  n={rows:<7} AR({phi:<4}) {columns:>3} columns  {rate:6.1%}{note}", flush=True)
    some = seeds // 4 if full else 10
    print(f"one column of 20 shifted: found, and another flagged ({some} seeds)")
    for shift in SHIFTS:
        for rows in (1_000, 10_000) if full else (10_000,):
            found, wrong = power(base, shift, rows, some)
            print(f"  {shift:<28} n={rows:<7} {found:6.1%}  {wrong:6.1%}", flush=True)


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    main(int(given[0]) if given else secrets.randbits(32), "--full" in sys.argv)
