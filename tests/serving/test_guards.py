from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from trine.serving.guards import bounds_of_mean, bounds_of_median, judge
from trine.serving.rollouts import Canary
from trine.serving.routing import Route, Variant

ROUTE = Route(endpoint="e", number=2, variants=(Variant("canary", "m@2", 10), Variant("main", "m@1", 90)), salt="s")
NO_LABELS = pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.Float64, "time_us": pl.Int64})


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.001, 0.2))
def test_the_interval_is_the_one_of_the_mixture_by_quadrature(good: int, more: int, alpha: float) -> None:
    """An independent way: integrate the likelihood over the uniform prior, and find where the ratio crosses 1 / alpha."""
    count = good + more

    def ratio(mean: float) -> float:
        mixed = integrate.quad(lambda p: p**good * (1 - p) ** more, 0, 1, epsabs=0, epsrel=1e-11)[0]
        return math.log(mixed * alpha) - good * math.log(mean) - more * math.log1p(-mean)

    low, high = bounds_of_mean(good, count, alpha)
    middle = good / count
    if good:
        assert low == pytest.approx(optimize.brentq(ratio, 1e-12, middle), abs=1e-6)
    else:
        assert low == 0
    assert high == pytest.approx(optimize.brentq(ratio, max(middle, 1e-12), 1 - 1e-12), abs=1e-6)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5])
def test_the_interval_covers_the_mean_at_every_look_together(rate: float) -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(200):
        draws = np.cumsum(rng.random(400) < rate)
        looks = ((int(draws[n - 1]), n) for n in range(1, 401, 3))
        missed += any(not low <= rate <= high for low, high in (bounds_of_mean(k, n, 0.05) for k, n in looks))
    assert missed / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_the_interval_holds_for_values_between_0_and_1() -> None:
    rng = np.random.default_rng(3)
    mean = 0.2
    missed = 0
    for _ in range(100):
        sums = np.cumsum(rng.beta(1, 4, 300))
        missed += any(
            not low <= mean <= high for low, high in (bounds_of_mean(sums[n - 1], n, 0.05) for n in range(5, 301, 5))
        )
    assert missed <= 5


def test_a_median_is_bounded_by_its_ranks_at_every_look() -> None:
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(200):
        values = rng.lognormal(0, 1.5, 300)
        looks = (bounds_of_median(values[:n].tolist(), 0.05) for n in range(5, 301, 5))
        missed += any(not low <= 1.0 <= high for low, high in looks)
    assert missed / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert bounds_of_median([1.0, 2.0], 0.01) == (-math.inf, math.inf)
    low, high = bounds_of_median(list(map(float, range(1000))), 0.01)
    exact = stats.binom(1000, 0.5)
    assert low <= exact.ppf(0.005)  # never narrower than the interval of one look
    assert high >= exact.ppf(0.995)


def frame(
    rng: np.random.Generator, canary: int, baseline: int, *, errors: tuple[float, float] = (0.0, 0.0),
    latency: tuple[float, float] = (1000.0, 1000.0), route: int = 2, brier: tuple[float, float] | None = None,
) -> pl.DataFrame:  # fmt: skip
    parts: list[pl.DataFrame] = []
    for side, (name, count) in enumerate((("canary", canary), ("main", baseline))):
        ids = [f"{name}-{i}" for i in range(count)]
        parts.append(
            pl.DataFrame(
                {
                    "prediction_id": ids,
                    "request_id": ids,
                    "route": [route] * count,
                    "variant": [name] * count,
                    "status": ["error" if bad else "ok" for bad in rng.random(count) < errors[side]],
                    "latency_us": (rng.lognormal(0, 0.5, count) * latency[side]).astype(int),
                    "prediction": [1] * count,
                    "probability": [brier[side] if brier else 0.5] * count,
                },
                schema_overrides=dict.fromkeys(("prediction_id", "request_id", "variant", "status"), pl.String),
            )
        )
    return pl.concat(parts)


def decide(rows: pl.DataFrame, canary: Canary | None = None, labels: pl.DataFrame = NO_LABELS, elapsed_s: float = 1e6):
    return judge(rows, labels, canary or Canary(), route=ROUTE, variant="canary", elapsed_s=elapsed_s)


def test_equal_sides_advance_and_too_few_requests_wait() -> None:
    rng = np.random.default_rng(0)
    assert decide(frame(rng, 100, 900))[0] == "advance"
    action, reason, _ = decide(frame(rng, 99, 900))
    assert action is None
    assert "99 requests of the candidate" in reason
    assert decide(frame(rng, 100, 99))[0] is None
    assert decide(frame(rng, 100, 900), Canary(bake_s=60), elapsed_s=59)[0] is None
    assert decide(frame(rng, 0, 0))[0] is None


