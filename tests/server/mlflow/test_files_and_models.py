"""Files, logged models and the registry over MLflow's wire."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import yaml

from trine import models, tracking
from trine.errors import InvalidInput, Refused
from trine.workspace import Workspace

Begin = Callable[..., str]
FILES = "/api/2.0/mlflow-artifacts"


def test_files_are_the_runs_own(wire: Any, begin: Begin, local_ws: Workspace) -> None:
    run = begin()
    at = f"0/{run}/artifacts"
    large = bytes(range(256)) * 8_192
    assert wire.client.put(f"{FILES}/artifacts/{at}/a/b c.txt", content=b"one").json() == {}
    assert wire.client.put(f"{FILES}/artifacts/{at}/large.bin", content=large).status_code == 200
    assert tracking.read_artifact(run, "a/b c.txt", ws=local_ws) == b"one"
    assert wire.client.get(f"{FILES}/artifacts/{at}/large.bin").content == large
    listed = wire.client.get(f"{FILES}/artifacts", params={"path": at}).json()["files"]
    assert [(one["path"], one["is_dir"]) for one in listed] == [("a", True), ("large.bin", False)]
    listed = wire("GET artifacts/list", run_id=run, path="a")
    assert listed["files"] == [{"path": "a/b c.txt", "is_dir": False, "file_size": 3}]
    assert wire.client.delete(f"{FILES}/artifacts/{at}/a").status_code == 200
    assert [one.path for one in tracking.artifacts(run, ws=local_ws)] == ["large.bin"]
    assert wire.client.get(f"{FILES}/artifacts/{at}/a/b c.txt").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    "path",
    ["0/{run}/artifacts/../../x", "0/{run}/artifacts/a\\b", "0/x/artifacts/a", "elsewhere", "0/{run}/artifacts/"],
)
def test_paths_that_lead_nowhere(wire: Any, begin: Begin, path: str) -> None:
    url = f"{FILES}/artifacts/{path.format(run=begin())}".replace("..", "%2e%2e")
    assert wire.client.put(url, content=b"x").status_code in (400, 404)


def test_a_large_file_comes_in_parts(wire: Any, begin: Begin, local_ws: Workspace) -> None:
    run = begin()
    at = f"0/{run}/artifacts/big"
    made = wire.client.post(f"{FILES}/mpu/create/{at}", json={"path": "f.bin", "num_parts": 3}).json()
    parts = [b"a" * 10, b"b" * 20, b"c"]
    for one, data in zip(made["credentials"], parts, strict=True):
        assert wire.client.put(one["url"], content=data, headers={"authorization": ""}).headers["etag"]
    body: dict[str, Any] = {
        "path": "f.bin",
        "upload_id": made["upload_id"],
        "parts": [{"part_number": n, "etag": ""} for n in (1, 2, 3)],
    }
    assert wire.client.post(f"{FILES}/mpu/complete/{at}", json=body).json() == {}
    assert tracking.read_artifact(run, "big/f.bin", ws=local_ws) == b"".join(parts)
    assert wire.client.post(f"{FILES}/mpu/complete/{at}", json=body).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


def test_a_logged_model_becomes_a_version(wire: Any, begin: Begin, local_ws: Workspace) -> None:
    run = begin()
    info = wire("POST logged-models", experiment_id="0", name="m", source_run_id=run)["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    told = yaml.safe_dump({"flavors": {"python_function": {"loader_module": "x"}}})
    wire.client.put(f"{FILES}/artifacts/{root}/MLmodel", content=told.encode())
    wire.client.put(f"{FILES}/artifacts/{root}/data/model.pkl", content=b"pickle")
    wire("POST runs/log-metric", run_id=run, key="auc", value=0.9, timestamp=1, model_id=info["model_id"])
    wire(f"PATCH logged-models/{info['model_id']}", status="LOGGED_MODEL_READY")
    wire("POST registered-models/create", name="churn")
    assert wire.refused("POST registered-models/create", name="churn")[:2] == (400, "RESOURCE_ALREADY_EXISTS")
    made = wire(
        "POST model-versions/create", name="churn", source=f"models:/{info['model_id']}", model_id=info["model_id"]
    )
    assert (made["model_version"]["version"], made["model_version"]["run_id"]) == ("1", run)
    found = models.resolve("churn@1", ws=local_ws)
    assert (found.flavor, found.pickled, found.metrics, found.run) == ("mlflow", True, {"auc": 0.9}, run)
    wire("POST registered-models/alias", name="churn", alias="live", version="1")
    assert models.resolve("churn@live", ws=local_ws).version == 1
    uri = wire("GET model-versions/get-download-uri", name="churn", version="1")["artifact_uri"]
    assert (
        wire.client.get(f"{FILES}/artifacts/{uri.removeprefix('mlflow-artifacts:/')}/data/model.pkl").content
        == b"pickle"
    )
    assert (
        wire.client.put(f"{FILES}/artifacts/{uri.removeprefix('mlflow-artifacts:/')}/x", content=b"").status_code == 403
    )
    wire("POST model-versions/transition-stage", name="churn", version="1", stage="staging")
    (latest,) = wire("POST registered-models/get-latest-versions", name="churn", stages=["Staging"])["model_versions"]
    assert latest["current_stage"] == "Staging" and latest["aliases"] == ["live"]
    assert (
        wire.refused("POST registered-models/alias", name="churn", alias="v2", version="1")[2]
        == "Version alias name 'v2' is reserved."
    )
    assert (
        wire.refused("GET model-versions/get", name="churn", version="7")[2]
        == "Model Version (name=churn, version=7) not found"
    )


def test_a_version_of_trine_is_a_folder_for_mlflow(wire: Any, local_ws: Workspace) -> None:
    import polars as pl
    from sklearn.linear_model import LogisticRegression

    rows = pl.DataFrame({"x": [0.0, 0.2, 0.8, 1.0], "n": [1, 2, 3, 4]})
    made = models.register(LogisticRegression().fit(rows, [0, 0, 1, 1]), "mine", inputs=rows, ws=local_ws)
    uri = wire("GET model-versions/get-download-uri", name="mine", version=str(made.version))["artifact_uri"]
    at = uri.removeprefix("mlflow-artifacts:/")
    listed = wire.client.get(f"{FILES}/artifacts", params={"path": at}).json()["files"]
    assert [one["path"] for one in listed] == ["MLmodel", "model.skops"]
    told = yaml.safe_load(wire.client.get(f"{FILES}/artifacts/{at}/MLmodel").content)
    assert told["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert msgspec.json.decode(told["signature"]["inputs"])[1] == {"type": "long", "name": "n", "required": True}


def test_prompts_are_models_that_do_not_show(wire: Any) -> None:
    prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    wire("POST registered-models/create", name="ask", tags=[prompt])
    wire("POST registered-models/create", name="churn")
    wire(
        "POST model-versions/create",
        name="ask",
        source="prompt-template",
        tags=[prompt, {"key": "mlflow.prompt.text", "value": "Hi"}],
    )
    found = wire("GET registered-models/search")["registered_models"]
    assert [one["name"] for one in found] == ["churn"]
    found = wire("GET registered-models/search", filter="tags.`mlflow.prompt.is_prompt` = 'true'")["registered_models"]
    assert [one["name"] for one in found] == ["ask"]
    assert "model_versions" not in wire("GET model-versions/search")


def test_logged_models_are_found(wire: Any) -> None:
    ids = []
    for n in range(3):
        params = [{"key": "n", "value": str(n)}]
        ids.append(
            wire("POST logged-models", experiment_id="0", name=f"m{n}", params=params)["model"]["info"]["model_id"]
        )
    wire(f"PATCH logged-models/{ids[1]}/tags", tags=[{"key": "t", "value": "x"}])
    asked = {"experiment_ids": ["0"]}
    assert [one["info"]["name"] for one in wire("POST logged-models/search", **asked)["models"]] == ["m2", "m1", "m0"]
    assert [
        one["info"]["name"] for one in wire("POST logged-models/search", filter="tags.t = 'x'", **asked)["models"]
    ] == ["m1"]
    order = [{"field_name": "name", "ascending": True}]
    page = wire("POST logged-models/search", order_by=order, max_results=2, **asked)
    assert [one["info"]["name"] for one in page["models"]] == ["m0", "m1"] and page["next_page_token"]
    wire(f"DELETE logged-models/{ids[1]}")
    assert wire.refused(f"GET logged-models/{ids[1]}")[2] == f"Logged model with ID '{ids[1]}' not found."


@pytest.mark.parametrize("name", ["Churn (EU), späte 50%", "a@b%40", " x ", ".hidden", "~dGlsZGU", "it's"])
def test_models_have_the_names_that_mlflow_allows(wire: Any, local_ws: Workspace, begin: Begin, name: str) -> None:
    run = begin()
    wire.client.put(f"{FILES}/artifacts/0/{run}/artifacts/m/MLmodel", content=b"flavors: {}")
    assert wire("POST registered-models/create", name=name)["registered_model"]["name"] == name
    assert "already exists" in wire.refused("POST registered-models/create", name=name)[2]
    made = wire("POST model-versions/create", name=name, source=f"runs:/{run}/m", run_id=run)["model_version"]
    assert (made["name"], made["version"]) == (name, "1")
    again = wire("POST model-versions/create", name=name, source=f"models:/{name}/1")["model_version"]
    assert again["version"] == "2"
    wire("POST registered-models/alias", name=name, alias="live", version="2")
    assert wire("GET registered-models/alias", name=name, alias="live")["model_version"]["name"] == name
    uri = wire("GET model-versions/get-download-uri", name=name, version="2")["artifact_uri"]
    at = uri.removeprefix("mlflow-artifacts:/")
    assert wire.client.get(f"{FILES}/artifacts", params={"path": at}).json()["files"][0]["path"] == "MLmodel"
    assert wire.client.get(f"{FILES}/artifacts/{at}/MLmodel").content == b"flavors: {}"
    for what in ("registered-models", "model-versions"):
        (first, *_) = wire(f"GET {what}/search", filter=f'name = "{name}"')[what.replace("-", "_")]
        assert first["name"] == name
    wire("POST registered-models/rename", name=name, new_name="plain")
    assert models.resolve("plain@live", ws=local_ws).version == 2


@pytest.mark.parametrize("name", ["a/b", "a:b", " ", "..", "./a", "x" * 257])
def test_models_have_no_others(wire: Any, name: str) -> None:
    assert wire.refused("POST registered-models/create", name=name)[:2] == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("told", "flavor"),
    [
        ({"xgboost": {"data": "m.ubj", "model_class": "xgboost.sklearn.XGBRegressor"}}, "xgboost"),
        ({"xgboost": {"data": "m.ubj", "model_class": "os.system"}}, "mlflow"),
        ({"xgboost": {"data": "m.ubj", "model_class": "xgboost.core.Booster", "code": "code"}}, "mlflow"),
        ({"xgboost": {"data": "../m.ubj", "model_class": "xgboost.core.Booster"}}, "mlflow"),
        ({"sklearn": {"serialization_format": "skops"}}, "mlflow"),
        (["sklearn"], "mlflow"),
    ],
)
def test_what_a_folder_says_of_itself_is_not_believed(
    wire: Any, begin: Begin, local_ws: Workspace, monkeypatch: pytest.MonkeyPatch, told: Any, flavor: str
) -> None:
    run = begin()
    for name, content in (("MLmodel", yaml.safe_dump({"flavors": told}).encode()), ("m.ubj", b"{L\0\0 no trees")):
        wire.client.put(f"{FILES}/artifacts/0/{run}/artifacts/m/{name}", content=content)
    wire("POST registered-models/create", name="m")
    wire("POST model-versions/create", name="m", source=f"runs:/{run}/m", run_id=run)
    found = models.resolve("m@1", ws=local_ws)
    assert (found.flavor, found.pickled) == (flavor, flavor == "mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        InvalidInput, match=r"cannot be read by this XGBoost|needs mlflow: pip install 'trine\[mlflow\]'"
    ):
        models.load_model("m@1", allow_pickle=True, ws=local_ws)
    if flavor == "mlflow":
        with pytest.raises(Refused, match="kept as a pickle"):
            models.load_model("m@1", ws=local_ws)
