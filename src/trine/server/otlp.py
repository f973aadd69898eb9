"""`POST /v1/traces`: what OpenTelemetry's exporters send, and MLflow's client among them.

Many of them send each span by itself. What arrives while the ledger is busy is kept together in one go.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from trine.access.principals import Principal
from trine.errors import InvalidInput, NotFound, TrineError
from trine.llm import operations as door
from trine.llm import otlp
from trine.llm.spans import Span, pack
from trine.server import guard
from trine.workspace import Workspace

PATH = "/v1/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TOGETHER = 10_000
"""Spans that are kept in one go."""


class _Place(NamedTuple):
    """Who sends spans, with which rights, and where they belong: only what is the same in all of it is kept together."""

    project: str
    principal: Principal
    on_behalf_of: str
    experiment: str
    run: str


class _Waiting(NamedTuple):
    ws: Workspace
    spans: list[Span]
    kept: asyncio.Future[str]


class Receiver:
    """Takes exports in; answers when their spans are on disk."""

    def __init__(self) -> None:
        self._waiting: dict[_Place, list[_Waiting]] = {}
        self._work: set[asyncio.Task[None]] = set()

    async def receive(self, ws: Workspace, request: Request, experiment: str) -> Response:
        """Take in the spans of an export into an experiment (or, with "", that of the run, or the default one)."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (PROTOBUF, JSON):
            raise InvalidInput(f'Content-Type "{kind}" is not known here: send {PROTOBUF} or {JSON}.')
        body = await guard.read_body(request)
        encoding = request.headers.get("content-encoding", "")
        received = await to_thread.run_sync(partial(_read, body, encoding, as_json=kind == JSON))
        if received.spans:
            run = request.headers.get("x-mlflow-run-id", "")
            place = _Place(ws.project, ws.principal, ws.on_behalf_of, experiment, run)
            warning = await self._keep(ws, place, received.spans)
            received = received._replace(problem=received.problem or warning)
        return Response(otlp.response(received, as_json=kind == JSON), media_type=kind)

    async def _keep(self, ws: Workspace, place: _Place, spans: list[Span]) -> str:
        """Wait for what is being kept at a place, then be kept with all else that waited for it; gives a warning, or nothing."""
        one = _Waiting(ws, spans, asyncio.get_running_loop().create_future())
        if place in self._waiting:
            self._waiting[place].append(one)
        else:
            self._waiting[place] = [one]
            task = asyncio.create_task(self._run(place))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        return await one.kept

    async def _run(self, place: _Place) -> None:
        while some := self._waiting[place]:
            count = 0
            batch: list[_Waiting] = []
            while some and (not batch or count + len(some[0].spans) <= TOGETHER):
                batch.append(some.pop(0))
                count += len(batch[-1].spans)
            await self._record(place, batch)
        del self._waiting[place]

    async def _record(self, place: _Place, batch: list[_Waiting]) -> None:
        spans = [span for one in batch for span in one.spans]
        try:
            warning = await to_thread.run_sync(_record, batch[0].ws, place, spans)
        except Exception as error:
            if len(batch) > 1 and isinstance(error, TrineError):  # each is told what is wrong with its own
                for one in batch:
                    await self._record(place, [one])
                return
            for one in batch:
                if not one.kept.done():
                    one.kept.set_exception(error)
            return
        for one in batch:
            if not one.kept.done():  # whose client went away was kept all the same
                one.kept.set_result(warning)


def _read(body: bytes, encoding: str, *, as_json: bool) -> otlp.Received:
    body = otlp.unpacked(body, encoding)
    return otlp.read_json(body) if as_json else otlp.read_protobuf(body)


def _record(ws: Workspace, place: _Place, spans: list[Span]) -> str:
    """Keep spans; those of a run that is not there as well, with a warning: nobody sends them again."""
    run, warning = place.run, ""
    for start in range(0, len(spans), TOGETHER):
        packed = pack(spans[start : start + TOGETHER])
        try:
            door.record_spans(ws, spans=packed, experiment_name=place.experiment or None, run=run)
        except NotFound as error:
            if not run:
                raise
            run, warning = "", f"The spans are kept, and belong to no run: {error.message}"
            door.record_spans(ws, spans=packed, experiment_name=place.experiment or None)
    return warning
