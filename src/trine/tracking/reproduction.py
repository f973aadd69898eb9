"""Reproduction: a run's code, environment, data and random states brought back in a fresh folder, and the run made again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trine.errors import Failure, InvalidInput
from trine.tracking.artifact_files import artifacts
from trine.tracking.code import GitTrouble, code_of, restore_code
from trine.tracking.environment import Environment, environment_of, read_environment
from trine.tracking.installing import build, differences
from trine.tracking.playback import REPRODUCES, TAG
from trine.tracking.reading import get_run, history, search
from trine.tracking.runs import MetricSummary, RunInfo
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    from trine.tracking.live import Run

Tell = Callable[[str], None]
_TIMING = frozenset(("seconds", "time", "duration", "latency", "ms", "elapsed", "throughput", "runtime", "speed"))


class Agreement(msgspec.Struct, frozen=True):
    """One metric in both runs: the last values, whether every point is the same bit by bit, and the largest difference of a
    point relative to the larger value (None: a point is missing). `judged` is False for what measures time or the machine."""

    key: str
    before: float | None
    after: float | None
    same: bool
    difference: float | None
    agrees: bool
    judged: bool


class Reproduction(msgspec.Struct, frozen=True):
    """A run and the one that was made after it. `environment` names the packages that differ, with both versions; `missing`
    the files that were left out of the snapshot; `files` the artifacts of either with the same content (True) or not."""

    original: RunInfo
    copy: RunInfo
    folder: str
    same_code: bool
    environment: dict[str, tuple[str, str]]
    missing: dict[str, str]
    metrics: list[Agreement]
    files: dict[str, bool]

    @property
    def agrees(self) -> bool:
        """Whether the run ended as before and all its judged metrics agree."""
        same_end = self.copy.state == self.original.state
        return same_end and all(one.agrees for one in self.metrics if one.judged)


def reproduce(
    run: Run | RunInfo | str,
    folder: Path | str | None = None,
    *,
    environment: str = "auto",
    tolerance: float = 0.0,
    tell: Tell = lambda _: None,
    ws: Workspace | None = None,
) -> Reproduction:
    """Make a run again from what was captured of it, in a fresh folder, and compare the two metric by metric.

    The code is the commit with the changes it had then; the environment is this one where it is the same, else (`auto`) one
    is built from the recorded packages (`current`: this one in any case; `build`: a fresh one in any case). Datasets mean the
    commits that were read then, and random generators begin in the states they had. The output goes through.
    Raises InvalidInput for a run of which too little was captured, and Failure when its program makes no run.
    """
    ws = ws or current_workspace()
    original = get_run(run, ws=ws)
    command = _command(original)
    target = Path(folder).resolve() if folder else Path(tempfile.mkdtemp(prefix=f"trine-{original.id[:8]}-"))
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"{target} is not empty: the run is made again in a fresh folder.")
    assert original.code is not None
    code = code_of(original.code, ws=ws)
    try:
        restore_code(code, target, repository=original.context.repository or original.context.folder, ws=ws)
    except GitTrouble as error:
        raise Failure(f"The code of {original.name} cannot be brought back: {error}") from None
    tell(f"code         {original.code.removeprefix('code:')[:53]} in {target}")
    recorded = environment_of(original.environment, ws=ws) if original.environment else read_environment()
    python = _python(recorded, environment, target, tell)
    before = {one.id for one in _copies(ws, original)}
    rest = [_moved(part, original, target) for part in command]
    tell(f"command      {' '.join(['python', *rest])}")
    done = subprocess.run(
        [python, *rest], cwd=_working_folder(original, target), env=_surroundings(ws, original, target), check=False
    )
    made = [one for one in _copies(ws, original) if one.id not in before]
    if not made:
        how = f"ended with {done.returncode}" if done.returncode else "ended well"
        raise Failure(
            f"The program of {original.name} {how}, and made no run that takes its place (run {original.context.number} of its "
            f"process). What it printed says more; its folder is {target}."
        )
    there = environment_of(made[0].environment, ws=ws) if made[0].environment else recorded
    return Reproduction(
        original,
        made[0],
        str(target),
        made[0].code == original.code,
        differences(recorded, there),
        code.skipped,
        compare_metrics(original, made[0], tolerance=tolerance, ws=ws),
        _compare_files(original, made[0], ws),
    )


def _command(run: RunInfo) -> list[str]:
    """What follows the interpreter on the command line. Raises InvalidInput when the run cannot be made again."""
    name = run.name
    if run.code is None:
        raise InvalidInput(
            f"The code of {name} was not captured{f' ({run.context.problem})' if run.context.problem else ''}: it ran outside "
            "a git repository, or with capture=False."
        )
    if run.parent:
        raise InvalidInput(f"{name} is a child: make its parent again, and it with it: trine reproduce {run.parent}")
    words = run.context.command or ["python", *run.context.arguments]
    if len(words) < 2 or words[1] == "-" or any("ipykernel" in word or "jupyter" in word for word in words[:3]):
        raise InvalidInput(
            f"{name} was started from a notebook or a prompt ({' '.join(words[:3])}): there is no program to run again. "
            "Save the cells as a script, and run that."
        )
    return words[1:]


def _moved(word: str, run: RunInfo, target: Path) -> str:
    """A word of the command line; one that names a place in the repository names the same place in the folder."""
    root = run.context.repository
    return str(target / Path(word).relative_to(root)) if root and Path(word).is_relative_to(root) else word


def _working_folder(run: RunInfo, target: Path) -> Path:
    root, here = run.context.repository, run.context.folder
    if root and Path(here).is_relative_to(root):
        folder = target / Path(here).relative_to(root)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return target


def _surroundings(ws: Workspace, run: RunInfo, target: Path) -> dict[str, str]:
    """The environment variables: the workspace and what `playback` and `pinned` look at, and the code before what is installed."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONHASHSEED", "PYTHONPATH")}
    versions: dict[str, set[str]] = {}
    for node in run.inputs:
        if found := re.fullmatch(r"(dataset:[^@]+)@([0-9a-f]+)", node):
            versions.setdefault(found[1], set()).add(found[2])
    pins = {name: some.pop() for name, some in versions.items() if len(some) == 1}
    place = ws.location if "://" in ws.location else str(Path(ws.location).resolve())
    own |= {
        REPRODUCES: run.id,
        "TRINE_WORKSPACE": place,
        "TRINE_PROJECT": ws.project,
        "TRINE_PINS": json.dumps(pins),
    }
    if ws.remote is not None and ws.remote.token:
        own["TRINE_TOKEN"] = ws.remote.token
    if seed := run.context.seeds.get("PYTHONHASHSEED"):
        own["PYTHONHASHSEED"] = seed
    code = [str(place) for place in (target / "src", target) if place.is_dir()]
    own["PYTHONPATH"] = os.pathsep.join([*code, *filter(None, [os.environ.get("PYTHONPATH")])])
    return own


