"""Source: what an importer gives, in one plain form, whatever tool it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trine.ids import digest
from trine.tracking.logged_models import ModelMetric, ModelState, RunInput
from trine.tracking.runs import CodeVersion, Context, State
from trine.tracking.series import Points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SourceFile(msgspec.Struct, frozen=True):
    """A file of a run or model: on this disk (`local`), in memory (`data`), or to be fetched into a file."""

    path: str
    local: Path | None = None
    data: bytes | None = None
    fetch: Callable[[Path], None] | None = None


class SourceModelFiles(msgspec.Struct, kw_only=True):
    """A model that a run wrote (`id` is m- and 32 hex digits), whether or not it was registered."""

    id: str
    name: str
    kind: str = ""
    state: ModelState = "ready"
    step: int = 0
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[ModelMetric] = []
    created_us: int = 0
    updated_us: int = 0
    files: list[SourceFile] = []


class SourceExperiment(msgspec.Struct, kw_only=True):
    """What is said of an experiment, when a tool says more than its name."""

    name: str
    tags: dict[str, str] = {}
    created_us: int = 0
    hidden: bool = False


class SourceRun(msgspec.Struct, kw_only=True):
    """A run as a tool kept it. `id` is 32 hex digits (`run_id`); texts may be of any length, keys of any form: what does
    not fit is kept in a file of the run. `problems` say what could not be read."""

    id: str
    experiment: str
    name: str
    state: State
    started_us: int
    ended_us: int | None = None
    reason: str = ""
    parent: str | None = None
    author: str = ""
    hidden: bool = False
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    points: dict[str, Points] = {}
    files: list[SourceFile] = []
    inputs: list[RunInput] = []
    models: list[SourceModelFiles] = []
    code: CodeVersion | None = None
    context: Context = Context()
    problems: list[str] = []


class SourceVersion(msgspec.Struct, kw_only=True):
    """A version of a registered model. `stage` is empty when it has none."""

    version: int
    created_us: int
    updated_us: int
    run: str = ""
    author: str = ""
    description: str = ""
    stage: str = ""
    tags: dict[str, str] = {}
    files: list[SourceFile] = []
    problems: list[str] = []


class SourceModel(msgspec.Struct, kw_only=True):
    """A registered model with its versions by number, and the aliases that point at them."""

    name: str
    created_us: int
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: list[SourceVersion] = []


class Source(Protocol):
    """A history that can be moved in. What it iterates may be asked for again, and then is the same.

    A source whose experiments have more than names gives them by a method `experiments() -> Iterator[SourceExperiment]`.
    """

    kind: str
    location: str

    def runs(self) -> Iterator[SourceRun]:
        """One run after the other, whole: its points are in memory while it is the current one."""
        ...

    def models(self) -> Iterator[SourceModel]:
        """The registered models; nothing when the tool has no registry."""
        ...


def run_id(kind: str, *names: str) -> str:
    """The id of a run: its own when that has the form of one, else 32 hex digits that follow from where it is."""
    own = names[-1].replace("-", "").lower()
    return own if re.fullmatch(r"[0-9a-f]{32}", own) else digest([kind, *names])[:32]


def columns(steps: Any, times_us: Any, values: Any) -> Points:
    """Points from columns of numbers."""
    import numpy as np

    made: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]] = (
        np.asarray(steps, np.int64),
        np.asarray(times_us, np.int64),
        np.asarray(values, np.float64),
    )
    return Points(*made)


class Lines:
    """Points that come one at a time, gathered as columns by key."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[list[int], list[int], list[float]]] = {}

    def add(self, key: str, step: int, time_us: int, value: float) -> None:
        """One point."""
        line = self._columns.get(key)
        if line is None:
            line = self._columns[key] = ([], [], [])
        line[0].append(step)
        line[1].append(time_us)
        line[2].append(value)

    def __contains__(self, key: str) -> bool:
        return key in self._columns

    def last_step(self) -> int:
        """The greatest step of all; 0 without points."""
        return max((max(steps) for steps, _, _ in self._columns.values()), default=0)

    def points(self) -> dict[str, Points]:
        """The points of each key, in the order in which they came."""
        return {key: columns(*line) for key, line in self._columns.items()}


NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
"""How tools that write JSON say what JSON cannot."""


def number_of(value: Any) -> float | None:
    """The value as a point's, when it is a number or a truth (or one of `NUMBERS`)."""
    if isinstance(value, str):
        return NUMBERS.get(value)
    try:
        return float(value) if isinstance(value, (bool, int, float)) else None
    except OverflowError:
        return None


def files_of(folder: Path, prefix: str = "", *, follow: bool = False) -> list[SourceFile]:
    """The files of a folder and below, by path, as files of a run; links out of it are left out unless they are followed."""
    if not folder.is_dir():
        return []
    root = folder.resolve()
    return [
        SourceFile(prefix + path.relative_to(folder).as_posix(), local=path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (follow or path.resolve().is_relative_to(root))
    ]


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested configuration as params: `optimizer.lr`, lists and other leaves as JSON or text."""
    if isinstance(value, dict) and value:
        for name, one in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from flat(one, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value if isinstance(value, str) else text_of(value)


def text_of(value: Any) -> str:
    """A leaf as text: JSON, as configurations are written."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError):
        return str(value)
