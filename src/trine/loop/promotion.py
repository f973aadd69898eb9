"""From a passed gate to traffic, and back when it must not stay: alias, approval, endpoint."""

from __future__ import annotations

from trine.access.operations import get_approval
from trine.errors import CheckFailed, Conflict, NotFound
from trine.loop.cycles import Facts, State
from trine.loop.turns import Move, Turn, kept, with_facts


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
    facts = with_facts(facts, promoted=True)
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
        return Move("done", facts, "rejected", f"{told}; {kept(facts)}")
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
    from trine.serving import Variant, moves
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
            moves.start_rollout,
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
    return Move("rolling", with_facts(facts, rollout=rollout.id))


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
    return Move("gating", with_facts(facts, baseline="", gate="", gate_outcome="", gate_told="", approval=""))
