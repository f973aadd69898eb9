"""Delivery metrics of models and of code: medians with their 90th percentile, and null with a reason where there is no data."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from trine.insights.delivery import Delivery, Promotion
from trine.insights.repository import Repository

WEEK_US = 7 * 86_400 * 1_000_000

DEFINITIONS: dict[str, str] = {
    "training_time": "time from start to end of the runs that made the versions registered in the period (median)",
    "deployment_frequency": "versions that came into production in the period, per week; one put back is not counted",
    "experiment_success_rate": "candidates that passed their gate, of all that a gate judged or whose training failed in a loop",
    "time_to_production": "time from the newest commit of source data that a version was trained on to its coming into production (median)",
    "change_failure_rate": "promotions that were undone (rolled back, removed, or an earlier version put back), of all in the period",
    "time_to_restore": "time from a promotion that was undone to the moment it was (median)",
    "code_lead_time": "time from writing a git commit to the first version in production that was made with it (median)",
    "code_deployment_frequency": "promotions per week of versions made by git commits that were not in production before",
    "code_change_failure_rate": "promotions of new git commits that were undone, of all in the period",
    "code_time_to_restore": "time from a promotion of new git commits that was undone to the moment it was (median)",
}
"""What each metric is, in one line. Times are seconds; the period is half open: since ≤ time < until."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a period: its value over `count` observations, or None and the reason why there is none."""

    name: str
    value: float | None
    unit: str
    count: int
    definition: str
    p90: float | None = None
    reason: str = ""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """All metrics of a period, of one model or of all."""

    since_us: int
    until_us: int
    model: str
    metrics: list[Metric]

    def __getitem__(self, name: str) -> Metric:
        return next(one for one in self.metrics if one.name == name)


def measure(delivery: Delivery, repository: Repository | None, *, since_us: int = 0, model: str = "") -> Metrics:
    """The metrics of [since, now) from the facts; those of code need the git repository that the code is in."""
    since = max(since_us, delivery.first_us)
    now = delivery.now_us
    mine = [one for one in delivery.promotions if since <= one.time_us < now]
    found = [
        _training_time(delivery, since),
        _frequency("deployment_frequency", len(mine), since, now),
        _success(delivery, since),
        _time_to_production(mine),
        _failure_rate("change_failure_rate", mine, "nothing was promoted in the period"),
        _restore("time_to_restore", mine),
    ]
    return Metrics(since_us=since, until_us=now, model=model, metrics=found + _of_code(delivery, repository, since))


def _training_time(delivery: Delivery, since: int) -> Metric:
    trained = [one for one in delivery.trainings if one.time_us >= since]
    known = [one.duration_us for one in trained if one.duration_us is not None]
    reason = f"none of {len(trained)} versions was made by a run that ended" if trained else "no version was registered"
    return _times("training_time", known, reason)


def _success(delivery: Delivery, since: int) -> Metric:
    judged = [one for one in delivery.experiments if one.time_us >= since]
    passed = sum(one.passed for one in judged)
    return _share("experiment_success_rate", passed, len(judged), "no candidate was judged by a gate")


def _time_to_production(mine: Sequence[Promotion]) -> Metric:
    known = [one.time_us - one.data_us for one in mine if one.data_us is not None]
    reason = "no promoted version says which data it was trained on" if mine else "nothing was promoted in the period"
    return _times("time_to_production", known, reason)


def _of_code(delivery: Delivery, repository: Repository | None, since: int) -> list[Metric]:
    names = [name for name in DEFINITIONS if name.startswith("code_")]
    if repository is None:
        return [_metric(name, None, 0, "there is no git repository with a commit here") for name in names]
    lead, changed = _new_code(delivery, repository, since)
    missing = "no version that was promoted in the period was made by new commits of this repository"
    return [
        _times("code_lead_time", lead, missing),
        _frequency("code_deployment_frequency", len(changed), since, delivery.now_us),
        _failure_rate("code_change_failure_rate", changed, missing),
        _restore("code_time_to_restore", changed),
    ]


def _new_code(delivery: Delivery, repository: Repository, since: int) -> tuple[list[int], list[Promotion]]:
    """Lead times of commits first in production in the period, and the promotions that brought them.

    One pass over the history: each commit belongs to the first promotion that contains it. Of those written before the
    project's first event only the promoted one itself counts: nobody waited for the rest.
    """
    known: set[str] = set()
    lead: list[int] = []
    changed: list[Promotion] = []
    for one in delivery.promotions:
        fresh = repository.contained(one.code, known)
        waiting = [each for each in fresh if each.time_us >= delivery.first_us or each.id == one.code]
        if one.time_us < since or not fresh:
            continue
        changed.append(one)
        lead += [max(0, one.time_us - each.time_us) for each in waiting]
    return lead, changed


def _failure_rate(name: str, promotions: Sequence[Promotion], reason: str) -> Metric:
    return _share(name, sum(one.undone_us is not None for one in promotions), len(promotions), reason)


def _restore(name: str, promotions: Sequence[Promotion]) -> Metric:
    spans = [one.undone_us - one.time_us for one in promotions if one.undone_us is not None]
    return _times(name, spans, "no promotion was undone" if promotions else "nothing was promoted in the period")


def _frequency(name: str, count: int, since: int, now: int) -> Metric:
    weeks = (now - since) / WEEK_US
    if weeks < 1:
        return _metric(name, None, count, f"{count} in less than a week: a rate per week would say nothing")
    return _metric(name, count / weeks, count)


def _share(name: str, part: int, whole: int, reason: str) -> Metric:
    return _metric(name, part / whole, whole) if whole else _metric(name, None, 0, reason)


def _times(name: str, spans_us: Sequence[int], reason: str) -> Metric:
    if not spans_us:
        return _metric(name, None, 0, reason)
    seconds = sorted(span / 1e6 for span in spans_us)
    p90 = statistics.quantiles(seconds, n=10, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return _metric(name, statistics.median(seconds), len(seconds), p90=p90)


def _metric(name: str, value: float | None, count: int, reason: str = "", p90: float | None = None) -> Metric:
    unit = "per week" if name.endswith("frequency") else "share" if name.endswith("rate") else "s"
    return Metric(name=name, value=value, unit=unit, count=count, definition=DEFINITIONS[name], p90=p90, reason=reason)
