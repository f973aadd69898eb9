"""MLflow's client on a workspace in a folder, without a server: `MLFLOW_TRACKING_URI=trine://FOLDER`."""

import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.extend(sys.argv[3:])  # Trine, and what it needs, come after this environment's own

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression


def runs() -> None:
    client = MlflowClient()
    with mlflow.start_run(run_name="outer") as outer:
        mlflow.log_params({"lr": 0.1})
        for step in range(50):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"auc": 0.9, "acc": 0.8})
        mlflow.set_tag("team", "risk")
        mlflow.log_text("hello", "notes/a.txt")
        with mlflow.start_run(nested=True, run_name="inner"):
            mlflow.log_metric("auc", 0.7)
    id = outer.info.run_id
    assert [one.step for one in client.get_metric_history(id, "loss")] == list(range(50))
    assert client.get_run(id).data.params == {"lr": "0.1"} and client.get_run(id).info.status == "FINISHED"
    assert mlflow.artifacts.load_text(f"runs:/{id}/notes/a.txt") == "hello"
    assert [one.path for one in client.list_artifacts(id)] == ["notes"]
    found = mlflow.search_runs(filter_string="metrics.auc > 0.6", order_by=["metrics.auc DESC"])
    assert found["tags.mlflow.runName"].tolist() == ["outer", "inner"]
    try:
        client.log_param(id, "lr", "0.2")
    except MlflowException as error:
        told = f"{error.error_code}: {error}"
    assert told.startswith("INVALID_PARAMETER_VALUE") and "Changing param values" in told


def registry() -> None:
    rows = pd.DataFrame({"x": np.linspace(0, 1, 50)})
    model = LogisticRegression().fit(rows, rows.x > 0.5)
    signature = mlflow.models.infer_signature(rows, model.predict(rows))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model, name="m", signature=signature, pip_requirements=[], registered_model_name="my churn",
            serialization_format="skops",
        )  # fmt: skip
    MlflowClient().set_registered_model_alias("my churn", "live", "1")
    loaded = mlflow.pyfunc.load_model("models:/my churn@live")
    assert (loaded.predict(rows) == model.predict(rows)).all()


def killed() -> None:
    """What a call returned for is there, whatever becomes of the process."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            run = MlflowClient().create_run("0").info.run_id
            for step in range(200):
                MlflowClient().log_metric(run, "loss", float(step), step=step)
            os.write(tell, run.encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(tell)
    os.waitpid(child, 0)
    run = os.read(told, 32).decode()
    points = MlflowClient().get_metric_history(run, "loss")
    assert [one.value for one in points] == [float(step) for step in range(200)]


@mlflow.trace
def answer(question):
    with mlflow.start_span("find") as span:
        span.set_outputs(["a page"])
    return f"{question} At nine."


def traces() -> None:
    answer("When?")
    mlflow.flush_trace_async_logging()
    (trace,) = mlflow.search_traces(filter_string="span.name = 'find'", return_type="list")
    assert [one.name for one in trace.data.spans] == ["answer", "find"] and trace.data.response == '"When? At nine."'
    mlflow.log_feedback(trace_id=trace.info.trace_id, name="good", value=True)
    (said,) = mlflow.get_trace(trace.info.trace_id).info.assessments
    assert said.value is True
    made = mlflow.genai.datasets.create_dataset(name="questions")
    made.merge_records([trace])
    assert mlflow.genai.datasets.get_dataset(name="questions").to_df()["inputs"].tolist() == [{"question": "When?"}]


if __name__ == "__main__":
    mlflow.set_tracking_uri(f"trine://{sys.argv[2]}")
    os.chdir(Path(tempfile.mkdtemp()))
    killed()
    runs()
    registry()
    traces()
    print("done")
