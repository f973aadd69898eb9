"""`POST /v1/traces`: what OpenTelemetry's exporters send, and MLflow's client among them."""

from __future__ import annotations

from functools import partial

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from trine.errors import InvalidInput
from trine.llm import operations as door
from trine.llm import otlp
from trine.llm.spans import MOST_SPANS, Span, pack
from trine.server import guard
from trine.workspace import Workspace

PATH = "/v1/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


async def receive(ws: Workspace, request: Request, experiment: str) -> Response:
    """Take in the spans of an export into an experiment (or, with "", that of the run, or the default one)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF, JSON):
        raise InvalidInput(f'Content-Type "{kind}" is not known here: send {PROTOBUF} or {JSON}.')
    body = await guard.read_body(request)
    encoding = request.headers.get("content-encoding", "")
    run = request.headers.get("x-mlflow-run-id", "")
    work = partial(_take, ws, body, encoding, experiment, run, as_json=kind == JSON)
    return Response(await to_thread.run_sync(work), media_type=kind)


def _take(ws: Workspace, body: bytes, encoding: str, experiment: str, run: str, *, as_json: bool) -> bytes:
    body = otlp.unpacked(body, encoding)
    received = otlp.read_json(body) if as_json else otlp.read_protobuf(body)
    for start in range(0, len(received.spans), MOST_SPANS):
        some: list[Span] = received.spans[start : start + MOST_SPANS]
        door.record_spans(ws, spans=pack(some), experiment_name=experiment or None, run=run)
    return otlp.response(received, as_json=as_json)
