from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import trine
from trine import tracking
from trine.tracking import fitting
from trine.workspace import Workspace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
Y = (X[:, 0] + RNG.normal(size=200) / 2 > 0).astype(int)


@pytest.fixture(autouse=True)
def logging_fits(local_ws: Workspace) -> Iterator[None]:
    trine.autolog()
    yield
    trine.autolog(False)


def test_a_fit_makes_a_run_of_its_own() -> None:
    model = LogisticRegression(C=0.5).fit(X, Y)
    (info,) = tracking.search()
    assert (info.state, info.name, info.experiment) == ("finished", "LogisticRegression", "default")
    assert (info.params["C"], info.tags["estimator"]) == ("0.5", "LogisticRegression")
    assert info.tags["estimator_class"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert info.metrics["training_score"].last == model.score(X, Y)
    assert info.metrics["fit_seconds"].last > 0


def test_a_fit_in_an_active_run_is_logged_there() -> None:
    with trine.run("mine") as run:
        DecisionTreeClassifier(max_depth=2).fit(X, Y)
        KMeans(3, n_init=1, random_state=0).fit(X)
        run.log("own", 1)
    (info,) = tracking.search()
    assert info.id == run.id and info.params["max_depth"] == "2" and info.params["fit2.n_clusters"] == "3"
    assert set(info.metrics) == {"training_score", "fit_seconds", "fit2.fit_seconds", "own"}
    assert info.tags["fit2.estimator"] == "KMeans"


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_fitted_inside_another_is_not_logged(jobs: int) -> None:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=3)
    search.fit(X, Y)
    (info,) = tracking.search("parent is null")
    assert info.tags["estimator"] == "GridSearchCV"
    first, second = tracking.search(f"parent = '{info.id}' order by name")
    assert (first.name, first.params, first.state) == ("candidate-1", {"logisticregression__C": "0.1"}, "finished")
    assert second.metrics["mean_test_score"].last == search.cv_results_["mean_test_score"][1]
    assert {first.tags["rank_test_score"], second.tags["rank_test_score"]} <= {"1", "2"}
    assert len(tracking.history(first, "split2_test_score")) == 1 and first.code == info.code
    assert info.params["estimator__standardscaler__with_mean"] == "True"
    assert info.params["best_logisticregression__C"] in ("0.1", "1.0")
    assert info.metrics["best_cv_score"].last == search.best_score_
    import joblib

    with joblib.parallel_backend("threading"):
        BaggingClassifier(DecisionTreeClassifier(), n_estimators=4, n_jobs=jobs).fit(X, Y)
        VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], n_jobs=jobs).fit(X, Y)
        RandomForestClassifier(5, n_jobs=jobs).fit(X, Y)
    assert [one.name for one in tracking.search("parent is null order by started")] == [
        "GridSearchCV", "BaggingClassifier", "VotingClassifier", "RandomForestClassifier",
    ]  # fmt: skip


def test_frames_and_keywords_are_understood() -> None:
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    LinearRegression().fit(X=frame.to_numpy(), y=pl.Series(Y))
    assert tracking.search()[0].metrics["training_score"].count == 1
    many = np.tile(X, (200, 1))
    LogisticRegression().fit(many, np.tile(Y, 200))
    assert tracking.search()[0].metrics["training_score"].count == 1


def test_a_fit_that_fails_fails_as_before() -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LogisticRegression().fit(X, Y[:5])
    (info,) = tracking.search()
    assert info.state == "failed" and info.reason.startswith("ValueError: Found input")
    with trine.run() as run, pytest.raises(ValueError):
        LogisticRegression().fit(X, Y[:5])
    assert tracking.get_run(run).state == "finished"


