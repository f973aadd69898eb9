"""One-row prediction requests: a bare ASGI echo, Trine endpoints, and MLflow's `models serve`, over the same HTTP client.

    python benchmarks/serving.py [--seconds 0.7] [--rounds 3] [--no-peer]

All run on uvicorn (uvloop, httptools) with one process; 20 numeric columns. `echo` reads the body and answers a constant: the
limit of the HTTP server. `trivial` is a model that answers zeros, so its share of echo is the cost of decoding, checking, routing,
logging and answering; `logistic` and `boosting` (100 trees) are scikit-learn models. The client has a process of its own and
keeps its connections; every rival gets every round in turn, so a busy machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

BENCH = Path(__file__).parent.parent / ".bench"
COLUMNS = [f"x{index}" for index in range(20)]
BODY = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": [[0.25 * i for i in range(20)]]}}).encode()
CONNECTIONS = (1, 16)

ECHO = """
import sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"application/json"), (b"content-length", b"19")]})
    await send({"type": "http.response.body", "body": b'{"predictions":[0]}'})

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off", timeout_keep_alive=75)
"""

TRAIN = """
import numpy as np, polars as pl, sys, types
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from trine import models, serving, init

folder, native = sys.argv[1], sys.argv[2]
rng = np.random.default_rng(0)
x = rng.normal(size=(5000, 20))
y = (x[:, 0] + rng.normal(size=5000) > 0)
rows = pl.DataFrame({f"x{i}": x[:, i] for i in range(20)})
boosting = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(rows, y)
logistic = LogisticRegression().fit(rows, y)
with init(folder):
    from benchmark_model import Trivial
    models.register(Trivial(), "trivial", inputs=x[:5], signature=models.infer_signature(rows, {"prediction": [0.0]}), allow_pickle=True)
    models.register(logistic, "logistic", inputs=rows)
    models.register(boosting, "boosting", inputs=rows)
    for name in ("trivial", "logistic", "boosting"):
        serving.create_endpoint(name, model=name)
"""

TRIVIAL = """
import numpy as np

class Trivial:
    def predict(self, rows):
        return np.zeros(len(rows))
"""

PEER = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow.sklearn, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
x = pd.DataFrame(rng.normal(size=(5000, 20)), columns=[f"x{i}" for i in range(20)])
y = x["x0"] + rng.normal(size=5000) > 0
mlflow.sklearn.save_model(LogisticRegression().fit(x, y), sys.argv[1], input_example=x.head(3))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | (environment or {}),
        start_new_session=True,
    )
    try:
        yield started
    finally:
        os.killpg(started.pid, 9)
        started.wait()


def wait_for(port: int, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request, self.until = request, until
        self.took: list[float] = []
        self.wrong = 0
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.ask()

    def ask(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        at = lowered.find(b"content-length:")
        if len(body) < int(lowered[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self.buffer = b""
        self.wrong += not head.startswith(b"HTTP/1.1 200")
        now = time.perf_counter()
        self.took.append(now - self.sent)
        if now < self.until:
            self.ask()
        else:
            self.transport.close()
            self.done.set_result(None)


async def _measure(port: int, path: str, connections: int, seconds: float) -> tuple[float, float, float, int]:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    until = start + seconds
    callers = [
        (await loop.create_connection(lambda: Caller(head.encode() + BODY, until), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    took = sorted(time_ for caller in callers for time_ in caller.took)
    rate = len(took) / (time.perf_counter() - start)
    return rate, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3, sum(caller.wrong for caller in callers)


def measure(arguments: tuple[int, str, int, float]) -> tuple[float, float, float, int]:
    import uvloop

    return uvloop.run(_measure(*arguments))


def install_peer() -> Path:
    """MLflow in an environment of its own."""
    python = BENCH / "mlflow" / "bin" / "python"
    if not (BENCH / "mlflow" / ".made").exists():
        print("installing mlflow into .bench/mlflow (once) …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", BENCH / "mlflow"], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "mlflow>=3"], check=True
        )
        (BENCH / "mlflow" / ".made").touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="Leave MLflow out.")
    asked = parser.parse_args()
    rivals: dict[str, tuple[int, str]] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trine-bench-"))
        (Path(folder) / "benchmark_model.py").write_text(TRIVIAL)
        importable = {"PYTHONPATH": folder, "XDG_CACHE_HOME": folder}
        if not asked.no_peer:
            python = install_peer()
            subprocess.run(
                [python, "-c", PEER, f"{folder}/peer"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        subprocess.run([sys.executable, "-c", TRAIN, folder, ""], check=True, env=os.environ | importable)
        rivals["echo: bare ASGI"] = (free_port(), "/")
        stack.enter_context(process([sys.executable, "-c", ECHO, str(rivals["echo: bare ASGI"][0])]))
        port = free_port()
        names = ("trivial", "logistic", "boosting")
        serve = ["-m", "trine.cli", "serve", "-w", folder, "--port", str(port), "--allow-pickle"]
        stack.enter_context(process([sys.executable, *serve, *names], importable))
        synced = free_port()
        serve = [
            "-m",
            "trine.cli",
            "serve",
            "-w",
            folder,
            "--port",
            str(synced),
            "--durability",
            "disk",
            "--allow-pickle",
        ]
        stack.enter_context(process([sys.executable, *serve, "trivial"], importable))
        for name in names:
            rivals[f"trine: {name}"] = (port, f"/endpoints/{name}/invocations")
        rivals["trine: trivial, disk"] = (synced, "/invocations")
        if not asked.no_peer:
            rivals["mlflow: logistic"] = (free_port(), "/invocations")
            command = ["-m", "mlflow", "models", "serve", "-m", f"{folder}/peer", "--env-manager", "local", "-w", "1"]
            path = {"PATH": f"{BENCH}/mlflow/bin:{os.environ['PATH']}"}
            began = time.perf_counter()
            stack.enter_context(process([str(python), *command, "-p", str(rivals["mlflow: logistic"][0])], path))  # type: ignore[possibly-undefined]
        for where, _ in rivals.values():
            wait_for(where)
        if not asked.no_peer:
            print(f"mlflow listened after {time.perf_counter() - began:.1f} s")  # type: ignore[possibly-undefined]
        found: dict[tuple[str, int], list[tuple[float, float, float, int]]] = {}
        with get_context("spawn").Pool(1) as pool:
            for round_ in range(-1, asked.rounds):
                for name, (where, path_) in rivals.items():
                    for connections in CONNECTIONS:
                        seconds = asked.seconds if round_ >= 0 else 0.3
                        result = pool.apply(measure, ((where, path_, connections, seconds),))
                        if round_ >= 0:
                            found.setdefault((name, connections), []).append(result)
        print(f"one row of 20 numbers, medians of {asked.rounds} rounds of {asked.seconds:g} s")
        header = f"{'':<24}" + "".join(
            f"{f'{c} conn.: req/s':>18}{'of echo':>9}{'p50 ms':>8}{'p99 ms':>8}" for c in CONNECTIONS
        )
        print(header)
        for name in rivals:
            line = f"{name:<24}"
            for connections in CONNECTIONS:
                rate, middle, late = (
                    statistics.median(one[index] for one in found[name, connections]) for index in range(3)
                )
                echo = statistics.median(one[0] for one in found["echo: bare ASGI", connections])
                line += f"{rate:>18,.0f}{rate / echo:>9.1%}{middle:>8.2f}{late:>8.2f}"
                if wrong := sum(one[3] for one in found[name, connections]):
                    line += f"  {wrong} wrong answers!"
            print(line)


if __name__ == "__main__":
    main()
