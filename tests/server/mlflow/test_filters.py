"""MLflow's filter strings, clause by clause, as Trine's expressions."""

from __future__ import annotations

import pytest

from trine.server.mlflow.errors import WireError
from trine.server.mlflow.filters import Clause, parse, parse_order, run_expression, run_order
from trine.tracking import expression


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("metrics.loss < 0.5", 'metrics."loss" < 0.5'),
        ("metric.`a b` >= 1 AND params.x = 'y'", 'metrics."a b" >= 1 and params."x" = \'y\''),
        ('parameters."q" != "it\'s"', "params.\"q\" != 'it''s'"),
        ("tag.a LIKE '%b\\' and tags.c ilike 'D_'", "tags.\"a\" like '%b\\\\' and tags.\"c\" ilike 'D_'"),
        ("attributes.status = 'FINISHED'", "state = 'finished'"),
        ("run_id IN ('a', 'b')", "id in ('a', 'b')"),
        ("params.x IS NOT NULL and tags.y is null", 'params."x" is not null and tags."y" is null'),
        ("start_time >= 1700000000000", "started >= '2023-11-14T22:13:20+00:00'"),
        ("Created <= 1700000000000", "started < '2023-11-14T22:13:20.001000+00:00'"),
        ("metrics.a > 1 or not (metrics.b.max < 2)", "metrics.a > 1 or not (metrics.b.max < 2)"),
    ],
)
def test_a_filter_means_the_same_in_our_grammar(text: str, said: str) -> None:
    found = run_expression(text, lambda _: [])
    assert found == said
    expression.parse(found)


@pytest.mark.parametrize(
    "text",
    [
        "metrics.a", "metrics.a >", "metrics.a > 1 and", "and metrics.a > 1", "metrics.a > 'x'", "params.a = 3", "nope.a = 'x'",
        "params.a > 'x'", "status = FINISHED", "start_time = 'x'", "params.a = 'x", "run_id IN ()", "size = 'x'", "metrics.a IS NULL",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(WireError) as caught:
        run_expression(text, lambda _: [])
    assert caught.value.code == "INVALID_PARAMETER_VALUE"


def test_datasets_and_orders() -> None:
    asked: list[list[Clause]] = []
    text = run_expression(
        "dataset.name = 'a' and datasets.context LIKE 'train%'", lambda some: asked.append(some) or ["f"]
    )
    assert text == "id in ('f')" and [one.key for one in asked[0]] == ["name", "context"]
    assert (
        run_order(["metrics.`a b` DESC", "start_time", "tags.mlflow.runName asc"])
        == 'metrics."a b" desc, started asc, name asc'
    )
    assert [tuple(one) for one in parse_order(["creation_time DESC"])] == [("attribute", "creation_time", True)]
    assert parse("name != 'x'") == [Clause("attribute", "name", "!=", "x")]
