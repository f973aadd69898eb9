"""A model to serve, and a serving process's application on a real HTTP server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

from trine import models, serving
from trine.serving.app import Application
from trine.workspace import Workspace

ROWS = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "n": [1, 2, 3, 4, 5, 6]})


class Constant:
    """A model of the tests: answers its number; does as it is told when a row says so."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, rows: Any) -> Any:
        import numpy as np

        if rows["x"].max() == 666.0:
            raise RuntimeError("the model broke")
        return np.full(len(rows), self.value)


def train(shift: float = 0.0) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(ROWS, [x + shift > 2.5 for x in ROWS["x"]])


def register_delays(ws: Workspace) -> str:
    """`delays@1`, `delays@2`: classifiers of `x` and `n`; production is the first."""
    for shift in (0.0, 1.0):
        models.register(train(shift), "delays", inputs=ROWS, ws=ws)
    models.promote("delays", 1, ws=ws)
    return "delays"


def register_constants(ws: Workspace) -> str:
    """`constant@1` to `constant@3`: each answers its number."""
    for number in (1, 2, 3):
        models.register(Constant(number), "constant", inputs=ROWS, allow_pickle=True, ws=ws)
    return "constant"


@pytest.fixture
def model(ws: Workspace) -> str:
    return register_delays(ws)


@pytest.fixture
def constants(ws: Workspace) -> str:
    return register_constants(ws)


@pytest.fixture
def server() -> Iterator[Callable[..., serving.Client]]:
    """Serve endpoints from this process; gives a client. Everything is closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def start(ws: Workspace, *names: str, **options: Any) -> serving.Client:
            url = stack.enter_context(running(Application(ws, names, allow_pickle=True, **options)))
            return stack.enter_context(serving.Client(url))

        yield start


@contextlib.contextmanager
def running(application: Any) -> Iterator[str]:
    import uvicorn

    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning", lifespan="on", ws="none")
    instance = uvicorn.Server(config)
    thread = threading.Thread(target=instance.run, daemon=True)
    thread.start()
    while not instance.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"http://127.0.0.1:{instance.servers[0].sockets[0].getsockname()[1]}"
    instance.should_exit = True
    thread.join(30)


def until(true: Callable[[], Any]) -> None:
    """Wait for something another thread or process brings about."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
