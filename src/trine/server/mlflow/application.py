"""The MLflow wire as an ASGI application: whose call it is, what it asks, and the answer's form."""

from __future__ import annotations

import importlib
import logging as log_of
import time

import msgspec
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trine.errors import InvalidInput, TrineError
from trine.ids import new_id
from trine.server import guard, otlp
from trine.server.mlflow import artifacts, server
from trine.server.mlflow.calls import Call, Json, decoded, find
from trine.server.mlflow.errors import WireError, from_trine
from trine.server.mlflow.experiments import by_id
from trine.server.mlflow.logging import CHANGING, READERS, Logger
from trine.settings import check_project
from trine.tracking.spool import collect
from trine.workspace import Workspace

log = log_of.getLogger("trine.server")

for _name in (  # their routes
    "experiments",
    "runs",
    "logged_models",
    "registry",
    "versions",
    "traces",
    "old_traces",
    "trace_correlation",
    "assessments",
    "eval_datasets",
):
    importlib.import_module(f"trine.server.mlflow.{_name}")

ROOTS = (
    "/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/", "/api/2.0/preview/mlflow/", "/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/",
)  # fmt: skip
LOGGING = frozenset(f"{root}{name}" for root in ROOTS for name in READERS)
"""The paths of what is called most."""

ALONE = ("/version", "/get-artifact", otlp.PATH)
TRUSTED_S = 2.0
"""For how long a token that was looked at is taken without looking again."""


class Mlflow:
    """Answers MLflow's clients. Embedded, who sends no token acts as the owner of the workspace: only on loopback."""

    def __init__(self, ws: Workspace, hosts: frozenset[str], *, embedded: bool = False) -> None:
        self.ws = ws
        self.hosts = hosts
        self.embedded = embedded
        self.logger = Logger()
        self.artifacts = artifacts.Artifacts(ws)
        self.receiver = otlp.Receiver()
        self._known: dict[tuple[str, str], tuple[float, Workspace]] = {}

    @staticmethod
    def is_for(path: str) -> bool:
        """Whether a path is one of MLflow's."""
        return path.startswith(("/api/2.0/", "/ajax-api/", "/api/3.0/")) or path in ALONE

    def start(self) -> None:
        """Take in what an earlier server was told and could not bring into the ledger."""
        collect(self.ws, living=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            guard.check_host(request, self.hosts)
            response = await self._answer(request)
        except WireError as error:
            response = _problem(error)
        except TrineError as error:
            if error.status >= 500:
                log.error("%s %s: %s", request.method, request.url.path, error.message)
            response = _problem(from_trine(error))
        except ClientDisconnect:
            response = Response(status_code=400)
        except Exception as error:
            incident = new_id()
            log.error("%s %s failed, incident %s", request.method, request.url.path, incident, exc_info=error)
            told = f"This is a fault of the server; it is logged as incident {incident}."
            response = _problem(WireError("INTERNAL_ERROR", told))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if path == "/version":
            return Response(server.VERSION, media_type="text/plain")
        name = next((path[len(root) :] for root in ROOTS if path.startswith(root)), path)
        if path.startswith(artifacts.ROOTS) and "/mpu/part/" in path:
            return await self.artifacts.answer(self.ws, request, path.split("mlflow-artifacts/", 1)[1])
        ws = await self._caller(request)
        if path == otlp.PATH and request.method == "POST":
            return await self._receive(ws, request)
        if path == "/get-artifact":
            call = Call(ws, {"": "query", **request.query_params})
            return await self.artifacts.send(ws, await to_thread.run_sync(artifacts.place_in_run, call))
        if path.startswith(artifacts.ROOTS):
            return await self.artifacts.answer(ws, request, path.split("mlflow-artifacts/", 1)[1])
        if request.method == "POST" and (reader := READERS.get(name)):
            body = await guard.read_body(request)
            await self.logger.keep(ws, reader(Call(ws, decoded(body))))
            return _EMPTY
        handler, in_path = find(request.method, name)
        if request.method in ("GET", "DELETE") and request.scope["query_string"]:
            values: Json = {"": "query"}
            for key in request.query_params:
                texts = request.query_params.getlist(key)
                values[key] = texts if len(texts) > 1 else texts[0]
        else:
            values = decoded(await guard.read_body(request))
        call = Call(ws, values | in_path, deliver=self.logger.deliver)
        found = await to_thread.run_sync(handler, call)
        if name in CHANGING:
            await to_thread.run_sync(self.logger.follow, name, values)
        if isinstance(found, Response):
            return found
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def _receive(self, ws: Workspace, request: Request) -> Response:
        """Spans as OpenTelemetry sends them, into the experiment that a header numbers (MLflow's way) or names."""
        experiment = request.headers.get("trine-experiment", "")
        if number := request.headers.get("x-mlflow-experiment-id", ""):
            experiment = (await to_thread.run_sync(by_id, ws, number)).name
        try:
            return await self.receiver.receive(ws, request, experiment)
        except InvalidInput as error:
            if error.details.get("extra") != "otlp":
                raise
            # the words by which MLflow's client knows that it has to send its spans another way
            raise WireError("NOT_IMPLEMENTED", f"REST OTLP span logging is not supported: {error.message}") from None

    async def _caller(self, request: Request) -> Workspace:
        """The workspace as seen by whoever is asking: the project is MLflow's workspace."""
        headers = request.headers
        project = headers.get("x-mlflow-workspace") or headers.get("trine-project") or "default"
        token = guard.credentials(request)
        until, known = self._known.get((token, project), (0.0, None))
        if known is not None and until > time.monotonic():
            return known
        there = self.ws.for_project(check_project(project))
        if token or not self.embedded:
            there = there.acting_as(await to_thread.run_sync(guard.identify, self.ws, request))
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[token, project] = time.monotonic() + TRUSTED_S, there
        return there


_EMPTY = Response(b"{}", media_type="application/json")


def _problem(error: WireError) -> Response:
    headers = {"www-authenticate": 'Basic realm="trine"'} if error.status == 401 else {}
    return Response(error.body, error.status, headers, "application/json")
