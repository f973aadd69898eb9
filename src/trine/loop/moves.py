"""The moves of a cycle: each does the work of one state and says where the cycle goes next.

A driver may die at any line and another goes on, so each piece of work is done once however often it is begun: the
pipeline run has the cycle's own id and is resumed, a stored gate report on the same versions and rows is taken again, and
what changes production or traffic goes through the door with an idempotency key made of the cycle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from trine.access.operations import get_approval
from trine.errors import (
    ApprovalRequired,
    CheckFailed,
    Conflict,
    Failure,
    InvalidInput,
    NoSpace,
    NotFound,
    TrineError,
    Unavailable,
)
from trine.loop import operations
from trine.loop.cycles import Cycle, Facts, Outcome, State, told
from trine.loop.definition import Candidate, Definition
from trine.operations import Operation, every, perform
from trine.workspace import Workspace, recording_uses

if TYPE_CHECKING:
    from trine.evaluation import GateReport

R = TypeVar("R")


class Turn(NamedTuple):
    """A cycle about to move: the workspace, the loop it belongs to, and the pipeline's code when it is at hand."""

    ws: Workspace
    loop: Definition
    cycle: Cycle
    pipeline: Any = None

    @property
    def facts(self) -> Facts:
        return self.cycle.facts

    def once(self, call: Callable[..., R], what: str, **values: Any) -> R:
        """Call an operation that is done once in this cycle: a repeat gets the first answer."""
        one: Operation = call.operation  # type: ignore[attr-defined]
        return perform(one, self.ws, values, idempotency_key=f"cycle-{self.cycle.id}-{what}")

    def production(self) -> str:
        """The version that the alias names now, as name@version, or nothing."""
        from trine import models

        try:
            return models.resolve(f"{self.loop.model}@{self.loop.alias}", ws=self.ws).ref
        except NotFound:
            return ""


class Move(NamedTuple):
    """Where a cycle goes, what it has come to, and when it ends how and with which words."""

    state: State
    facts: Facts
    outcome: Outcome = ""
    ending: str = ""


def start(turn: Turn) -> Move:
    """Fix what the pipeline reads: each dataset reference becomes its commit, so a resumed run reads the same."""
    from trine import data

    pinned = {name: data.resolve(ref, ws=turn.ws).ref for name, ref in turn.loop.data.items()}
    params = {**turn.loop.params, **pinned}
    return Move("training", _with(turn.facts, params=params, pipeline_run=turn.cycle.id))


def train(turn: Turn) -> Move | None:
    """Run the pipeline to its end, or go on with the run of this cycle that a driver before began."""
    from trine import pipelines

    code, run_id = turn.pipeline or turn.loop.pipeline, turn.facts.pipeline_run
    try:
        try:
            run = pipelines.get_pipeline_run(run_id, ws=turn.ws)
        except NotFound:
            with recording_uses(lambda _: None, turn.cycle.node):
                run = pipelines.run(code, turn.facts.params, run_id=run_id, ws=turn.ws)
        if run.state in ("running", "interrupted"):
            run = pipelines.resume(run_id, pipeline=turn.pipeline, ws=turn.ws)
    except Conflict:  # another driver is at it
        return None
    except Failure as error:
        if "run" not in error.details:
            raise
        run = pipelines.get_pipeline_run(run_id, ws=turn.ws)
    if run.state != "succeeded":
        why = f'step "{run.error.step}": {run.error.text}' if run.error else f"see trine pipeline show {run.id[:12]}"
        return Move("done", turn.facts, "failed", f"training {run.state}: {why}")
    if run.result is None:
        return Move("done", turn.facts, "kept", "the pipeline made no candidate")
    return Move("gating", _candidate(turn, run.result))


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
    return _with(turn.facts, candidate=version.ref, holdout=holdout, label=given.label)


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
    facts = _with(facts, baseline=baseline, gate=report.id, gate_outcome=report.outcome, gate_told=_told_report(report))
    if report.outcome != "pass":
        return Move("done", facts, "kept", _kept(facts))
    return Move("promoting", facts)


