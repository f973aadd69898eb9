"""What a loop is: triggers, a pipeline that makes a candidate, a gate, and how a promoted version reaches traffic."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trine.errors import InvalidInput
from trine.evaluation.gate import Gate
from trine.loop.triggers import Trigger, check_triggers
from trine.serving.rollouts import Canary

YEAR_S = 366 * 86_400


class Candidate(msgspec.Struct, frozen=True):
    """What a loop's pipeline returns: a registered version, and the rows it must prove itself on.

    `model` is `name@version`; `holdout` a dataset reference whose rows hold the model's inputs, the label and the slices.
    """

    model: str
    holdout: str
    label: str


class Definition(msgspec.Struct, frozen=True):
    """A loop without its code: what is kept in the ledger.

    `pipeline` is where its code is (`file.py:name` or `module:name`). `data` are dataset references by pipeline parameter:
    each is pinned to its commit when a cycle starts. `params` are the other parameters.
    """

    name: str
    model: str
    pipeline: str
    alias: str = "production"
    triggers: tuple[Trigger, ...] = ()
    gate: Gate = Gate()
    endpoint: str = ""
    rollout: Canary | None = None
    cooldown_s: Annotated[int, msgspec.Meta(ge=0, le=YEAR_S)] = 0
    data: dict[str, str] = {}
    params: dict[str, Any] = {}
    allow_pickle: bool = False


class LoopInfo(msgspec.Struct, frozen=True):
    """A loop as the ledger knows it. Schedules are judged up to `seen_us`, events up to `seen`."""

    name: str
    definition: Definition
    paused: bool
    seen: int
    seen_us: int
    created_us: int

    @property
    def node(self) -> str:
        return f"loop:{self.name}"


def check_definition(one: Definition) -> None:
    """Raise InvalidInput for a loop that could not turn."""
    check_triggers(one.triggers)
    if one.rollout is not None and not one.endpoint:
        raise InvalidInput("A rollout needs the endpoint whose traffic it moves: Loop(…, endpoint=NAME).")
    if both := sorted(one.data.keys() & one.params.keys()):
        raise InvalidInput(f'Parameter "{both[0]}" is given in data and in params; give it once.')
    if not one.pipeline.partition(":")[2]:
        raise InvalidInput(f'"{one.pipeline}" is no pipeline: write file.py:name or module:name.')
