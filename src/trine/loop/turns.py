"""A cycle about to move, and the move it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from trine.errors import NotFound
from trine.loop.cycles import Cycle, Facts, Outcome, State
from trine.loop.definition import Definition
from trine.operations import Operation, perform
from trine.workspace import Workspace

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


def with_facts(facts: Facts, **changes: Any) -> Facts:
    """The facts with some of them changed."""
    return msgspec.structs.replace(facts, **changes)


def kept(facts: Facts) -> str:
    """What a cycle that promotes nothing leaves in production, in words."""
    return f"kept {facts.baseline}" if facts.baseline else "nothing was promoted"
