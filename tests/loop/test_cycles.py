from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from trine import data, models
from trine.access import graph
from trine.access import operations as access
from trine.access.principals import Principal
from trine.errors import NotFound
from trine.evaluation import Gate
from trine.loop import Cycle, Loop
from trine.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
import loop_project as project


def production(name: str = "flights") -> str:
    try:
        return models.resolve(f"{name}@production").ref
    except NotFound:
        return ""


def turn(loop: Loop, reason: str = "") -> Cycle:
    loop.trigger(reason)
    cycle = loop.run_until_done()
    assert cycle is not None
    return cycle


def worse(loop: Loop, **changes: Any) -> Loop:
    """The same loop with a pipeline that looks at noise."""
    given = {name: getattr(loop.definition, name) for name in loop.definition.__struct_fields__ if name != "pipeline"}
    one = Loop(**{**given, "pipeline": project.retrain, "params": {"column": "y"}, **changes})
    one.save()
    return one


def test_the_first_candidate_is_gated_against_the_base_rate_and_promoted(ws: Workspace) -> None:
    loop = project.make_loop()
    assert loop.tick() is False
    made = data.commit(project.rows(50), name="flights")
    cycle = loop.run_until_done()
    assert cycle is not None
    assert (cycle.outcome, cycle.facts.candidate, cycle.facts.baseline) == ("promoted", "flights@1", "")
    assert production() == "flights@1"
    assert cycle.facts.params == {"flights": made.ref}
    assert cycle.reason.startswith(f"retrained: new data {made.ref}, 650 rows; gate passed: roc_auc +0.")
    assert cycle.reason.endswith("against the base rate; promoted")
    (moved,) = models.history("flights")
    assert (moved.gate, moved.reason) == (f"gate:{cycle.facts.gate}", cycle.reason.removesuffix("; promoted"))
    above = graph.lineage(ws, node="model:flights@1").nodes
    assert {made.node, cycle.node, f"pipeline_run:{cycle.facts.pipeline_run}"} <= set(above)
    assert loop.run_until_done() is None


def test_a_candidate_that_is_not_better_is_not_promoted(ws: Workspace) -> None:
    loop = project.make_loop()
    turn(loop)
    cycle = turn(worse(loop), "noise")
    assert (cycle.outcome, cycle.facts.gate_outcome, cycle.facts.candidate) == ("kept", "fail", "flights@2")
    assert "noise; gate failed: roc_auc -0." in cycle.reason
    assert cycle.reason.endswith("; kept flights@1")
    assert production() == "flights@1"


def test_a_version_that_is_in_production_is_not_gated_against_itself(ws: Workspace) -> None:
    loop = project.make_loop()
    turn(loop)
    again = turn(loop)  # nothing changed: every step comes from the cache
    assert (again.outcome, again.facts.candidate, again.facts.gate) == ("kept", "flights@1", "")
    assert again.reason.endswith("; flights@1 is in production already")


@pytest.mark.parametrize(
    ("pipeline", "outcome", "ending"),
    [
        (project.failing, "failed", 'training failed: step "broken": ValueError: no engine in flights'),
        (project.nothing, "kept", "the pipeline made no candidate"),
        (project.strange, "failed", "has to return trine.loop.Candidate"),
        ("nowhere.py:train", "failed", "There is no file"),
    ],
)
def test_a_pipeline_without_a_candidate_ends_the_cycle(
    local_ws: Workspace, pipeline: Any, outcome: str, ending: str
) -> None:
    loop = project.make_loop(pipeline=pipeline)
    cycle = turn(loop)
    assert (cycle.state, cycle.outcome) == ("done", outcome)
    assert ending in cycle.reason
    if pipeline is not project.nothing and not isinstance(pipeline, str):
        assert cycle.facts.pipeline_run


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"params": {"holdout": "absent"}}, 'training failed: No dataset "absent"'),
        ({"gate": Gate("roc_auc", groups="absent")}, 'gating failed: The rows have no column "absent"'),
        ({"model": "other"}, 'The candidate is flights@1, and loop "flights" is for other'),
        ({"data": {"flights": "flights@absent"}}, 'triggered failed: Dataset "flights" has no branch'),
        ({"data": {"flight": "flights"}}, 'has no parameter "flight"'),
    ],
)
def test_what_goes_wrong_for_good_ends_the_cycle_with_its_message(
    local_ws: Workspace, changes: dict[str, Any], ending: str
) -> None:
    cycle = turn(project.make_loop(**changes))
    assert (cycle.state, cycle.outcome) == ("done", "failed")
    assert ending in cycle.reason


def other(ws: Workspace, name: str = "user:bea") -> Workspace:
    """Somebody else in the same local workspace."""
    return ws.acting_as(Principal(name, local=True))


def hold_promotion(ws: Workspace) -> None:
    access.set_policy(ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})


def waiting(loop: Loop) -> Cycle:
    loop.trigger()
    cycle = loop.run_until_done(0)
    assert cycle is not None
    assert cycle.state == "awaiting"
    assert loop.tick() is False
    return cycle


def test_a_held_promotion_waits_and_goes_on_when_it_is_approved(local_ws: Workspace) -> None:
    hold_promotion(local_ws)
    loop = project.make_loop()
    cycle = waiting(loop)
    assert production() == ""
    assert [one.state for one in access.list_approvals(local_ws).items] == ["pending"]
    access.approve(other(local_ws), id=cycle.facts.approval)
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production()) == ("promoted", "flights@1")
    assert [one.state for one in access.list_approvals(local_ws).items] == ["used"]
    assert f"approval:{cycle.facts.approval}" in graph.lineage(local_ws, node="model:flights@1", direction="down").nodes


def test_a_rejected_promotion_ends_the_cycle(local_ws: Workspace) -> None:
    hold_promotion(local_ws)
    loop = project.make_loop()
    cycle = waiting(loop)
    access.reject(other(local_ws), id=cycle.facts.approval, reason="not on a Friday")
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production()) == ("rejected", "")
    assert done.reason.endswith("; rejected by user:bea (not on a Friday); nothing was promoted")


def test_production_that_moves_while_a_promotion_waits_is_gated_anew(local_ws: Workspace) -> None:
    loop = project.make_loop()
    models.promote("flights", project.register_rival())
    hold_promotion(local_ws)
    cycle = waiting(loop)
    assert cycle.facts.baseline == "flights@1"
    access.delete_policy(local_ws, name="four-eyes")
    rival = project.register_rival()
    models.promote("flights", rival)
    hold_promotion(local_ws)
    again = loop.run_until_done(0)
    assert again is not None
    assert (again.state, again.facts.baseline) == ("awaiting", rival.ref)
    assert again.facts.gate != cycle.facts.gate
    assert again.facts.approval != cycle.facts.approval
    access.approve(other(local_ws), id=again.facts.approval)
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production()) == ("promoted", again.facts.candidate)
