from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine.insights.delivery import AliasMove, Delivery, Experiment, Promotion, Training, promotions_of
from trine.insights.measures import DEFINITIONS, WEEK_US, measure
from trine.insights.repository import GitCommit, Repository

S = 1_000_000


def delivery(**facts: object) -> Delivery:
    empty: dict[str, object] = {
        "first_us": 0,
        "now_us": 4 * WEEK_US,
        "trainings": [],
        "experiments": [],
        "promotions": [],
    }
    return Delivery(**{**empty, **facts})  # type: ignore[arg-type]


def promotion(version: int, at: int, **facts: object) -> Promotion:
    return Promotion(model="m", version=version, time_us=at * S, **facts)  # type: ignore[arg-type]


def test_without_data_every_metric_is_null_and_says_why() -> None:
    found = measure(delivery(now_us=S), None)
    assert [one.name for one in found.metrics] == list(DEFINITIONS)
    assert all(one.value is None and one.reason and one.count == 0 for one in found.metrics)
    assert found["code_lead_time"].reason == "there is no git repository with a commit here"
    quiet = measure(delivery(), None)
    assert quiet["deployment_frequency"].value == 0  # four weeks without a promotion are data


def test_times_are_medians_with_their_ninetieth_percentile() -> None:
    trainings = [
        Training(model="m", version=n, run="r", time_us=n, duration_us=n * n * S if n < 9 else None)
        for n in range(1, 10)
    ]
    found = measure(delivery(trainings=trainings), None)["training_time"]
    seconds = [n * n for n in range(1, 9)]
    assert (found.value, found.count, found.unit) == (statistics.median(seconds), 8, "s")
    assert found.p90 == statistics.quantiles(seconds, n=10, method="inclusive")[8]


def test_the_metrics_of_promotions() -> None:
    promotions = [
        promotion(1, 100, data_us=40 * S),
        promotion(2, 200, before=1, undone_us=230 * S),
        promotion(3, 300, before=1, data_us=290 * S),
        promotion(4, 400, before=3, undone_us=410 * S),
    ]
    found = measure(delivery(promotions=promotions), None)
    assert found["deployment_frequency"].value == 1.0
    assert found["change_failure_rate"].value == 0.5
    assert found["time_to_restore"].value == 20.0
    assert (found["time_to_production"].value, found["time_to_production"].count) == (35.0, 2)
    later = measure(delivery(promotions=promotions), None, since_us=350 * S)
    assert (later["change_failure_rate"].value, later["change_failure_rate"].count) == (1.0, 1)
    assert later["time_to_production"].reason == "no promoted version says which data it was trained on"
    short = measure(delivery(promotions=promotions, now_us=500 * S), None)["deployment_frequency"]
    assert (short.value, short.count) == (None, 4)
    assert "less than a week" in short.reason


def test_experiments_that_failed_count() -> None:
    judged = [Experiment(model="m", candidate=f"m@{n}", time_us=n, passed=n % 4 == 0) for n in range(8)]
    found = measure(delivery(experiments=judged), None)["experiment_success_rate"]
    assert (found.value, found.count, found.unit) == (0.25, 8, "share")


def test_the_lead_time_of_code_is_from_each_commit_to_the_first_version_that_contains_it() -> None:
    commits = {
        "old": GitCommit("old", (), 1 * S),
        "a": GitCommit("a", ("old",), 50 * S),
        "b": GitCommit("b", ("a",), 90 * S),
        "c": GitCommit("c", ("b",), 150 * S),
    }
    repository = Repository("/r", "c", (), commits)
    promotions = [
        promotion(1, 100, code="b"),
        promotion(2, 200, code="b"),
        promotion(3, 300, code="c", undone_us=310 * S),
        promotion(4, 400, code="not here"),
    ]
    facts = delivery(first_us=40 * S, now_us=40 * S + WEEK_US, promotions=promotions)
    found = measure(facts, repository)
    assert (found["code_lead_time"].value, found["code_lead_time"].count) == (50.0, 3)  # 50, 10 and 150
    assert found["code_deployment_frequency"].value == 2.0
    assert found["code_change_failure_rate"].value == 0.5
    assert found["code_time_to_restore"].value == 10.0
    later = measure(facts, repository, since_us=250 * S)
    assert (later["code_lead_time"].value, later["code_lead_time"].count) == (150.0, 1)


def test_the_first_promoted_commit_counts_though_it_is_older_than_the_workspace() -> None:
    commits = {"old": GitCommit("old", (), 1 * S), "head": GitCommit("head", ("old",), 30 * S)}
    facts = delivery(first_us=40 * S, promotions=[promotion(1, 100, code="head")])
    found = measure(facts, Repository("/r", "head", (), commits))["code_lead_time"]
    assert (found.value, found.count) == (70.0, 1)


def moves(*steps: tuple[int, bool]) -> list[AliasMove]:
    return [AliasMove("m", version, at, back) for at, (version, back) in enumerate(steps)]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(1, False), (2, False)], [(1, None), (2, None)]),
        ([(1, False), (2, False), (1, True), (3, False)], [(1, None), (2, 2), (3, None)]),
        ([(1, False), (2, False), (1, False)], [(1, None), (2, 2)]),  # put back by hand
        ([(1, False), (2, False), (3, False), (1, False)], [(1, None), (2, None), (3, 3)]),
        ([(1, False), (1, False)], [(1, None)]),
        ([(2, True)], [(2, None)]),
    ],
)
def test_a_promotion_is_undone_when_an_earlier_version_comes_back(
    steps: list[tuple[int, bool]], expected: list[tuple[int, int | None]]
) -> None:
    assert [(one.version, one.undone_us) for one in promotions_of(moves(*steps))] == expected


@given(st.lists(st.integers(1, 6), max_size=30))
def test_what_is_in_production_is_the_newest_promotion_that_was_not_undone(versions: list[int]) -> None:
    found = promotions_of(moves(*((version, False) for version in versions)))
    standing = [one for one in found if one.undone_us is None]
    if versions:
        assert versions[-1] in [one.version for one in standing]
    assert all(one.undone_us is None or one.undone_us > one.time_us for one in found)
    assert [one.time_us for one in found] == sorted(one.time_us for one in found)
