from __future__ import annotations

import pytest

import trine
from trine.errors import Conflict, NotFound
from trine.tracking import experiment as experiments
from trine.tracking import logged_models, operations
from trine.tracking.logged_models import ModelMetric, RunInput, RunModel
from trine.tracking.runs import Artifact
from trine.workspace import Workspace


def test_an_experiment_is_renamed_tagged_hidden_and_brought_back(ws: Workspace) -> None:
    made = experiments.create_experiment(ws, name="churn", tags={"team": "growth", "gone": "soon"})
    with pytest.raises(Conflict, match="there already"):
        experiments.create_experiment(ws, name="churn")
    changed = experiments.update_experiment(ws, id=made.id, name="churn-2", tags={"gone": None, "owner": "ana"})
    assert changed.tags == {"team": "growth", "owner": "ana"} and changed.updated_us >= made.created_us
    assert experiments.find_experiment(ws, name="churn-2") == changed
    with pytest.raises(NotFound):
        experiments.find_experiment(ws, name="churn")
    assert experiments.delete_experiment(ws, id=made.id).deleted_us
    with pytest.raises(Conflict, match="deleted"):
        experiments.create_experiment(ws, name="churn-2")
    assert experiments.restore_experiment(ws, id=made.id).deleted_us is None
    assert [one.name for one in experiments.all_experiments(ws)] == ["churn-2"]


def test_a_logged_model_has_files_params_metrics_and_an_end(ws: Workspace) -> None:
    with trine.run("churn", capture=False) as run:
        pass
    group = experiments.find_experiment(ws, name="churn").id
    made = logged_models.create_logged_model(ws, experiment=group, name="forest", run=run.id, params={"depth": "3"})
    assert made.state == "pending"
    file = Artifact("model.skops", ws.store.put(b"bytes"), 5)
    logged_models.record_model_files(ws, id=made.id, files=[file])
    with pytest.raises(NotFound, match="no object"):
        logged_models.record_model_files(ws, id=made.id, files=[Artifact("x", "0" * 64, 1)])
    points = [ModelMetric("auc", 0.8, 1, 0), ModelMetric("auc", 0.9, 2, 1), ModelMetric("auc", 0.7, 3, 0, dataset="d")]
    logged_models.update_logged_model(ws, id=made.id, tags={"a": "b"}, metrics=points)
    with pytest.raises(Conflict, match="depth"):
        logged_models.update_logged_model(ws, id=made.id, params={"depth": "4"})
    done = logged_models.finish_logged_model(ws, id=made.id, state="ready")
    assert done.state == "ready" and [one.value for one in done.metrics] == [0.9, 0.7]
    assert [one.path for one in logged_models.list_model_files(ws, id=made.id)] == ["model.skops"]
    assert [one.id for one in logged_models.list_logged_models(ws, experiments=[group]).items] == [made.id]
    logged_models.delete_logged_model(ws, id=made.id)
    assert logged_models.list_logged_models(ws).items == []
    assert made.node in operations.get_run(ws, id=run.id).outputs


def test_what_a_run_read_and_made_is_kept_and_linked(ws: Workspace) -> None:
    with trine.run("churn", capture=False) as run:
        pass
    group = experiments.find_experiment(ws, name="churn").id
    model = logged_models.create_logged_model(ws, experiment=group)
    data = RunInput(
        name="flights", digest="3a91c2", source_type="local", source="flights.csv", tags={"for": "training"}
    )
    logged_models.record_links(ws, id=run.id, inputs=[data], models=[RunModel(model.id, "output", 7)])
    [links] = logged_models.list_links(ws, runs=[run.id])
    assert links.inputs == [data] and links.models == [RunModel(model.id, "output", 7)]
    info = operations.get_run(ws, id=run.id)
    assert info.inputs == ["dataset:flights@3a91c2"] and info.outputs == [model.node]
    assert [one.id for one in trine.tracking.search("data = 'flights@3a91c2'", ws=ws)] == [run.id]


def test_a_run_is_renamed_ended_and_opened_again(ws: Workspace) -> None:
    made = operations.create_run(ws, name="one")
    operations.update_run(ws, id=made.id, name="two", state="failed", ended_us=made.started_us + 5)
    ended = operations.get_run(ws, id=made.id)
    assert (ended.name, ended.state, ended.ended_us) == ("two", "failed", made.started_us + 5)
    operations.update_run(ws, id=made.id, state="running")
    assert operations.get_run(ws, id=made.id).ended_us is None
    operations.delete_run(ws, id=made.id)
    with pytest.raises(Conflict, match="deleted"):
        operations.update_run(ws, id=made.id, name="three")
    assert [one.id for one in operations.search_runs(ws, with_deleted=True).items] == [made.id]
    assert operations.search_runs(ws).items == []
