"""Drift verdicts: what must be seen, what must not, and how often an undrifted table is flagged."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trine.data import profile_frame
from trine.monitoring.drift import compare
from trine.monitoring.monitors import Thresholds
from trine.monitoring.reference import of_frame, of_profile
from trine.monitoring.verdicts import ColumnVerdict


def _truth() -> ModuleType:
    """The simulation that the benchmark runs in full."""
    path = Path(__file__).parents[2] / "benchmarks" / "drift_truth.py"
    spec = importlib.util.spec_from_file_location("drift_truth", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drift_truth"] = module
    spec.loader.exec_module(module)
    return module


truth = _truth()


def judged(before: Any, now: Any, **options: Any) -> ColumnVerdict:
    """The verdict on one column against the profile of another."""
    reference = of_profile(profile_frame(pl.DataFrame({"x": before})))
    return compare(reference, pl.DataFrame({"x": now}), columns=["x"], **options)[0]


def failed(verdict: ColumnVerdict) -> set[str]:
    return {test.name for test in verdict.tests if test.failed}


def normals(seed: int, n: int = 10_000, mean: float = 0.0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(mean, 1, n)


@pytest.mark.parametrize(("phi", "seeds", "bar"), [(0.0, 150, 0.05), (0.99, 60, 0.10)])
def test_an_undrifted_table_is_rarely_flagged(phi: float, seeds: int, bar: float) -> None:
    assert truth.false_alarms(4, 1_000, phi, 20, seeds) <= bar


def test_a_reference_that_was_shuffled_hides_no_memory() -> None:
    assert truth.false_alarms(4, 4_000, 0.99, 10, 20, shuffled=True) <= 0.1


@pytest.mark.parametrize("shift", [name for name in truth.SHIFTS if "immaterial" not in name])
def test_a_shift_of_one_column_in_twenty_is_seen_at_ten_thousand_rows(shift: str) -> None:
    assert truth.power(5, shift, 10_000, 4)[0] == 1


def test_a_shift_that_is_sure_but_small_is_no_drift() -> None:
    verdict = judged(normals(1, 100_000), normals(2, 100_000, 0.03))
    (test,) = (one for one in verdict.tests if one.name == "distribution")
    assert test.q < 0.001 and test.effect < test.at_least and not verdict.moved


def test_a_difference_that_is_large_but_not_sure_is_no_drift() -> None:
    verdict = judged(normals(1, 40), normals(2, 40, 0.3))
    (test,) = (one for one in verdict.tests if one.name == "distribution")
    assert test.effect > test.at_least and not verdict.moved
    assert verdict.detectable > test.effect


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(0, 0.4), st.integers(30, 3000), st.floats(0, 0.2))
def test_a_column_has_moved_exactly_when_a_test_is_significant_and_not_small(
    seed: int, mean: float, n: int, nulls: float
) -> None:
    rng = np.random.default_rng(seed)
    now = pl.Series(rng.normal(mean, 1, n)).set(pl.Series(rng.random(n) < nulls), None)
    verdict = judged(normals(seed + 1, 1000), now)
    for test in verdict.tests:
        assert test.p <= test.q + 1e-12 and test.failed == (test.q <= 0.02 and test.effect >= test.at_least)
    assert verdict.moved == bool(failed(verdict))


def test_missing_values_have_a_test_of_their_own() -> None:
    rng = np.random.default_rng(3)
    few, many = (pl.Series(normals(4)).set(pl.Series(rng.random(10_000) < share), None) for share in (0.02, 0.06))
    assert failed(judged(few, many)) == {"missing"}
    assert failed(judged(few, normals(5))) == {"missing"}  # fewer is a change too
    assert failed(judged(few, few.reverse())) == set()


def test_nan_counts_as_missing() -> None:
    now = normals(1)
    now[:800] = np.nan
    verdict = judged(normals(2), np.random.default_rng(0).permutation(now))
    assert failed(verdict) == {"missing"} and verdict.null_share == 0.08


@pytest.mark.parametrize("dtype", [pl.Null, pl.Float64, pl.String])
@pytest.mark.parametrize("before", [normals(1, 500), ["a", "b"] * 250, [True, False] * 250])
def test_a_column_that_is_missing_altogether_has_moved_whatever_its_type_is_then(before: Any, dtype: Any) -> None:
    verdict = judged(before, pl.Series([None] * 200, dtype=dtype))
    assert failed(verdict) == {"missing"} and verdict.null_share == 1


def test_missing_values_in_streaks_are_not_counted_as_if_each_were_news() -> None:
    gone = np.zeros(2_000, bool)
    gone[500:580] = True  # one outage of 80 rows, 4 %
    streak = pl.Series(normals(1, 2_000)).set(pl.Series(gone), None)
    spread = pl.Series(normals(1, 2_000)).set(pl.Series(np.random.default_rng(0).permutation(gone)), None)
    assert failed(judged(normals(2, 2_000), spread)) == {"missing"}
    assert failed(judged(normals(2, 2_000), streak)) == set()


def test_a_value_never_seen_before_is_told_with_its_share() -> None:
    levels = np.random.default_rng(0).choice(["a", "b", "c"], 10_000)
    now = levels.copy()
    now[::200] = "new"
    verdict = judged(levels, now)
    (test,) = (one for one in verdict.tests if one.name == "unseen")
    assert test.failed and test.effect == 0.005 and failed(verdict) == {"unseen"}
    once = levels.copy()
    once[7] = "typo"
    assert failed(judged(levels, once)) == set()


def test_values_outside_the_known_range_are_told() -> None:
    now = normals(1)
    now[::400] = 50.0
    verdict = judged(normals(2), now)
    assert failed(verdict) == {"range"}
    assert judged(normals(2), normals(3)).state == "ok"


def test_rows_that_follow_each_other_in_time_are_not_taken_for_independent_ones() -> None:
    rng = np.random.default_rng(2)
    before, now = (truth.latent(rng, 20_000, 1, 0.99)[:, 0] for _ in range(2))
    assert stats.ks_2samp(before, now).pvalue < 1e-9
    verdict = judged(before, now)
    assert verdict.state == "ok" and verdict.size < 200 and verdict.reference_size < 200
    assert judged(before, now + 2).moved


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        ([True, False] * 500, [True] * 700 + [False] * 300, True),
        ([1, 2, 3, 4] * 250, [1, 1, 3, 4] * 250, True),
        ([1, 2, 3, 4] * 250, [1.0, 2.0, 3.0, 4.0] * 250, False),  # integers with gaps come back as floats
        (["1", "2"] * 500, pl.Series(["1", "2"] * 500, dtype=pl.Categorical), False),
    ],
)
def test_categories_are_compared_by_what_they_say(before: Any, now: Any, moved: bool) -> None:
    rng = np.random.default_rng(0)
    series = now if isinstance(now, pl.Series) else pl.Series(now)
    verdict = judged(pl.Series(before).gather(rng.permutation(1000)), series.gather(rng.permutation(1000)))
    assert verdict.moved == moved and verdict.kind in ("category", "boolean")


def test_ids_are_not_compared_by_their_shares() -> None:
    verdict = judged([f"id{i}" for i in range(5000)], [f"id{i}" for i in range(9000, 12_000)])
    assert verdict.state == "untested" and "too many or too rare" in verdict.reason


def test_too_few_rows_are_said_to_be_too_few() -> None:
    verdict = judged(normals(1), normals(2, 4, 9.0))
    assert verdict.state == "too_small" and "4 independent rows; at least 5" in verdict.reason
    assert judged(normals(1), normals(2, 12, 9.0)).moved
    assert judged(normals(1), normals(2, 12, 9.0), thresholds=Thresholds(least_rows=20)).state == "too_small"


def test_times_are_compared_only_when_asked_for() -> None:
    days = pl.datetime_range(pl.datetime(2013, 1, 1), pl.datetime(2013, 2, 1), "1h", eager=True)
    days = days.gather(np.random.default_rng(0).permutation(len(days)))
    before, now = pl.DataFrame({"at": days}), pl.DataFrame({"at": days.dt.offset_by("5y")})
    assert compare(of_frame(before), now) == ()
    assert compare(of_frame(before), now, columns=["at"])[0].effect == 1


def test_the_farthest_moved_column_comes_first() -> None:
    reference = pl.DataFrame({name: normals(seed) for seed, name in enumerate("abcd")})
    window = pl.DataFrame({name: normals(9 + seed, mean=0.2 * seed) for seed, name in enumerate("abcd")})
    found = compare(of_frame(reference), window)
    assert [one.column for one in found] == ["d", "c", "b", "a"]
    assert [one.moved for one in found] == [True, True, True, False]


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_a_profile_tells_nearly_what_the_rows_that_it_came_from_tell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, window = (truth.table(rng, 2000, 10, 0.0) for _ in range(2))
    window = window.with_columns(pl.col("c000") + 0.4)
    by_rows = {one.column: one for one in compare(of_frame(reference), window)}
    by_profile = {one.column: one for one in compare(of_profile(profile_frame(reference)), window)}
    assert by_profile["c000"].moved and by_rows["c000"].moved
    for name, one in by_profile.items():
        if one.state != "untested" and name != "c008":  # of a thousand levels a profile keeps the common ones
            assert one.effect <= by_rows[name].effect + 1 / 2000
            assert one.effect == pytest.approx(by_rows[name].effect, abs=0.01)


def test_a_reference_that_was_seen_in_a_sample_counts_as_that_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.data.one_pass.LARGE", 20_000)
    monkeypatch.setattr("trine.data.one_pass.SAMPLE", 8_192)
    rng = np.random.default_rng(5)
    reference = of_profile(profile_frame(pl.DataFrame({"x": rng.normal(size=60_000)})))
    one = reference["x"]
    assert (one.size, one.seen) == (60_000, pytest.approx(8_192))
    same, other = (pl.DataFrame({"x": rng.normal(shift, 1, 5_000)}) for shift in (0, 0.3))
    assert [compare(reference, window)[0].moved for window in (same, other)] == [False, True]
