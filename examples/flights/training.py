"""How the model is made, and the loop that makes it again."""

from __future__ import annotations

import polars as pl
from flights import INPUTS, known
from sklearn.ensemble import HistGradientBoostingClassifier

import trine
from trine.evaluation import Gate
from trine.features import training_set
from trine.loop import Candidate, Loop, OnVerdict
from trine.serving import Canary

LABEL = "late"


@trine.step
def prepare(flights: str) -> tuple[str, str]:
    """The last three months with what was known before each flight: rows to learn from, and the newest week to be judged on."""
    rows = trine.load(flights).collect()
    newest = rows["scheduled"].max()
    recent = rows.filter(pl.col("scheduled") > pl.lit(newest).dt.offset_by("-3mo"))
    week = pl.col("scheduled") > pl.lit(newest).dt.offset_by("-7d")
    learn = training_set(recent.filter(~week), known, name="delays-train", time="scheduled", label=LABEL)
    judge = training_set(recent.filter(week), known, name="delays-holdout", time="scheduled", label=LABEL)
    return learn.ref, judge.ref


@trine.step
def train(rows: str) -> str:
    """A registered version, trained on a training set."""
    with trine.run("delays"):
        trine.autolog()
        frame = trine.load(rows).collect()
        inputs = frame.select(INPUTS)
        model = HistGradientBoostingClassifier(learning_rate=0.08, max_iter=120, random_state=0)
        model.fit(inputs, frame[LABEL])
        return trine.models.register(model, "delays", inputs=inputs.head(1000), tags={"limits": "flights from New York, 2013"}).ref


@trine.pipeline
def retrain() -> Candidate:
    """Prepare, train, and hand a candidate to the gate."""
    learn, judge = prepare(trine.data.resolve("flights").ref)
    return Candidate(model=train(learn), holdout=judge, label=LABEL)


loop = Loop(
    "delays",
    model="delays",
    pipeline=retrain,
    triggers=[OnVerdict("delays")],
    gate=Gate(metric="roc_auc", margin=0.002, slices=("origin",)),
    endpoint="delays",
    rollout=Canary(steps=(10, 50, 100), min_requests=50),
)
