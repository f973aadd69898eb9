"""Optuna's storage in a workspace: its journal goes through the door, and each trial is a child run of the sweep.

The journal is Optuna's own, so sampling, pruning, parallel workers and resuming are what Optuna makes of them; the runs are
how people and searches see the trials. Trial N has the same run id whoever writes it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from trine.errors import Conflict, NotFound
from trine.ids import digest, now_us
from trine.tracking import operations as door
from trine.tracking.code import capture_quietly
from trine.tracking.environment import capture_environment
from trine.tracking.fitting import as_text, quietly
from trine.tracking.series import Points, pack
from trine.workspace import Workspace


class Journal(BaseJournalBackend):
    """The journal of one sweep; appends are transactions, so any number of processes may share it."""

    def __init__(self, ws: Workspace, sweep: str) -> None:
        self.ws = ws
        self.sweep = sweep

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        start = log_number_from
        while some := door.read_journal(self.ws, sweep=self.sweep, start=start, limit=1000):
            for body in some:
                yield json.loads(body)
            start += len(some)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for start in range(0, len(logs), 1000):
            door.append_journal(
                self.ws, sweep=self.sweep, entries=[json.dumps(one) for one in logs[start : start + 1000]]
            )


def sweep_run_id(ws: Workspace, sweep: str) -> str:
    """The id of the run that a sweep's trials are children of."""
    return digest(["sweep", ws.project, sweep])[:32]


class TrineStorage(JournalStorage):
    """Optuna's journal storage, with a child run for each trial: params, intermediate values as `intermediate`, the
    objective as `objective`; a pruned trial is `killed`."""

    def __init__(self, ws: Workspace, sweep: str) -> None:
        self.ws = ws
        self.sweep = sweep
        self.run = sweep_run_id(ws, sweep)
        self._captured = {"code": capture_quietly(ws)[0], "environment": capture_environment(ws=ws)}
        _make_run(ws, id=self.run, experiment_name=sweep, name=sweep, tags={"trine.sweep": sweep}, **self._captured)
        super().__init__(Journal(ws, sweep))

    def run_of(self, trial_id: int) -> str:
        """The id of a trial's run."""
        return digest(["trial", self.run, trial_id])[:32]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        number = self.get_trial_number_from_id(trial_id)
        params = {} if template_trial is None else template_trial.params
        quietly(
            _make_run,
            self.ws,
            id=self.run_of(trial_id),
            experiment_name=self.sweep,
            name=f"{self.sweep}-trial-{number}",
            parent=self.run,
            params={name: as_text(value) for name, value in params.items()},
            tags={"optuna.study": self.get_study_name_from_id(study_id), "optuna.trial": str(number)},
            **self._captured,
        )
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        value = as_text(distribution.to_external_repr(param_value_internal))
        quietly(door.set_params, self.ws, id=self.run_of(trial_id), params={param_name: value})

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        quietly(self._add_point, trial_id, "intermediate", step, intermediate_value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state.is_finished():
            quietly(self._end, trial_id, state, values)
        return done

    def _end(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> None:
        for at, value in enumerate(values or ()):
            self._add_point(trial_id, "objective" if at == 0 else f"objective/{at}", 0, value)
        ended = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "killed"}.get(state, "failed")
        reason = "pruned" if state == TrialState.PRUNED else ""
        door.end_run(self.ws, id=self.run_of(trial_id), state=ended, reason=reason)  # type: ignore[arg-type]

    def _add_point(self, trial_id: int, key: str, step: int, value: float) -> None:
        point = Points(np.array([step]), np.array([now_us()]), np.array([float(value)]))
        door.add_points(self.ws, id=self.run_of(trial_id), points=[pack(key, point)])


def _make_run(ws: Workspace, **values: Any) -> None:
    try:
        door.get_run(ws, id=values["id"])
    except NotFound:
        with contextlib.suppress(Conflict):  # another worker made it just now
            door.create_run(ws, **values)
