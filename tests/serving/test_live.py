"""Hot swap, splits and shadows of a server under load."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import polars as pl
import pytest

from trine import models, serving
from trine.errors import Conflict, NotFound
from trine.serving import Client, Variant, operations
from trine.serving.app import Application
from trine.workspace import Workspace

from .conftest import ROWS, until

Start = Callable[..., Client]
ONE = pl.DataFrame({"x": [1.0], "n": [1]})


def version(client: Client, endpoint: str = "e") -> str:
    return client.predict(endpoint, ONE)[0].model_version


def test_a_deploy_and_a_rollback_under_load_drop_no_request(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("e", model="constant@1")
    client = server(ws, "e")
    stop = threading.Event()
    answers: list[tuple[str, float]] = []
    failures: list[Any] = []

    def load() -> None:
        with Client(client.url) as mine:
            while not stop.is_set():
                try:
                    (one,) = mine.predict("e", ONE)
                    answers.append((one.model_version, one.prediction))
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: answers)
        for number in (2, 3):
            serving.deploy("e", f"constant@{number}")
            until(lambda number=number: version(client) == f"constant@{number}")
        serving.rollback("e")
        until(lambda: version(client) == "constant@2")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {ref for ref, _ in answers} == {"constant@1", "constant@2", "constant@3"}
    assert all(ref == f"constant@{int(value)}" for ref, value in answers)
    logged = serving.predictions("e")
    assert logged.filter(pl.col("status") != "ok").height == 0
    assert Counter(logged["model_version"])["constant@1"] >= sum(ref == "constant@1" for ref, _ in answers)
    assert set(zip(logged["route"], logged["model_version"], strict=True)) == {
        (1, "constant@1"), (2, "constant@2"), (3, "constant@3"), (4, "constant@2"),
    }  # fmt: skip


def test_going_back_loads_nothing(ws: Workspace, constants: str) -> None:
    loaded: list[str] = []

    def load(ref: str) -> Any:
        loaded.append(ref)
        return models.load_model(ref, allow_pickle=True, ws=ws)

    from trine.serving.live import Live

    serving.create_endpoint("e", model="constant@1")
    live = Live(ws, ["e"], load=load)
    live.start()
    try:
        for number, ref in ((2, "constant@2"), (3, "constant@1")):
            serving.rollback("e") if number == 3 else serving.deploy("e", ref)
            until(lambda number=number: live.served("e").route.number == number)
    finally:
        live.close()
    assert loaded == ["constant@1", "constant@2"]


def test_a_route_that_cannot_be_taken_up_leaves_the_one_before_it(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("e", model="constant@1")
    client = server(ws, "e")
    live_ws = ws
    version_ = models.resolve("constant@2", ws=live_ws)
    models.delete_version(ws, name="constant", version=3)
    broken = serving.set_route("e", [Variant("main", version_.ref)])
    until(lambda: version(client) == "constant@2")
    with pytest.raises(NotFound):
        serving.deploy("e", "constant@3")
    assert serving.get_endpoint("e").route == broken


def test_a_route_whose_model_does_not_load_is_told(ws: Workspace, constants: str) -> None:
    from trine.serving.live import Live

    def load(ref: str) -> Any:
        if ref == "constant@2":
            raise OSError("the file is gone")
        return models.load_model(ref, allow_pickle=True, ws=ws)

    serving.create_endpoint("e", model="constant@1")
    live = Live(ws, ["e"], load=load)
    live.start()
    try:
        serving.deploy("e", "constant@2")
        until(lambda: operations.get_route(ws, name="e", number=2).problem)
        assert live.served("e").route.number == 1
        assert operations.get_route(ws, name="e", number=2).problem == "OSError: the file is gone"
        serving.deploy("e", "constant@3")
        until(lambda: live.served("e").route.number == 3)
    finally:
        live.close()
    with pytest.raises(OSError, match="gone"):
        serving.deploy("e", "constant@2")
        Live(ws, ["e"], load=load).start()


def test_an_endpoint_that_comes_and_goes_is_followed(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("e")
    client = server(ws, "e")
    with pytest.raises(Conflict, match="no model yet"):
        client.predict("e", ONE)
    serving.deploy("e", "constant@1")
    until(client.is_ready)
    serving.delete_endpoint("e")
    until(lambda: not client.is_ready())
    with pytest.raises(NotFound, match='no endpoint "e"'):
        client.predict("e", ONE)
    serving.create_endpoint("e", model="constant@2")
    until(client.is_ready)
    assert version(client) == "constant@2"


def test_a_server_of_an_endpoint_that_is_not_there_does_not_start(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="no-such"):
        Application(ws, ["no-such"]).start()


def test_rows_go_to_the_variant_of_their_key(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("e")
    serving.set_route("e", [Variant("a", "constant@1", 70), Variant("b", "constant@2", 30)])
    client = server(ws, "e")
    rows = pl.DataFrame({"x": [1.0] * 200, "n": [1] * 200})
    keys = [f"k{n}" for n in range(200)]
    first = client.predict("e", rows, keys=keys)
    assert [one.variant for one in client.predict("e", rows, keys=keys)] == [one.variant for one in first]
    assert 30 <= sum(one.variant == "b" for one in first) <= 95
    assert all(one.prediction == (1.0 if one.variant == "a" else 2.0) for one in first)
    serving.set_route("e", [Variant("a", "constant@1", 40), Variant("b", "constant@2", 60)])
    until(lambda: client.predict("e", ONE)[0].route == 2)
    second = client.predict("e", rows, keys=keys)
    moved = {(one.variant, other.variant) for one, other in zip(first, second, strict=True)}
    assert ("b", "a") not in moved
    assert ("a", "b") in moved
    answer = httpx.post(client.url + "/v2/models/e/versions/2/infer", json={"inputs": [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}, {"name": "n", "shape": [1], "datatype": "INT64", "data": [1]},
    ]})  # fmt: skip
    assert answer.headers["x-trine-model-version"] == "constant@2"
    every = serving.predictions("e")
    assert set(every.filter(pl.col("key") == "k0")["variant"]) <= {first[0].variant, second[0].variant}


def test_a_shadow_is_recorded_never_answers_and_never_delays(ws: Workspace, constants: str, server: Start) -> None:
    from trine.serving.live import Live

    go_on = threading.Event()

    class Slow:
        """A shadow that does not answer before it is told to."""

        def __init__(self, real: Any) -> None:
            self.real, self.signature = real, real.signature

        def predict_rows(self, rows: Any) -> Any:
            assert go_on.wait(30)
            return self.real.predict_rows(rows)

        predict_columns = predict_rows

    def load(ref: str) -> Any:
        real = models.load_model(ref, allow_pickle=True, ws=ws)
        return Slow(real) if ref == "constant@2" and live.is_ready("e") else real

    serving.create_endpoint("e", model="constant@1")
    live = Live(ws, ["e"], load=load)
    client = server(ws, "e", live=live)
    go_on.set()  # warming up
    serving.set_route("e", [Variant("main", "constant@1"), Variant("next", "constant@2", role="shadow")])
    until(lambda: client.predict("e", ONE)[0].route == 2)
    go_on.clear()
    answers = client.predict("e", ROWS)
    assert {one.prediction for one in answers} == {1.0}  # it came while the shadow stood still
    assert serving.predictions("e").filter(pl.col("prediction_id").is_in([one.id for one in answers])).height == 6
    go_on.set()

    def copies() -> pl.DataFrame:
        return serving.predictions("e", shadow=True).filter(pl.col("shadow_of").is_in([one.id for one in answers]))

    until(lambda: copies().height == 6)
    assert set(copies()["prediction"]) == {2.0}
    assert set(copies()["variant"]) == {"next"}
    assert copies()["x"].sort().to_list() == ROWS["x"].to_list()


def test_a_failing_shadow_hurts_nobody(ws: Workspace, constants: str, server: Start) -> None:
    serving.create_endpoint("e", model="constant@1")
    serving.set_route("e", [Variant("main", "constant@1"), Variant("next", "constant@2", role="shadow")])

    from trine.serving.live import Live

    class Fails:
        def __init__(self, real: Any) -> None:
            self.signature = real.signature

        def predict_rows(self, rows: Any) -> Any:
            raise SystemExit(3)

        predict_columns = predict_rows

    def load(ref: str) -> Any:
        real = models.load_model(ref, allow_pickle=True, ws=ws)
        return Fails(real) if ref == "constant@2" else real

    client = server(ws, "e", live=Live(ws, ["e"], load=load))
    (answer,) = client.predict("e", ONE)
    assert answer.prediction == 1.0
    until(lambda: serving.predictions("e", shadow=True).height == 2)
    (copy,) = serving.predictions("e", shadow=True).filter(pl.col("role") == "shadow").to_dicts()
    assert (copy["status"], copy["error"], copy["shadow_of"]) == ("error", "SystemExit: 3", answer.id)


def test_requests_that_wait_together_are_answered_each_with_its_own(
    ws: Workspace, constants: str, server: Start
) -> None:
    """Natural batching: while the model is busy requests gather; one that makes the model fail fails alone."""
    from trine.serving.live import Live

    go_on, calls = threading.Event(), list[int]()

    class Doubles:
        def __init__(self, real: Any) -> None:
            self.signature = real.signature

        def predict_rows(self, rows: Any) -> Any:
            import numpy as np

            if live.is_ready("e"):
                calls.append(len(rows))
                go_on.wait(30)
            if any(row[0] == 666.0 for row in rows):
                raise ValueError("not this one")
            return {"prediction": np.array([row[0] * 2 for row in rows])}

        def predict_columns(self, columns: Any) -> Any:
            return self.predict_rows(list(zip(*columns.values(), strict=True)))

    serving.create_endpoint("e", model="constant@1")
    live = Live(ws, ["e"], load=lambda ref: Doubles(models.load_model(ref, allow_pickle=True, ws=ws)))
    client = server(ws, "e", live=live)
    live.served("e").main._call_us = 1e6  # as if measured slow: the model gets a thread
    found: dict[float, httpx.Response] = {}

    def ask(x: float) -> None:
        found[x] = httpx.post(client.url + "/invocations", json={"inputs": {"x": [x, x + 0.5], "n": [1, 2]}})

    values = [*map(float, range(12)), 666.0]
    threads = [threading.Thread(target=ask, args=(x,)) for x in values]
    for thread in threads:
        thread.start()
    until(lambda: calls and calls[0] // 2 + live.served("e").main.queued == 13)
    go_on.set()
    for thread in threads:
        thread.join()
    assert found.pop(666.0).status_code == 502
    assert {x: answer.json()["predictions"] for x, answer in found.items()} == {
        x: [2 * x, 2 * x + 1] for x in values[:-1]
    }
    assert max(calls) > 2  # several in one call; then each alone, for one of them failed
    assert serving.predictions("e").filter(pl.col("status") == "error").height == 2
