"""What the ledger keeps of pipeline runs and step runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trine.pipelines.values import Value
from trine.types import Name

RunState = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]
"""running → succeeded | failed | cancelled; interrupted: stopped, or its process is gone. All but succeeded can be resumed."""

StepState = Literal[
    "pending", "running", "retrying", "succeeded", "cached", "failed", "upstream_failed", "cancelled", "interrupted"
]
FINISHED: frozenset[str] = frozenset({"succeeded", "cached"})


class StepError(msgspec.Struct, frozen=True):
    """Why a step or run failed: the exception's class, its message, and the lines of the project that led there."""

    kind: str
    message: str
    traceback: str = ""
    step: str = ""

    @property
    def text(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a run. `hit` names the step run whose outputs were taken; `reason` says why there was no such hit."""

    run: str
    key: str
    step: str
    state: StepState
    needs: list[str] = []
    attempt: int = 0
    outputs: list[Value] = []
    uses: list[str] = []
    resolved: dict[str, str] = {}
    hit: str = ""
    reason: str = ""
    error: StepError | None = None
    cache_key: str = ""
    started_us: int | None = None
    ended_us: int | None = None
    duration_us: int | None = None
    retry_at_us: int | None = None

    @property
    def node(self) -> str:
        """Its name in the lineage graph."""
        return f"step_run:{self.run}/{self.key}"


class Parts(msgspec.Struct, frozen=True):
    """What a cache key is made of: digests of code and inputs by name, and the salt."""

    code: dict[str, str]
    inputs: dict[str, str]
    salt: str = ""


class PipelineRunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a pipeline, without its steps. `params` are shown in a few words."""

    id: str
    pipeline: str
    version: str
    entry: str
    params: dict[str, str]
    code: str
    state: RunState
    epoch: int
    owner: str
    lease_until_us: int
    cancelled_by: str
    error: StepError | None
    author: str
    created_us: int
    ended_us: int | None

    @property
    def node(self) -> str:
        """Its name in the lineage graph."""
        return f"pipeline_run:{self.id}"


Small = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Microseconds = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class StepMove(msgspec.Struct, frozen=True, kw_only=True):
    """One step's move to a state, with what is known from then on."""

    key: Name
    step: Name
    state: StepState
    attempt: Small = 1
    needs: list[str] = []
    cache_key: str = ""
    parts: Parts | None = None
    reason: str = ""
    hit: str = ""
    outputs: list[Value] = []
    uses: list[str] = []
    resolved: dict[str, str] = {}
    error: StepError | None = None
    log: str = ""
    log_object: str = ""
    duration_us: Microseconds | None = None
    retry_in_us: Microseconds | None = None


class Lease(msgspec.Struct, frozen=True):
    """What the owner of a run learns when it writes: until when it owns the run, and who wants it to end."""

    until_us: int
    cancelled_by: str = ""


class Hit(msgspec.Struct, frozen=True):
    """A step run whose outputs can be taken."""

    node: str
    outputs: list[Value]
    log: str
    log_object: str


class Lookup(msgspec.Struct, frozen=True):
    """What the ledger knows for one cache key: a hit; or what moved since; or the parts of the step's latest success."""

    hit: Hit | None = None
    moved: str = ""
    latest: Parts | None = None


class Log(msgspec.Struct, frozen=True):
    """A step's log as far as it was kept: its text, or the object it is in."""

    state: StepState
    text: str
    object: str


def shown_params(documents: dict[str, Any]) -> dict[str, str]:
    """Parameters' documents in a few words."""
    return {name: msgspec.json.encode(one).decode()[:200] for name, one in documents.items()}
