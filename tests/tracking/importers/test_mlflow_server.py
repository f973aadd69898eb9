"""Moving in from an MLflow tracking server: a stand-in that answers over HTTP in the shapes of MLflow 3.17, page by page."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from mlflow_sources import CHILD, MLMODEL, PARENT, START

from trine import models, tracking
from trine.errors import NotFound, Unavailable
from trine.models.importing import move_models_in
from trine.tracking import logged_models
from trine.tracking.experiment import find_experiment
from trine.tracking.importers import mlflow_server, open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

LOSS = [{"key": "loss", "value": 1 / (step + 1), "timestamp": START + step, "step": step} for step in range(7)]
ODD = [{"key": "odd", "value": one, "timestamp": START, "step": at} for at, one in enumerate(("NaN", "Infinity", -1.5))]
MADE = "m-fb233cc7cbcd43be85ba54fbd65744d7"
FILES = {
    f"1/{PARENT}/artifacts/notes/a b.txt": b"hello",
    f"1/models/{MADE}/artifacts/MLmodel": MLMODEL.encode(),
    f"1/models/{MADE}/artifacts/model.ubj": b"\x00\x01",
}


def info(id: str, name: str, status: str) -> dict[str, Any]:
    uri = f"mlflow-artifacts:/1/{id}/artifacts"
    return {
        "run_id": id,
        "run_name": name,
        "experiment_id": "1",
        "status": status,
        "user_id": "ana",
        "start_time": START,
    } | {
        "end_time": START + 5_000,
        "artifact_uri": uri,
        "lifecycle_stage": "active",
    }


PARENT_RUN = {
    "info": info(PARENT, "parent", "FINISHED"),
    "data": {
        "params": [{"key": "lr", "value": "0.1"}],
        "tags": [{"key": "team", "value": "red"}],
        "metrics": [LOSS[-1], ODD[-1]],
    },
    "inputs": {
        "dataset_inputs": [
            {
                "dataset": {"name": "iris", "digest": "4fb5574f", "source_type": "local", "source": "{}"},
                "tags": [{"key": "mlflow.data.context", "value": "training"}],
            }
        ]
    },
}
CHILD_RUN = {
    "info": info(CHILD, "child", "KILLED"),
    "data": {"tags": [{"key": "mlflow.parentRunId", "value": PARENT}]},
}
VERSION = {
    "name": "churn",
    "version": "1",
    "creation_timestamp": START,
    "run_id": PARENT,
    "current_stage": "Production",
}
MODEL = {"name": "churn", "creation_timestamp": START, "aliases": [{"alias": "champion", "version": "1"}]}
LOGGED = {"model_id": MADE, "name": "model", "source_run_id": PARENT, "creation_timestamp_ms": START}
ANSWERS: dict[str, tuple[str, list[Any]]] = {
    "experiments/search": (
        "experiments",
        [
            {
                "experiment_id": "1",
                "name": "churn",
                "lifecycle_stage": "active",
                "tags": [{"key": "owner", "value": "ana"}],
            }
        ],
    ),
    "runs/search": ("runs", [PARENT_RUN, CHILD_RUN]),
    "logged-models/search": (
        "models",
        [
            {
                "data": {"params": [{"key": "depth", "value": "3"}]},
                "info": LOGGED | {"artifact_uri": f"mlflow-artifacts:/1/models/{MADE}/artifacts"},
            }
        ],
    ),
    "registered-models/search": ("registered_models", [MODEL]),
    "model-versions/search": ("model_versions", [VERSION]),
}


class StandIn(BaseHTTPRequestHandler):
    """Two items a page; every first request for a path is answered 503."""

    asked: set[str] = set()  # noqa: RUF012 (shared by the requests of a server)
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        self.answer(unquote(where.path), {key: values[-1] for key, values in parse_qs(where.query).items()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.answer(urlsplit(self.path).path, json.loads(body))

    def answer(self, path: str, asked: dict[str, Any]) -> None:
        if path not in self.asked:
            self.asked.add(path)
            self.send(503, b"busy")
            return
        name = path.removeprefix("/api/2.0/mlflow/")
        below = path.removeprefix("/api/2.0/mlflow-artifacts/artifacts")
        if name in ANSWERS:
            key, items = ANSWERS[name]
            self.send_page(key, [] if "is_prompt" in asked.get("filter", "") else items, asked)
        elif name == "metrics/get-history":
            self.send_page("metrics", {"loss": LOSS, "odd": ODD}[asked["metric_key"]], asked)
        elif name == "model-versions/get-download-uri":
            self.send_json({"artifact_uri": f"mlflow-artifacts:/1/models/{MADE}/artifacts"})
        elif below == "":
            root = asked["path"] + "/"
            found = {one.removeprefix(root).partition("/")[::2] for one in FILES if one.startswith(root)}
            self.send_json({"files": [{"path": first, "is_dir": bool(rest)} for first, rest in sorted(found)]})
        elif below != path and below[1:] in FILES:
            self.send(200, FILES[below[1:]])
        else:
            self.send(404, b"{}")

    def send_page(self, key: str, items: list[Any], asked: dict[str, Any]) -> None:
        start = int(asked.get("page_token", 0))
        following = {"next_page_token": str(start + 2)} if start + 2 < len(items) else {}
        self.send_json({key: items[start : start + 2]} | following)

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(mlflow_server, "PAUSE_S", 0)
    StandIn.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as standing:
        standing.daemon_threads = True
        thread = threading.Thread(target=standing.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{standing.server_port}"
        standing.shutdown()
        thread.join()


def test_runs_files_and_registry_come_over_the_wire(local_ws: Workspace, server: str) -> None:
    source = open_source("mlflow", server)
    report = move_in(source)
    assert (report.runs, report.nested, report.points, report.artifacts, report.problems) == (2, 1, 10, 3, [])
    one, child = tracking.get_run(PARENT), tracking.get_run(CHILD)
    assert (one.experiment, one.name, one.params, one.inputs) == (
        "churn",
        "parent",
        {"lr": "0.1"},
        ["dataset:iris@4fb5574f"],
    )
    assert child.parent == PARENT and child.state == "killed"
    assert tracking.history(one, "loss")["value"].to_list() == [1 / (step + 1) for step in range(7)]
    odd = tracking.history(one, "odd")["value"].to_list()
    assert math.isnan(odd[0]) and odd[1:] == [math.inf, -1.5]
    assert tracking.read_artifact(one, "notes/a b.txt") == b"hello"
    made = logged_models.get_logged_model(local_ws, id=MADE)
    assert (made.name, made.run, made.state, made.params) == ("model", PARENT, "ready", {"depth": "3"})
    assert [file.path for file in logged_models.list_model_files(local_ws, id=MADE)] == ["MLmodel", "model.ubj"]
    links = logged_models.list_links(local_ws, runs=[PARENT])[0]
    assert links.inputs[0].tags == {"mlflow.data.context": "training"} and links.models[0].model == MADE
    assert find_experiment(local_ws, name="churn").tags == {"owner": "ana"}
    move_models_in(source)
    version = models.resolve("churn@champion")
    assert (version.run, version.stage, version.size_bytes) == (PARENT, "Production", len(MLMODEL) + 2)
    assert move_in(source).unchanged == 2 and move_models_in(source).unchanged == 1
    source.client.close()  # type: ignore[attr-defined]


def test_an_address_without_mlflow_is_said(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no MLflow tracking server"):
        open_source("mlflow", f"{server}/elsewhere")
    with pytest.raises(Unavailable, match="does not answer"):
        open_source("mlflow", "http://127.0.0.1:9")
