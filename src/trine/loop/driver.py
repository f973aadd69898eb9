"""Driving a cycle: one state's work, then one compare-and-set move.

A driver may die at any line and another goes on, so each piece of work is done once however often it is begun: the
pipeline run has the cycle's own id and is resumed, a stored gate report on the same versions and rows is taken again, and
what changes production or traffic goes through the door with an idempotency key made of the cycle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from trine.errors import ApprovalRequired, Conflict, NoSpace, TrineError, Unavailable
from trine.loop import operations
from trine.loop.cycles import State, told
from trine.loop.promotion import fail, promote, roll, wait
from trine.loop.training import gate, start, train
from trine.loop.turns import Move, Turn, with_facts

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
        return Move("awaiting", with_facts(turn.facts, approval=held.details["approval"]))


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
