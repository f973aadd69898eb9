"""A small project for the loop's tests: rows whose signal a pipeline learns, and a loop around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

import trine
from trine import data
from trine.evaluation import Gate
from trine.loop import Candidate, Loop, OnCommit
from trine.models import ModelVersion, register


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


def register_rival(column: str = "y") -> ModelVersion:
    """A version that somebody registers by hand."""
    frame = rows(100, seed=9)
    model = LogisticRegression().fit(frame.select(column), frame["late"])
    return register(model, "flights", inputs=frame.select(column))


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
