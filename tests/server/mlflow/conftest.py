"""A server on a fresh workspace, asked as MLflow's clients ask, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from trine.workspace import Workspace


class Wire:
    """MLflow's interface: `wire("POST runs/create", experiment_id="0")` gives the answer's object, or its error code and message."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def send(self, what: str, **values: Any) -> httpx.Response:
        method, _, path = what.partition(" ")
        url = path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
        if method == "GET":
            return self.client.get(url, params=values)
        return self.client.request(method, url, json=values)

    def __call__(self, what: str, **values: Any) -> Any:
        answer = self.send(what, **values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, what: str, **values: Any) -> tuple[int, str, str]:
        answer = self.send(what, **values)
        assert answer.status_code != 200, answer.text
        return answer.status_code, answer.json()["error_code"], answer.json()["message"]


@pytest.fixture
def wire(
    local_ws: Workspace, serve: Callable[[Workspace], str], admin_token: Callable[[Workspace], str]
) -> Iterator[Wire]:
    headers = {"authorization": f"Bearer {admin_token(local_ws)}"}
    with httpx.Client(base_url=serve(local_ws), headers=headers, timeout=30) as client:
        yield Wire(client)


@pytest.fixture
def begin(wire: Wire) -> Callable[..., str]:
    """Begin a run, and give its id."""

    def make(**values: Any) -> str:
        return wire("POST runs/create", **({"experiment_id": "0"} | values))["run"]["info"]["run_id"]

    return make
