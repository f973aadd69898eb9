"""An MLflow tracking server, asked over its REST interface (2.0); user and password of a server with log-in may be in its address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from trine.errors import NotFound, Unavailable
from trine.tracking.importers.mlflow import MODEL_STATES, is_model_id, made_run, metric_columns, stage_of
from trine.tracking.importers.mlflow_artifacts import Artifacts
from trine.tracking.importers.source import (
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceModelFiles,
    SourceRun,
    SourceVersion,
    run_id,
)
from trine.tracking.logged_models import RunInput
from trine.tracking.series import Points

API, PROXY = "api/2.0/mlflow", "api/2.0/mlflow-artifacts/artifacts"
ATTEMPTS, PAUSE_S = 4, 0.5
HISTORY = 25_000
"""Points of one page; the most a server gives."""


class Server:
    """Runs and registry behind a server's address."""

    kind = "mlflow"

    def __init__(self, url: str, artifacts: str) -> None:
        address = httpx.URL(url.rstrip("/") + "/")
        self.location = str(address.copy_with(username="", password="")) if address.username else url.rstrip("/")
        self.client = httpx.Client(base_url=address, timeout=httpx.Timeout(120, connect=10), follow_redirects=True)
        self.artifacts = Artifacts(Path.cwd(), artifacts)
        self.root = artifacts
        try:
            self._post("experiments/search", max_results=1)
        except Unavailable:
            self.client.close()
            raise
        except NotFound:
            self.client.close()
            raise NotFound(
                f"{self.location} is no MLflow tracking server: it has no /{API}/experiments/search."
            ) from None

    # -- asking ---------------------------------------------------------------------------------------------------------

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._tried(path, lambda: self.client.request(method, path, **more))

    def _tried(self, path: str, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """A request's answer; asked again when the server is away or busy."""
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_S * 2**attempt)
            try:
                answer = ask()
            except httpx.TransportError as error:
                problem = f"{self.location} does not answer: {str(error) or type(error).__name__}."
                continue
            if answer.status_code == 404:
                raise NotFound(f"{self.location} has no {path}.")
            if answer.is_success:
                return answer
            problem = f"{self.location} answered {answer.status_code} to {path}."
            if answer.status_code < 500 and answer.status_code != 429:
                break
        raise Unavailable(problem)

    def _get(self, path: str, /, **query: Any) -> dict[str, Any]:
        return self._send("GET", f"{API}/{path}", params={k: v for k, v in query.items() if v != ""}).json()

    def _post(self, path: str, /, **body: Any) -> dict[str, Any]:
        return self._send("POST", f"{API}/{path}", json=body).json()

    def _pages(
        self, ask: Callable[..., dict[str, Any]], path: str, items: str, /, **query: Any
    ) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = ask(path, **query, **({"page_token": token} if token else {}))
            yield from page.get(items, ())
            token = page.get("next_page_token", "")
            if not token:
                return

    # -- runs -----------------------------------------------------------------------------------------------------------

    def runs(self) -> Iterator[SourceRun]:
        """Runs by start, then id; those of deleted experiments too."""
        asked = {"view_type": "ALL", "max_results": 1_000}
        experiments = {
            one["experiment_id"]: one for one in self._pages(self._post, "experiments/search", "experiments", **asked)
        }
        found: list[dict[str, Any]] = []
        for id in experiments:
            query = {"experiment_ids": [id], "run_view_type": "ALL", "max_results": 1_000}
            found += self._pages(self._post, "runs/search", "runs", **query)
        found.sort(key=lambda one: (int(one["info"].get("start_time") or 0), one["info"]["run_id"]))
        ids = {one["info"]["run_id"]: run_id("mlflow", one["info"]["run_id"]) for one in found}
        logged = self._logged_models(list(experiments))
        for one in found:
            experiment = experiments[one["info"]["experiment_id"]]
            yield self._run(one, experiment["name"], experiment.get("lifecycle_stage") == "deleted", ids, logged)

    def experiments(self) -> Iterator[SourceExperiment]:
        """Experiments, deleted ones too."""
        asked = {"view_type": "ALL", "max_results": 1_000}
        for one in self._pages(self._post, "experiments/search", "experiments", **asked):
            yield SourceExperiment(
                name=one["name"],
                tags=_texts(one.get("tags", ())),
                created_us=int(one.get("creation_time") or 0) * 1_000,
                hidden=one.get("lifecycle_stage") == "deleted",
            )

    def _logged(self, model: dict[str, Any], problems: list[str]) -> SourceModelFiles:
        data = model.get("data", {})
        return SourceModelFiles(
            id=model["model_id"],
            name=model["name"],
            kind=model.get("model_type", ""),
            state=MODEL_STATES.get(model.get("status"), "ready"),
            params=_texts(data.get("params", ())),
            tags=_texts(model.get("tags", ())),
            created_us=int(model.get("creation_timestamp_ms", 0)) * 1_000,
            updated_us=int(model.get("last_updated_timestamp_ms", 0)) * 1_000,
            files=self._files(model["artifact_uri"], "", problems),
        )

    def _logged_models(self, experiments: list[str]) -> dict[str, list[dict[str, Any]]]:
        """Logged models (MLflow 3) by the run that made them, oldest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        try:
            for id in experiments:
                query = {"experiment_ids": [id], "max_results": 50}
                for one in self._pages(self._post, "logged-models/search", "models", **query):
                    found.setdefault(one["info"].get("source_run_id", ""), []).append(
                        {**one["info"], "data": one.get("data", {})}
                    )
        except NotFound:
            return {}
        for models in found.values():
            models.sort(key=lambda one: (int(one["creation_timestamp_ms"]), one["model_id"]))
        return found

    def _run(
        self,
        one: dict[str, Any],
        experiment: str,
        hidden: bool,
        ids: dict[str, str],
        logged: dict[str, list[dict[str, Any]]],
    ) -> SourceRun:
        info, data = one["info"], one.get("data", {})
        id = info["run_id"]
        problems: list[str] = []
        files = self._files(info.get("artifact_uri", ""), "", problems)
        return made_run(
            id=id,
            name=info.get("run_name", ""),
            status=info.get("status", ""),
            experiment=experiment,
            start_ms=info.get("start_time"),
            end_ms=info.get("end_time"),
            user=info.get("user_id", ""),
            hidden=hidden or info.get("lifecycle_stage") == "deleted",
            tags=_texts(data.get("tags", ())),
            ids=ids,
            params=_texts(data.get("params", ())),
            points={last["key"]: self._history(id, last["key"]) for last in data.get("metrics", ())},
            files=files,
            models=[self._logged(model, problems) for model in logged.get(id, ()) if is_model_id(model["model_id"])],
            inputs=[_input(put) for put in one.get("inputs", {}).get("dataset_inputs", ())],
            problems=problems,
        )

    def _history(self, id: str, key: str) -> Points:
        query = {"run_id": id, "metric_key": key, "max_results": HISTORY}
        rows = [
            (key, int(one.get("step", 0)), int(one["timestamp"]), float(one["value"]), one["value"] == "NaN")
            for one in self._pages(self._get, "metrics/get-history", "metrics", **query)
        ]
        rows = [(*row[:3], 0.0 if row[4] else row[3], row[4]) for row in rows]  # as the database has them
        return metric_columns(sorted(rows, key=lambda row: (row[2], row[1], row[3])))[key]

    def _files(self, uri: str, prefix: str, problems: list[str]) -> list[SourceFile]:
        """The files below an artifact URI: over the server's proxy when it serves them and nobody named their place."""
        try:
            if self.root or not uri.startswith("mlflow-artifacts:"):
                return self.artifacts.files(uri, prefix) if uri else []
            return sorted(self._proxied(urlsplit(uri).path.strip("/"), "", prefix), key=lambda file: file.path)
        except (NotFound, Unavailable) as error:
            problems.append(error.message)
            return []

    def _proxied(self, root: str, below: str, prefix: str) -> Iterator[SourceFile]:
        """Files below a path of the server's artifact proxy."""
        whole = f"{root}/{below}".rstrip("/")
        for one in self._send("GET", PROXY, params={"path": whole}).json().get("files", ()):
            path = f"{below}/{one['path']}".lstrip("/")
            if one.get("is_dir"):
                yield from self._proxied(root, path, prefix)
            else:
                yield SourceFile(prefix + path, fetch=self._fetching(f"{PROXY}/{quote(f'{root}/{path}')}"))

    def _fetching(self, path: str, /, **query: str) -> Callable[[Path], None]:
        def download(target: Path) -> httpx.Response:
            with self.client.stream("GET", path, params=query) as answer, target.open("wb") as file:
                if answer.is_success:
                    file.writelines(answer.iter_bytes(1 << 20))
                return answer

        def fetch(target: Path) -> None:
            self._tried(path, lambda: download(target))

        return fetch

    # -- registry -------------------------------------------------------------------------------------------------------

    def models(self) -> Iterator[SourceModel]:
        """Registered models by name."""
        query = {"max_results": 100, "order_by": "name"}
        for one in self._pages(self._get, "registered-models/search", "registered_models", **query):
            yield self._model(one)
        prompts = {"max_results": 100, "filter": "tags.`mlflow.prompt.is_prompt` = 'true'"}
        try:
            found = list(self._pages(self._get, "registered-models/search", "registered_models", **prompts))
        except Unavailable:  # a server from before there were prompts
            return
        for one in found:
            yield self._model(one)

    def _model(self, one: dict[str, Any]) -> SourceModel:
        tags = _texts(one.get("tags", ()))
        wanted = "name='{}'".format(one["name"].replace("'", "\\'"))
        if "mlflow.prompt.is_prompt" in tags:
            wanted += " AND tags.`mlflow.prompt.is_prompt` = 'true'"
        query = {"filter": wanted, "max_results": 1_000}
        versions = [
            self._version(version)
            for version in self._pages(self._get, "model-versions/search", "model_versions", **query)
        ]
        return SourceModel(
            name=one["name"],
            created_us=int(one.get("creation_timestamp", 0)) * 1_000,
            description=one.get("description", ""),
            tags=tags,
            aliases={alias["alias"]: int(alias["version"]) for alias in one.get("aliases", ())},
            versions=sorted(versions, key=lambda version: version.version),
        )

    def _version(self, one: dict[str, Any]) -> SourceVersion:
        tags = _texts(one.get("tags", ()))
        problems: list[str] = []
        files: list[SourceFile] = []
        if "mlflow.prompt.is_prompt" not in tags:
            files = self._version_files(one, problems)
        created = int(one.get("creation_timestamp", 0))
        return SourceVersion(
            version=int(one["version"]),
            created_us=created * 1_000,
            updated_us=int(one.get("last_updated_timestamp", created)) * 1_000,
            run=run_id("mlflow", one["run_id"]) if one.get("run_id") else "",
            author=one.get("user_id", ""),
            description=one.get("description", ""),
            stage=stage_of(one.get("current_stage")),
            tags=tags,
            files=files,
            problems=problems,
        )

    def _version_files(self, one: dict[str, Any], problems: list[str]) -> list[SourceFile]:
        named = {"name": one["name"], "version": one["version"]}
        place = self._get("model-versions/get-download-uri", **named).get("artifact_uri", "")
        return self._files(place, "", problems)


def _input(put: dict[str, Any]) -> RunInput:
    data = put["dataset"]
    kept = {name: data.get(name) or "" for name in ("name", "digest", "source_type", "source", "schema", "profile")}
    return RunInput(**kept, tags=_texts(put.get("tags", ())))


def _texts(pairs: Any) -> dict[str, str]:
    return {one["key"]: one.get("value", "") for one in pairs}
