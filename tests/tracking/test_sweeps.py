from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

import trine
from trine import tracking
from trine.cli import main
from trine.errors import InvalidInput
from trine.tracking import sweeps
from trine.workspace import Workspace

optuna.logging.set_verbosity(optuna.logging.WARNING)

PROGRAM = """
import sys
import trine
from trine.tracking import suggested

values = suggested(x=0.0, kind="a")
assert str(values["x"]) == sys.argv[1]
with trine.run() as run:
    for step in range(3):
        run.log("loss", (values["x"] - 0.3) ** 2 + step / 10 + (values["kind"] == "b"), step=step)
    with trine.run(params={"fold": 1}) as child:
        child.log("inner", 1.0)
if values["x"] > 0.95:
    sys.exit(3)
"""

FILE = """
sweep: size
command: [python, train.py, "{x}"]
metric: loss.min
trials: 3
workers: 2
sampler: random
seed: 3
params:
  x: {low: 1e-3, high: 0.9}
  kind: [a, b]
"""


def test_a_study_of_optuna_is_a_run_with_a_child_for_each_trial(ws: Workspace) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, depth = trial.suggest_float("x", 0, 1), trial.suggest_int("depth", 1, 3)
        for step in range(3):
            trial.report(x + step, step)
            if trial.number == 2:
                raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError("no luck")
        return x + depth

    storage = tracking.optuna_storage("size")
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(storage=storage, study_name="size", sampler=sampler)
    study.optimize(objective, n_trials=3)
    again = optuna.load_study(study_name="size", storage=tracking.optuna_storage("size"))  # another worker
    again.optimize(objective, n_trials=1, catch=ValueError)
    trials = again.get_trials()
    assert [one.state for one in trials] == [TrialState.COMPLETE] * 2 + [TrialState.PRUNED, TrialState.FAIL]
    parent = tracking.get_run("size")
    children = tracking.search(f"parent = '{parent.id}' order by name")
    assert [one.state for one in children] == ["finished", "finished", "killed", "failed"]
    first = children[0]
    assert first.params == {"x": str(trials[0].params["x"]), "depth": str(trials[0].params["depth"])}
    assert first.metrics["objective"].last == trials[0].value and first.metrics["intermediate"].count == 3
    assert (children[2].reason, first.experiment, first.tags["optuna.trial"]) == ("pruned", "size", "0")


def test_a_sweep_runs_a_program_and_goes_on(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "sweep.yaml").write_text(FILE)

    def say(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.yaml"), *words, "-w", local_ws.location])
        assert answer.exit_code == code, answer.output
        return answer.stdout

    told = json.loads(say("--json"))
    assert told["trials"] == {"complete": 3}
    children = tracking.search("tags.`optuna.study` = 'size' order by metrics.objective")
    assert len(children) == 3 and {one.state for one in children} == {"finished"}
    assert told["best_run"] == children[0].id and told["best_value"] == children[0].metrics["loss"].min
    assert {one.metrics["loss"].count for one in children} == {3}
    assert (
        len(tracking.search("metrics.inner = 1 and params.fold = 1")) == 3
    )  # a second run there is a child of its own
    assert tracking.get_run("size").state == "finished"
    assert "3 complete" in (again := say("-n", "3")) and "best: loss.min" in again


def test_hopeless_trials_are_cut_short_and_dead_ones_closed(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import time, trine\nfrom trine.tracking import suggested\nx = suggested()['x']\n"
        "with trine.run() as run:\n    for step in range(3):\n        run.log('loss', x, step=step)\n    run.flush()\n"
        "    if x > 5: time.sleep(600)\n"
    )
    storage = tracking.optuna_storage("s")
    study = optuna.create_study(storage=storage, study_name="s")
    for _ in range(5):  # what the pruner compares with
        trial = study.ask()
        for step in range(3):
            trial.report(1.0, step)
        study.tell(trial, 1.0)
    left = study.ask()
    storage.set_trial_system_attr(left._trial_id, "trine.worker", f"{sweeps.socket.gethostname()}:999999999")
    sweep = sweeps.Sweep(
        sweep="s", command=["python", "train.py"], params={"x": [9]}, metric="loss", trials=6, pruner="median"
    )
    done = sweeps.run_sweep(sweep, folder=tmp_path, tell=lambda _: None)
    assert done.trials == {"complete": 5, "fail": 1, "pruned": 1}
    assert tracking.search("reason = 'pruned'")[0].metrics["loss"].last == 9


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("metric: loss.min", ""), "missing required field `metric`"),
        (("low: 1e-3", "low: 2"), "goes from 2"),
        (("high: 0.9", "high: 0.9, log: true, low: -1"), "begins above 0"),
        (("sampler: random", "sampler: grid"), "a grid needs a list"),
        (("workers: 2", "workers: 0"), ">= 1"),
        (("sweep: size", "sweep: [1"), "cannot be read"),
        (("trials: 3", "trails: 3"), "trails"),
    ],
)
def test_a_sweep_file_that_cannot_be_is_told(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(FILE.replace(*change))
    with pytest.raises(InvalidInput, match=problem):
        sweeps.read_sweep(path)


def test_outside_of_a_sweep_the_defaults_hold(local_ws: Workspace) -> None:
    assert tracking.suggested(lr=0.1) == {"lr": 0.1}
    with trine.run() as run:
        pass
    assert tracking.get_run(run).parent is None
