"""Every statistic against an independent implementation (scipy)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trine.monitoring.correction import q_values
from trine.monitoring.reference import Steps
from trine.monitoring.significance import (
    chi_square,
    detectable_distance,
    kolmogorov_smirnov,
    never_before,
    two_shares,
)

FEW = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=60)
TIED = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=60)


@given(st.one_of(st.tuples(FEW, FEW), st.tuples(TIED, TIED)))
def test_the_distance_of_exact_distributions_is_scipys(sides: tuple[list[float], list[float]]) -> None:
    reference, window = (np.sort(np.array(side)) for side in sides)
    points, counts = np.unique(reference, return_counts=True)
    distance = Steps.of_counts(points, counts.astype(float)).distance(window)
    assert distance == pytest.approx(stats.ks_2samp(reference, window, method="asymp").statistic)


@pytest.mark.parametrize(("n", "m", "shift"), [(1000, 1000, 0.05), (10_000, 500, 0.1), (200, 3000, 0.2)])
def test_the_distance_of_a_sketch_is_near_the_exact_one(n: int, m: int, shift: float) -> None:
    rng = np.random.default_rng(1)
    reference, window = np.sort(rng.standard_normal(n)), np.sort(rng.standard_normal(m) + shift)
    sketch = Steps.of_quantiles(np.quantile(reference, np.linspace(0, 1, 257)))
    exact = stats.ks_2samp(reference, window).statistic
    assert sketch.distance(window) == pytest.approx(exact, abs=0.006)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_a_sketch_of_tied_values_never_overstates_the_distance(seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    reference, window = np.sort(rng.integers(0, values, 2000) ** 2.0), np.sort(rng.integers(0, values, 700) ** 2.0)
    places = np.linspace(0, len(reference) - 1, 257).round().astype(int)
    distance = Steps.of_quantiles(reference[places]).distance(window)
    assert distance <= stats.ks_2samp(reference, window, method="asymp").statistic + 1 / 2000


def test_kolmogorov_smirnov_p_values_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((50, 60), (1000, 1000), (300, 9000)):
        one = stats.ks_2samp(rng.standard_normal(n), rng.standard_normal(m) + 0.05, method="asymp")
        assert kolmogorov_smirnov(one.statistic, n, m) == pytest.approx(one.pvalue, rel=1e-6)


@given(st.lists(st.tuples(st.integers(10, 500), st.integers(10, 500)), min_size=2, max_size=12))
def test_chi_square_is_scipys_contingency_test(table: list[tuple[int, int]]) -> None:
    reference, window = np.array(table, dtype=float).T
    found = chi_square(reference, window, reference.sum(), window.sum())
    known = stats.chi2_contingency(np.array([reference, window]), correction=False)
    if (known.expected_freq >= 5).all():
        assert (found.statistic, found.freedom, found.p) == pytest.approx((known.statistic, known.dof, known.pvalue))


def test_chi_square_pools_rare_levels_and_is_undefined_for_one_level() -> None:
    found = chi_square(np.array([500.0, 400.0, 3.0, 1.0, 2.0]), np.array([480.0, 420.0, 0.0, 2.0, 4.0]), 906, 906)
    known = stats.chi2_contingency(np.array([[500, 400, 6], [480, 420, 6]]), correction=False)
    assert found.p == pytest.approx(known.pvalue)
    assert np.isnan(chi_square(np.array([10.0]), np.array([20.0]), 10, 20).p)
    assert np.isnan(chi_square(np.array([0.0]), np.array([20.0]), 0, 20).p)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_two_shares_with_small_counts_is_fishers_exact_test(n: int, m: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    p = float(two_shares(a / n, b / m, n, m, exact_below=np.inf)[0])
    table = [[b, m - b], [a, n - a]]
    sides = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert p == pytest.approx(min(1.0, 2 * min(sides)), rel=1e-6)


def test_two_shares_with_large_counts_is_the_pooled_z_test() -> None:
    known = stats.chi2_contingency([[300, 9700], [360, 9640]], correction=False).pvalue
    assert two_shares(0.03, 0.036, 10_000, 10_000) == pytest.approx(known)


def test_never_before_is_the_chance_that_all_hits_fall_into_the_window() -> None:
    assert never_before(0, 10, 10) == 1
    assert never_before(10, 1000, 1000) == pytest.approx(2**-10)
    assert never_before(3, 9000, 1000, choices=20) == pytest.approx(0.02)


def test_the_detectable_distance_is_found_about_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    n, tests = 4000, 20
    target = detectable_distance(n, n, 0.02, tests)
    shift = 2 * stats.norm.ppf(0.5 + target / 2)
    distances = [
        stats.ks_2samp(rng.standard_normal(n), rng.standard_normal(n) + shift, method="asymp").pvalue
        for _ in range(200)
    ]
    assert 0.65 < np.mean(np.array(distances) < 0.02 / tests) < 0.97


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.sampled_from(["bh", "by"]))
def test_q_values_are_scipys(p: list[float], method: str) -> None:
    names = {"bh": "benjamini-hochberg", "by": "benjamini-yekutieli"}
    assert q_values(p, names[method]) == pytest.approx(stats.false_discovery_control(p, method=method))


def test_tests_that_could_not_be_made_do_not_count() -> None:
    q = q_values([0.01, np.nan, 0.04])
    assert q[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(q[1])
    assert q_values([0.01, 0.04, 0.03], "holm") == pytest.approx([0.03, 0.06, 0.06])
