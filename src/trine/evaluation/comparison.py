"""Comparing a candidate with the baseline through a gate: both asked now, about the same rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trine.distributions import normal_quantile
from trine.errors import InvalidInput, nearest
from trine.evaluation import operations as door
from trine.evaluation.gate import Gate, GateReport, Outcome, SliceReport
from trine.evaluation.metrics import Metric, Scored, metric_of
from trine.evaluation.paired import Paired, holm, paired
from trine.evaluation.scoring import base_rate, labelled, score
from trine.evaluation.slices import Slice, slices_of
from trine.models.loading import load_model, resolve
from trine.workspace import Workspace, active_producer, current_workspace, record_use

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

MIN_GROUPS = 10
"""Fewer groups say too little about their spread."""


def compare(
    candidate: str,
    baseline: str | None,
    rows: Any,
    *,
    label: str,
    gate: Gate | None = None,
    allow_pickle: bool = False,
    record: bool = True,
    ws: Workspace | None = None,
) -> GateReport:
    """Judge the version `candidate` against the version `baseline` on labelled rows, and keep the report.

    `rows` is a dataset reference (`name@ref`) or a frame; it holds both models' inputs, the label, the gate's slices and groups. Rows
    without a label are left out and counted. `baseline` None (there is no production yet) compares with the best constant answer
    to these rows. Both models are asked now; no old figure counts.

    The report on a dataset is binding: it is worked out behind the door (by the server, when there is one). One on a frame is kept,
    and opens no protected alias.
    """
    ws = ws or current_workspace()
    gate = gate or Gate()
    if not record or not isinstance(rows, str):
        report = judged(candidate, baseline, rows, label=label, gate=gate, allow_pickle=allow_pickle, ws=ws)
        if not record:
            return report
        body = ws.store.put(msgspec.json.encode(report))
        return door.record_gate(ws, body=body, producer=active_producer())
    from trine import data

    commit = data.resolve(rows, ws=ws)
    new, old = resolve(candidate, ws=ws), resolve(baseline, ws=ws) if baseline else None
    report = door.judge_gate(
        ws,
        candidate=new.ref,
        baseline=old.ref if old else "",
        holdout=commit.ref,
        label=label,
        gate=gate,
        allow_pickle=allow_pickle,
        producer=active_producer(),
    )
    for node in (new.node, *([old.node] if old else []), commit.node):
        record_use(node)
    return report


def judged(
    candidate: str, baseline: str | None, rows: Any, *, label: str, gate: Gate, allow_pickle: bool, ws: Workspace
) -> GateReport:
    """What `compare` says, kept nowhere."""
    holdout, frame = rows_of(rows, ws)
    frame, unlabelled = labelled(frame, label)
    metric = metric_of(gate.metric)
    model = load_model(candidate, allow_pickle=allow_pickle, ws=ws)
    new = score(model, frame, label, as_classes=metric.needs != "numbers")
    seen = [model.version]
    if baseline is None:
        other, old = "", base_rate(new, metric.name)
    else:
        before = load_model(baseline, allow_pickle=allow_pickle, ws=ws)
        other = before.version.ref
        seen.append(before.version)
        old = score(before, frame, label, as_classes=metric.needs != "numbers", classes=new.classes)
    metric.check(new)
    metric.check(old)
    found = _judge(metric, gate, new, old, frame, (model.version.ref, other))
    return _distrust(
        msgspec.structs.replace(found, holdout=holdout, label=label, unlabelled=unlabelled),
        {one.ref for one in seen if holdout and one.data == f"dataset:{holdout}"},
    )


def _distrust(report: GateReport, trained_here: set[str]) -> GateReport:
    """The report with a note for each model that was trained on the holdout itself: such a candidate cannot pass."""
    notes = tuple(
        f"{ref} was trained on {report.holdout}, these very rows, which flatters it." for ref in sorted(trained_here)
    )
    report = msgspec.structs.replace(report, notes=notes)
    if report.candidate not in trained_here or not report.passed:
        return report
    reason = (
        f"{report.candidate} was trained on {report.holdout}, so doing well there shows nothing. "
        "Judge it on rows that it has not seen (or register it with data=, when it was trained on other rows)."
    )
    return msgspec.structs.replace(report, outcome="inconclusive", reason=reason)


def rows_of(rows: Any, ws: Workspace) -> tuple[str, Any]:
    """The exact reference of a dataset's rows and the rows; of a frame, nothing and the frame itself."""
    if not isinstance(rows, str):
        return "", rows
    from trine import data

    ref = data.resolve(rows, ws=ws).ref
    return ref, data.load(ref, ws=ws).collect()


