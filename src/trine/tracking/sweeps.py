"""Sweeps: a program run many times with values that a sampler suggests, several at once, hopeless ones cut short.

A sweep is a file:

    sweep: churn-size
    command: [python, train.py]       # it asks `trine.tracking.suggested(...)`, or is given "{lr}" on its command line
    metric: val/auc                   # what the program logs; val/auc.best for the best value of all steps
    direction: maximize
    trials: 40
    workers: 2
    sampler: tpe                      # or random, grid
    pruner: median                    # or none
    seed: 7
    params:
      lr: {low: 1e-4, high: 1e-1, log: true}
      depth: {low: 2, high: 8}        # integers, since both ends are
      model: [forest, boost]

Each trial is a child run of the sweep's run. Called again, it goes on until there are as many trials as asked for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from trine.errors import InvalidInput
from trine.extras import need
from trine.ids import canonical_json
from trine.tracking import operations as door
from trine.tracking.reading import get_run, history
from trine.tracking.runs import RunInfo
from trine.tracking.suggestions import RUN, VALUES
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import optuna

    from trine.tracking.journal import TrineStorage

Tell = Callable[[str], None]
Scalar = str | int | float | bool
_POLL_S = 0.2
_WORKER = "trine.worker"


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From low to high, both included: integers when both ends are; `log` samples the exponent evenly."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sweep file says."""

    sweep: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", max_length=200)]
    command: list[str]
    params: dict[str, Range | list[Scalar]]
    metric: str
    direction: Literal["minimize", "maximize"] = "minimize"
    trials: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 20
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "none"] = "none"
    seed: int | None = None


class SweepResult(msgspec.Struct, frozen=True):
    """How a sweep stands: how many trials ended in each state, and the best one's run, value and params."""

    sweep: str
    run: str
    trials: dict[str, int]
    best_run: str
    best_value: float | None
    best_params: dict[str, Any]


def optuna_storage(sweep: str, *, ws: Workspace | None = None) -> TrineStorage:
    """A storage for `optuna.create_study(storage=…)`: the trials are child runs of the run of this sweep.

    Workers in several processes share it by its name, and a study is resumed with `load_if_exists=True`.
    """
    need("optuna", extra="sweep", purpose="A sweep")
    from trine.tracking.journal import TrineStorage

    return TrineStorage(ws or current_workspace(), sweep)


