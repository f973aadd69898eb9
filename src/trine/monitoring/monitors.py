"""A monitor: a standing question about an endpoint's predictions or a dataset, and how its answer is judged."""

from __future__ import annotations

import math
import re
from typing import Literal

import msgspec

from trine.errors import InvalidInput, nearest
from trine.models.names import NAME
from trine.monitoring.alerts import AlertRule
from trine.monitoring.channels import check_channel

_DAY_S = 86_400

Correction = Literal["benjamini-hochberg", "benjamini-yekutieli", "holm"]


HIGHER_IS_BETTER = {
    "accuracy": True,
    "roc_auc": True,
    "brier": False,
    "log_loss": False,
    "ece": False,
    "mae": False,
    "rmse": False,
}
"""The metrics that are known, and which way is good."""


class BaselineMetric(msgspec.Struct, frozen=True):
    """A metric as measured when the model was accepted, with its standard error (0: taken as exact)."""

    value: float
    error: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and 0 <= self.error < math.inf):
            raise InvalidInput("A baseline metric has a finite value and a standard error that is not negative.")


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """When a column has moved. `false_alarm_rate` holds for the whole table and all its tests of one window together;
    the others are the smallest effects worth telling; `least_rows` is the smallest effective sample (a careful value
    of it) that is judged: five independent rows can show that all is different, and nothing less."""

    false_alarm_rate: float = 0.02
    correction: Correction = "benjamini-hochberg"
    distance: float = 0.03
    variation: float = 0.04
    missing_share: float = 0.02
    unseen_share: float = 0.001
    range_share: float = 0.001
    least_rows: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 1:
            raise InvalidInput(f"false_alarm_rate is {self.false_alarm_rate:g}; it must lie between 0 and 1.")
        for name in ("distance", "variation", "missing_share", "unseen_share", "range_share"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise InvalidInput(f"Threshold {name} is {value:g}; it must lie in (0, 1].")
        if self.least_rows < 2:
            raise InvalidInput("least_rows must be at least 2.")


class Monitor(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor as it was defined.

    `subject` is `endpoint:NAME` (its prediction log) or `dataset:NAME@REF`. `reference` is `dataset:NAME@REF` (the
    profile of that commit), or `model:NAME@REF` (that of the data the version was trained on); an alias or branch is
    looked up at each check. `columns` limits what is compared; times and ids are left out unless named there.
    `ranges` are declared limits [low, high] by column, null for none. `baseline` holds metrics of the accepted model.
    """

    name: str
    subject: str
    reference: str
    columns: list[str] = []
    thresholds: Thresholds = Thresholds()
    rule: AlertRule = AlertRule()
    window_s: int = _DAY_S
    time_column: str = ""
    score: str = ""
    predicted: str = ""
    positive: str = ""
    baseline: dict[str, BaselineMetric] = {}
    tolerances: dict[str, float] = {}
    ranges: dict[str, list[float | None]] = {}
    channels: list[str] = []
    description: str = ""
    created_us: int = 0

    @property
    def node(self) -> str:
        return f"monitor:{self.name}"

    @property
    def subject_kind(self) -> str:
        return self.subject.partition(":")[0]

    @property
    def subject_name(self) -> str:
        return self.subject.partition(":")[2]


def checked(monitor: Monitor) -> Monitor:
    """The monitor, if it can be asked. Raises InvalidInput naming what cannot be."""
    _node(monitor.subject, ("endpoint", "dataset"), "subject")
    _node(monitor.reference, ("dataset", "model"), "reference")
    if monitor.window_s < 1:
        raise InvalidInput("window_s must be at least one second.")
    for metric in (*monitor.baseline, *monitor.tolerances):
        if metric not in HIGHER_IS_BETTER:
            raise InvalidInput(
                f'"{metric}" is no metric of a monitor.{nearest(metric, HIGHER_IS_BETTER)} '
                f"It has: {', '.join(HIGHER_IS_BETTER)}."
            )
    for metric, value in monitor.tolerances.items():
        if not 0 <= value < math.inf:
            raise InvalidInput(f"The tolerance of {metric} is {value:g}; it must be finite and not negative.")
    for column, limits in monitor.ranges.items():
        given = [limit for limit in limits if limit is not None]
        if len(limits) != 2 or sorted(given) != given or not all(map(math.isfinite, given)):
            raise InvalidInput(f'The range of column "{column}" must be [low, high], null for no limit.')
    for name in monitor.channels:
        check_channel(name)
    return monitor


def _node(ref: str, kinds: tuple[str, ...], what: str) -> None:
    kind, _, name = ref.partition(":")
    plain = NAME if kind == "model" else r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
    if kind not in kinds or not re.fullmatch(rf"{plain}(@[A-Za-z0-9_.\-/]+)?", name):
        forms = " or ".join(f"{one}:NAME" for one in kinds)
        raise InvalidInput(f'"{ref}" is no {what} of a monitor: write {forms}.')
