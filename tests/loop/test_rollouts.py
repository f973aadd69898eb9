from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trine import models, serving
from trine.loop import Cycle, Loop
from trine.serving import Canary
from trine.serving import operations as endpoints
from trine.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
import loop_project as project

CANARY = Canary(steps=(20, 100), min_requests=5, max_latency_ratio=1000)


def begin(**changes: Any) -> tuple[Loop, Cycle]:
    """A loop whose candidate has just become production, while an endpoint serves what was before."""
    rival = project.register_rival()
    models.promote("flights", rival)
    serving.create_endpoint("flights", model=rival.ref)
    loop = project.make_loop(**{"endpoint": "flights", "rollout": CANARY, **changes})
    loop.trigger()
    cycle = loop.run_until_done(0)
    assert cycle is not None
    return loop, cycle


def production() -> str:
    return models.resolve("flights@production").ref


def served() -> list[tuple[str, float]]:
    route = serving.get_endpoint("flights").route
    assert route is not None
    return [(one.model, one.weight) for one in route.live]


def test_a_canary_takes_over_the_traffic_step_by_step(ws: Workspace) -> None:
    loop, cycle = begin()
    assert (cycle.state, production(), served()) == ("rolling", "flights@2", [("flights@2", 20.0), ("flights@1", 80.0)])
    assert loop.tick() is False  # nobody has asked yet
    with project.served(ws) as client:
        for _ in range(200):
            client.predict("flights", [{"x": 0.5, "y": 0.1}])
            if loop.tick():
                break
    (found,) = loop.cycles()
    assert (found.outcome, served(), production()) == ("promoted", [("flights@2", 100.0)], "flights@2")
    assert found.reason.endswith("; promoted through canary 20→100 %")


def test_a_canary_that_is_rolled_back_takes_the_alias_back_too(ws: Workspace) -> None:
    loop, cycle = begin()
    route = serving.get_endpoint("flights").route
    assert route is not None
    endpoints.report_problem(ws, name="flights", number=route.number, problem="no such library")
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production(), served()) == ("rolled_back", "flights@1", [("flights@1", 100.0)])
    assert "rolled back from canary at 20 %: a server could not take up route" in done.reason
    assert done.reason.endswith("; production is flights@1")
    assert [(one.kind, one.version) for one in models.history("flights")][:2] == [("rolled_back", 1), ("promoted", 2)]
    assert cycle.facts.rollout == done.facts.rollout


def test_a_rollout_that_is_aborted_by_hand_takes_the_alias_back_too(ws: Workspace) -> None:
    loop, cycle = begin()
    serving.abort_rollout(cycle.facts.rollout, reason="too risky today")
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production()) == ("rolled_back", "flights@1")
    assert done.reason.endswith("; aborted canary at 20 %: too risky today; production is flights@1")


def test_production_that_is_moved_by_hand_during_a_rollout_stays_where_it_was_put(ws: Workspace) -> None:
    loop, cycle = begin()
    models.rollback("flights")
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production(), served()) == ("rolled_back", "flights@1", [("flights@1", 100.0)])
    assert serving.get_rollout(cycle.facts.rollout).state == "aborted"


def test_without_a_canary_all_of_the_traffic_moves_at_once(ws: Workspace) -> None:
    _, done = begin(rollout=None)
    assert (done.outcome, served()) == ("promoted", [("flights@2", 100.0)])
    assert done.reason.endswith("; promoted, endpoint flights serves it")


def test_an_endpoint_that_is_not_there_is_made_for_the_first_version(ws: Workspace) -> None:
    loop = project.make_loop(endpoint="flights", rollout=CANARY)
    loop.trigger()
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, served()) == ("promoted", [("flights@1", 100.0)])


def test_a_rollout_of_somebody_else_is_waited_for(ws: Workspace) -> None:
    loop, cycle = begin()
    third = project.register_rival("x")
    serving.abort_rollout(cycle.facts.rollout)
    loop.run_until_done()
    theirs = serving.start_rollout("flights", third.ref, canary=CANARY)
    project.data.commit(project.rows(50, seed=5), name="flights")
    cycle = loop.run_until_done(0)
    assert cycle is not None
    assert (cycle.state, cycle.facts.rollout) == ("rolling", "")
    serving.abort_rollout(theirs.id)
    assert loop.tick() is True
    following = loop.cycle()
    assert following is not None
    assert following.facts.rollout not in ("", theirs.id)


def test_a_candidate_that_callers_cannot_feed_is_taken_back(ws: Workspace) -> None:
    """The version that is served takes `y` only, so nobody sends the `x` that the candidate needs."""
    rival = project.register_rival("y")
    models.promote("flights", rival)
    serving.create_endpoint("flights", model=rival.ref)
    loop = project.make_loop(endpoint="flights", rollout=CANARY)
    loop.trigger()
    done = loop.run_until_done()
    assert done is not None
    assert (done.outcome, production(), served()) == ("failed", "flights@1", [("flights@1", 100.0)])
    assert "rolling failed: flights@2 needs x, which flights@1 does not take" in done.reason
    assert done.reason.endswith("; production is flights@1")
