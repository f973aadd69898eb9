from __future__ import annotations

import pytest

from trine import models, serving
from trine.access import audit, graph
from trine.errors import Conflict, InvalidInput, NotFound
from trine.serving import Variant, operations
from trine.workspace import Workspace


def test_an_endpoint_serves_the_version_its_alias_meant_when_it_was_made(ws: Workspace, model: str) -> None:
    made = serving.create_endpoint("delays", model="delays@production", key="customer", description="late?")
    assert made.route
    assert (made.route.number, made.route.back) == (1, 0)
    assert made.route.variants == (Variant("main", "delays@1"),)
    models.promote("delays", 2)
    assert serving.get_endpoint("delays") == made
    assert serving.list_endpoints() == [made]
    assert graph.lineage(ws, node="endpoint:delays").nodes[:3] == [
        "endpoint:delays",
        "route:delays@1",
        "model:delays@1",
    ]
    down = graph.lineage(ws, node="model:delays@1", direction="down").nodes
    assert {"route:delays@1", "endpoint:delays"} <= set(down)


def test_an_endpoint_without_a_model_waits_for_one(ws: Workspace, model: str) -> None:
    assert serving.create_endpoint("delays").route is None
    with pytest.raises(Conflict, match="no earlier route"):
        serving.rollback("delays")
    assert serving.deploy("delays", "delays").variants == (Variant("main", "delays@2"),)  # the newest


def test_what_is_wrong_is_named(ws: Workspace, model: str) -> None:
    with pytest.raises(NotFound, match='No model "dealys"'):
        serving.create_endpoint("delays", model="dealys")
    assert serving.list_endpoints() == []
    serving.create_endpoint("delays", model="delays@1")
    with pytest.raises(Conflict, match="already"):
        serving.create_endpoint("delays", model="delays@1")
    with pytest.raises(NotFound, match='Did you mean "delays"'):
        serving.deploy("delay", "delays@1")
    with pytest.raises(NotFound, match="delays"):
        serving.deploy("delays", "delays@9")
    with pytest.raises(InvalidInput, match="live variant"):
        serving.set_route("delays", [Variant("a", "delays@1", role="shadow")])
    with pytest.raises(InvalidInput):
        serving.create_endpoint("../x")
    with pytest.raises(NotFound, match="no route 7"):
        operations.get_route(ws, name="delays", number=7)
    with pytest.raises(Conflict, match="serves route 1, not 3"):
        serving.set_route("delays", [Variant("a", "delays@2")], expect=3)


def test_rollback_goes_back_along_what_was_served(ws: Workspace, model: str) -> None:
    serving.create_endpoint("delays", model="delays@1")
    serving.deploy("delays", "delays@2", reason="new")
    split = serving.set_route("delays", [Variant("a", "delays@1", 1), Variant("b", "delays@2", 1)])
    assert [one.weight for one in split.variants] == [50, 50]
    assert serving.set_route("delays", split.variants) == split  # the same again is no new route
    back = serving.rollback("delays", reason="worse")
    assert (back.number, back.restores, back.variants[0].model, back.reason) == (4, 2, "delays@2", "worse")
    again = serving.rollback("delays")
    assert (again.number, again.restores, again.variants[0].model) == (5, 1, "delays@1")
    with pytest.raises(Conflict, match="no earlier"):
        serving.rollback("delays")
    assert [one.number for one in serving.routes("delays")] == [5, 4, 3, 2, 1]
    after = serving.deploy("delays", "delays@2")
    assert after.back == 1
    done = [e.object for e in audit.list_events(ws, operation="serving.roll_back").items if e.outcome == "done"]
    assert done == ["route:delays@4", "route:delays@5"]


def test_a_deleted_endpoint_keeps_its_history_and_its_numbers(ws: Workspace, model: str) -> None:
    serving.create_endpoint("delays", model="delays@1")
    serving.delete_endpoint("delays")
    with pytest.raises(NotFound):
        serving.get_endpoint("delays")
    assert operations.live_routes(ws, names=["delays", "other"]) == {}
    assert [one.number for one in serving.routes("delays")] == [1]
    again = serving.create_endpoint("delays", model="delays@2")
    assert again.route
    assert (again.route.number, again.route.back) == (2, 0)
    assert operations.live_routes(ws, names=["delays", "other"]) == {"delays": 2}


def test_keys_stay_where_they_are_over_routes(ws: Workspace, model: str) -> None:
    serving.create_endpoint("delays", model="delays@1")
    first = serving.set_route("delays", [Variant("a", "delays@1", 90), Variant("b", "delays@2", 10)])
    second = serving.set_route("delays", [Variant("a", "delays@1", 50), Variant("b", "delays@2", 50)])
    assert first.salt == second.salt
    third = serving.set_route("delays", [Variant("a", "delays@1"), Variant("b", "delays@2")], salt="fresh")
    assert third.salt == "fresh"
