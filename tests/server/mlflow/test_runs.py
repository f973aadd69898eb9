"""Runs over MLflow's wire: one record with Trine's own, MLflow's limits, codes and texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from trine import tracking
from trine.workspace import Workspace

Begin = Callable[..., str]


def test_a_run_logged_by_a_client_is_a_run_of_trine(wire: Any, begin: Begin, local_ws: Workspace) -> None:
    parent = begin(run_name="above")
    tags = [{"key": "mlflow.parentRunId", "value": parent}, {"key": "team", "value": "a"}]
    run = begin(run_name="below", start_time=1_700_000_000_123, tags=tags)
    wire("POST runs/log-metric", run_id=run, key="loss", value="Infinity", timestamp=1_700_000_000_200, step=3)
    wire("POST runs/log-metric", run_id=run, key="loss", value=0.25, timestamp=1_700_000_000_300, step=4)
    wire("POST runs/log-parameter", run_id=run, key="lr", value="0.1")
    wire("POST runs/set-tag", run_id=run, key="mlflow.runName", value="renamed")
    wire("POST runs/update", run_id=run, status="FINISHED", end_time=1_700_000_001_000)
    found = tracking.get_run(run, ws=local_ws)
    assert (found.name, found.parent, found.experiment, found.state) == ("renamed", parent, "default", "finished")
    assert (found.started_us, found.ended_us) == (1_700_000_000_123_000, 1_700_000_001_000_000)
    assert found.params == {"lr": "0.1"} and found.tags == {"team": "a"}
    assert (found.metrics["loss"].last, found.metrics["loss"].max) == (0.25, math.inf)
    history = wire("GET metrics/get-history", run_id=run, metric_key="loss")["metrics"]
    assert [(one["value"], one["step"]) for one in history] == [("Infinity", 3), (0.25, 4)]


def test_a_run_of_trine_is_one_for_clients(wire: Any, local_ws: Workspace) -> None:
    with tracking.run("churn", name="mine", params={"a": 1}, ws=local_ws, system_s=0) as above:
        above.log("auc", 0.9, step=2)
        with tracking.run(ws=local_ws) as below:
            pass
    experiment = wire("GET experiments/get-by-name", experiment_name="churn")["experiment"]["experiment_id"]
    (first, second) = wire("POST runs/search", experiment_ids=[experiment], order_by=["start_time"])["runs"]
    assert first["info"]["run_id"] == above.id and first["info"]["status"] == "FINISHED"
    assert first["data"]["metrics"][0]["value"] == 0.9 and first["data"]["params"] == [{"key": "a", "value": "1"}]
    tags = {one["key"]: one["value"] for one in second["data"]["tags"]}
    assert second["info"]["run_id"] == below.id and tags["mlflow.parentRunId"] == above.id


def test_a_batch_is_taken_whole_or_not_at_all(wire: Any, begin: Begin) -> None:
    run = begin()
    wire("POST runs/log-parameter", run_id=run, key="a", value="1")
    status, code, message = wire.refused(
        "POST runs/log-batch",
        run_id=run,
        metrics=[{"key": "m", "value": 1.0, "timestamp": 1, "step": 0}],
        params=[{"key": "b", "value": "2"}, {"key": "a", "value": "2"}],
        tags=[{"key": "t", "value": "x"}],
    )
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE") and "Changing param values is not allowed" in message
    data = wire("GET runs/get", run_id=run)["run"]["data"]
    assert "metrics" not in data and data["params"] == [{"key": "a", "value": "1"}]
    assert "t" not in {one["key"] for one in data["tags"]}


@pytest.mark.parametrize(
    ("what", "values", "text"),
    [
        ("POST runs/log-metric", {"key": "", "value": 1, "timestamp": 1}, "Missing value for required parameter 'key'"),
        ("POST runs/log-metric", {"key": "a", "timestamp": 1}, "Missing value for required parameter 'value'"),
        ("POST runs/log-metric", {"key": "a", "value": "x", "timestamp": 1}, "valid double (64-bit floating point)"),
        ("POST runs/log-metric", {"key": "a", "value": 1}, "Missing value for required parameter 'timestamp'"),
        ("POST runs/log-metric", {"key": "a", "value": 1, "timestamp": -1}, "nonnegative long"),
        ("POST runs/log-metric", {"key": "../a", "value": 1, "timestamp": 1}, "would resolve to '../a'"),
        ("POST runs/log-metric", {"key": "a*", "value": 1, "timestamp": 1}, "Names may only contain alphanumerics"),
        ("POST runs/log-metric", {"key": "a" * 251, "value": 1, "timestamp": 1}, "exceeds the maximum length of 250"),
        ("POST runs/log-parameter", {"key": "a", "value": "x" * 6_001}, "exceeds the maximum length of 6000"),
        ("POST runs/set-tag", {"key": "a", "value": "x" * 8_001}, "exceeds the maximum length of 8000"),
        ("POST runs/log-batch", {"params": [{"key": "p", "value": ""}] * 2}, "Duplicate parameter keys"),
        ("POST runs/log-batch", {"tags": [{"key": f"t{n}", "value": ""} for n in range(101)]}, "at most 100 tags. Got 101"),
        (
            "POST runs/log-batch",
            {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 1_001},
            "A batch logging request can contain at most 1000 metrics. Got 1001 metrics.",
        ),
        ("POST runs/log-batch", {"metrics": [{"key": "m", "timestamp": 1}]}, "parameter 'metrics[0].value'"),
        ("POST runs/update", {"status": "GONE"}, "Invalid value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_mlflows_words(
    wire: Any, begin: Begin, what: str, values: dict[str, Any], text: str
) -> None:
    status, code, message = wire.refused(what, run_id=begin(), **values)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE") and text in message


def test_ids_that_are_none(wire: Any) -> None:
    assert wire.refused("GET runs/get")[2].startswith("Missing value for required parameter 'run_id'")
    assert wire.refused("GET runs/get", run_id="a" * 32) == (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        f"Run with id={'a' * 32} not found",
    )
    assert wire.refused("GET runs/get", run_id="x/y")[2] == "Invalid value \"x/y\" for parameter 'run_id' supplied."
    assert wire.refused("POST runs/create", experiment_id="77") == (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "No Experiment with id=77 exists",
    )
    assert wire.refused("GET nothing/here")[:2] == (404, "ENDPOINT_NOT_FOUND")


def test_a_deleted_run_takes_nothing(wire: Any, begin: Begin) -> None:
    run = begin()
    wire("POST runs/log-metric", run_id=run, key="m", value=1, timestamp=1)
    wire("POST runs/delete", run_id=run)
    for what, values in (
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1}),
        ("log-parameter", {"key": "p", "value": "1"}),
        ("update", {"run_name": "x"}),
    ):
        told = wire.refused(f"POST runs/{what}", run_id=run, **values)
        assert told[1:] == (
            "INVALID_PARAMETER_VALUE",
            f"The run {run} must be in the 'active' state. Current state is deleted.",
        )
    wire("POST runs/restore", run_id=run)
    wire("POST runs/log-metric", run_id=run, key="m", value=2, timestamp=2)
    assert len(wire("GET metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 2


def test_history_comes_in_pages(wire: Any, begin: Begin) -> None:
    run = begin()
    metrics = [{"key": "m", "value": float(n), "timestamp": 10 - n, "step": 0} for n in range(10)]
    wire("POST runs/log-batch", run_id=run, metrics=metrics)
    seen: list[float] = []
    token = ""
    while True:
        page = wire("GET metrics/get-history", run_id=run, metric_key="m", max_results=4, page_token=token)
        seen += [one["value"] for one in page["metrics"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == [float(9 - n) for n in range(10)]


def test_projects_are_mlflows_workspaces(wire: Any, begin: Begin) -> None:
    run = begin()
    wire.client.headers["X-MLFLOW-WORKSPACE"] = "other"
    assert wire.refused("GET runs/get", run_id=run)[1] == "RESOURCE_DOES_NOT_EXIST"
