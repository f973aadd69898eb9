"""What a gate asks, and the report of what it found."""

from __future__ import annotations

from typing import Literal

import msgspec

from trine.errors import InvalidInput
from trine.evaluation.metrics import metric_of

Outcome = Literal["pass", "fail", "inconclusive"]


class Gate(msgspec.Struct, frozen=True):
    """The test a candidate must pass against the baseline, on the same rows, before it may be promoted.

    It passes when `metric` is better by more than `margin` (in the metric's unit) with `confidence`, and on every slice is no worse
    than `slice_margin`. `slices` are `column` or `column:bins`; `groups` names the column of what belongs together (a customer, a
    day), which then counts as one observation. Fewer than `min_rows` rows are never enough; slices of fewer than
    `min_slice_rows` are shown and not judged. `slice_margin` None means 0.02, or for losses 5 % of the baseline's.
    """

    metric: str = "roc_auc"
    margin: float = 0.0
    slices: tuple[str, ...] = ()
    groups: str = ""
    confidence: float = 0.95
    slice_margin: float | None = None
    min_rows: int = 100
    min_slice_rows: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        metric_of(self.metric)
        if not 0.5 <= self.confidence < 1:
            raise InvalidInput(f"A gate's confidence is at least 0.5 and less than 1, not {self.confidence}.")
        if self.slice_margin is not None and not self.slice_margin >= 0:
            raise InvalidInput(
                f"A gate's slice_margin, how much worse a slice may be, is not negative: {self.slice_margin}."
            )
        if not abs(self.margin) < float("inf"):
            raise InvalidInput(f"A gate's margin is a number in the unit of {self.metric}, not {self.margin}.")


class SliceReport(msgspec.Struct, frozen=True):
    """One slice: both values, the difference (positive: better) with one-sided bounds, and whether it held.

    `p` is the chance to see this if the slice were worse than allowed, corrected for the number of slices (Holm).
    """

    column: str
    value: str
    rows: int
    outcome: Literal["held", "worse", "unsure", "too small", "undefined"]
    candidate: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


class GateReport(msgspec.Struct, frozen=True):
    """What a gate found. `difference` is positive when the candidate is better, whichever way the metric counts.

    `low` and `high` bound it, each with the gate's confidence; `p` is the chance of such a difference were the truth not above the
    margin. `baseline` empty: compared with the best constant answer. `holdout` empty: rows that are no dataset commit. `notes` say
    what weakens the finding. A candidate that was trained on the holdout itself never passes.
    """

    candidate: str
    baseline: str
    holdout: str
    label: str
    gate: Gate
    outcome: Outcome
    reason: str
    metric: str
    rows: int
    unlabelled: int
    groups: int | None
    method: str
    candidate_value: float | None
    baseline_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    slices: tuple[SliceReport, ...] = ()
    notes: tuple[str, ...] = ()
    id: str = ""
    author: str = ""
    created_us: int = 0

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"gate:{self.id}"

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"

    @property
    def binding(self) -> bool:
        """Whether it may open an alias: the door itself asked both models about a dataset commit, and nobody told it the figures."""
        return bool(self.holdout)