def _judge(
    metric: Metric, gate: Gate, new: Scored, old: Scored, frame: pl.DataFrame, refs: tuple[str, str]
) -> GateReport:
    groups = group_codes(frame, gate.groups)
    found = paired(metric, new, old, margin=gate.margin, confidence=gate.confidence, groups=groups, seed=gate.seed)
    slices = _judge_slices(metric, gate, new, old, slices_of(frame, gate.slices), groups)
    count = None if groups is None else int(groups.max()) + 1
    outcome, reason = _outcome(metric, gate, found, slices, len(new), count, refs)
    return GateReport(
        candidate=refs[0],
        baseline=refs[1],
        holdout="",
        label="",
        gate=gate,
        outcome=outcome,
        reason=reason,
        metric=metric.name,
        rows=len(new),
        unlabelled=0,
        groups=count,
        method=found.method if found else "",
        candidate_value=_finite(metric.value(new)),
        baseline_value=_finite(metric.value(old)),
        difference=found.difference if found else None,
        low=_finite(found.low) if found else None,
        high=_finite(found.high) if found else None,
        p=found.p_above if found else None,
        slices=slices,
    )


def group_codes(frame: pl.DataFrame, column: str) -> NDArray[np.int64] | None:
    """The rows' groups as numbers from 0; missing values are a group of their own."""
    if not column:
        return None
    if column not in frame.columns:
        raise InvalidInput(
            f'The rows have no column "{column}" of groups.{nearest(column, frame.columns)}', column=column
        )
    import numpy as np

    ranks = frame[column].rank("dense").fill_null(0).to_numpy()
    return np.unique(ranks, return_inverse=True)[1]


def _judge_slices(
    metric: Metric, gate: Gate, new: Scored, old: Scored, slices: list[Slice], groups: NDArray[np.int64] | None
) -> tuple[SliceReport, ...]:
    """Non-inferiority on every slice: shown to hold, shown to be worse, or neither; corrected together (Holm)."""
    import numpy as np

    reports: list[SliceReport] = []
    found: dict[int, Paired] = {}
    for one in slices:
        rows = int(one.rows.sum())
        blank = SliceReport(one.column, one.value, rows, "too small")
        if rows < max(gate.min_slice_rows, 2):
            reports.append(blank)
            continue
        a, b = new.take(one.rows), old.take(one.rows)
        values = _finite(metric.value(a)), _finite(metric.value(b))
        allowed = gate.slice_margin
        if allowed is None:
            allowed = 0.05 * abs(values[1] or 0.0) if metric.loss else 0.02
        inner = None if groups is None else np.unique(groups[one.rows], return_inverse=True)[1]
        result = paired(metric, a, b, margin=-allowed, confidence=gate.confidence, groups=inner, seed=gate.seed)
        if result is None:
            reports.append(msgspec.structs.replace(blank, outcome="undefined", candidate=values[0], baseline=values[1]))
            continue
        found[len(reports)] = result
        reports.append(
            SliceReport(
                one.column, one.value, rows, "unsure", values[0], values[1],
                result.difference, _finite(result.low), _finite(result.high),
            )
        )  # fmt: skip
    holds = holm([one.p_above for one in found.values()])
    worse = holm([one.p_below for one in found.values()])
    for index, held, harmed in zip(found, holds, worse, strict=True):
        outcome: Literal["held", "worse", "unsure"] = "unsure"
        if held < 1 - gate.confidence:
            outcome = "held"
        elif harmed < 1 - gate.confidence:
            outcome = "worse"
        reports[index] = msgspec.structs.replace(reports[index], outcome=outcome, p=held)
    return tuple(reports)


