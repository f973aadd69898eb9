"""How the model is made, and the loop that makes it again."""

import polars as pl
from flights import INPUTS, known
from sklearn.ensemble import HistGradientBoostingClassifier

import trine
from trine.evaluation import Gate
from trine.features import training_set
from trine.loop import Candidate, Loop, OnVerdict
from trine.serving import Canary

LABEL = "late"
ABOUT = {"intended_use": "tell passengers at New York's airports", "limits": "2013; cancelled flights are left out"}


@trine.step
def prepare(flights: str) -> tuple[str, str]:
    """The last three months with what was known before each flight: rows to learn from, and the newest week to judge on."""
    rows = trine.load(flights).collect()
    ago = lambda span: pl.lit(rows["scheduled"].max()).dt.offset_by(f"-{span}")  # noqa: E731
    recent, newest = rows.filter(pl.col("scheduled") > ago("3mo")), pl.col("scheduled") > ago("7d")
    learn = training_set(recent.filter(~newest), known, name="delays-train", time="scheduled", label=LABEL)
    judge = training_set(recent.filter(newest), known, name="delays-holdout", time="scheduled", label=LABEL)
    return learn.ref, judge.ref


@trine.step
def train(rows: str) -> str:
    """A registered version, trained on a training set."""
    trine.autolog()
    with trine.run("delays"):
        frame = trine.load(rows).collect()
        inputs = frame.select(INPUTS)
        model = HistGradientBoostingClassifier(learning_rate=0.08, max_iter=120, random_state=0)
        model.fit(inputs, frame[LABEL])
        return trine.models.register(model, "delays", inputs=inputs, optional=INPUTS, tags=ABOUT).ref


@trine.pipeline
def retrain(flights: str) -> Candidate:
    """Prepare, train, and hand a candidate to the gate."""
    learn, judge = prepare(flights)
    return Candidate(model=train(learn), holdout=judge, label=LABEL)


loop = Loop(
    "delays",
    model="delays",
    pipeline=retrain,
    data={"flights": "flights"},
    triggers=[OnVerdict("delays")],
    gate=Gate(metric="roc_auc", margin=0.002, slices=("origin",), slice_margin=0.03),
    endpoint="delays",
    rollout=Canary(steps=(25, 100), min_requests=50),
)
