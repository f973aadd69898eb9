"""`Loop(…)`: a loop as its user writes it, and the drive that turns it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trine.errors import Conflict, InvalidInput, NoSpace, NotFound, Unavailable, nearest
from trine.evaluation.gate import Gate
from trine.loop import operations as door
from trine.loop.cycles import Cycle
from trine.loop.definition import Definition, LoopInfo
from trine.loop.driver import drive
from trine.loop.triggers import Trigger
from trine.loop.turns import Turn
from trine.serving.rollouts import Canary
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    from trine.pipelines import Pipeline

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often a driver looks for what other processes did."""


class Loop:
    """Continuous training of one model: triggers start the pipeline, its candidate goes through the gate, and what passes
    is promoted (when a policy holds that: after approval) and takes over the endpoint's traffic step by step.

        loop = Loop("delays", model="delays", pipeline=train, data={"flights": "flights"},
                    triggers=[OnVerdict("delays-drift"), Schedule("0 3 * * 1", "America/New_York")],
                    gate=Gate("roc_auc"), endpoint="delays", rollout=Canary(steps=(10, 50, 100)))
        loop.save()

    The pipeline returns `Candidate(model="delays@3", holdout="holdout@main", label="late")`, or None for no candidate.
    `data` are dataset references by pipeline parameter, pinned to their commits when a cycle starts; `params` are the
    pipeline's other parameters. `cooldown_s` is the least time between the end of a cycle and the start of the next.
    `allow_pickle` lets the gate load versions that are kept as a pickle, which runs code from their files.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str,
        pipeline: Pipeline[..., Any] | str,
        triggers: Sequence[Trigger] = (),
        gate: Gate | None = None,
        endpoint: str = "",
        rollout: Canary | None = None,
        alias: str = "production",
        cooldown_s: int = 0,
        data: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        allow_pickle: bool = False,
    ) -> None:
        self.name = name
        self.pipeline = pipeline
        self.definition = Definition(
            name=name,
            model=model,
            pipeline=_entry(pipeline),
            alias=alias,
            triggers=tuple(triggers),
            gate=gate or Gate(),
            endpoint=endpoint,
            rollout=rollout,
            cooldown_s=cooldown_s,
            data=dict(data or {}),
            params=dict(params or {}),
            allow_pickle=allow_pickle,
        )
        self._seen = 0

    def __repr__(self) -> str:
        return f"<Loop {self.name}>"

    def save(self, *, ws: Workspace | None = None) -> LoopInfo:
        """Keep the definition in the workspace. A new loop reacts to what happens from then on."""
        ws = ws or current_workspace()
        try:
            known = door.get_loop(ws, name=self.name)
            if known.definition == self.definition:
                return known
        except NotFound:
            pass
        return door.put_loop(ws, name=self.name, definition=self.definition)

    def trigger(self, reason: str = "", *, ws: Workspace | None = None) -> None:
        """Ask for a cycle: it starts at the next tick, or after the one that is open."""
        door.trigger_loop(ws or current_workspace(), name=self.name, reason=reason)

    def cycles(self, *, limit: int = 100, ws: Workspace | None = None) -> list[Cycle]:
        """Cycles, newest first."""
        return door.list_cycles(ws or current_workspace(), name=self.name, limit=limit).items

    def cycle(self, *, ws: Workspace | None = None) -> Cycle | None:
        """The cycle that is open, or None."""
        found = door.list_cycles(ws or current_workspace(), name=self.name, open_only=True, limit=1).items
        return found[0] if found else None

    def tick(self, *, ws: Workspace | None = None) -> bool:
        """One move: judge the triggers and start a cycle, or take the open one a state further.

        False when there is nothing to do now: nothing fired, or the cycle waits for an approval or for traffic. Several
        drivers may tick one loop, and one that died is no harm: what it began is finished, and nothing is done twice.
        """
        ws = ws or current_workspace()
        opened = self.cycle(ws=ws)
        if opened is not None:
            return drive(Turn(ws, self.definition, opened, self.pipeline))
        due = door.get_due(ws, name=self.name, after=self._seen)
        if not due.triggers:
            self._seen = due.seen
        if due.blocked or not due.triggers:
            return False
        try:
            door.start_cycle(ws, name=self.name)
        except Conflict:  # another driver was faster
            return True
        return True

    def run_until_done(self, timeout_s: float = 600.0, *, ws: Workspace | None = None) -> Cycle | None:
        """Drive the open cycle, or the one that what fired starts, to its end, and give it; None when nothing fired.

        A cycle that waits (for an approval, for traffic) is given as it stands after `timeout_s`.
        """
        ws = ws or current_workspace()
        deadline = time.monotonic() + timeout_s
        cycle = self.cycle(ws=ws)
        while True:
            moved = self.tick(ws=ws)
            cycle = door.get_cycle(ws, cycle_id=cycle.id) if cycle else self.cycle(ws=ws)
            if cycle is not None and not cycle.is_open:
                return cycle
            if cycle is None and not moved:
                return None
            if not moved:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return cycle
                wait_for_change(ws, min(POLL_S, left_s))

    def follow(self, *, told: Callable[[Cycle], None] = lambda _: None, ws: Workspace | None = None) -> None:
        """Drive the loop until interrupted; `told` hears of every move. A part that is away for a while is waited for."""
        ws = ws or current_workspace()
        while True:
            before = self.cycle(ws=ws)
            try:
                moved = self.tick(ws=ws)
            except (Unavailable, NoSpace) as error:
                log.warning("loop %s waits: %s", self.name, error.message)
                moved = False
            after = door.get_cycle(ws, cycle_id=before.id) if before else self.cycle(ws=ws)
            if after is not None and (before is None or after.epoch != before.epoch):
                told(after)
            if not moved:
                wait_for_change(ws, POLL_S)


def wait_for_change(ws: Workspace, timeout_s: float) -> None:
    """Return when this process changed the workspace, or after a while."""
    if ws.remote is None:
        ws.ledger.wait_for_change(timeout_s)
    else:
        time.sleep(timeout_s)


def _entry(pipeline: Pipeline[..., Any] | str) -> str:
    """Where the pipeline's code is, in a form that is the same on every machine."""
    if isinstance(pipeline, str):
        return pipeline
    from trine.pipelines.places import name_of

    return name_of(pipeline)


def load_loop(entry: str) -> Loop:
    """The loop at `file.py:name` or `module:name`."""
    from trine.pipelines.places import load_place

    place, _, name = entry.rpartition(":")
    if not place or not name:
        raise InvalidInput(f'"{entry}" is no loop: write file.py:name or module:name.')
    module = load_place(place)
    found = getattr(module, name, None)
    if not isinstance(found, Loop):
        known = [one for one, value in vars(module).items() if isinstance(value, Loop)]
        told = f" It has: {', '.join(known)}." if known else " It has none: make one with trine.loop.Loop(…)."
        raise NotFound(f'{place} has no loop "{name}".{nearest(name, known)}{told}')
    return found
