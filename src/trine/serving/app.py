"""The ASGI application of `trine serve`: Open Inference Protocol v2 and MLflow's scoring protocol over one path to the models.

request -> columns (`requests`) -> variant by key (`routing`) -> checked values (`columns`) -> model (`runner`)
        -> log (`log`) -> answer -> shadows
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from trine import __version__
from trine.errors import Failure, InvalidInput, NotFound, TooLarge, TrineError, WrongMethod
from trine.ids import new_id
from trine.serving import shipping
from trine.serving.inference import describe_tensors, read_inference, write_inference
from trine.serving.invocations import read_invocation, write_invocation
from trine.serving.live import Live, Served
from trine.serving.log import Durability, PredictionLog
from trine.serving.predictor import Predictor, Request
from trine.serving.requests import Asked
from trine.workspace import Workspace

log = logging.getLogger("trine.serving")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Request], Awaitable["Answer"]]

LARGEST_BODY = 16 << 20

ROTATE_BYTES = 16 << 20
"""A segment of the prediction log that is as large as this is closed and shipped."""

SHIP_AGAIN_S = 10.0
"""How long after a segment could not be shipped it is tried again."""


class Answer(NamedTuple):
    """A response, and what is to be done after it was sent."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    content_type: bytes = b"application/json"
    afterwards: Callable[[], None] | None = None


