"""The guards of a rollout: is the candidate proven worse than the baseline that answers at the same time?

One method for all three. The Beta(1, 1)-mixture confidence sequence (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon
2021) bounds the mean of values in [0, 1] at every sample size at once, so a rollout may be judged after every request:
with n values that sum to k, a mean m is left out when

    B(k + 1, n - k + 1) / (m^k (1 - m)^(n - k)) >= 1 / alpha            (Ville's inequality)

- errors: the mean is the error rate of requests; exact for Bernoulli values, no normal approximation
- latency: a median x has P(value <= x) = 1/2, so the ranks whose count passes at m = 1/2 bound the median; exact and
  free of any assumption on the shape of latencies
- quality: the mean is the Brier score or the share of wrong answers; conservative for values between 0 and 1, since
  m -> (p/m)^x ((1-p)/(1-m))^(1-x) is convex in x

Harm is proven when the candidate's lower bound is above the limit put on the baseline's upper bound; the error
probability 1 - confidence is split over the three guards and the two intervals of each (Bonferroni).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from trine.serving.rollouts import Canary, Finding
from trine.serving.routing import Route

if TYPE_CHECKING:
    import polars as pl

Action = Literal["advance", "roll_back"] | None
GUARDS = 3


def bounds_of_mean(total: float, count: int, alpha: float) -> tuple[float, float]:
    """The confidence sequence for a mean of `count` values in [0, 1] that sum to `total`: wrong with probability `alpha`."""
    if not count:
        return 0.0, 1.0
    rest = count - total
    limit = _log_beta(total + 1, rest + 1) - math.log(1 / alpha)
    middle = min(max(total / count, 0.0), 1.0)

    def inside(mean: float) -> bool:
        return _log_likelihood(total, rest, mean) > limit

    low = 0.0 if total <= 0 else _edge(inside, middle, 0.0)
    high = 1.0 if rest <= 0 else _edge(inside, middle, 1.0)
    return low, high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(total: float, rest: float, mean: float) -> float:
    first = total * math.log(mean) if total > 0 else 0.0
    return first + (rest * math.log1p(-mean) if rest > 0 else 0.0)


def _edge(inside: Any, good: float, bad: float) -> float:
    """Bisection towards `bad`; gives the outer end, so the interval is never too small."""
    for _ in range(60):
        middle = (good + bad) / 2
        if middle in (good, bad):
            break
        good, bad = (middle, bad) if inside(middle) else (good, middle)
    return bad


def bounds_of_median(values: list[float], alpha: float) -> tuple[float, float]:
    """The confidence sequence for a median, wrong with probability `alpha`: two order statistics, or infinite."""
    count = len(values)
    if not count:
        return -math.inf, math.inf
    floor = count * math.log(0.5) + math.log(1 / alpha)
    # the fewest values that may lie at or below the median: symmetric, so one search serves both sides
    fewest = next((k for k in range(count // 2 + 1) if _log_beta(k + 1, count - k + 1) < floor), count // 2)
    ordered = sorted(values)
    low = ordered[fewest - 1] if fewest else -math.inf
    high = ordered[count - fewest] if fewest else math.inf
    return low, high


def judge(
    frame: pl.DataFrame,
    labels: pl.DataFrame,
    canary: Canary,
    *,
    route: Route,
    variant: str,
    elapsed_s: float,
) -> tuple[Action, str, list[Finding]]:
    """What to do with a step, why in a sentence, and what each guard saw.

    `frame` are predictions as the log gives them; only those of the step's route count. Requests, not rows, are what
    errors and latency are counted in: the rows of one request share their fate.
    """
    import polars as pl

    if route.problem:
        message = f"a server could not take up route {route.number}: {route.problem}"
        return "roll_back", message, [Finding(guard="server", outcome="harm", message=message)]
    mine = frame.filter(pl.col("route") == route.number)
    sides = [mine.filter(pl.col("variant") == variant), mine.filter(pl.col("variant") != variant)]
    alpha = (1 - canary.confidence) / GUARDS / 2
    requests = [side.unique("request_id", keep="first", maintain_order=True) for side in sides]
    findings = [
        _requests(requests[0].height, requests[1].height, canary, elapsed_s),
        _errors(requests[0], requests[1], canary, alpha),
        _latency(requests[0], requests[1], canary, alpha),
        _quality(sides[0], sides[1], labels, canary, alpha),
    ]
    harm = [one for one in findings if one.outcome == "harm"]
    if harm:
        return "roll_back", "; ".join(one.message for one in harm), findings
    waiting = [one for one in findings if one.outcome == "waiting"]
    if waiting:
        return None, "; ".join(one.message for one in waiting), findings
    return "advance", "; ".join(one.message for one in findings), findings


def _requests(canary_count: int, baseline_count: int, canary: Canary, elapsed_s: float) -> Finding:
    enough = min(canary_count, baseline_count) >= canary.min_requests and elapsed_s >= canary.bake_s
    message = f"{canary_count} requests of the candidate and {baseline_count} of the baseline"
    if not enough:
        message += f", waiting for {canary.min_requests} of each"
        message += f" and {canary.bake_s:g} s" if canary.bake_s else ""
    return Finding(
        guard="requests",
        outcome="fine" if enough else "waiting",
        message=message,
        canary_count=canary_count,
        baseline_count=baseline_count,
    )


def _errors(canary_side: pl.DataFrame, baseline_side: pl.DataFrame, canary: Canary, alpha: float) -> Finding:
    import polars as pl

    counts = [side.height for side in (canary_side, baseline_side)]
    failed = [side.filter(pl.col("status") == "error").height for side in (canary_side, baseline_side)]
    name, limit = "error rate", canary.max_error_rate_increase
    return _means("errors", name, [float(one) for one in failed], counts, limit, alpha)


def _means(
    guard: Literal["errors", "quality"], name: str, totals: list[float], counts: list[int], limit: float, alpha: float
) -> Finding:
    (low, high), (base_low, base_high) = (
        bounds_of_mean(total, count, alpha) for total, count in zip(totals, counts, strict=True)
    )
    value, base = (total / count if count else 0.0 for total, count in zip(totals, counts, strict=True))
    harm = low - base_high > limit
    outcome = "harm" if harm else "waiting" if all(counts) and value - base > limit else "fine"
    shown = f"{name} {value:.3g} against {base:.3g} of the baseline"
    sure = {
        "harm": f", surely more than {limit:g} above it",
        "waiting": f", more than {limit:g} above it but not surely",
        "fine": "",
    }
    return Finding(
        guard=guard,
        outcome=outcome,
        message=shown + sure[outcome],
        canary=value,
        canary_low=low,
        canary_high=high,
        baseline=base,
        baseline_low=base_low,
        baseline_high=base_high,
        canary_count=counts[0],
        baseline_count=counts[1],
    )


def _latency(canary_side: pl.DataFrame, baseline_side: pl.DataFrame, canary: Canary, alpha: float) -> Finding:
    import polars as pl

    sides = [side.filter(pl.col("status") == "ok")["latency_us"].cast(float) for side in (canary_side, baseline_side)]
    counts = [len(one) for one in sides]
    (low, high), (base_low, base_high) = (bounds_of_median(one.to_list(), alpha) for one in sides)
    value, base = (float(one.median() or 0.0) for one in sides)  # type: ignore[arg-type]
    limit = canary.max_latency_ratio
    harm = low > limit * base_high
    outcome = "harm" if harm else "waiting" if all(counts) and value > limit * base else "fine"
    message = f"median latency {value / 1000:.3g} ms against {base / 1000:.3g} ms of the baseline"
    if outcome != "fine":
        message += f", {'surely ' if harm else ''}more than {limit:g} times as long{'' if harm else ' but not surely'}"
    return Finding(
        guard="latency",
        outcome=outcome,
        message=message,
        canary=value,
        canary_low=_finite(low),
        canary_high=_finite(high),
        baseline=base,
        baseline_low=_finite(base_low),
        baseline_high=_finite(base_high),
        canary_count=counts[0],
        baseline_count=counts[1],
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quality(
    canary_side: pl.DataFrame, baseline_side: pl.DataFrame, labels: pl.DataFrame, canary: Canary, alpha: float
) -> Finding:
    name, losses = losses_of(canary_side, baseline_side, labels)
    counts = [len(one) for one in losses]
    if min(counts) < canary.min_labels:
        message = (
            f"{counts[0]} labels of the candidate and {counts[1]} of the baseline, waiting for {canary.min_labels}"
        )
        return Finding(
            guard="quality", outcome="waiting", message=message, canary_count=counts[0], baseline_count=counts[1]
        )
    if not all(counts):
        message = "no labels yet" if name else "labels are no classes, so quality is not judged here"
        return Finding(
            guard="quality", outcome="fine", message=message, canary_count=counts[0], baseline_count=counts[1]
        )
    return _means("quality", name, [math.fsum(one) for one in losses], counts, canary.max_quality_loss, alpha)


def losses_of(
    canary_side: pl.DataFrame, baseline_side: pl.DataFrame, labels: pl.DataFrame
) -> tuple[str, list[list[float]]]:
    """The loss of each labelled prediction of both sides, in [0, 1]: squared error of the probability where both sides
    give one (Brier 1950), else whether the answer was wrong. No name where the labels are measures, not classes."""
    import polars as pl

    truth = labels.filter(pl.col("label").is_not_null()).select("prediction_id", "label")
    joined = [side.join(truth, on="prediction_id", how="inner") for side in (canary_side, baseline_side)]
    if "probability" in canary_side.columns and "probability" in baseline_side.columns:
        given = [one.filter(pl.col("probability").is_between(0, 1)) for one in joined]
        if all(one.height or not whole.height for one, whole in zip(given, joined, strict=True)):
            return "Brier score", [
                [(p - t) ** 2 for p, t in zip(one["probability"].to_list(), _truth(one["label"]), strict=True)]
                for one in given
            ]
    answered = [one.filter(pl.col("prediction").is_not_null()) for one in joined if "prediction" in one.columns]
    if len(answered) < len(joined):
        return "share of wrong answers", [[], []]
    if any(one["label"].dtype.is_float() and one["prediction"].dtype.is_float() for one in answered):
        return "", [[], []]
    return "share of wrong answers", [
        [float(wrong) for wrong in (_text(one["label"]) != _text(one["prediction"])).to_list()] for one in answered
    ]


def _truth(label: pl.Series) -> list[float]:
    """1 for the positive class: true, a number above 0, or a text that says so."""
    import polars as pl

    if label.dtype == pl.Boolean or label.dtype.is_numeric():
        return [float(value > 0) for value in label.to_list()]
    return label.cast(pl.String).str.to_lowercase().is_in(["1", "1.0", "true", "yes"]).cast(float).to_list()


def _text(series: pl.Series) -> pl.Series:
    """Classes as text, where true, 1 and 1.0 are one."""
    import polars as pl

    plain = series.cast(pl.Float64) if series.dtype == pl.Boolean or series.dtype.is_numeric() else series
    return plain.cast(pl.String)
