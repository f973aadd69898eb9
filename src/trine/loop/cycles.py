"""A cycle: one turn of a loop, its states, what it has come to, and the sentence that tells it to people.

    triggered ─▶ training ─▶ gating ─▶ promoting ─▶ rolling ─▶ done
                               ▲        │  ▲
                               │        ▼  │  (a policy holds the promotion)
                               └────── awaiting

Every state leads to `done` when it fails or is refused. A promotion that waited goes back to gating when production has
changed meanwhile: the gate compared with another version.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from trine.loop.triggers import Fired

State = Literal["triggered", "training", "gating", "promoting", "awaiting", "rolling", "done"]

Outcome = Literal["", "promoted", "kept", "rejected", "rolled_back", "failed"]
"""How a cycle ended: the candidate is in production, production was kept by the gate, an approver said no,
the canary was rolled back, or something failed."""


class Facts(msgspec.Struct, frozen=True):
    """What a cycle has come to so far. `baseline` empty means that nothing was in production: the gate used the base rate."""

    params: dict[str, Any] = {}
    pipeline_run: str = ""
    candidate: str = ""
    holdout: str = ""
    label: str = ""
    baseline: str = ""
    gate: str = ""
    gate_outcome: str = ""
    gate_told: str = ""
    approval: str = ""
    promoted: bool = False
    rollout: str = ""


class Cycle(msgspec.Struct, frozen=True):
    """One turn of a loop. `reason` is its story so far, in one sentence."""

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

    @property
    def node(self) -> str:
        return f"cycle:{self.id}"

    @property
    def is_open(self) -> bool:
        return self.state != "done"


def told(trigger: Fired, facts: Facts, ending: str = "") -> str:
    """The story of a cycle: why, what the gate said, how it went on."""
    others = f" and {len(trigger.also)} more" if trigger.also else ""
    verb = "retrained" if facts.candidate else "started"
    parts = [f"{verb}: {trigger.reason}{others}"]
    if facts.gate_outcome:
        verdict = {"pass": "passed", "fail": "failed"}.get(facts.gate_outcome, facts.gate_outcome)
        parts.append(f"gate {verdict}: {facts.gate_told}")
    if ending:
        parts.append(ending)
    return "; ".join(parts)