class Application:
    """One process's endpoints over HTTP. Pure ASGI: run it with uvicorn (`trine serve` does)."""

    def __init__(
        self,
        ws: Workspace,
        names: Sequence[str],
        *,
        durability: Durability = "os",
        log_age_s: float = 60.0,
        allow_pickle: bool = False,
        live: Live | None = None,
    ) -> None:
        self.live = live or Live(ws, names, allow_pickle=allow_pickle)
        self.ws = ws
        self.names = self.live.names
        self.durability: Durability = durability
        self.log_age_s = log_age_s
        self._predictor: Predictor | None = None
        self._ship_at = 0.0
        self._shipping = threading.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._routes = self._paths()

    def describe(self, name: str) -> str:
        """What an endpoint serves, in a few words."""
        try:
            route = self.live.served(name).route
        except TrineError:
            return "no model yet"
        return f"route {route.number}, {' + '.join(one.model for one in route.variants)}"

    # -- paths --------------------------------------------------------------------------------------------------------

    def _paths(self) -> dict[tuple[str, str], tuple[Handler, str]]:
        """Every path that does not carry a version number, so that finding a handler is one look-up."""
        told: dict[tuple[str, str], tuple[Handler, str]] = {}
        for path in ("/ping", "/health"):
            told["GET", path] = (self._ping, "")
        told["GET", "/version"] = (self._version, "")
        told["GET", "/"] = told["GET", "/v2"] = (self._server, "")
        told["GET", "/v2/health/live"] = (self._live, "")
        told["GET", "/v2/health/ready"] = (self._ready, "")
        told["POST", "/invocations"] = (self._invoke, self.names[0] if len(self.names) == 1 else "")
        for name in self.names:
            told["GET", f"/v2/models/{name}"] = (self._model, name)
            told["GET", f"/v2/models/{name}/ready"] = (self._model_ready, name)
            told["POST", f"/v2/models/{name}/infer"] = (self._infer, name)
            told["POST", f"/endpoints/{name}/invocations"] = (self._invoke, name)
            told["GET", f"/endpoints/{name}"] = (self._endpoint, name)
        return told

    def _find(self, method: str, path: str) -> tuple[Handler, str, str]:
        """Handler, endpoint and version of a request. Raises NotFound, or WrongMethod."""
        if found := self._routes.get((method, path)):
            return *found, ""
        head, marked, rest = path.partition("/versions/")
        if marked and head.startswith("/v2/models/"):
            version, slash, tail = rest.partition("/")
            if found := self._routes.get((method, head + slash + tail)):
                return *found, version
        if any(known == path for _, known in self._routes):
            raise WrongMethod(f"{path} does not take {method}.")
        if path.startswith(("/v2/models/", "/endpoints/")):
            self.live.served(path.split("/")[3 if path.startswith("/v2") else 2])
        raise NotFound(f"There is nothing at {method} {path[:200]}. See GET / for what there is.")

    # -- ASGI ---------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        try:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            handler, endpoint, version = self._find(method, path)
            headers: dict[bytes, bytes] = dict(scope["headers"])
            body = b"" if method == "GET" else await _read(headers, receive)
            asked = Request(
                endpoint,
                body,
                headers.get(b"content-type", b"").decode("latin-1"),
                version,
                headers.get(b"x-trine-key", b"").decode("latin-1"),
            )
            answer = await handler(asked)
        except _Gone:
            return
        except TrineError as error:
            answer = _problem(path, error)
        except Exception as error:
            incident = new_id()
            log.exception("%s failed, incident %s", path, incident, exc_info=error)
            answer = _problem(path, Failure(f"This is a fault of the server; it is logged as incident {incident}."))
        start = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type),
                (b"content-length", str(len(answer.body)).encode()),
                *answer.headers,
            ],
        }
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        if answer.afterwards is not None:
            answer.afterwards()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.to_thread(self.start)
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._keeper = asyncio.create_task(self._keep())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._keeper.cancel()
        await asyncio.to_thread(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    @property
    def predictor(self) -> Predictor:
        assert self._predictor is not None
        return self._predictor

    def start(self) -> None:
        """Load the models and open the log. Done already when the caller wanted to see the errors before it listens."""
        if self._predictor is None:
            self.live.start()
            self._predictor = Predictor(self.live, PredictionLog(self.ws, durability=self.durability))
            # shipping, and models on threads, hold up the event loop for a millisecond at most
            sys.setswitchinterval(0.001)

    def close(self) -> None:
        """Stop following, close the log and ship it; what cannot be shipped now is shipped by who comes next. Twice is fine."""
        self.live.close()
        if self._predictor is not None:
            self._predictor.log.rotate()
            with self._shipping:
                shipping.ship(self.ws, self._predictor.log)
            self._predictor.log.close()
            self._predictor = None

    async def _keep(self) -> None:
        """Once a second: sync what was appended, close what is ripe, ship what is closed."""
        while True:
            await asyncio.sleep(1.0)
            try:
                await asyncio.to_thread(self._tend, self.predictor.log)
            except TrineError as error:
                log.warning("the prediction log: %s", error.message)
            except Exception:  # it has to go on: without it nothing would be shipped any more
                log.exception("the prediction log")

    def _tend(self, prediction_log: PredictionLog) -> None:
        prediction_log.sync()
        prediction_log.rotate(older_than_s=self.log_age_s, larger_than=ROTATE_BYTES)
        with self._shipping:
            if time.monotonic() >= self._ship_at and shipping.ship(self.ws, prediction_log).kept:
                self._ship_at = time.monotonic() + SHIP_AGAIN_S

    # -- MLflow -------------------------------------------------------------------------------------------------------

    async def _invoke(self, request: Request) -> Answer:
        if not request.endpoint:
            raise NotFound(f"This process serves {', '.join(self.names)}: post to /endpoints/NAME/invocations.")
        _, served, done = await self.predictor.predict(request, partial(_read_invocation, request))
        return Answer(200, write_invocation(done, served.route.number), done.headers, afterwards=done.afterwards)

    async def _ping(self, _: Request) -> Answer:
        ready = all(map(self.live.is_ready, self.names))
        return Answer(200 if ready else 503, b"\n" if ready else b"not ready\n", content_type=b"text/plain")

    async def _version(self, _: Request) -> Answer:
        return Answer(200, __version__.encode(), content_type=b"text/plain")

    # -- Open Inference Protocol ----------------------------------------------------------------------------------------

    async def _infer(self, request: Request) -> Answer:
        asked, served, done = await self.predictor.predict(request, partial(_read_inference, request))
        body = write_inference(asked, done, served.route.endpoint, served.route.number)
        return Answer(200, body, done.headers, afterwards=done.afterwards)

    async def _server(self, _: Request) -> Answer:
        paths = [f"/endpoints/{name}/invocations" for name in self.names]
        paths += [f"/v2/models/{name}/infer" for name in self.names]
        return _json(
            {"name": "trine", "version": __version__, "extensions": [], "endpoints": self.names, "paths": paths}
        )

    async def _live(self, _: Request) -> Answer:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Answer:
        ready = all(map(self.live.is_ready, self.names))
        return _json({"ready": ready}, 200 if ready else 503)

    async def _model_ready(self, request: Request) -> Answer:
        served = self.live.served(request.endpoint)
        if request.version:
            served.variant_of_version(request.version)
        return _json({"name": request.endpoint, "ready": True})

    async def _model(self, request: Request) -> Answer:
        served = self.live.served(request.endpoint)
        runner = served.main
        if request.version:
            runner = served.runners[served.variant_of_version(request.version).name]

        return _json(
            {
                "name": request.endpoint,
                "versions": [one.model.rpartition("@")[2] for one in served.live],
                "platform": "trine",
                "inputs": describe_tensors(runner.signature.inputs),
                "outputs": describe_tensors(runner.signature.outputs),
            }
        )

    async def _endpoint(self, request: Request) -> Answer:
        served = self.live.served(request.endpoint)
        return _json(
            {
                "name": request.endpoint,
                "route": served.route.number,
                "variants": served.route.variants,
                "inputs": [Described(one.name, one.dtype, one.required) for one in served.columns.all],
                "key": served.key,
                "shadows_dropped": self.predictor.shadows_dropped,
            }
        )


class Described(msgspec.Struct):
    """An input as callers are told about it."""

    name: str
    dtype: str
    required: bool


class _Gone(Exception):
    """The caller went away before it had sent everything."""


def _read_invocation(request: Request, served: Served) -> Asked:
    return read_invocation(request.body, request.content_type, served.columns, served.key)


def _read_inference(request: Request, served: Served) -> Asked:
    asked = read_inference(request.body, served.columns, served.key)
    outputs = [field.name for field in served.main.signature.outputs]
    if unknown := [name for name in asked.outputs or () if name not in outputs]:
        raise InvalidInput(f'There is no output "{unknown[0]}"; there is {", ".join(outputs)}.')
    return asked


async def _read(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. Raises TooLarge, InvalidInput for a compressed one, and _Gone."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 18 or int(length) > LARGEST_BODY):
        raise TooLarge(f"The body is too large: at most {LARGEST_BODY} bytes are taken. Send fewer rows at once.")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise InvalidInput("A compressed body is not taken here: send it as it is.")
    if b"inference-header-content-length" in headers:
        raise InvalidInput("Binary tensors are not taken here: send the data as JSON.")
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise TooLarge(f"The body has more than {LARGEST_BODY} bytes. Send fewer rows at once.")
    return b"".join(parts)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value))


def _problem(path: str, error: TrineError) -> Answer:
    """An error in the protocol's own form: a text under `error` for OIP, code and message beside it for MLflow's clients."""
    details = dict(error.details)
    headers: list[tuple[bytes, bytes]] = list(details.pop("headers", ()))
    if error.status == 503:
        headers.append((b"retry-after", b"1"))
    if not headers and "prediction_id" in details:
        headers.append((b"x-trine-prediction-id", details["prediction_id"].encode()))
    body: dict[str, Any] = {"error": error.message, "code": error.code, "details": details}
    if not path.startswith("/v2"):
        body |= {"error_code": "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR", "message": error.message}
    return Answer(error.status, msgspec.json.encode(body, enc_hook=str), headers)
