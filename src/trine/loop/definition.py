"""What a loop is: triggers, a pipeline that makes a candidate, a gate, and how a promoted version reaches traffic."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class OnVerdict(msgspec.Struct, frozen=True, tag="verdict"):
    """Fire when a monitor's verdict has one of these outcomes."""

    monitor: str
    outcomes: tuple[str, ...] = ("drift", "degraded")


class OnCommit(msgspec.Struct, frozen=True, tag="commit"):
    """Fire when a commit moves a dataset's branch."""

    dataset: str
    branch: str = "main"


class Schedule(msgspec.Struct, frozen=True, tag="schedule"):
    """Fire at the times of a cron expression in a time zone; times missed while nothing ran fire once."""

    cron: str
    tz: str = "UTC"


Trigger = OnVerdict | OnCommit | Schedule


class Candidate(msgspec.Struct, frozen=True):
    """What a loop's pipeline returns: a registered version, and the rows it must prove itself on.

    `model` is `name@version`; `holdout` a dataset reference whose rows hold the model's inputs, the label and the slices.
    """

    model: str
    holdout: str
    label: str


class Gate(msgspec.Struct, frozen=True):
    """The test a candidate must pass against production, on the same holdout rows (`trine.evaluation.compare`)."""

    metric: str = "roc_auc"
    margin: float = 0.0
    slices: tuple[str, ...] = ()
    groups: str = ""
    confidence: float = 0.95


class Canary(msgspec.Struct, frozen=True):
    """Shares of traffic, in percent, that a promoted version takes one after the other, and what must hold on the way."""

    steps: tuple[Annotated[int, msgspec.Meta(ge=1, le=100)], ...] = (10, 50, 100)
    min_requests: int = 100
    max_error_rate_increase: float = 0.01
    max_latency_ratio: float = 2.0


class Definition(msgspec.Struct, frozen=True):
    """A loop without its code: what is kept in the ledger."""

    name: str
    model: str
    pipeline: str
    alias: str = "production"
    triggers: tuple[Trigger, ...] = ()
    gate: Gate = Gate()
    endpoint: str = ""
    rollout: Canary | None = None
    cooldown_s: int = 0


State = Literal["triggered", "training", "gating", "promoting", "awaiting", "rolling", "done"]
"""triggered → training → gating → promoting ⇄ awaiting (approval) → rolling (canary) → done."""

Outcome = Literal["", "promoted", "kept", "rejected", "rolled_back", "failed"]
"""How a cycle ended: the candidate is in production, production was kept by the gate, an approver said no,
the canary was rolled back, or the pipeline failed."""


class Fired(msgspec.Struct, frozen=True):
    """Why a cycle started: the trigger's kind, the event behind it and a sentence."""

    kind: str
    reason: str
    event: int = 0
    time_us: int = 0
    subject: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What a cycle has come to so far."""

    pipeline_run: str = ""
    candidate: str = ""
    holdout: str = ""
    label: str = ""
    gate: str = ""
    gate_outcome: str = ""
    approval: str = ""
    rollout: str = ""


class Cycle(msgspec.Struct, frozen=True):
    """One turn of a loop."""

    id: str
    loop: str
    state: State
    epoch: int
    trigger: Fired
    facts: Facts
    outcome: Outcome
    reason: str
    created_us: int
    updated_us: int


class LoopInfo(msgspec.Struct, frozen=True):
    """A loop as the ledger knows it."""

    name: str
    definition: Definition
    paused: bool
    seen_us: int
    created_us: int
