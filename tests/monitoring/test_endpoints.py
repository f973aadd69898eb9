"""A monitor over an endpoint: real predictions over HTTP, labels that come late, and the model that was accepted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from trine import data, evaluation, models, monitoring, serving
from trine.access.graph import lineage
from trine.errors import InvalidInput, NotFound
from trine.ids import now_us
from trine.monitoring import Verdict, create_monitor, list_alerts
from trine.workspace import Workspace


def rides(seed: int, rows: int, shift: float = 0.0) -> pl.DataFrame:
    """Two inputs and whether a ride was late, which hangs on both."""
    rng = np.random.default_rng(seed)
    x, n = rng.normal(shift, 1, rows), rng.integers(0, 40, rows)
    late = rng.random(rows) < 1 / (1 + np.exp(-(1.5 * x + 0.05 * n - 1)))
    return pl.DataFrame({"x": x, "n": n, "late": late})


@contextlib.contextmanager
def running(ws: Workspace) -> Iterator[serving.Client]:
    import uvicorn

    from trine.serving.app import Application

    config = uvicorn.Config(
        Application(ws, ["rides"]), host="127.0.0.1", port=0, log_level="warning", lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    with serving.Client(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}") as client:
        yield client
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def client(ws: Workspace) -> Iterator[serving.Client]:
    """An endpoint "rides" whose model is production, with a monitor of that name."""
    from sklearn.linear_model import LogisticRegression

    train = rides(1, 4000)
    commit = data.commit(train, name="train", ws=ws)
    fit = LogisticRegression().fit(train.select("x", "n"), train["late"])
    models.register(fit, "rides", inputs=train.select("x", "n"), data=commit.node, metrics={"roc_auc": 0.99}, ws=ws)
    models.promote("rides", 1, ws=ws)
    serving.create_endpoint("rides", model="rides@production", ws=ws)
    create_monitor(ws, name="rides", subject="endpoint:rides", reference="model:rides@production")
    with running(ws) as found:
        yield found


def send(client: serving.Client, rows: pl.DataFrame) -> tuple[int, int, list[str]]:
    """The window in which the rows were answered, and their ids."""
    since = now_us()
    answers = client.predict("rides", rows.select("x", "n"))
    return since, now_us() + 1, [one.id for one in answers]


def label(ws: Workspace, ids: list[str], late: Any) -> None:
    serving.log_labels("rides", {"prediction_id": ids, "label": late}, ws=ws)


def metric(verdict: Verdict, name: str) -> monitoring.MetricReport:
    assert verdict.performance is not None
    return next(one for one in verdict.performance.metrics if one.name == name)


def test_predictions_are_judged_against_the_training_data_and_the_accepted_metrics(
    ws: Workspace, client: serving.Client
) -> None:
    evaluation.evaluate("rides@1", rides(2, 3000), label="late", ws=ws)
    calm, drifted = rides(3, 600), rides(4, 600, shift=0.6)
    *quiet, ids = send(client, calm)
    *loud, more = send(client, drifted)

    before = monitoring.check("rides", *quiet, ws=ws)
    assert (before.outcome, before.rows, {one.column for one in before.columns}) == ("ok", 600, {"x", "n"})
    assert before.performance and (before.performance.labelled, before.performance.metrics) == (0, ())
    moved = monitoring.check("rides", *loud, ws=ws)
    assert (moved.outcome, moved.moved) == ("drift", ("x",))
    above = lineage(ws, node=moved.node, direction="up", depth=1).nodes
    assert {"endpoint:rides", "model:rides@1", data.resolve("train", ws=ws).node, "monitor:rides"} <= set(above)

    label(ws, ids[:300], calm["late"][:300])
    half = monitoring.check("rides", *quiet, ws=ws)
    assert half.performance and half.performance.coverage == 0.5 and half.performance.label_lag_s is not None
    auc = metric(half, "roc_auc")
    accepted = evaluation.list_evaluations(ws, model="rides").items[0].metric("roc_auc")
    assert accepted and auc.baseline == accepted.value and auc.low is not None and auc.low < auc.value < auc.high  # type: ignore[operator]
    assert half.outcome == "ok" and "labels for 300 of 600 predictions (50%" in half.text()

    label(ws, more, [not late for late in drifted["late"]])  # the world turned round
    worse = monitoring.check("rides", *loud, ws=ws)
    assert worse.outcome == "degraded" and worse.performance
    assert {"roc_auc", "brier", "accuracy"} <= set(worse.performance.worse)
    firing = {(one.rule, one.column) for one in list_alerts(ws, name="rides", state="firing").items}
    assert {("drift", "x"), ("performance", "roc_auc"), ("performance", "brier")} <= firing


def test_a_window_of_predictions_begins_and_ends_to_the_microsecond(ws: Workspace, client: serving.Client) -> None:
    for _ in range(3):
        send(client, rides(5, 30))
    times = serving.predictions("rides", ws=ws)["time_us"].unique().sort().to_list()
    assert len(times) == 3
    assert monitoring.check("rides", times[0], times[2], ws=ws).rows == 60
    assert monitoring.check("rides", times[0] + 1, times[2] + 1, ws=ws).rows == 60
    assert monitoring.check("rides", times[1], times[1] + 1, ws=ws).rows == 30
    assert monitoring.check("rides", times[0] + 1, times[1], ws=ws).outcome == "no_data"
    assert monitoring.check("rides", ws=ws).rows == 90


def test_without_an_evaluation_the_registered_metrics_are_the_baseline(ws: Workspace, client: serving.Client) -> None:
    rows = rides(6, 400)
    *window, ids = send(client, rows)
    label(ws, ids, rows["late"])
    verdict = monitoring.check("rides", *window, ws=ws)
    assert metric(verdict, "roc_auc").baseline == 0.99 and metric(verdict, "brier").baseline is None
    assert verdict.outcome == "degraded"
    replaced = {"name": "rides", "subject": "endpoint:rides", "reference": "model:rides@production"}
    create_monitor(ws, **replaced, baseline={"roc_auc": monitoring.BaselineMetric(0.7)}, replace=True)  # type: ignore[arg-type]
    assert monitoring.check("rides", *window, ws=ws).outcome == "ok"


def test_an_endpoint_can_be_judged_against_any_dataset(ws: Workspace, client: serving.Client) -> None:
    create_monitor(
        ws, name="plain", subject="endpoint:rides", reference="dataset:train", ranges={"probability": [0.0, 0.5]}
    )
    *window, _ = send(client, rides(7, 300))
    verdict = monitoring.check("plain", *window, ws=ws)
    assert {one.column for one in verdict.columns} == {"x", "n"}  # not the label, which no log has
    assert [(one.kind, one.column) for one in verdict.findings if one.serious] == [("out_of_range", "probability")]


def test_what_is_missing_is_said(ws: Workspace, client: serving.Client) -> None:
    create_monitor(ws, name="a", subject="endpoint:ride", reference="dataset:train")
    create_monitor(ws, name="b", subject="endpoint:rides", reference="model:rides@staging")
    create_monitor(ws, name="c", subject="endpoint:rides", reference="model:bare")
    models.register(models.load_model("rides@1", ws=ws).native, "bare", inputs=rides(1, 9).select("x", "n"), ws=ws)
    for name, error, message in (
        ("a", NotFound, 'Did you mean "rides"'),
        ("b", NotFound, "staging"),
        ("c", InvalidInput, "does not say which data it was trained on"),
    ):
        with pytest.raises(error) as raised:
            monitoring.check(name, ws=ws)
        assert message in raised.value.message
