"""Rollouts: steps, evidence, rollback, and what happens beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import polars as pl
import pytest

from trine import models, serving
from trine.access import audit, graph
from trine.errors import Conflict, InvalidInput, NotFound, TrineError
from trine.ids import now_us
from trine.serving import Canary, Client, Rollout, Variant, moves, operations
from trine.serving.log import Entry, PredictionLog, Schema
from trine.workspace import Workspace

from .conftest import ROWS, Constant, until

SCHEMA = (("x", "float64"),)


@pytest.fixture
def endpoint(ws: Workspace, model: str) -> str:
    return serving.create_endpoint("e", model="delays@1").name


class Traffic:
    """Predictions as a server writes them, without one."""

    def __init__(self, ws: Workspace) -> None:
        self.log = PredictionLog(ws)

    def answer(self, one: Rollout, canary: int, baseline: int, *, failing: int = 0, slow: int = 1) -> None:
        for variant, model, count in ((one.variant, one.model, canary), ("main", "delays@1", baseline)):
            for number in range(count):
                ids = self.log.ids.take(1, now_us())
                bad = variant == one.variant and number < failing
                took = 1000 * (slow if variant == one.variant else 1) + number
                entry = Entry(
                    0, ids[0], ids, now_us(), one.route, variant, False, "error" if bad else "ok", took,
                    inputs=[[1.0]], outputs=None if bad else [[True], [0.9]],
                )  # fmt: skip
                outputs = () if bad else (("prediction", "boolean"), ("probability", "float64"))
                self.log.append("e", Schema(model, SCHEMA, outputs), entry)


def test_a_good_version_takes_over_step_by_step(ws: Workspace, endpoint: str) -> None:
    traffic = Traffic(ws)
    one = serving.start_rollout("e", "delays@2", canary=Canary(steps=(10, 50), min_requests=20), reason="better")
    assert (one.state, one.step, one.share, one.route, one.baseline_route) == ("running", 0, 10, 2, 1)
    route = serving.get_endpoint("e").route
    assert route
    assert [(v.name, v.model, v.weight) for v in route.variants] == [
        ("canary", "delays@2", 10),
        ("main", "delays@1", 90),
    ]
    assert serving.advance_rollout(one.id) == one  # nothing was asked yet: it waits
    traffic.answer(one, 20, 30)
    second = serving.advance_rollout(one.id)
    assert (second.state, second.step, second.share, second.route) == ("running", 1, 50, 3)
    assert serving.advance_rollout(one.id) == second  # the traffic of the step before does not count
    assert operations.get_route(ws, name="e", number=3).salt == route.salt  # keys of the canary stay with it
    traffic.answer(second, 20, 20)
    third = serving.advance_rollout(one.id)
    assert (third.state, third.share, third.route) == ("promoted", 100, 4)
    assert serving.advance_rollout(one.id) == third
    final = serving.get_endpoint("e").route
    assert final
    assert (final.variants, final.back) == ((Variant("main", "delays@2"),), 1)
    assert [move.state for move in third.moves] == ["running", "running", "promoted"]
    assert {finding.guard for finding in third.moves[-1].findings} == {"requests", "errors", "latency", "quality"}
    assert serving.rollback("e").variants == (Variant("main", "delays@1"),)  # not to a step of the rollout
    events = audit.list_events(ws, operation="serving.move_rollout").items
    assert [event.body["state"] for event in events if event.outcome == "done"] == ["running", "promoted"]
    walked = graph.lineage(ws, node="route:e@4").nodes
    assert {f"rollout:{one.id}", "model:delays@2"} <= set(walked)
    traffic.log.close()


def test_a_failing_version_goes_back_by_itself_with_the_reason(ws: Workspace, endpoint: str) -> None:
    traffic = Traffic(ws)
    one = serving.start_rollout("e", "delays@2", canary=Canary(min_requests=1_000))
    traffic.answer(one, 10, 60, failing=10)
    ended = serving.advance_rollout(one.id)
    assert (ended.state, ended.share, ended.route) == ("rolled_back", 0, 3)
    assert "error rate 1 against 0" in ended.reason
    route = serving.get_endpoint("e").route
    assert route
    assert (route.variants, route.restores) == ((Variant("main", "delays@1"),), 1)
    assert "error rate" in route.reason
    (harm,) = [finding for finding in ended.moves[-1].findings if finding.outcome == "harm"]
    assert (harm.guard, harm.canary, harm.canary_count) == ("errors", 1.0, 10)
    assert serving.advance_rollout(one.id) == ended
    traffic.log.close()


def test_a_slow_version_and_a_worse_one_go_back(ws: Workspace, endpoint: str) -> None:
    traffic = Traffic(ws)
    slow = serving.start_rollout("e", "delays@2")
    traffic.answer(slow, 150, 150, slow=5)
    assert "median latency" in serving.advance_rollout(slow.id).reason
    worse = serving.start_rollout("e", "delays@2", canary=Canary(min_labels=50))
    traffic.answer(worse, 150, 150)
    assert serving.advance_rollout(worse.id).state == "running"  # waits for labels
    mine = serving.predictions("e").filter(pl.col("route") == worse.route)
    truth = mine.select("prediction_id", label=pl.col("variant") != worse.variant)
    serving.log_labels("e", truth)
    ended = serving.advance_rollout(worse.id)
    assert ended.state == "rolled_back"
    assert "Brier score 0.81 against 0.01" in ended.reason
    traffic.log.close()


def test_what_is_served_already_or_first_is_promoted_at_once(ws: Workspace, model: str) -> None:
    serving.create_endpoint("e")
    first = serving.start_rollout("e", "delays@1")
    assert (first.state, first.route, first.reason) == ("promoted", 1, "nothing was served before")
    again = serving.start_rollout("e", "delays@production")
    assert (again.state, again.route, again.reason) == ("promoted", 1, "it is served already")
    whole = serving.start_rollout("e", "delays@2", canary=Canary(steps=(100,)))
    assert (whole.state, whole.route) == ("promoted", 2)
    assert [one.id for one in serving.list_rollouts("e")] == [whole.id, again.id, first.id]
    assert serving.get_rollout(first.id[:20]).id == first.id or len(first.id) > 20


def test_one_rollout_at_a_time_and_a_fix_can_always_be_deployed(ws: Workspace, endpoint: str) -> None:
    one = serving.start_rollout("e", "delays@2")
    with pytest.raises(Conflict, match=f"trine rollout abort {one.id}"):
        serving.start_rollout("e", "delays@2")
    fixed = serving.deploy("e", "delays@1", reason="fix")
    assert (fixed.number, fixed.back) == (3, 1)
    ended = serving.get_rollout(one.id)
    assert (ended.state, ended.reason) == ("aborted", "another route was deployed")
    with pytest.raises(Conflict, match="is over: aborted"):
        moves.move_rollout(ws, id=one.id, epoch=ended.epoch, action="advance")
    two = serving.start_rollout("e", "delays@2")
    assert serving.rollback("e", reason="phone rang").restores == 3
    assert (serving.get_rollout(two.id).state, serving.get_rollout(two.id).reason) == ("rolled_back", "phone rang")
    three = serving.start_rollout("e", "delays@2")
    aborted = serving.abort_rollout(three.id, reason="changed my mind")
    assert (aborted.state, aborted.reason) == ("aborted", "changed my mind")
    route = serving.get_endpoint("e").route
    assert route
    assert route.variants == (Variant("main", "delays@1"),)


def test_of_two_who_move_one_wins(ws: Workspace, endpoint: str) -> None:
    traffic = Traffic(ws)
    one = serving.start_rollout("e", "delays@2", canary=Canary(min_requests=5))
    traffic.answer(one, 10, 10)
    results: list[Rollout | TrineError] = []

    def move() -> None:
        try:
            results.append(moves.move_rollout(ws, id=one.id, epoch=one.epoch, action="advance"))
        except Conflict as error:
            results.append(error)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, Rollout) for result in results) == 1
    assert len(serving.routes("e")) == 3
    assert serving.get_rollout(one.id).step == 1
    traffic.log.close()


def test_a_route_no_server_could_take_up_goes_back(ws: Workspace, endpoint: str) -> None:
    one = serving.start_rollout("e", "delays@2")
    operations.report_problem(ws, name="e", number=one.route, problem="object 12ab is damaged")
    ended = serving.advance_rollout(one.id)
    assert ended.state == "rolled_back"
    assert "12ab" in ended.reason


def test_a_version_that_needs_what_callers_do_not_send_is_refused(ws: Workspace, endpoint: str) -> None:
    wider = ROWS.with_columns(z=pl.lit(1.0))
    models.register(Constant(1), "delays", inputs=wider, allow_pickle=True)
    with pytest.raises(Conflict, match="needs z, which delays@1 does not take"):
        serving.start_rollout("e", "delays@3")
    assert serving.list_rollouts("e") == []


@pytest.mark.parametrize("steps", [(50, 10), (10, 10)])
def test_steps_that_do_not_grow_are_refused(ws: Workspace, endpoint: str, steps: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="must grow"):
        serving.start_rollout("e", "delays@2", canary=Canary(steps=steps))


def test_unknown_rollouts_are_told(ws: Workspace, endpoint: str) -> None:
    with pytest.raises(NotFound, match="trine rollout ls"):
        serving.get_rollout("nothing")
    with pytest.raises(InvalidInput):
        serving.start_rollout("e", "delays@2", canary=Canary(steps=(0, 100)))


def test_baselines_keep_their_shares_and_shadows(ws: Workspace, endpoint: str) -> None:
    models.register(Constant(1), "delays", inputs=ROWS, allow_pickle=True)
    split = [Variant("a", "delays@1", 3), Variant("b", "delays@2", 1), Variant("s", "delays@3", 10, "shadow")]
    serving.set_route("e", split)
    one = serving.start_rollout("e", "delays@3", canary=Canary(steps=(20,)))
    route = operations.get_route(ws, name="e", number=one.route)
    assert [(v.name, v.weight) for v in route.variants] == [("canary", 20), ("a", 60), ("b", 20), ("s", 10)]


def test_a_canary_over_real_http_is_followed_judged_and_promoted(
    ws: Workspace, endpoint: str, server: Callable[..., Client]
) -> None:
    client = server(ws, "e")
    one = serving.start_rollout("e", "delays@2", canary=Canary(steps=(30,), min_requests=30, max_latency_ratio=1e6))
    until(lambda: client.predict("e", ROWS)[0].route == one.route)

    def ask() -> bool:
        for number in range(40):
            client.predict("e", ROWS.head(1), keys=[f"{number}"])
        return serving.advance_rollout(one.id).state == "promoted"

    until(ask)
    until(lambda: {answer.model_version for answer in client.predict("e", ROWS)} == {"delays@2"})
