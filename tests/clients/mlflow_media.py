"""System metrics, images, tables, figures and search into a frame with MLflow's client."""

import json
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def system_metrics(client: MlflowClient) -> None:
    mlflow.set_system_metrics_sampling_interval(0.05)
    mlflow.set_system_metrics_samples_before_logging(2)
    with mlflow.start_run(log_system_metrics=True) as run:
        until = time.monotonic() + 60
        while not client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage"):
            assert time.monotonic() < until, "no system metric arrived"
            time.sleep(0.05)
    found = client.get_run(run.info.run_id).data.metrics
    assert found["system/system_memory_usage_megabytes"] > 0
    points = client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
    assert [one.step for one in points] == list(range(len(points)))


def media(client: MlflowClient) -> None:
    image = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    with mlflow.start_run() as run:
        mlflow.log_image(image, "pictures/one.png")
        for step in range(2):
            mlflow.log_image(image, key="sample image", step=step)
        figure, axes = plt.subplots()
        axes.plot([1, 2, 3])
        mlflow.log_figure(figure, "plots/line.png")
        mlflow.log_table({"question": ["a", "b"], "answer": [1, 2]}, "eval.json")
        mlflow.log_table(pd.DataFrame({"question": ["c"], "answer": [3]}), "eval.json")
        mlflow.log_table({"picture": [mlflow.Image(image)]}, "seen.json")
        mlflow.log_text("<b>x</b>", "page.html")
    id = run.info.run_id
    there = Path(client.download_artifacts(id, "", tempfile.mkdtemp()))
    assert np.array_equal(plt.imread(there / "pictures" / "one.png")[..., :3], image / np.float32(255))
    names = [one.name for one in (there / "images").iterdir() if one.suffix == ".png"]
    assert sorted(one.split("+timestamp+")[0] for one in names) == ["sample image+step+0", "sample image+step+1"]
    assert (there / "plots" / "line.png").read_bytes()[:4] == b"\x89PNG"
    assert mlflow.load_table("eval.json", run_ids=[id])["answer"].tolist() == [1, 2, 3]
    logged = json.loads(client.get_run(id).data.tags["mlflow.loggedArtifacts"])
    assert {"path": "eval.json", "type": "table"} in logged
    assert client.get_run(id).data.tags["mlflow.loggedImages"] == "True"


def frames() -> None:
    mlflow.set_experiment("frames")
    with mlflow.start_run(run_name="above") as above:
        for depth in range(3):
            with mlflow.start_run(run_name=f"child {depth}", nested=True):
                mlflow.log_param("depth", depth)
                mlflow.log_metric("auc", depth / 10)
                with mlflow.start_run(run_name=f"grandchild {depth}", nested=True):
                    mlflow.log_metric("auc", 1.0)
    found = mlflow.search_runs(
        experiment_names=["frames"],
        filter_string=f"tags.mlflow.parentRunId = '{above.info.run_id}' and metrics.auc >= 0.1",
        order_by=["metrics.auc DESC"],
    )
    assert found["params.depth"].tolist() == ["2", "1"] and found["metrics.auc"].tolist() == [0.2, 0.1]
    assert str(found["start_time"].dtype).startswith("datetime64") and set(found["status"]) == {"FINISHED"}
    everything = mlflow.search_runs(experiment_names=["frames"], output_format="list", max_results=3)
    assert len(everything) == 3
    assert len(mlflow.search_runs(search_all_experiments=True, filter_string="run_name LIKE 'grandchild%'")) == 3
    child = mlflow.search_runs(experiment_names=["frames"], filter_string="run_name = 'child 1'", output_format="list")[
        0
    ]
    (below,) = mlflow.search_runs(
        experiment_names=["frames"],
        filter_string=f"tags.mlflow.parentRunId = '{child.info.run_id}'",
        output_format="list",
    )
    assert below.info.run_name == "grandchild 1"
    assert mlflow.get_parent_run(below.info.run_id).info.run_id == child.info.run_id


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    system_metrics(client)
    media(client)
    frames()
    print("done")
