"""What people do with MLflow's client against a tracking server: run by `tests/server/mlflow/test_clients.py` in MLflow's own environment."""

import math
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
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


def fluent() -> str:
    with mlflow.start_run(run_name="first", tags={"team": "a"}) as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"depth": 3, "text": 'it\'s "quoted"'})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"auc": 0.9, "not": math.nan, "much": math.inf}, step=7)
        mlflow.set_tag("note", "x" * 8_000)
        with mlflow.start_run(nested=True, run_name="child") as child:
            mlflow.log_metric("loss", 0.5)
    assert run.info.experiment_id == "0"
    found = mlflow.get_run(run.info.run_id)
    assert found.info.status == "FINISHED" and found.info.run_name == "first"
    assert found.data.params == {"lr": "0.1", "depth": "3", "text": 'it\'s "quoted"'}
    assert found.data.metrics["loss"] == 0.2 and found.data.metrics["auc"] == 0.9
    assert math.isnan(found.data.metrics["not"]) and found.data.metrics["much"] == math.inf
    assert found.data.tags["team"] == "a" and found.data.tags["mlflow.runName"] == "first"
    assert mlflow.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id
    try:
        with mlflow.start_run() as broken:
            raise ValueError
    except ValueError:
        pass
    assert mlflow.get_run(broken.info.run_id).info.status == "FAILED"
    return run.info.run_id


def history(client: MlflowClient, run: str) -> None:
    points = client.get_metric_history(run, "loss")
    assert [(one.step, one.value) for one in points] == [(n, 1 / (n + 1)) for n in range(5)]
    assert client.get_metric_history(run, "nothing") == []


def batches(client: MlflowClient) -> None:
    run = client.create_run("0").info.run_id
    metrics = [Metric("m", float(n), 1_700_000_000_000 + n, n) for n in range(1_000)]
    client.log_batch(run, metrics=metrics)
    client.log_batch(run, params=[Param("a", "1")], tags=[RunTag("b", "2")])
    assert len(client.get_metric_history(run, "m")) == 1_000
    refused(lambda: client.log_param(run, "a", "2"), "INVALID_PARAMETER_VALUE", "Changing param values is not allowed")
    client.log_param(run, "a", "1")
    if NEW:
        mlflow.config.enable_async_logging(False)
        with mlflow.start_run(run_id=run):
            for step in range(100):
                mlflow.log_metric("async", step, step=step, synchronous=False)
            mlflow.log_params({"p1": 1, "p2": 2}, synchronous=False)
            mlflow.flush_async_logging()
        assert len(client.get_metric_history(run, "async")) == 100
        assert client.get_run(run).data.params == {"a": "1", "p1": "1", "p2": "2"}
    client.delete_tag(run, "b")
    refused(lambda: client.delete_tag(run, "b"), "RESOURCE_DOES_NOT_EXIST", "No tag with name: b in run with id")
    client.update_run(run, status="KILLED", name="renamed")
    assert client.get_run(run).info.run_name == "renamed" and client.get_run(run).info.status == "KILLED"
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    refused(lambda: client.log_metric(run, "m", 1.0), "must be in the 'active' state")
    client.restore_run(run)
    client.log_metric(run, "m", 1.0)
    refused(lambda: client.get_run("0" * 32), "RESOURCE_DOES_NOT_EXIST", "Run with id=" + "0" * 32 + " not found")


def experiments(client: MlflowClient) -> None:
    one = client.create_experiment("churn", tags={"a": "b"})
    refused(lambda: client.create_experiment("churn"), "RESOURCE_ALREADY_EXISTS")
    assert client.get_experiment_by_name("nope") is None
    assert client.get_experiment(one).tags == {"a": "b"}
    client.set_experiment_tag(one, "c", "d")
    client.rename_experiment(one, "churn2")
    assert [it.name for it in client.search_experiments(filter_string="tags.c = 'd'")] == ["churn2"]
    assert [it.name for it in client.search_experiments(order_by=["name"])] == ["Default", "churn2"]
    client.delete_experiment(one)
    assert client.get_experiment(one).lifecycle_stage == "deleted"
    assert [it.name for it in client.search_experiments()] == ["Default"]
    assert [it.name for it in client.search_experiments(view_type=ViewType.DELETED_ONLY)] == ["churn2"]
    client.restore_experiment(one)


