"""Artifacts, logged models and prompts with MLflow's client."""

import os
import sys
import tempfile
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

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
    if NEW:
        logged_models(client)
        prompts()
    print("done")