def test_trouble_of_the_logging_never_reaches_the_user(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(BaseEstimator):
        def __init__(self, size: object = None) -> None:
            self.size = size

        def get_params(self, deep: bool = True) -> Any:
            raise RuntimeError("odd")

        def fit(self, X: Any, y: Any) -> Odd:
            return self

        def score(self, X: Any, y: Any) -> float:
            raise RuntimeError("no score")

    assert isinstance(Odd().fit(X, Y), Odd)
    assert caplog.text.count("A fit could not be logged") == 2
    assert tracking.search()[0].tags["estimator"] == "Odd"

    def broken(*_: object, **__: object) -> None:
        raise OSError("the workspace is gone")

    monkeypatch.setattr(fitting, "run", broken)
    assert LinearRegression().fit(X, Y).coef_ is not None
    assert len(tracking.search()) == 1


def test_long_params_are_shortened() -> None:
    LogisticRegression(class_weight=dict.fromkeys(range(2000), 1.0)).fit(X, Y)
    assert tracking.search()[0].params["class_weight"].endswith("…")


def test_classes_that_come_later_are_logged_and_all_is_taken_back() -> None:
    class Mine(LinearRegression):
        def fit(self, X: Any, y: Any, extra: int = 0) -> Mine:  # type: ignore[override]
            super().fit(X, y)
            return self

    Mine().fit(X, Y, extra=1)
    assert [one.name for one in tracking.search()] == ["Mine"]
    assert clone(Mine()).fit(X, Y).coef_ is not None
    assert pickle.loads(pickle.dumps(LogisticRegression().fit(X, Y))).coef_ is not None
    trine.autolog(False)
    before = len(tracking.search())
    for kind in (Mine, LogisticRegression):
        kind().fit(X, Y)
        assert not hasattr(kind.__dict__["fit"], "__trine_fit__")
    assert len(tracking.search()) == before
    assert "__init_subclass__" not in BaseEstimator.__dict__


def test_turning_it_on_twice_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    trine.autolog(experiment="auto")
    LogisticRegression().fit(X, Y)
    assert [one.experiment for one in tracking.search()] == ["auto"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_boosters_are_logged_round_by_round() -> None:
    import lightgbm
    import xgboost

    train = xgboost.DMatrix(X, label=Y)
    params = {"max_depth": 2, "objective": "binary:logistic", "nthread": 1}
    xgboost.train(params, train, num_boost_round=4, evals=[(train, "train")], verbose_eval=False)
    (info,) = tracking.search()
    assert (info.name, info.params["max_depth"], info.params["num_boost_round"]) == ("xgboost.train", "2", "4")
    assert tracking.history(info, "train/logloss")["step"].to_list() == [0, 1, 2, 3] and info.state == "finished"
    assert info.metrics["train/logloss"].last < info.metrics["train/logloss"].first
    lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(X, Y, eval_X=X, eval_y=Y, eval_metric="auc")
    xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, Y, eval_set=[(X, Y)], verbose=False)
    with trine.run("mine") as run:
        lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), num_boost_round=2)
    for name in ("LGBMClassifier", "XGBClassifier"):
        found = tracking.search(f"name = '{name}'")[0]
        key = next(key for key in found.metrics if "/" in key)
        assert found.metrics[key].count == 3 and "training_score" in found.metrics, found.metrics
    assert tracking.get_run(run).params["num_boost_round"] == "2"
    with pytest.raises(xgboost.core.XGBoostError):
        xgboost.train({"objective": "no such"}, train, num_boost_round=1)
    assert tracking.search()[0].state == "failed" and len(tracking.search()) == 5


def test_a_search_over_boosters_is_one_fit() -> None:
    import xgboost

    GridSearchCV(xgboost.XGBClassifier(n_estimators=2, n_jobs=1), {"max_depth": [1, 2]}, cv=2).fit(X, Y)
    (info,) = tracking.search("parent is null")
    assert info.name == "GridSearchCV" and len(tracking.search(f"parent = '{info.id}'")) == 2
    assert not [key for key in info.metrics if "logloss" in key]


def test_a_library_that_is_imported_later_is_logged(local_ws: Workspace) -> None:
    import subprocess
    import sys

    program = (
        "import sys, trine; trine.connect(sys.argv[1]); trine.autolog()\n"
        "assert 'lightgbm' not in sys.modules\n"
        "import lightgbm, numpy as np\n"
        "data = lightgbm.Dataset(np.arange(40.0).reshape(20, 2), np.arange(20.0))\n"
        "lightgbm.train({'verbose': -1, 'metric': 'l2'}, data, 2, valid_sets=[data])\n"
    )
    subprocess.run([sys.executable, "-c", program, local_ws.location], check=True)
    assert tracking.search()[0].metrics["training/l2"].count == 2
