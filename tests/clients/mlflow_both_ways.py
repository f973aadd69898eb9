"""Models that MLflow logged, loaded by Trine, and models that Trine registered, loaded by MLflow: one process has both."""

import sys

import numpy as np
import pandas as pd

sys.path.extend(sys.argv[3:])  # Trine, and what it needs, come after this environment's own

import mlflow
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier, XGBRegressor

import trine
from trine import models
from trine.errors import Refused
from trine.models.copies import verify

ROWS = pd.DataFrame({"x": np.linspace(0, 1, 60), "y": np.linspace(1, 0, 60) ** 2})
LABELS = (ROWS.x > 0.5).astype(int)


class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input.x * 2


def log(module, model, name: str, **options) -> None:
    signature = mlflow.models.infer_signature(ROWS, model.predict(ROWS))
    with mlflow.start_run():
        module.log_model(
            model, name="model", signature=signature, pip_requirements=[], registered_model_name=name, **options
        )


def from_mlflow() -> None:
    classifier, regressor = (kind(n_estimators=5).fit(ROWS, LABELS) for kind in (XGBClassifier, XGBRegressor))
    scikit = LogisticRegression().fit(ROWS, LABELS)
    log(mlflow.sklearn, scikit, "skops", serialization_format="skops")
    log(mlflow.sklearn, scikit, "pickled", serialization_format="cloudpickle")
    log(mlflow.xgboost, classifier, "trees", model_format="ubj")
    log(mlflow.xgboost, regressor, "numbers", model_format="json")
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Twice(), pip_requirements=[], registered_model_name="twice")
    for name, flavor, model in (
        ("skops", "sklearn", scikit),
        ("trees", "xgboost", classifier),
        ("numbers", "xgboost", regressor),
    ):
        loaded = models.load_model(f"{name}@1")
        assert (loaded.version.flavor, loaded.version.pickled) == (flavor, False)
        assert verify(f"{name}@1").note == "it keeps no example to ask"
        answers = loaded.predict(ROWS)
        assert np.allclose(answers["prediction"].to_numpy(), model.predict(ROWS)), name
        if hasattr(model, "predict_proba"):
            assert np.allclose(answers["probability"].to_numpy(), model.predict_proba(ROWS)[:, 1], atol=1e-6), name
    for name, expected in (("pickled", scikit.predict(ROWS)), ("twice", ROWS.x * 2)):
        try:
            models.load_model(f"{name}@1")
            raise AssertionError("a pickle was loaded")
        except Refused:
            pass
        loaded = models.load_model(f"{name}@1", allow_pickle=True)
        assert loaded.version.flavor == "mlflow"
        assert np.allclose(loaded.predict(ROWS)["prediction"].to_numpy(), expected), name


def from_trine() -> None:
    for model in (
        LogisticRegression().fit(ROWS, LABELS),
        XGBClassifier(n_estimators=5).fit(ROWS, LABELS),
        XGBRegressor(n_estimators=5).fit(ROWS, LABELS),
    ):
        name = type(model).__name__
        models.register(model, name, inputs=ROWS)
        loaded = mlflow.pyfunc.load_model(f"models:/{name}/1")
        assert np.allclose(loaded.predict(ROWS), model.predict(ROWS), atol=1e-6), name


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    with trine.connect(sys.argv[2]):
        from_mlflow()
        from_trine()
    print("done")
