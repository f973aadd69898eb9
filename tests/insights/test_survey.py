"""The ladder and the metrics of real workspaces, from an empty one to one where every rung is reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trine import data, insights, models, monitoring, serving
from trine.cli import main
from trine.errors import NotFound
from trine.insights import operations as door
from trine.insights.rungs import PHASES
from trine.loop import Loop, OnVerdict
from trine.serving import Variant, moves
from trine.serving import operations as endpoints
from trine.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parents[1] / "loop"))
import loop_project as project


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with a test and a CI file."""
    root = tmp_path / "repository"
    (root / ".github" / "workflows").mkdir(parents=True)
    (root / ".github" / "workflows" / "ci.yml").touch()
    (root / "test_all.py").touch()
    author = ("-c", "user.name=ana", "-c", "user.email=ana@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "start")):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)
    return root


def names(found: insights.Ladder) -> list[str]:
    return [one.name for one in found.models[0].missing]


def cycle_of(loop: Loop, reason: str = "") -> Any:
    loop.trigger(reason)
    cycle = loop.run_until_done(0)
    assert cycle is not None
    return cycle


def test_an_empty_project_is_told_where_to_begin(ws: Workspace, tmp_path: Path, repository: Path) -> None:
    found = insights.ladder(repository=tmp_path)
    assert (found.repository, found.models[0].phase) == ("", "start")
    assert found.models[0].next.startswith("git init")
    assert insights.ladder(repository=repository).models[0].phase == "devops"
    with pytest.raises(NotFound, match="No model"):
        insights.ladder(model="flights", repository=repository)


def test_a_model_climbs_the_ladder(ws: Workspace, repository: Path, tmp_path: Path) -> None:
    project.register_rival()
    found = insights.ladder(repository=repository)
    assert (found.models[0].phase, found.models[0].model) == ("devops", "flights")
    assert names(found)[:4] == ["runs", "data versions", "code version", "production alias"]
    assert insights.ladder(repository=tmp_path).models[0].phase == "start"  # nothing counts without the rungs below

    loop = project.make_loop(endpoint="flights", triggers=[OnVerdict("watch")])
    data.commit(project.rows(600, seed=6), name="flights", inputs=["feature_service:known@1"])
    assert cycle_of(loop).outcome == "promoted"
    found = insights.ladder(repository=repository)
    assert found.models[0].phase == "automation"
    assert names(found)[0] == "monitor"
    assert "trine monitor create flights --subject endpoint:flights" in found.models[0].next

    monitoring.create_monitor(ws, name="watch", subject="dataset:flights@main", reference="model:flights@production")
    assert insights.ladder(repository=repository).models[0].next == "trine monitor check watch"
    monitoring.check("watch")
    serving.log_labels("flights", {"prediction_id": ["0" * 32], "label": [True]})
    found = insights.ladder(repository=repository)
    assert found.models[0].phase == "monitoring"
    assert names(found) == ["canary", "comparison on traffic"]

    rival = project.register_rival("x")
    rollout = serving.start_rollout("flights", rival.ref)
    for epoch in (0, 1):
        moves.move_rollout(ws, id=rollout.id, epoch=epoch, action="advance")
    variants = [Variant("main", "flights@2"), Variant("shadow", "flights@1", role="shadow")]
    endpoints.set_route(ws, name="flights", variants=variants)
    (standing,) = insights.ladder(repository=repository).models
    assert (standing.phase, standing.next, standing.missing) == ("optimisation", "", [])
    assert {one.phase for one in standing.rungs} == set(PHASES)
    assert all(one.evidence for one in standing.rungs)


def test_metrics_follow_what_happened(ws: Workspace, tmp_path: Path) -> None:
    models.promote("flights", project.register_rival())
    loop = project.make_loop()
    assert cycle_of(loop, "better").outcome == "promoted"
    models.rollback("flights", reason="complaints")
    given = {name: getattr(loop.definition, name) for name in loop.definition.__struct_fields__}
    broken = Loop(**{**given, "pipeline": project.failing, "params": {}})
    broken.save()
    assert cycle_of(broken).outcome == "failed"
    found = insights.metrics(repository=tmp_path)
    assert found["training_time"].count == 1
    assert (found["training_time"].value or 0) > 0
    assert (found["experiment_success_rate"].value, found["experiment_success_rate"].count) == (0.5, 2)
    assert (found["change_failure_rate"].value, found["change_failure_rate"].count) == (0.5, 2)
    assert (found["time_to_restore"].value or 0) > 0
    assert found["time_to_production"].count == 1  # the rival says nothing of its data
    assert found["deployment_frequency"].count == 2
    assert insights.metrics(repository=tmp_path, model="flights").metrics[0] == found.metrics[0]
    facts = door.get_delivery(ws, since_us=door.get_delivery(ws).now_us)
    assert (facts.trainings, facts.experiments, len(facts.promotions)) == ([], [], 2)
    with pytest.raises(NotFound, match="No model"):
        insights.metrics(model="nothing")


def test_the_commands(folder: Path, local_ws: Workspace, repository: Path) -> None:
    def said(*arguments: str, code: int = 0) -> str:
        options = ["-w", str(folder), "--repository", str(repository)]
        done = CliRunner().invoke(main, [*arguments, *options])
        assert done.exit_code == code, done.output
        return done.output

    assert "There are no models yet" in said("ladder")
    assert "null  no version was registered" in said("metrics")
    project.register_rival()
    told = said("ladder")
    for part in ("flights@1 has reached devops", "✓ continuous integration", "· runs", "Next: with trine.run()"):
        assert part in told
    (one,) = json.loads(said("ladder", "--json"))["models"]
    assert (one["phase"], one["rungs"][0]["name"]) == ("devops", "git")
    metrics = json.loads(said("metrics", "--json", "--since", "2020-01-01"))["metrics"]
    assert {each["name"] for each in metrics} == set(insights.DEFINITIONS)
    assert all(each["definition"] and (each["value"] is not None or each["reason"]) for each in metrics)
    assert "no time" in said("metrics", "--since", "yesterday", code=2)
    assert "No model" in said("ladder", "--model", "other", code=3)
