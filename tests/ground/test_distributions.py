"""Every tail and quantile against SciPy, over the whole range that tests and intervals ask for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from trine.distributions import (
    beta_below,
    beta_quantile,
    chi_square_above,
    fair_above,
    hypergeometric_tails,
    kolmogorov_above,
    kolmogorov_quantile,
    normal_above,
    normal_below,
    normal_quantile,
    root,
    student_above,
    student_quantile,
)

SHARES = st.floats(1e-9, 1 - 1e-9)


@given(st.floats(-35, 35), SHARES)
def test_the_normal_is_scipys(z: float, p: float) -> None:
    assert normal_above(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)
    assert normal_below(z) == pytest.approx(stats.norm.cdf(z), rel=1e-12)
    assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-12, abs=1e-12)
    assert (normal_quantile(0), normal_quantile(1)) == (-math.inf, math.inf)


@given(st.floats(0, 1), st.floats(0.5, 1e5), st.floats(0.5, 1e5), SHARES)
def test_the_beta_is_scipys(x: float, a: float, b: float, p: float) -> None:
    assert beta_below(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-6, abs=1e-9)
    assert beta_below(beta_quantile(p, a, b), a, b) == pytest.approx(p, rel=1e-6)


@given(st.floats(-200, 200), st.floats(1, 1e6), st.floats(1e-4, 1 - 1e-4))
def test_students_t_is_scipys(t: float, freedom: float, p: float) -> None:
    assert student_above(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-6, abs=1e-300)
    assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-6, abs=1e-9)


@given(st.integers(0, 100_000), st.data())
def test_the_tail_of_a_fair_coin_is_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    assert fair_above(successes, trials) == pytest.approx(
        stats.binom.sf(successes - 1, trials, 0.5), rel=1e-7, abs=1e-290
    )


@given(st.floats(0, 5_000), st.integers(1, 2_000))
def test_chi_square_is_scipys(statistic: float, freedom: int) -> None:
    assert chi_square_above(statistic, freedom) == pytest.approx(
        stats.chi2.sf(statistic, freedom), rel=1e-9, abs=1e-290
    )


@given(st.integers(1, 5_000), st.data())
def test_hypergeometric_tails_are_scipys(total: int, data: st.DataObject) -> None:
    marked, drawn = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    hits = data.draw(st.integers(max(0, drawn + marked - total), min(drawn, marked)))
    lower, upper = hypergeometric_tails(hits, total, marked, drawn)
    assert lower == pytest.approx(stats.hypergeom.cdf(hits, total, marked, drawn), rel=1e-7, abs=1e-290)
    assert upper == pytest.approx(stats.hypergeom.sf(hits - 1, total, marked, drawn), rel=1e-7, abs=1e-290)


@given(st.one_of(st.integers(1, 300), st.integers(300, 3_000_000)), st.floats(0.1, 4.2))
def test_kolmogorov_is_scipys(size: int, z: float) -> None:
    distance = z / math.sqrt(size)
    assert kolmogorov_above(distance, size) == pytest.approx(stats.kstwo.sf(distance, size), rel=1e-4)


@given(st.floats(1e-12, 0.999))
def test_the_quantile_of_kolmogorovs_limit_is_scipys(p: float) -> None:
    assert kolmogorov_quantile(p) == pytest.approx(special.kolmogi(p), rel=1e-9)


def test_impossible_and_certain_distances_have_the_chances_0_and_1() -> None:
    assert [kolmogorov_above(distance, 10) for distance in (0.0, 0.05, 1.0, 2.0)] == [1, 1, 0, 0]
    assert kolmogorov_quantile(1.0) == 0 and kolmogorov_quantile(0.0) == math.inf


@given(st.floats(-0.99, 0.99))
def test_a_root_is_found_where_the_sign_changes(place: float) -> None:
    assert root(lambda x: (x - place) ** 3, -1, 1) == pytest.approx(place, abs=1e-5)
    assert root(lambda x: math.exp(x) - math.exp(place), -1, 1) == pytest.approx(place, abs=1e-14)
    assert root(lambda x: math.copysign(1.0, x - place), -1, 1) == pytest.approx(place, abs=1e-14)
