"""Runs, experiments and their metrics as values, and the words that name them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from trine.errors import InvalidInput

State = Literal["scheduled", "running", "finished", "failed", "killed"]
Ended = Literal["finished", "failed", "killed"]

Key = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)",
        max_length=250,
        description="a param's, tag's or metric's name: 1 to 250 characters, no control characters",
    ),
]
ParamText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$(?!\n)", max_length=6_000)]
TagText = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$(?!\n)", max_length=8_000)]
Title = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", max_length=500, description="1 to 500 characters, no control characters"
    ),
]
RunName = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", max_length=250)]
RunId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="32 hex digits")]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

if TYPE_CHECKING:
    Value = float
else:  # JSON cannot say NaN or infinity, so its schema has to allow null; MessagePack and Python carry the float
    Value = Annotated[float | None, msgspec.Meta(description="null is NaN or an infinity")]


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one run. First and last are by step, then time; min, max and best leave NaN out and give the first
    step they were reached at; `best` is the least for losses and errors (`is_loss`), else the greatest."""

    count: int
    nans: int
    first: Value
    first_step: int
    last: Value
    last_step: int
    last_us: int
    min: Value
    min_step: int
    max: Value
    max_step: int
    best: Value
    best_step: int


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where and how a run was started. `seeds` are the states of the random generators at its start, as digests, and
    `states` the object that holds them whole. `command` is how the process was called, `repository` the folder that its code
    was captured from, `number` how many runs the process had made before."""

    arguments: list[str] = []
    command: list[str] = []
    repository: str = ""
    number: int = 0
    states: str = ""
    folder: str = ""
    host: str = ""
    user: str = ""
    pid: int = 0
    python: str = ""
    seeds: dict[str, str] = {}
    problem: str = ""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is in the ledger. `inputs` are the nodes it used, `outputs` what it produced, each in order of time."""

    id: str
    experiment: str
    name: str
    state: State
    reason: str
    parent: str | None
    author: str
    started_us: int
    ended_us: int | None
    deleted_us: int | None
    lost: int
    code: str | None
    environment: str
    context: Context
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, MetricSummary]
    inputs: list[str]
    outputs: list[str]

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"run:{self.id}"

    @property
    def is_lossy(self) -> bool:
        """Whether points were lost (a full disk, damage)."""
        return self.lost > 0

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        return None if self.ended_us is None else (self.ended_us - self.started_us) / 1e6

    def _repr_html_(self) -> str:
        """A notebook's view of it."""
        from trine.tracking.results import run_html

        return run_html(self)


class Experiment(msgspec.Struct, frozen=True):
    """A name that groups runs, with how many it has and when the last one started."""

    id: int
    name: str
    runs: int
    created_us: int
    last_started_us: int | None


class Artifact(msgspec.Struct, frozen=True):
    """A file of a run: its path there, and the object that holds its bytes."""

    path: str
    hash: str
    size_bytes: int
    created_us: int = 0


class CodeVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A state of a git working tree. `patch` is the object with the difference of tracked and untracked files to the
    commit (`git apply` takes it); `skipped` names what was left out of it and why."""

    node: str
    commit: str
    branch: str = ""
    remote: str = ""
    tree: str = ""
    patch: str = ""
    changed: list[str] = []
    skipped: dict[str, str] = {}

    @property
    def is_dirty(self) -> bool:
        """Whether there was anything that is not in the commit."""
        return bool(self.changed or self.skipped)


_LOSSES = frozenset(
    {
        "brier", "cer", "cost", "deviance", "divergence", "duration", "ece", "err", "error", "fid", "kl", "latency", "logloss",
        "loss", "losses", "mae", "mape", "ms", "mse", "msle", "nll", "nlpd", "perplexity", "ppl", "regret", "rmse", "rmsle",
        "seconds", "smape", "ter", "time", "violations", "wer",
    }
)  # fmt: skip


@functools.lru_cache(maxsize=4_096)
def is_loss(key: str) -> bool:
    """Whether less of a metric is better, by the words of its name (`val/log_loss`, `rmse`, `train_seconds`)."""
    return any(word in _LOSSES for word in re.split(r"[^a-z]+", key.lower()))


def check_key(key: object, what: str = "metric") -> str:
    """The name of a metric, param or tag, when it can be one."""
    if not isinstance(key, str):
        raise InvalidInput(f"The name of a {what} is text, not {type(key).__name__}.")
    if not 0 < len(key) <= 250 or re.search(r"[\x00-\x1f\x7f]", key) or not is_text(key):
        raise InvalidInput(
            f"{key[:80]!r} cannot name a {what}: 1 to 250 characters, without control characters.", argument=what
        )
    return key


def is_text(text: str) -> bool:
    """Whether a string can be stored: valid Unicode, no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def id_of(run: object) -> str:
    """The id of a run given as a handle, a RunInfo, a node, an id, the beginning of one, or a name."""
    name = getattr(run, "id", run)
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"A run is given as its id, a handle or a RunInfo, not as {type(run).__name__}.")
    return name.removeprefix("run:")