def _outcome(
    metric: Metric,
    gate: Gate,
    found: Paired | None,
    slices: tuple[SliceReport, ...],
    rows: int,
    groups: int | None,
    refs: tuple[str, str],
) -> tuple[Outcome, str]:
    """The verdict and the sentence that tells it."""
    candidate, baseline = refs[0], refs[1] or "the base rate"
    if rows < gate.min_rows:
        return "inconclusive", f"{rows} labelled rows are fewer than the {gate.min_rows} that the gate asks for."
    if groups is not None and groups < MIN_GROUPS:
        return "inconclusive", f'{groups} groups of "{gate.groups}" are too few to judge by: it takes {MIN_GROUPS}.'
    if found is None:
        return "inconclusive", f"{metric.name} is undefined on these rows: they hold one class only."
    sure = f"{gate.confidence * 100:.4g} % confidence"
    gap = f"{metric.name} {_signed(found.difference)} on the same {rows:,} rows"
    if found.error == 0 and found.difference == 0:
        return (
            "inconclusive",
            f"{candidate} and {baseline} do equally well on every row: {metric.name} is the same on {rows:,} rows.",
        )
    beyond = f"the margin {_signed(gate.margin)}" if gate.margin else "0"
    broken = [one for one in slices if one.outcome == "worse"]
    unsure = [one for one in slices if one.outcome == "unsure"]
    if found.p_below < 1 - gate.confidence:
        return (
            "fail",
            f"{candidate} is not good enough against {baseline}: {gap}, at most {_signed(found.high)} with {sure}.",
        )
    if broken:
        return "fail", f"{candidate} is worse than {baseline} where {_named(broken)}: {_slice_gap(broken[0])}."
    if found.p_above >= 1 - gate.confidence:
        return "inconclusive", (
            f"{candidate} and {baseline} are too close to call: {gap}, between {_signed(found.low)} and {_signed(found.high)}, "
            f"and it takes more than {beyond}.{_rows_needed(gate, found, rows)}"
        )
    if unsure:
        return "inconclusive", (
            f"{candidate} is better than {baseline} overall ({gap}), but it is not shown that it holds where "
            f"{_named(unsure)}: {_slice_gap(unsure[0])}."
        )
    held = sum(one.outcome == "held" for one in slices)
    kept = f"; it holds on {held} slice{'s' if held != 1 else ''}" if held else ""
    return "pass", f"{candidate} is better than {baseline}: {gap}, at least {_signed(found.low)} with {sure}{kept}."


def _rows_needed(gate: Gate, found: Paired, rows: int) -> str:
    """About how many rows would show a difference of this size four times out of five."""
    gap = found.difference - gate.margin
    if not found.error or gap <= 0:
        return ""
    needed = rows * ((normal_quantile(gate.confidence) + 0.8416) * found.error / gap) ** 2
    if not math.isfinite(needed) or needed > 1e9 or needed <= rows:
        return ""
    digits = 10 ** (len(str(int(needed))) - 2)
    return f" A true difference of this size would show on about {math.ceil(needed / digits) * digits:,} rows."


def _named(slices: list[SliceReport]) -> str:
    return ", ".join(f"{one.column} is {one.value}" for one in slices[:3]) + (" …" if len(slices) > 3 else "")


def _slice_gap(one: SliceReport) -> str:
    assert one.difference is not None
    bounds = "" if one.low is None or one.high is None else f", between {_signed(one.low)} and {_signed(one.high)}"
    return f"{_signed(one.difference)} on {one.rows:,} rows{bounds}"


def _signed(value: float) -> str:
    return f"{value:+.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
