"""Rollouts: the state machine that moves an endpoint from one route to the next, a share of the traffic at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from trine.errors import Conflict
from trine.workspace import Workspace, active_producer, current_workspace

if TYPE_CHECKING:
    from trine.serving.routing import Route, Variant

Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
State = Literal["running", "promoted", "rolled_back", "aborted"]
Action = Literal["advance", "roll_back", "abort"]
Outcome = Literal["harm", "fine", "waiting"]


class Canary(msgspec.Struct, frozen=True):
    """Shares of traffic, in percent, that a new version takes one after the other, and what must hold on the way.

    A step is judged over its own requests against the baseline's requests *at the same time*. It moves on when both have
    answered `min_requests` (and have `min_labels` labels), `bake_s` seconds have passed and no guard sees a breach:
    the error rate grew by more than `max_error_rate_increase`, the median latency by more than `max_latency_ratio` times,
    the loss (Brier score, or share of wrong answers) by more than `max_quality_loss`. It rolls back when a breach is
    proven at `confidence`, however often one looks. 100 is added as the last step when it is missing.
    """

    steps: Annotated[tuple[Percent, ...], msgspec.Meta(min_length=1, max_length=100)] = (10, 50, 100)
    min_requests: Annotated[int, msgspec.Meta(ge=1)] = 100
    max_error_rate_increase: Share = 0.01
    max_latency_ratio: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    max_quality_loss: Share = 0.02
    min_labels: Annotated[int, msgspec.Meta(ge=0)] = 0
    bake_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    confidence: Annotated[float, msgspec.Meta(gt=0.5, lt=1)] = 0.95


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one guard saw: the measure of both sides with its interval, and what that means."""

    guard: Literal["requests", "errors", "latency", "quality", "server"]
    outcome: Outcome
    message: str
    canary: float | None = None
    canary_low: float | None = None
    canary_high: float | None = None
    baseline: float | None = None
    baseline_low: float | None = None
    baseline_high: float | None = None
    canary_count: int = 0
    baseline_count: int = 0


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a rollout: where to, why, and what the guards saw."""

    state: State
    step: int
    route: int
    reason: str
    findings: list[Finding]
    time_us: int


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A model version on its way to all of an endpoint's traffic. `step` counts from 0; `share` is its percent now."""

    id: str
    endpoint: str
    model: str
    state: State
    step: int
    share: int
    epoch: int
    canary: Canary
    baseline_route: int
    route: int
    variant: str
    reason: str
    author: str
    step_us: int
    created_us: int
    updated_us: int
    moves: list[Move]

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"rollout:{self.id}"


def steps_of(canary: Canary) -> tuple[int, ...]:
    """The steps, ending with all of the traffic."""
    return canary.steps if canary.steps[-1] == 100 else (*canary.steps, 100)


def variants_at(baseline: Route, model: str, name: str, share: int) -> tuple[Variant, ...]:
    """The variants of a step: the candidate with its share, the baseline's live variants with the rest, and its shadows."""
    from trine.serving.routing import Variant

    if share == 100:
        shadows = [one for one in baseline.shadows if one.model != model and one.name != "main"]
        return (Variant("main", model), *shadows)
    rest = [
        msgspec.structs.replace(one, weight=one.weight * (100 - share) / 100) if one.role == "live" else one
        for one in baseline.variants
    ]
    return (Variant(name, model, float(share)), *rest)


def start_rollout(
    endpoint: str, model: str, *, canary: Canary | None = None, reason: str = "", ws: Workspace | None = None
) -> Rollout:
    """Begin to move an endpoint to a model version; the first step serves from now on.

    An endpoint that serves nothing yet, or serves just this version, is promoted at once. Raises Conflict when another
    rollout is running, or when the version needs inputs that callers of the endpoint do not send today.
    """
    from trine.serving import moves

    ws = ws or current_workspace()
    return moves.start_rollout(
        ws, endpoint=endpoint, model=model, canary=canary or Canary(), reason=reason, producer=active_producer()
    )


def get_rollout(id: str, *, ws: Workspace | None = None) -> Rollout:
    """A rollout by its id or the beginning of it, with its moves."""
    from trine.serving import moves

    return moves.get_rollout(ws or current_workspace(), id=id)


def list_rollouts(endpoint: str = "", *, ws: Workspace | None = None) -> list[Rollout]:
    """Rollouts, newest first; of one endpoint with its name."""
    from trine.operations import every
    from trine.serving import moves

    return list(every(moves.list_rollouts, ws or current_workspace(), endpoint=endpoint))


def advance_rollout(id: str, *, ws: Workspace | None = None) -> Rollout:
    """Judge a rollout's step and move it: on, back, or not at all.

    Calling it again changes nothing unless something new was seen; of two callers at once one moves, and both get
    the rollout as it is then. Look at `moves[-1].findings` for why it moved, and at `judge_rollout` for why it waits.
    """
    from trine.serving import moves

    ws = ws or current_workspace()
    found = moves.get_rollout(ws, id=id)
    if found.state != "running":
        return found
    action, reason, findings = judge_rollout(found, ws=ws)
    if action is None:
        return found
    try:
        return moves.move_rollout(ws, id=found.id, epoch=found.epoch, action=action, reason=reason, findings=findings)
    except Conflict:
        return moves.get_rollout(ws, id=found.id)


def judge_rollout(
    rollout: str | Rollout, *, ws: Workspace | None = None
) -> tuple[Literal["advance", "roll_back"] | None, str, list[Finding]]:
    """What the guards say about a rollout's present step: the action (None: wait), the reason, and what each saw."""
    from trine.ids import now_us
    from trine.serving import moves, operations
    from trine.serving.guards import judge
    from trine.serving.labelling import labels
    from trine.serving.reading import predictions

    ws = ws or current_workspace()
    one = moves.get_rollout(ws, id=rollout) if isinstance(rollout, str) else rollout
    route = operations.get_route(ws, name=one.endpoint, number=one.route)
    frame = predictions(one.endpoint, since_us=one.step_us, ws=ws)
    return judge(
        frame,
        labels(one.endpoint, ws=ws),
        one.canary,
        route=route,
        variant=one.variant,
        elapsed_s=(now_us() - one.step_us) / 1e6,
    )


def abort_rollout(id: str, *, reason: str = "", ws: Workspace | None = None) -> Rollout:
    """End a rollout: the route it began from serves again."""
    from trine.serving import moves

    ws = ws or current_workspace()
    found = moves.get_rollout(ws, id=id)
    return moves.move_rollout(
        ws, id=found.id, epoch=found.epoch, action="abort", reason=reason or "aborted by hand", findings=[]
    )