def search(client: MlflowClient) -> None:
    group = client.create_experiment("search")
    ids = []
    for n in range(12):
        run = client.create_run(group, start_time=1_700_000_000_000 + n * 1_000, run_name=f"run {n}")
        ids.append(run.info.run_id)
        metrics = [Metric("loss", n / 10, 1, 0), Metric("a b/c", n, 1, 0)]
        client.log_batch(ids[-1], metrics=metrics, params=[Param("lr", str(n % 3))], tags=[RunTag("my.tag", f"v{n}")])
        if n % 2:
            client.set_terminated(ids[-1], end_time=1_700_000_100_000 + n * 1_000)

    def names(text, order_by=("attributes.start_time ASC",)):
        found = client.search_runs([group], text, order_by=list(order_by))
        return [int(one.info.run_name.split()[1]) for one in found]

    assert names("") == list(range(12))
    assert names("metrics.loss < 0.3") == [0, 1, 2]
    assert names("metrics.`a b/c` >= 10 and params.lr = '1'") == [10]
    assert names('metrics."a b/c" != 3 AND params.lr != "1"') == [0, 2, 5, 6, 8, 9, 11]
    assert names("tags.`my.tag` LIKE 'v1%'") == [1, 10, 11]
    assert names("tags.`my.tag` ILIKE 'V1_'") == [10, 11]
    assert names("params.lr IS NULL") == [] and len(names("params.lr is not null and metrics.loss > 1")) == 1
    assert names("attributes.status = 'FINISHED'") == [1, 3, 5, 7, 9, 11]
    assert names("status != 'RUNNING' and start_time <= 1700000003000") == [1, 3]
    assert names("attributes.end_time > 1700000109000") == [11]
    assert names("run_name = 'run 3'") == [3] and names("attributes.`run name` LIKE '%1'") == [1, 11]
    assert names("tags.mlflow.runName = 'run 4'") == [4]
    assert names(f"run_id IN ('{ids[2]}', '{ids[5]}')") == [2, 5]
    assert names(f"attributes.run_id NOT IN ('{ids[2]}')")[:3] == [0, 1, 3]
    assert names("", ["metrics.loss DESC"])[:2] == [11, 10]
    assert names("", ["params.lr ASC", "metrics.loss DESC"])[:2] == [9, 6]
    assert names("metrics.loss < 0.2 or metrics.loss.max > 1.0") == [0, 1, 11]
    for wrong in (
        "metrics.loss = 'x'",
        "params.lr = 1",
        "foo.bar = 'x'",
        "metrics.loss LIKE 'x'",
        "status = 'a",
        "start_time = 'x'",
    ):
        refused(lambda wrong=wrong: client.search_runs([group], wrong), "INVALID_PARAMETER_VALUE")
    page = client.search_runs([group], "", order_by=["metrics.loss ASC"], max_results=5)
    seen = list(page)
    while page.token:
        page = client.search_runs([group], "", order_by=["metrics.loss ASC"], max_results=5, page_token=page.token)
        seen += page
    assert [one.info.run_id for one in seen] == ids
    assert len(client.search_runs([group, "0"], "", max_results=50_000)) > 12
    client.delete_run(ids[0])
    assert len(client.search_runs([group], run_view_type=ViewType.ALL)) == 12
    assert len(client.search_runs([group], run_view_type=ViewType.DELETED_ONLY)) == 1
    found = mlflow.search_runs([group], filter_string="metrics.loss > 0.5", output_format="list")
    assert len(found) == 6


def data(client: MlflowClient) -> None:
    import pandas as pd

    frame = mlflow.data.from_pandas(pd.DataFrame({"x": [1, 2]}), name="flights")
    with mlflow.start_run() as run:
        mlflow.log_input(frame, context="training")
    (one,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert one.dataset.name == "flights" and one.dataset.digest == frame.digest and one.tags[0].value == "training"
    found = client.search_runs(["0"], "datasets.name = 'flights' and dataset.context LIKE 'train%'")
    assert [it.info.run_id for it in found] == [run.info.run_id]
    assert client.search_runs(["0"], "datasets.name = 'other'") == []


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    run = fluent()
    history(client, run)
    batches(client)
    experiments(client)
    search(client)
    data(client)
    print(run)
