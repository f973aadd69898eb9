"""Autolog, models and the registry with MLflow's client (it needs scikit-learn)."""

import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

NEW = int(mlflow.__version__.split(".")[0]) >= 3


def refused(call, *texts):
    try:
        call()
    except MlflowException as error:
        told = f"{error.error_code}: {error}"
    else:
        raise AssertionError(f"{texts} was not raised")
    assert all(text in told for text in texts), told


def fitted():
    rows = pd.DataFrame({"x": np.linspace(0, 1, 50), "y": np.linspace(1, 0, 50)})
    return rows, LogisticRegression().fit(rows, rows.x > 0.5)


def autolog(client: MlflowClient) -> None:
    mlflow.sklearn.autolog(log_datasets=True)
    with mlflow.start_run() as run:
        fitted()
    mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["solver"] == "lbfgs" and found.data.metrics["training_accuracy_score"] > 0.9
    assert found.inputs.dataset_inputs[0].tags[0].value == "train"
    if NEW:
        (made,) = found.outputs.model_outputs
        assert mlflow.get_logged_model(made.model_id).status.value == "READY"


def models(client: MlflowClient) -> None:
    rows, model = fitted()
    signature = mlflow.models.infer_signature(rows, model.predict(rows))
    where = {"name": "model"} if NEW else {"artifact_path": "model"}
    options = {"serialization_format": "skops"} if NEW else {}
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model,
            **where,
            signature=signature,
            pip_requirements=["scikit-learn"],
            registered_model_name="churn",
            **options,
        )
        mlflow.log_metric("auc", 0.9)
    assert (mlflow.pyfunc.load_model(info.model_uri).predict(rows) == model.predict(rows)).all()
    version = client.get_model_version("churn", "1")
    assert version.run_id == run.info.run_id and version.status == "READY"
    refused(
        lambda: client.create_registered_model("churn"),
        "RESOURCE_ALREADY_EXISTS",
        "Registered Model (name=churn) already exists",
    )
    client.set_registered_model_alias("churn", "champion", "1")
    assert client.get_model_version_by_alias("churn", "champion").version in (1, "1")
    loaded = mlflow.pyfunc.load_model("models:/churn@champion")
    assert (loaded.predict(rows) == model.predict(rows)).all()
    assert mlflow.sklearn.load_model("models:/churn/1").coef_.shape == (1, 2)
    mlflow.register_model(info.model_uri, "churn", tags={"a": "b"})
    assert client.get_model_version("churn", "2").tags == {"a": "b"}
    client.set_model_version_tag("churn", "2", "c", "d")
    client.set_registered_model_tag("churn", "team", "x")
    client.update_model_version("churn", "2", description="second")
    assert client.get_registered_model("churn").aliases == {"champion": "1"} or client.get_registered_model(
        "churn"
    ).aliases == {"champion": 1}
    client.transition_model_version_stage("churn", "2", "Production")
    assert [one.version for one in client.get_latest_versions("churn", ["Production"])] in ([2], ["2"])
    assert [one.name for one in client.search_registered_models("name LIKE 'ch%' and tags.team = 'x'")] == ["churn"]
    assert len(client.search_model_versions("name = 'churn'")) == 2
    assert [str(one.version) for one in client.search_model_versions("tags.c = 'd'")] == ["2"]
    copied = client.copy_model_version("models:/churn@champion", "churn-prod")
    assert (mlflow.pyfunc.load_model(f"models:/churn-prod/{copied.version}").predict(rows) == model.predict(rows)).all()
    client.rename_registered_model("churn", "churned")
    client.delete_registered_model_alias("churned", "champion")
    refused(lambda: client.get_model_version_by_alias("churned", "champion"), "INVALID_PARAMETER_VALUE")
    client.delete_model_version("churned", "1")
    refused(lambda: client.get_model_version("churned", "1"), "Model Version (name=churned, version=1) not found")
    client.delete_registered_model("churned")
    refused(
        lambda: client.get_registered_model("churned"),
        "RESOURCE_DOES_NOT_EXIST",
        "Registered Model with name=churned not found",
    )


def odd_names(client: MlflowClient) -> None:
    rows, model = fitted()
    for name in ("Churn (EU), späte 50%", "mail@home"):
        where = {"name": "model"} if NEW else {"artifact_path": "model"}
        with mlflow.start_run():
            mlflow.sklearn.log_model(model, **where, pip_requirements=["scikit-learn"], registered_model_name=name)
        client.set_registered_model_alias(name, "live", "1")
        assert [one.name for one in client.search_registered_models(f"name = '{name}'")] == [name]
        assert (mlflow.pyfunc.load_model(f"models:/{name}@live").predict(rows) == model.predict(rows)).all()
        assert client.copy_model_version(f"models:/{name}@live", f"{name} 2").name == f"{name} 2"


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    autolog(client)
    models(client)
    odd_names(client)
    print("done")