def read_sweep(path: Path) -> Sweep:
    """What a sweep file says. Raises InvalidInput naming the file and the field."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    try:
        sweep = msgspec.convert(_numbers(found), Sweep)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {str(error).replace('$.', '').replace(' - at `$`', '')}.") from None
    for name, one in sweep.params.items():
        if isinstance(one, Range) and not one.low < one.high:
            raise InvalidInput(f"{path}: {name} goes from {one.low} to {one.high}, which is nothing.")
        if isinstance(one, Range) and one.log and one.low <= 0:
            raise InvalidInput(f"{path}: {name} is sampled by exponent, so it begins above 0.")
        if sweep.sampler == "grid" and isinstance(one, Range):
            raise InvalidInput(f"{path}: a grid needs a list of values for {name}.")
    return sweep


def _numbers(value: Any) -> Any:
    """YAML takes 1e-3 for a text; here it is the number it looks like."""
    if isinstance(value, dict):
        found: dict[Any, Any] = value
        return {
            name: float(one)
            if name in ("low", "high", "step") and isinstance(one, str) and _is_number(one)
            else _numbers(one)
            for name, one in found.items()
        }
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def run_sweep(
    sweep: Sweep, *, folder: Path | None = None, tell: Tell = print, ws: Workspace | None = None
) -> SweepResult:
    """Run trials until there are as many as asked for, in a folder (default: the working folder); gives how it stands.

    Trials of workers on this machine that died are closed first. An interrupt stops the programs that run and fails their
    trials; the sweep goes on from there when it is called again.
    """
    ws = ws or current_workspace()
    return _Runner(sweep, folder or Path.cwd(), tell, ws).work()


class _Runner:
    def __init__(self, sweep: Sweep, folder: Path, tell: Tell, ws: Workspace) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.folder, self.tell, self.ws = sweep, folder, tell, ws
        self.storage = optuna_storage(sweep.sweep, ws=ws)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=sweep.sweep,
            direction=sweep.direction,
            sampler=_sampler(sweep),
            pruner=optuna.pruners.MedianPruner() if sweep.pruner == "median" else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self.asking = threading.Lock()
        self.stopping = threading.Event()

    def work(self) -> SweepResult:
        self._close_dead()
        door.reopen_run(self.ws, id=self.storage.run)
        try:
            with ThreadPoolExecutor(self.sweep.workers) as pool:
                try:
                    for done in [pool.submit(self._worker) for _ in range(self.sweep.workers)]:
                        done.result()
                except BaseException:
                    self.stopping.set()  # before the pool waits for its threads
                    raise
        except KeyboardInterrupt:
            door.end_run(self.ws, id=self.storage.run, state="killed", reason="interrupted")
            raise
        door.end_run(self.ws, id=self.storage.run)
        return self.result()

    def result(self) -> SweepResult:
        from optuna.trial import TrialState

        states: dict[str, int] = {}
        for trial in self.study.trials:
            states[trial.state.name.lower()] = states.get(trial.state.name.lower(), 0) + 1
        complete = [trial for trial in self.study.trials if trial.state == TrialState.COMPLETE]
        best = self.study.best_trial if complete else None
        return SweepResult(
            self.sweep.sweep,
            self.storage.run,
            states,
            "" if best is None else self._run_of(best),
            None if best is None else best.value,
            {} if best is None else best.params,
        )

    def _run_of(self, trial: Any) -> str:
        return self.storage.run_of(_id_of(trial))

    def _close_dead(self) -> None:
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            host, _, pid = str(trial.system_attrs.get(_WORKER, "")).rpartition(":")
            if host == socket.gethostname() and not _lives(int(pid)):
                self.storage.set_trial_state_values(_id_of(trial), TrialState.FAIL)

    def _worker(self) -> None:
        while not self.stopping.is_set() and (trial := self._next()) is not None:
            self._run(trial)

    def _next(self) -> optuna.Trial | None:
        """The next trial, with its values; None when there are enough. Those that failed do not count."""
        from optuna.trial import TrialState

        with self.asking:
            counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            if len(self.study.get_trials(deepcopy=False, states=counted)) >= self.sweep.trials:
                return None
            if len(self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))) > self.sweep.trials:
                return None
            trial = self.study.ask()
            self.storage.set_trial_system_attr(
                _id_of(trial),
                _WORKER,
                f"{socket.gethostname()}:{os.getpid()}",
            )
            for name, one in self.sweep.params.items():
                _suggest(trial, name, one)
            return trial

    def _run(self, trial: optuna.Trial) -> None:
        from optuna.trial import TrialState

        identity = self._run_of(trial)
        place = self.ws.location if "://" in self.ws.location else str(Path(self.ws.location).resolve())
        surroundings = os.environ | {
            RUN: identity,
            VALUES: canonical_json(trial.params).decode(),
            "TRINE_WORKSPACE": place,
            "TRINE_PROJECT": self.ws.project,
        }
        words = [_filled(word, trial.params) for word in self.sweep.command]
        if words[0] in ("python", "python3"):
            words[0] = sys.executable
        process = subprocess.Popen(words, cwd=self.folder, env=surroundings)
        state, told = self._watch(trial, process, identity)
        info = get_run(identity, ws=self.ws)
        value = _objective(info, self.sweep.metric)
        if state == TrialState.COMPLETE and value is None:
            state, told = TrialState.FAIL, f'it logged no "{self.sweep.metric}"'
        self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        shown = " ".join(f"{name}={one}" for name, one in trial.params.items())
        self.tell(f"trial {trial.number:>4}  {told or f'{self.sweep.metric} {value:.6g}'}   {shown}")

    def _watch(self, trial: optuna.Trial, process: subprocess.Popen[bytes], identity: str) -> tuple[Any, str]:
        """Wait for the program's end; cut it short when the pruner says so."""
        from optuna.trial import TrialState

        seen = 0
        while True:
            try:
                code = process.wait(_POLL_S)
                return (TrialState.COMPLETE, "") if code == 0 else (TrialState.FAIL, f"failed: it ended with {code}")
            except subprocess.TimeoutExpired:
                pass
            if self.stopping.is_set():
                _stop(process)
                return TrialState.FAIL, "stopped"
            if self.sweep.pruner != "none":
                seen = self._report(trial, identity, seen)
                if trial.should_prune():
                    _stop(process)
                    return TrialState.PRUNED, "pruned"

    def _report(self, trial: optuna.Trial, identity: str, seen: int) -> int:
        """Tell the pruner what the program has logged since."""
        key = _key_of(self.sweep.metric)
        info = get_run(identity, ws=self.ws)
        if key not in info.metrics or info.metrics[key].count <= seen:
            return seen
        for step, _, value in history(info, key, ws=self.ws).rows()[seen:]:
            trial.report(value, step)
        return info.metrics[key].count


def _sampler(sweep: Sweep) -> optuna.samplers.BaseSampler:
    import optuna

    if sweep.sampler == "grid":
        grid: Any = {name: one for name, one in sweep.params.items() if not isinstance(one, Range)}
        return optuna.samplers.GridSampler(grid, seed=sweep.seed)
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=sweep.seed)
    return optuna.samplers.TPESampler(seed=sweep.seed, constant_liar=sweep.workers > 1)


def _suggest(trial: optuna.Trial, name: str, one: Range | list[Scalar]) -> Any:
    if not isinstance(one, Range):
        return trial.suggest_categorical(name, one)
    if isinstance(one.low, int) and isinstance(one.high, int):
        return trial.suggest_int(name, one.low, one.high, step=int(one.step or 1), log=one.log)
    return trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)


def _id_of(trial: Any) -> int:
    """The number under which the storage knows a trial; Optuna gives it no public name."""
    return trial._trial_id


def _filled(word: str, params: dict[str, Any]) -> str:
    for name, value in params.items():
        word = word.replace("{" + name + "}", str(value))
    return word


_PARTS = ("last", "first", "min", "max", "best")


def _key_of(metric: str) -> str:
    key, _, part = metric.rpartition(".")
    return key if key and part in _PARTS else metric


def _objective(info: RunInfo, metric: str) -> float | None:
    key = _key_of(metric)
    part = "last" if key == metric else metric.rpartition(".")[2]
    value = None if key not in info.metrics else float(getattr(info.metrics[key], part))
    return None if value is None or value != value else value


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False  # an earlier process had the number that is ours now
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
