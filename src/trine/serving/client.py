"""A client of `trine serve`: rows in, answers with prediction ids out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from trine.errors import Failure, TrineError, Unavailable, by_code
from trine.models.frames import as_frame

ROWS_AT_ONCE = 1_000
"""Rows of one request; a larger frame is sent in several."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `id` leads back to what made it (`trace`) and takes its label (`log_labels`)."""

    id: str
    prediction: Any
    outputs: dict[str, Any]
    model_version: str
    variant: str
    route: int

    @property
    def probability(self) -> float | None:
        """The probability of the positive class, from classifiers that give one."""
        return self.outputs.get("probability")


class _Body(msgspec.Struct):
    predictions: list[Any]
    prediction_ids: list[str]
    model_versions: list[str]
    variants: list[str]
    route: int


class Client:
    """Connections to a serving process. Threads may share it; use it as a context manager, or close it."""

    def __init__(self, url: str, *, token: str = "", timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)

    def predict(self, endpoint: str, rows: Any, *, keys: Sequence[str | int] | None = None) -> list[Prediction]:
        """An answer for each row, in order. `rows` is any frame, a dict of columns, or a list of dicts; `keys` has the key
        of each row, which keeps it on one variant.

        Raises InvalidInput naming row and column when the rows do not fit, Unavailable when the server is away, and
        what else the server says. Rows beyond the first 1,000 are sent in further requests.
        """
        frame = as_frame(rows)
        found: list[Prediction] = []
        for start in range(0, frame.height, ROWS_AT_ONCE):
            part = frame.slice(start, ROWS_AT_ONCE)
            body: dict[str, Any] = {"dataframe_split": {"columns": part.columns, "data": part.rows()}}
            if keys is not None:
                body["keys"] = list(keys[start : start + ROWS_AT_ONCE])
            found += self._ask(endpoint, body)
        return found

    def _ask(self, endpoint: str, body: dict[str, Any]) -> list[Prediction]:
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        try:
            answer = self._client.post(f"/endpoints/{endpoint}/invocations", content=content, headers=headers)
        except httpx.TransportError as error:
            raise Unavailable(f"The server {self.url} does not answer: {error or type(error).__name__}.") from error
        if answer.is_error:
            raise _error(answer)
        said = msgspec.json.decode(answer.content, type=_Body)
        return [
            Prediction(
                id=id_,
                prediction=value["prediction"] if isinstance(value, dict) else value,
                outputs=value if isinstance(value, dict) else {"prediction": value},
                model_version=model,
                variant=variant,
                route=said.route,
            )
            for value, id_, model, variant in zip(
                said.predictions, said.prediction_ids, said.model_versions, said.variants, strict=True
            )
        ]

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the server is ready. Raises Unavailable when it is not after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self.is_ready():
            if time.monotonic() > end:
                raise Unavailable(f"The server {self.url} is not ready after {timeout_s:g} s.")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether the server answers and all its endpoints have their models."""
        try:
            return self._client.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(answer: httpx.Response) -> TrineError:
    try:
        told = msgspec.json.decode(answer.content)
        error = by_code(told["code"])(told["error"], **told["details"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return Failure(f"The server answered {answer.status_code}: {answer.text[:200]}")
    return error
