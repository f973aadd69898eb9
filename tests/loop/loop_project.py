"""A small project for the loop's tests: rows whose signal a pipeline learns, and a loop around it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

import trine
from trine import data
from trine.evaluation import Gate
from trine.loop import Candidate, Loop, OnCommit
from trine.models import ModelVersion, register
from trine.serving import Client
from trine.serving.app import Application
from trine.workspace import Workspace


def rows(count: int, *, seed: int = 0, weight: float = 3.0, airport: str = "JFK") -> pl.DataFrame:
    """Rows whose label depends on `x` by `weight`."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=count)
    late = draw.random(count) < 1 / (1 + np.exp(-weight * x))
    return pl.DataFrame({"x": x, "y": draw.normal(size=count), "airport": [airport] * count, "late": late})


@trine.step
def train(flights: str, column: str) -> str:
    """A version that looks at one column."""
    with trine.run("flights"):
        frame = data.load(flights).collect()
        model = LogisticRegression().fit(frame.select(column), frame["late"])
        return register(model, "flights", inputs=frame.select(column)).ref


@trine.step
def broken(flights: str) -> str:
    """A step that cannot work."""
    raise ValueError(f"no engine in {flights.partition('@')[0]}")


@trine.pipeline
def retrain(flights: str, column: str = "x", holdout: str = "holdout") -> Candidate:
    return Candidate(model=train(flights, column), holdout=holdout, label="late")


@trine.pipeline
def failing(flights: str) -> Candidate:
    return Candidate(model=broken(flights), holdout="holdout", label="late")


@trine.pipeline
def nothing(flights: str) -> Candidate | None:
    return None


@trine.pipeline
def strange(flights: str) -> str:
    return train(flights, "x")


def register_rival(*columns: str) -> ModelVersion:
    """A version that somebody registers by hand: it has learned from labels that mean nothing."""
    frame = rows(100, seed=9, weight=0.0)
    inputs = frame.select(columns or ("x", "y"))
    return register(LogisticRegression().fit(inputs, frame["late"]), "flights", inputs=inputs)


@contextlib.contextmanager
def served(ws: Workspace) -> Iterator[Client]:
    """The endpoint `flights` behind a real HTTP server in this process."""
    import uvicorn

    config = uvicorn.Config(Application(ws, ["flights"]), host="127.0.0.1", port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    thread.join(30)


def make_loop(**changes: Any) -> Loop:
    """The loop of the tests, saved, with data to learn from and to be judged on."""
    data.commit(rows(600, seed=1), name="flights")
    data.commit(rows(800, seed=2), name="holdout")
    given: dict[str, Any] = {
        "model": "flights",
        "pipeline": retrain,
        "triggers": [OnCommit("flights")],
        "data": {"flights": "flights"},
        "gate": Gate("roc_auc"),
    }
    one = Loop("flights", **{**given, **changes})
    one.save()
    return one