def _stored_report(turn: Turn, baseline: str) -> GateReport | None:
    """The newest report on just this: the same versions, rows and gate."""
    from trine.evaluation import operations as evaluation

    facts = turn.facts
    asked = (facts.candidate, baseline, facts.holdout, facts.label, turn.loop.gate)
    for one in every(evaluation.list_gates, turn.ws, model=facts.candidate):
        if (one.candidate, one.baseline, one.holdout, one.label, one.gate) == asked:
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


def promote(turn: Turn) -> Move | None:
    """Move the alias to the candidate, if it still points where the gate looked."""
    from trine.models import operations as models

    facts, now = turn.facts, turn.production()
    if now not in (facts.baseline, facts.candidate):
        return _gate_anew(facts)
    name, _, version = facts.candidate.partition("@")
    if now != facts.candidate:
        try:
            turn.once(
                models.promote_model,
                f"promote-{facts.gate}",
                name=name,
                alias=turn.loop.alias,
                version=int(version),
                expect=int(facts.baseline.partition("@")[2] or 0),
                reason=turn.cycle.reason,
                gate=facts.gate,
            )
        except CheckFailed:
            raise
        except Conflict:  # production moved just now: the next tick sees where
            return None
    facts = _with(facts, promoted=True)
    return Move("rolling", facts) if turn.loop.endpoint else Move("done", facts, "promoted", "promoted")


def wait(turn: Turn) -> Move | None:
    """Go on with what was held when it is approved or production has changed, end when it is rejected."""
    facts = turn.facts
    back: State = "rolling" if facts.promoted else "promoting"
    if turn.production() != (facts.candidate if facts.promoted else facts.baseline):
        return Move(back, facts)
    asked = get_approval(turn.ws, id=facts.approval)
    if asked.state == "pending":
        return None
    if asked.state != "rejected":
        return Move(back, facts)
    told = f"rejected by {', '.join(asked.decided_by)}" + (f" ({asked.reason})" if asked.reason else "")
    if not facts.promoted:
        return Move("done", facts, "rejected", f"{told}; {_kept(facts)}")
    if asked.operation in ("models.rollback_alias", "models.remove_alias"):
        return Move("done", facts, "rejected", f"going back was {told}; production stays {facts.candidate}")
    return Move("done", facts, "rejected", f"serving it was {told}; {_take_back(turn, told)}")


def roll(turn: Turn) -> Move | None:
    """Take the promoted version to the endpoint's traffic."""
    if turn.facts.rollout:
        return _watch(turn)
    if turn.production() != turn.facts.candidate:
        return Move("done", turn.facts, "rolled_back", f"promoted, but production was moved: {_take_back(turn, '')}")
    return _begin(turn)


def _begin(turn: Turn) -> Move | None:
    """The first step of a canary; without one, or where nothing was served, all of the traffic at once."""
    from trine.serving import Variant
    from trine.serving import operations as serving

    loop, facts = turn.loop, turn.facts
    served = Move("done", facts, "promoted", f"promoted, endpoint {loop.endpoint} serves it")
    try:
        route = serving.get_endpoint(turn.ws, name=loop.endpoint).route
    except NotFound:
        turn.once(serving.create_endpoint, "endpoint", name=loop.endpoint, model=facts.candidate)
        return served
    if route and [one.model for one in route.live] == [facts.candidate]:
        return served
    if loop.rollout is None:
        variants = [Variant("main", facts.candidate)]
        turn.once(serving.set_route, "route", name=loop.endpoint, variants=variants, reason=turn.cycle.reason)
        return served
    try:
        rollout = turn.once(
            serving.start_rollout,
            "rollout",
            endpoint=loop.endpoint,
            model=facts.candidate,
            canary=loop.rollout,
            reason=turn.cycle.reason,
            producer=turn.cycle.node,
        )
    except Conflict as error:
        if "rollout" in error.details:  # somebody else's rollout is on its way: wait for its end
            return None
        raise
    return Move("rolling", _with(facts, rollout=rollout.id))