def test_a_candidate_that_always_fails_is_rolled_back_after_a_few_requests() -> None:
    action, reason, findings = decide(frame(np.random.default_rng(0), 8, 72, errors=(1.0, 0.0)))
    assert action == "roll_back"
    assert "error rate 1 against 0" in reason
    assert [one.outcome for one in findings if one.guard == "errors"] == ["harm"]


def test_one_failure_is_no_evidence_but_holds_the_step() -> None:
    rows = frame(np.random.default_rng(0), 100, 900)
    first = rows["prediction_id"] == "canary-0"
    two = rows["prediction_id"] == "canary-1"
    failed = rows.with_columns(status=pl.when(first | two).then(pl.lit("error")).otherwise(pl.col("status")))
    action, reason, _ = decide(failed)
    assert action is None
    assert "not surely" in reason


def test_rows_of_one_request_count_once() -> None:
    rows = frame(np.random.default_rng(0), 100, 900)
    together = rows.with_columns(
        request_id=pl.when(pl.col("variant") == "canary").then(pl.lit("same")).otherwise(pl.col("request_id")),
        status=pl.when(pl.col("variant") == "canary").then(pl.lit("error")).otherwise(pl.col("status")),
    )
    action, reason, _ = decide(together)
    assert action is None
    assert "1 requests of the candidate" in reason


def test_a_slow_candidate_is_rolled_back_against_the_concurrent_baseline() -> None:
    rng = np.random.default_rng(0)
    action, reason, _ = decide(frame(rng, 200, 1800, latency=(5000, 1000)))
    assert action == "roll_back"
    assert "median latency" in reason
    assert decide(frame(rng, 200, 1800, latency=(1500, 1000)))[0] == "advance"
    assert decide(frame(rng, 200, 1800, latency=(5000, 4000)))[0] == "advance"  # slow times are slow for both


def test_quality_is_judged_when_labels_arrive() -> None:
    rng = np.random.default_rng(0)
    rows = frame(rng, 500, 1500, brier=(0.9, 0.3))
    truth = pl.DataFrame({"prediction_id": rows["prediction_id"], "label": [0.0] * rows.height})
    action, reason, _ = decide(rows, labels=truth)
    assert action == "roll_back"
    assert "Brier score 0.81 against 0.09" in reason
    assert decide(rows)[0] == "advance"
    assert decide(rows, Canary(min_labels=10))[0] is None
    same = frame(rng, 500, 1500, brier=(0.3, 0.3))
    assert decide(same, Canary(min_labels=10), labels=truth)[0] == "advance"


@pytest.mark.parametrize("label", [[True] * 2000, ["true"] * 2000, [1] * 2000, [1.0] * 2000])
def test_classes_without_probabilities_are_judged_by_wrong_answers(label: list[object]) -> None:
    rows = frame(np.random.default_rng(0), 500, 1500).drop("probability")
    rows = rows.with_columns(prediction=pl.when(pl.col("variant") == "canary").then(0).otherwise(1))
    if isinstance(label[0], str):
        rows = rows.with_columns(
            prediction=pl.when(pl.col("prediction") == 1).then(pl.lit("true")).otherwise(pl.lit("no"))
        )
    truth = pl.DataFrame({"prediction_id": rows["prediction_id"], "label": label})
    action, reason, _ = decide(rows, labels=truth)
    assert action == "roll_back"
    assert "share of wrong answers 1 against 0" in reason


def test_measures_are_not_judged_as_classes() -> None:
    rows = frame(np.random.default_rng(0), 500, 1500).drop("probability").with_columns(prediction=pl.lit(2.5))
    truth = pl.DataFrame({"prediction_id": rows["prediction_id"], "label": [1.25] * 2000})
    action, _, findings = decide(rows, labels=truth)
    assert action == "advance"
    assert "not judged" in findings[-1].message


def test_other_routes_do_not_count_and_a_route_that_was_not_taken_up_goes_back() -> None:
    rows = frame(np.random.default_rng(0), 500, 500, route=1)
    assert decide(rows)[0] is None
    import msgspec

    broken = msgspec.structs.replace(ROUTE, problem="object 12ab is damaged")
    action, reason, _ = judge(rows, NO_LABELS, Canary(), route=broken, variant="canary", elapsed_s=0)
    assert action == "roll_back"
    assert "12ab" in reason


def test_an_equal_candidate_is_seldom_rolled_back_however_often_one_looks() -> None:
    rng = np.random.default_rng(5)
    rolled = 0
    for _ in range(40):
        rows = frame(rng, 300, 300, errors=(0.05, 0.05))
        sides = [rows.filter(pl.col("variant") == name) for name in ("canary", "main")]
        looks = (
            decide(pl.concat([side.head(n) for side in sides]), Canary(min_requests=10_000))[0]
            for n in range(20, 301, 40)
        )
        rolled += any(action == "roll_back" for action in looks)
    assert rolled <= 2
