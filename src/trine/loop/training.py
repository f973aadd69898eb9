"""From a trigger to a verdict: the pipeline makes a candidate, and the gate compares it with production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import Conflict, Failure, InvalidInput, NotFound
from trine.loop.cycles import Facts
from trine.loop.definition import Candidate
from trine.loop.turns import Move, Turn, kept, with_facts
from trine.operations import every
from trine.workspace import recording_uses

if TYPE_CHECKING:
    from trine.evaluation import GateReport
    from trine.pipelines import PipelineRun


def start(turn: Turn) -> Move:
    """Fix what the pipeline reads: each dataset reference becomes its commit, so a resumed run reads the same."""
    from trine import data

    pinned = {name: data.resolve(ref, ws=turn.ws).ref for name, ref in turn.loop.data.items()}
    params = {**turn.loop.params, **pinned}
    return Move("training", with_facts(turn.facts, params=params, pipeline_run=turn.cycle.id))


def train(turn: Turn) -> Move | None:
    """Run the pipeline to its end, or go on with the run of this cycle that a driver before began."""
    from trine import pipelines

    code, run_id = turn.pipeline or turn.loop.pipeline, turn.facts.pipeline_run
    run = _begun(turn)
    try:
        if run is None:
            with recording_uses(lambda _: None, turn.cycle.node):
                run = pipelines.run(code, turn.facts.params, run_id=run_id, ws=turn.ws)
        elif run.state in ("running", "interrupted"):
            run = pipelines.resume(run_id, pipeline=turn.pipeline, ws=turn.ws)
    except Conflict:
        if _begun(turn) is None:
            raise
        return None  # another driver is at it
    except Failure:
        run = _begun(turn)
        if run is None or run.state not in ("failed", "cancelled"):
            raise
    if run.state != "succeeded":
        why = f'step "{run.error.step}": {run.error.text}' if run.error else f"see trine pipeline show {run.id[:12]}"
        return Move("done", turn.facts, "failed", f"training {run.state}: {why}")
    if run.result is None:
        return Move("done", turn.facts, "kept", "the pipeline made no candidate")
    return Move("gating", _candidate(turn, run.result))


def _begun(turn: Turn) -> PipelineRun | None:
    """The cycle's pipeline run, when a driver has begun it."""
    from trine import pipelines

    try:
        return pipelines.get_pipeline_run(turn.facts.pipeline_run, ws=turn.ws)
    except NotFound:
        return None


def _candidate(turn: Turn, result: Any) -> Facts:
    """What a pipeline gave: version and holdout as they are now, so that later moves see the same."""
    from trine import data, models

    try:
        given = msgspec.convert(result, Candidate, from_attributes=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"Pipeline {turn.loop.pipeline} has to return trine.loop.Candidate(model, holdout, label): {error}."
        ) from None
    version = models.resolve(given.model, ws=turn.ws)
    if version.name != turn.loop.model:
        raise InvalidInput(f'The candidate is {version.ref}, and loop "{turn.loop.name}" is for {turn.loop.model}.')
    holdout = data.resolve(given.holdout, ws=turn.ws).ref
    return with_facts(turn.facts, candidate=version.ref, holdout=holdout, label=given.label)


def gate(turn: Turn) -> Move:
    """Compare the candidate with what is in production now; a report that is stored already is taken as it is."""
    from trine import evaluation

    facts, baseline = turn.facts, turn.production()
    if baseline == facts.candidate:
        return Move("done", facts, "kept", f"{baseline} is in production already")
    report = _stored_report(turn, baseline)
    if report is None:
        with recording_uses(lambda _: None, turn.cycle.node):
            report = evaluation.compare(
                facts.candidate,
                baseline or None,
                facts.holdout,
                label=facts.label,
                gate=turn.loop.gate,
                allow_pickle=turn.loop.allow_pickle,
                ws=turn.ws,
            )
    facts = with_facts(
        facts, baseline=baseline, gate=report.id, gate_outcome=report.outcome, gate_told=_told_report(report)
    )
    if report.outcome != "pass":
        return Move("done", facts, "kept", kept(facts))
    return Move("promoting", facts)


def _stored_report(turn: Turn, baseline: str) -> GateReport | None:
    """The newest report on just this: the same versions, rows and gate."""
    from trine.evaluation import operations as evaluation

    facts = turn.facts
    asked = (facts.candidate, baseline, facts.holdout, facts.label, turn.loop.gate)
    for one in every(evaluation.list_gates, turn.ws, model=facts.candidate):
        if one.binding and (one.candidate, one.baseline, one.holdout, one.label, one.gate) == asked:
            return one
    return None


def _told_report(report: GateReport) -> str:
    """`roc_auc +0.021 [0.012, 0.030]`, with the slices that spoke against it."""
    if report.difference is None or report.low is None or report.high is None:
        return report.reason.rstrip(".")
    told = f"{report.metric} {report.difference:+.3f} [{report.low:.3f}, {report.high:.3f}]"
    against = "" if report.baseline else " against the base rate"
    worse = [f"{one.column} is {one.value}" for one in report.slices if one.outcome == "worse"]
    unsure = [f"{one.column} is {one.value}" for one in report.slices if one.outcome == "unsure"]
    if report.outcome == "fail" and worse:
        return f"{told}{against}, worse where {', '.join(worse[:3])}"
    if report.outcome == "inconclusive" and report.low > report.gate.margin and unsure:
        return f"{told}{against}, not shown where {', '.join(unsure[:3])}"
    return told + against