def _watch(turn: Turn) -> Move | None:
    """Judge the canary's step, and follow where the rollout went; when it went back, the alias goes back too."""
    from trine import serving
    from trine.serving.rollouts import steps_of

    facts = turn.facts
    rollout = serving.advance_rollout(facts.rollout, ws=turn.ws)
    if rollout.state == "running":
        if turn.production() == facts.candidate:
            return None
        rollout = serving.abort_rollout(facts.rollout, reason="production was moved meanwhile", ws=turn.ws)
    steps = steps_of(rollout.canary)
    if rollout.state == "promoted":
        if len(rollout.moves) == 1:
            return Move("done", facts, "promoted", f"promoted, endpoint {rollout.endpoint} serves it")
        return Move("done", facts, "promoted", f"promoted through canary {'→'.join(map(str, steps))} %")
    verb = "rolled back from" if rollout.state == "rolled_back" else "aborted"
    told = f"{verb} canary at {steps[rollout.step]} %: {rollout.reason}"
    return Move("done", facts, "rolled_back", f"{told}; {_take_back(turn, told)}")


def _take_back(turn: Turn, reason: str) -> str:
    """Put what was in production before back there, unless somebody has moved it, and say what is there now."""
    from trine.models import operations as models

    if turn.production() == turn.facts.candidate:
        back = models.rollback_alias if turn.facts.baseline else models.remove_alias
        turn.once(back, "back", name=turn.loop.model, alias=turn.loop.alias, reason=reason)
    return f"production is {turn.production() or 'nothing'}"


def fail(turn: Turn, told: str) -> Move:
    """End a cycle that cannot go on; a version that was promoted but did not reach traffic is taken back."""
    from trine import serving

    facts = turn.facts
    if facts.rollout and serving.get_rollout(facts.rollout, ws=turn.ws).state == "running":
        serving.abort_rollout(facts.rollout, reason=told, ws=turn.ws)
    again = f"; {_take_back(turn, told)}" if facts.promoted else ""
    return Move("done", facts, "failed", told + again)


def _gate_anew(facts: Facts) -> Move:
    """Production is not what the gate compared with any more."""
    return Move("gating", _with(facts, baseline="", gate="", gate_outcome="", gate_told="", approval=""))


def _kept(facts: Facts) -> str:
    return f"kept {facts.baseline}" if facts.baseline else "nothing was promoted"


def _with(facts: Facts, **changes: Any) -> Facts:
    return msgspec.structs.replace(facts, **changes)


_MOVES: dict[State, Callable[[Turn], Move | None]] = {
    "triggered": start,
    "training": train,
    "gating": gate,
    "promoting": promote,
    "awaiting": wait,
    "rolling": roll,
}
"""What is done in each state. A move that has to wait (for an approval, for traffic) gives None."""


def drive(turn: Turn) -> bool:
    """Take a cycle one state further; False when it has to wait. What goes wrong for good ends the cycle as failed."""
    cycle = turn.cycle
    move = _work(turn)
    if move is None:
        return False
    with contextlib.suppress(Conflict):  # another driver has moved it
        operations.move_cycle(
            turn.ws,
            cycle_id=cycle.id,
            epoch=cycle.epoch,
            state=move.state,
            facts=move.facts,
            outcome=move.outcome,
            reason=told(cycle.trigger, move.facts, move.ending),
        )
    return True


def _work(turn: Turn) -> Move | None:
    try:
        return _attempt(turn)
    except ApprovalRequired as held:  # of the promotion, the rollout, or the way back
        return Move("awaiting", _with(turn.facts, approval=held.details["approval"]))


def _attempt(turn: Turn) -> Move | None:
    state = turn.cycle.state
    try:
        return _MOVES[state](turn)
    except (Unavailable, NoSpace):  # a cycle outlives these: the next tick tries again
        raise
    except Exception as error:
        if isinstance(error, ApprovalRequired) and state in ("promoting", "awaiting", "rolling"):
            raise
        message = error.message if isinstance(error, TrineError) else f"{type(error).__name__}: {error}"
        return fail(turn, f"{state} failed: {message}")
