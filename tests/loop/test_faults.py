"""A driver may die at any line: another goes on, it ends the same, and nothing was done twice."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from trine import models, pipelines, serving
from trine.access import operations as access
from trine.access.principals import Principal
from trine.evaluation import list_gates
from trine.loop import Cycle, Loop
from trine.loop import operations as door
from trine.operations import every
from trine.serving import Canary
from trine.serving import operations as endpoints
from trine.workspace import Transaction, Workspace, connect, transaction, using

sys.path.insert(0, str(Path(__file__).parent))
import loop_project as project

CANARY = Canary(steps=(20, 100), min_requests=1)


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it and go on."""


class Fault:
    """Kills the driver right after its n-th commit. What a driver leaves behind changes only there, so dying after each
    commit in turn is dying at every line."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.commits = 0

    @contextlib.contextmanager
    def transaction(self, ws: Workspace, *, write: bool, request_id: str = "") -> Generator[Transaction]:
        with transaction(ws, write=write, request_id=request_id) as tx:
            yield tx
        self.commits += write
        if write and self.commits == self.at:
            raise Killed(f"after commit {self.at}")


def census(ws: Workspace) -> dict[str, Any]:
    """What there is in the end: the outcome, and how often each thing was done."""
    (cycle,) = door.list_cycles(ws, name="flights").items
    route = serving.get_endpoint("flights").route
    return {
        "outcome": cycle.outcome,
        "ending": cycle.reason.rpartition(";")[2],
        "production": models.resolve("flights@production").ref,
        "alias events": [(one.kind, one.version) for one in models.history("flights")],
        "versions": len(list(every(models.operations.list_versions, ws, name="flights"))),
        "gates": len(list_gates(ws).items),
        "pipeline runs": [one.state for one in pipelines.list_pipeline_runs()],
        "approvals": [one.state for one in access.list_approvals(ws).items],
        "rollouts": [(one.state, len(one.moves)) for one in serving.list_rollouts()],
        "routes": len(serving.routes("flights")),
        "served": [(one.model, one.weight) for one in (route.live if route else ())],
    }


def approve(ws: Workspace, cycle: Cycle) -> None:
    if access.get_approval(ws, id=cycle.facts.approval).state == "pending":
        access.approve(ws.acting_as(Principal("user:bea", local=True)), id=cycle.facts.approval)


def break_route(ws: Workspace, cycle: Cycle) -> None:
    """What makes the canary's guard roll back."""
    route = serving.get_endpoint("flights").route
    if route is not None and route.rollout == cycle.facts.rollout and not route.problem:
        endpoints.report_problem(ws, name="flights", number=route.number, problem="broken")


def to_the_end(ws: Workspace, loop: Loop, outside: dict[str, Callable[[Workspace, Cycle], None]]) -> None:
    """Drive a cycle to its end; `outside` is what others do when it waits in a state."""
    for _ in range(60):
        if loop.tick():
            continue
        cycle = loop.cycle()
        if cycle is None:
            return
        outside[cycle.state](ws, cycle)
    raise AssertionError("the cycle does not end")


def prepared(folder: Path) -> None:
    """A workspace where the next cycle trains (from the cache), passes its gate, is held, and rolls out."""
    with connect(folder) as ws, using(ws):
        rival = project.register_rival()
        models.promote("flights", rival)
        serving.create_endpoint("flights", model=rival.ref)
        access.set_policy(ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})
        loop = project.make_loop(endpoint="flights", rollout=CANARY)
        project.retrain.run(flights=project.data.resolve("flights").ref)
        loop.trigger()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    root = tmp_path_factory.mktemp("loop") / ".trine"
    root.mkdir()
    shutil.copy(sqlite_template, root / "ledger.db")
    prepared(root.parent)
    return root.parent


def loop_again(**changes: Any) -> Loop:
    """What a new driver process has."""
    given: dict[str, Any] = {"data": {"flights": "flights"}, "endpoint": "flights", "rollout": CANARY}
    return Loop("flights", model="flights", pipeline=project.retrain, **{**given, **changes})


def driven(template: Path, folder: Path, ending: str, faults: int, patch: pytest.MonkeyPatch) -> tuple[Any, Fault]:
    """The census after a drive that died after a commit and was taken up by another driver."""
    options, outside = ENDINGS[ending]
    shutil.copytree(template, folder)
    fault = Fault(faults)
    with connect(folder) as ws, using(ws):
        loop_again(**options).save()
        try:
            with patch.context() as faulty:
                faulty.setattr("trine.operations.transaction", fault.transaction)
                to_the_end(ws, loop_again(**options), outside)
        except Killed:
            to_the_end(ws, loop_again(**options), outside)
        found = census(ws)
    shutil.rmtree(folder)
    return found, fault


def reject(ws: Workspace, cycle: Cycle) -> None:
    access.reject(ws.acting_as(Principal("user:bea", local=True)), id=cycle.facts.approval)


ENDINGS: dict[str, tuple[dict[str, Any], dict[str, Callable[[Workspace, Cycle], None]]]] = {
    "promoted": ({"rollout": None}, {"awaiting": approve}),
    "rolled_back": ({}, {"awaiting": approve, "rolling": break_route}),
    "rejected": ({}, {"awaiting": reject}),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_driver_may_die_at_any_line(
    template: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, whole = driven(template, tmp_path / "whole", ending, 0, monkeypatch)
    assert expected["outcome"] == ending
    assert whole.commits > 10
    for at in range(1, whole.commits + 1):
        found, _ = driven(template, tmp_path / f"killed-{at}", ending, at, monkeypatch)
        assert found == expected, f"died after commit {at}"
