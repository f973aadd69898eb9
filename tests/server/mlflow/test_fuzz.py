"""Whatever is sent to MLflow's routes, they answer with a result or with MLflow's error, and never with a fault of the server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import models
from trine.models.receiving import create_model, receive_version
from trine.server.mlflow import calls
from trine.server.mlflow.application import Mlflow  # noqa: F401 (its routes)
from trine.server.mlflow.artifacts import ROOTS
from trine.server.mlflow.logging import READERS
from trine.tracking import operations as runs
from trine.workspace import Workspace

EXAMPLES = int(os.environ.get("TRINE_TEST_EXAMPLES", "150"))

FIELDS = (
    "run_id", "run_uuid", "experiment_id", "experiment_ids", "experiment_name", "name", "new_name", "key", "value", "timestamp",
    "step", "metrics", "params", "tags", "datasets", "models", "filter", "order_by", "max_results", "page_token", "view_type",
    "run_view_type", "status", "end_time", "start_time", "run_name", "user_id", "version", "alias", "source", "model_id", "stage",
    "stages", "archive_existing_versions", "description", "metric_key", "path", "artifact_location", "source_run_id", "model_type",
    "num_parts", "upload_id", "parts", "artifact_directory_path", "run_link",
)  # fmt: skip

texts = st.text(max_size=12) | st.sampled_from(
    ["", "0", "-1", "1e999", "NaN", "\0", "..", "a/../b", "%", "'", '"', "`", "x" * 300, "metrics.a > 1", "tags.b = 'c'", "name ASC",
     "ALL", "Production", "None", "true", "latest", "ж\u2028", "attributes.run_id IN ('a')", "params.`a b` LIKE '%'"]
)  # fmt: skip
numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 10**40, 0, 1, 1e308])
pair = st.fixed_dictionaries(
    {}, optional={name: texts | numbers | st.none() for name in ("key", "value", "timestamp", "step", "model_id")}
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | pair | st.lists(pair, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


class Known(NamedTuple):
    """What is there: so that calls get further than to the first check."""

    client: httpx.Client
    things: dict[str, Any]


@pytest.fixture(scope="module")
def known(shared_ws: Workspace, shared_server: tuple[str, str]) -> Iterator[Known]:
    url, token = shared_server
    run = runs.create_run(shared_ws, experiment_name="default")
    create_model(shared_ws, name="churn")
    receive_version(shared_ws, name="churn", files=[])
    models.promote("churn", 1, alias="live", ws=shared_ws)
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30) as client:
        made = client.post("/api/2.0/mlflow/logged-models", json={"experiment_id": "0"}).json()
        things = {
            "run_id": run.id, "run_uuid": run.id, "experiment_id": "0", "experiment_ids": ["0"], "name": "churn", "version": "1",
            "alias": "live", "model_id": made["model"]["info"]["model_id"], "key": "a", "value": "1", "timestamp": 1, "metric_key": "a",
            "source": "models:/churn/1", "stage": "Staging", "status": "FINISHED", "path": "a",
        }  # fmt: skip
        yield Known(client, things)


ROUTES = sorted(
    {
        *calls._FIXED,
        *(("POST", name) for name in READERS),
        *((method, re.sub(r"\(\?P<(\w+)>.*?\)", r"{\1}", pattern.pattern)) for method, pattern, _ in calls._PATTERNS),
    }
    | {(method, f"{ROOTS[0]}{rest}") for method in ("GET", "PUT", "DELETE") for rest in ("artifacts", "artifacts/{at}")}
    | {("POST", f"{ROOTS[0]}mpu/{step}/{{at}}") for step in ("create", "complete", "abort", "other")}
    | {("PUT", f"{ROOTS[0]}mpu/part/{{at}}/{{number}}"), ("GET", f"{ROOTS[0]}presigned/{{at}}")}
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], bytes | None, list[str]]:
    """Method, path, the fields that are sent, a body that is no such object, and the fields that have their true value."""
    method, path = draw(st.sampled_from(ROUTES))
    if draw(st.integers(0, 9)) == 0:
        method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]))
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, rest = rest.partition("}")
        part = draw(texts if name != "at" else texts | st.just("0/RUN/artifacts/a") | st.just("0/RUN/artifacts"))
        path = before + (f"<{name}>" if draw(st.booleans()) else quote(part, safe="/" if name == "at" else "")) + rest
    true = draw(st.lists(st.sampled_from(FIELDS), max_size=8))
    sent = draw(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
    raw = draw(
        st.none()
        | st.none()
        | st.none()
        | st.binary(max_size=20)
        | st.sampled_from([b"[]", b"null", b'"{}"', b"{" * 999])
    )
    return method, path, sent, raw, true


def encoded(value: Any) -> bytes:
    import json

    return json.dumps(value).encode(errors="surrogatepass")


@settings(max_examples=EXAMPLES)
@given(requests())
def test_no_request_is_a_fault_of_the_server(known: Known, asked: tuple[Any, ...]) -> None:
    method, path, sent, raw, true = asked
    fields = {**{name: known.things[name] for name in true if name in known.things}, **sent}
    for name, value in known.things.items():
        path = path.replace(f"<{name}>", quote(str(value)))
    path = path.replace("RUN", known.things["run_id"])
    url = path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
    if method in ("GET", "DELETE") and raw is None:
        answer = known.client.request(method, url, params={name: _query(value) for name, value in fields.items()})
    else:
        answer = known.client.request(method, url, content=raw if raw is not None else encoded(fields))
    assert answer.status_code not in (500, 502), (answer.text, url, fields, raw)
    if answer.status_code >= 400 and method != "HEAD":
        told = answer.json()
        assert isinstance(told["error_code"], str) and told["error_code"] != "INTERNAL_ERROR", told
        assert isinstance(told["message"], str) and told["message"], told


def _query(value: Any) -> Any:
    texts = [
        one if isinstance(one, str) else encoded(one).decode()
        for one in (value if isinstance(value, list) else [value])
    ]
    return [one.encode(errors="replace").decode() for one in texts]
