from __future__ import annotations

from trine.ledger.lineage import Edge, Lineage
from trine.ledger.origins import Origin, origin_of


def of(start: str, *edges: tuple[str, str, str]) -> Origin:
    found = [Edge(*one) for one in edges]
    nodes = list(dict.fromkeys([start, *(name for one in found for name in (one.source, one.target))]))
    return origin_of(Lineage(start, nodes, found))


def test_a_version_leads_back_to_its_source_data_code_and_features() -> None:
    found = of(
        "model:m@3",
        ("step_run:p/prepare", "produced", "dataset:train@5"),
        ("run:a", "produced", "model:m@3"),
        ("model:m@3", "derived", "dataset:train@5"),
        ("run:a", "used", "code:c0ffee+d1"),
        ("step_run:p/train", "produced", "run:a"),
        ("dataset:train@5", "derived", "dataset:train@4"),
        ("dataset:train@5", "derived", "dataset:flights@9"),
        ("dataset:train@5", "derived", "feature_service:known@1"),
        ("feature_service:known@1", "used", "feature_view:sky@2"),
        ("dataset:flights@9", "derived", "dataset:flights@8"),
        ("pipeline_run:p", "triggered", "step_run:p/train"),
        ("pipeline_run:p", "used", "code:older"),
        ("cycle:x", "triggered", "pipeline_run:p"),
        ("verdict:v", "triggered", "cycle:x"),
        ("verdict:v", "used", "dataset:watched@1"),
    )
    assert found == Origin(
        sources=["dataset:flights@9"],
        code="code:c0ffee+d1",
        runs=["run:a"],
        steps=["step_run:p/train", "step_run:p/prepare"],
        pipeline_runs=["pipeline_run:p"],
        features=["feature_service:known@1", "feature_view:sky@2"],
    )
    assert (found.commit, found.is_dirty) == ("c0ffee", True)


def test_a_version_made_in_a_step_without_a_run_has_the_code_of_its_pipeline() -> None:
    found = of(
        "model:m@1",
        ("step_run:p/train", "produced", "model:m@1"),
        ("pipeline_run:p", "triggered", "step_run:p/train"),
        ("pipeline_run:p", "used", "code:abc"),
    )
    assert (found.commit, found.is_dirty, found.runs) == ("abc", False, [])


def test_a_node_without_causes_has_an_empty_origin() -> None:
    assert of("model:m@1") == Origin()
    assert of("model:m@1").commit == ""