def _python(recorded: Environment, how: str, target: Path, tell: Tell) -> str:
    """The interpreter to use. Raises InvalidInput for an unknown choice, and Failure when none can be built."""
    if how not in ("auto", "current", "build"):
        raise InvalidInput(f'The environment is "auto", "current" or "build", not "{how}".', argument="environment")
    changed = differences(recorded, read_environment())
    if how == "current" or (how == "auto" and not changed):
        said = f"{len(changed)} packages differ" if changed else "the same as then"
        tell(f"environment  this one, {said}")
        return sys.executable
    tell(f"environment  built anew: {len(changed)} packages differ here ({', '.join(list(changed)[:5])} …)")
    return str(build(recorded, target.parent / f"{target.name}-venv"))


def _copies(ws: Workspace, run: RunInfo) -> list[RunInfo]:
    return search(f"tags.`{TAG}` = '{run.id}'", limit=1_000, ws=ws)


def compare_metrics(
    before: RunInfo, after: RunInfo, *, tolerance: float = 0.0, ws: Workspace | None = None
) -> list[Agreement]:
    """Every metric of either run, all points of one beside those of the other; times of points do not count."""
    ws = ws or current_workspace()
    return [_agreement(key, before, after, tolerance, ws) for key in sorted({*before.metrics, *after.metrics})]


def _agreement(key: str, before: RunInfo, after: RunInfo, tolerance: float, ws: Workspace) -> Agreement:
    import numpy as np

    judged = not key.startswith("system/") and _TIMING.isdisjoint(re.split(r"[^a-z]+", key.lower()))
    one, two = before.metrics.get(key), after.metrics.get(key)
    difference: float | None = None
    same = False
    if one is not None and two is not None and one.count == two.count:
        left, right = (history(run, key, ws=ws) for run in (before, after))
        if left["step"].equals(right["step"]):
            a, b = left["value"].to_numpy(), right["value"].to_numpy()
            same = a.tobytes() == b.tobytes()
            with np.errstate(invalid="ignore", divide="ignore"):
                apart = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, apart)
            difference = float("inf") if np.isnan(apart).any() else float(apart.max())
    agrees = difference is not None and difference <= tolerance
    return Agreement(key, _last(one), _last(two), same, difference, agrees, judged)


def _last(one: MetricSummary | None) -> float | None:
    return None if one is None else one.last


def _compare_files(before: RunInfo, after: RunInfo, ws: Workspace) -> dict[str, bool]:
    one, two = ({file.path: file.hash for file in artifacts(run, ws=ws)} for run in (before, after))
    return {path: one.get(path) == two.get(path) for path in sorted({*one, *two})}
