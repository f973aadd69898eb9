"""Trine's server beside MLflow's own, asked by the same unchanged MLflow client.

    python benchmarks/mlflow_wire.py [--clients N] [--points N] [--batches N]

N processes log one point a call, then batches of 1,000. Told are points a second, the median and the 99th percentile of a
call, processor time of the server a call, how long the server takes from its start to its first answer, and its memory.
The raw limit is a bare ASGI server that appends each body to a file and answers. MLflow is installed into `.bench/mlflow`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".bench" / "mlflow"

CLIENT = """
import json, os, sys, time
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from mlflow import MlflowClient
from mlflow.entities import Metric
url, points, batches, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
client = MlflowClient(url)
run = client.create_run("0").info.run_id
print("ready", flush=True)
sys.stdin.readline()
taken = []
for step in range(points):
    begun = time.perf_counter()
    client.log_metric(run, "loss", 0.5, step=step)
    taken.append(time.perf_counter() - begun)
print(json.dumps(taken), flush=True)
sys.stdin.readline()
for batch in range(batches):
    client.log_batch(run, [Metric("acc", 0.5, batch, batch * 1000 + at) for at in range(1000)])
print("batched", flush=True)
sys.stdin.readline()
count = len(client.get_metric_history(run, "loss"))
print(json.dumps([count]), flush=True)
"""

BARE = """
import os
out = open("points.log", "ab", buffering=0)
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    path = scope["path"]
    out.write(body + b"\\n")
    answer = b"{}"
    if path.endswith("runs/create"):
        answer = b'{"run": {"info": {"run_id": "%s", "run_uuid": "", "experiment_id": "0", "status": "RUNNING", "start_time": 1, "artifact_uri": "", "lifecycle_stage": "active", "user_id": ""}, "data": {}}}' % os.urandom(16).hex().encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})
"""


class Result(NamedTuple):
    """Seconds to the first answer, MB of memory at rest, points/s and ms of single calls, server ms a call, batched points/s."""

    start_s: float
    memory_mb: float
    processes: int
    points_s: float
    p50_ms: float
    p99_ms: float
    server_ms: float
    batched_s: float
    lost: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true", **more}


@contextlib.contextmanager
def server(command: list[Any], folder: Path, port: int, env: dict[str, str]) -> Iterator[tuple[psutil.Process, float]]:
    """A server in a process group of its own, and how long its first answer took."""
    begun = time.perf_counter()
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            if process.poll() is not None:
                raise SystemExit((folder / "server.log").read_text()[-2000:])
            time.sleep(0.01)
        yield psutil.Process(process.pid), time.perf_counter() - begun
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def spent(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


def measure(
    process: psutil.Process, start_s: float, url: str, token: str, chosen: argparse.Namespace, counts: bool
) -> Result:
    time.sleep(1)
    memory = sum(one.memory_info().rss for one in family(process)) / 1e6
    env = environment(MLFLOW_TRACKING_TOKEN=token) if token else environment()
    command = [PEER / "bin" / "python", "-c", CLIENT, url, str(chosen.points), str(chosen.batches), ""]
    clients = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )
        for _ in range(chosen.clients)
    ]
    for one in clients:
        assert one.stdout and one.stdout.readline().strip() == "ready"

    def together() -> tuple[float, list[str]]:
        begun = time.perf_counter()
        for one in clients:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
        answers = [one.stdout.readline() for one in clients if one.stdout]
        return time.perf_counter() - begun, answers

    before = spent(process)
    seconds, answers = together()
    server_ms = (spent(process) - before) * 1e3 / (chosen.clients * chosen.points)
    taken = sorted(value * 1e3 for answer in answers for value in json.loads(answer))
    batched, _ = together()
    lost = 0
    if counts:
        _, answers = together()
        lost = sum(chosen.points - json.loads(answer)[0] for answer in answers)
    for one in clients:
        one.kill()
    return Result(
        start_s, memory, len(family(process)), len(taken) / seconds, statistics.median(taken), taken[len(taken) * 99 // 100],
        server_ms, chosen.clients * chosen.batches * 1_000 / batched, lost,
    )  # fmt: skip


def trine(chosen: argparse.Namespace, folder: Path) -> Result:
    from trine.access import operations as access
    from trine.workspace import connect

    with connect(folder) as ws:
        access.create_principal(ws, name="user:ana")
        access.grant_role(ws, principal_name="user:ana", role="admin", everywhere=True)
        token = access.create_token(ws, principal_name="user:ana", everywhere=True).text
    port = free_port()
    command = [sys.executable, "-m", "trine.cli", "server", "--workspace", str(folder), "--port", str(port)]
    with server(command, folder, port, dict(os.environ)) as (process, start_s):
        return measure(process, start_s, f"http://127.0.0.1:{port}", token, chosen, True)


def mlflow(chosen: argparse.Namespace, folder: Path) -> Result:
    port = free_port()
    command = [
        PEER / "bin" / "mlflow", "server", "--workers", "1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder),
    ]  # fmt: skip
    with server(command, folder, port, environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")) as (process, start_s):
        return measure(process, start_s, f"http://127.0.0.1:{port}", "", chosen, True)


def bare(chosen: argparse.Namespace, folder: Path) -> Result:
    (folder / "bare.py").write_text(BARE)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--port", str(port), "--log-level", "warning"]
    with server(command, folder, port, dict(os.environ)) as (process, start_s):
        return measure(process, start_s, f"http://127.0.0.1:{port}", "", chosen, False)


def install() -> None:
    if not (PEER / "bin" / "mlflow").exists():
        print("installing mlflow into .bench/mlflow …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
        subprocess.run([PEER / "bin" / "pip", "install", "-q", "mlflow>=3"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--points", type=int, default=60, help="Single calls of each client.")
    parser.add_argument("--batches", type=int, default=3, help="Batches of 1,000 points of each client.")
    chosen = parser.parse_args()
    install()
    found: dict[str, Result] = {}
    for name, work in (("bare ASGI", bare), ("trine", trine), ("mlflow", mlflow)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = work(chosen, Path(folder))
    print(
        f"{chosen.clients} clients of MLflow, {chosen.points} calls and {chosen.batches} batches of 1,000 points each"
    )
    heads = ("first answer s", "MB", "processes", "points/s", "p50 ms", "p99 ms", "server ms", "batched/s", "lost")
    print(f"{'':<12}" + "".join(f"{head:>15}" for head in heads))
    for name, one in found.items():
        print(
            f"{name:<12}" + "".join(f"{value:15,.2f}" if isinstance(value, float) else f"{value:15,}" for value in one)
        )
    own, peer = found["trine"], found["mlflow"]
    print(
        f"trine : mlflow   single calls {own.points_s / peer.points_s:.1f} x, batches {own.batched_s / peer.batched_s:.1f} x, "
        f"processor time a call {own.server_ms / peer.server_ms:.2f} x, memory {own.memory_mb / peer.memory_mb:.2f} x"
    )


if __name__ == "__main__":
    main()
