"""Artifacts, autolog, logged models and the registry with MLflow's client (run by hand and by `make mlflow`: it needs scikit-learn)."""

import os
import sys
import tempfile
from pathlib import Path

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


def artifacts(client: MlflowClient) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.bin").write_bytes(os.urandom(3 << 20))
    (folder / "empty").touch()
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "data")
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": [1]}, "d.json")
    id = run.info.run_id
    assert [(one.path, one.is_dir) for one in client.list_artifacts(id)] == [
        ("d.json", False),
        ("data", True),
        ("notes", True),
    ]
    assert [one.path for one in client.list_artifacts(id, "data")] == ["data/a.txt", "data/empty", "data/sub"]
    there = Path(client.download_artifacts(id, "data"))
    assert (there / "sub" / "b.bin").read_bytes() == (folder / "sub" / "b.bin").read_bytes()
    assert mlflow.artifacts.load_text(f"runs:/{id}/notes/hello.txt") == "hello"
    if NEW:
        os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
        os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(1 << 20)
        os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(1 << 20)
        (folder / "large.bin").write_bytes(os.urandom((5 << 20) + 17))
        client.log_artifact(id, str(folder / "large.bin"), "big")
        there = Path(client.download_artifacts(id, "big/large.bin"))
        assert there.read_bytes() == (folder / "large.bin").read_bytes()
        for name in ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"):
            del os.environ[name]


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


def logged_models(client: MlflowClient) -> None:
    model = mlflow.create_external_model("outside", model_type="agent", params={"a": "1"}, tags={"t": "x"})
    with mlflow.start_run() as run:
        mlflow.log_metric("auc", 0.8, model_id=model.model_id)
        mlflow.log_metric("auc", 0.9, step=1, model_id=model.model_id)
    (found,) = mlflow.search_logged_models(filter_string="metrics.auc > 0.85 and params.a = '1'", output_format="list")
    assert found.model_id == model.model_id and found.metrics[0].run_id == run.info.run_id
    assert mlflow.search_logged_models(filter_string="tags.t = 'nope'", output_format="list") == []
    mlflow.set_logged_model_tags(model.model_id, {"more": "tags"})
    client.delete_logged_model_tag(model.model_id, "t")
    tags = client.get_logged_model(model.model_id).tags
    assert tags["more"] == "tags" and "t" not in tags
    client.delete_logged_model(model.model_id)
    refused(lambda: client.get_logged_model(model.model_id), "RESOURCE_DOES_NOT_EXIST")


def prompts() -> None:
    made = mlflow.genai.register_prompt(name="ask", template="Say {{word}}.", commit_message="first")
    assert made.version == 1
    mlflow.genai.register_prompt(name="ask", template="Please say {{word}}.")
    mlflow.genai.set_prompt_alias("ask", alias="live", version=2)
    assert mlflow.genai.load_prompt("prompts:/ask@live").format(word="hi") == "Please say hi."
    assert mlflow.genai.load_prompt("ask", version=1).template == "Say {{word}}."
    assert [one.name for one in mlflow.genai.search_prompts()] == ["ask"]
    assert "ask" not in [one.name for one in MlflowClient().search_registered_models()]


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    artifacts(client)
    autolog(client)
    models(client)
    if NEW:
        logged_models(client)
        prompts()
    print("done")
