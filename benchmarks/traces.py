"""Traces of the same unchanged MLflow client, kept by Trine's server and by MLflow's own.

    python benchmarks/traces.py [--clients N] [--traces N]

N processes trace calls of three spans, one after the other, and wait until all is sent; then one of them searches a page of 100 traces
with their spans, and a page by what a span is called. Told are traces a second until durable, processor time of the server a trace,
milliseconds of the searches (the median of five), and how many traces are not there afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from mlflow_wire import PEER, environment, free_port, install, server, spent

CLIENT = """
import json, os, statistics, sys, time
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
url, count = sys.argv[1], int(sys.argv[2])
mlflow.set_tracking_uri(url)
mlflow.set_experiment(experiment_id="0")
client = mlflow.MlflowClient()

@mlflow.trace
def find(question):
    return ["a page of text " * 20]

@mlflow.trace
def answer(question):
    find(question)
    with mlflow.start_span("chat", span_type="CHAT_MODEL") as span:
        span.set_inputs({"messages": [{"role": "user", "content": question * 10}]})
        span.set_outputs("an answer " * 20)
    return "an answer"

answer("warm up")
mlflow.flush_trace_async_logging()
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    answer(f"question {n}")
mlflow.flush_trace_async_logging()
print("done", flush=True)
sys.stdin.readline()
def ms(work):
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken)
page = ms(lambda: client.search_traces(locations=["0"], max_results=100))
named = ms(lambda: client.search_traces(locations=["0"], filter_string="span.name = 'chat'", max_results=100, include_spans=False))
there, token = 0, None
while True:
    found = client.search_traces(locations=["0"], max_results=500, page_token=token, include_spans=False)
    there, token = there + len(found), found.token
    if not token or not found:
        break
print(json.dumps([page, named, there]), flush=True)
"""


class Result(NamedTuple):
    """Traces/s until durable, server ms a trace, ms of both searches, traces that are not there."""

    traces_s: float
    server_ms: float
    page_ms: float
    named_ms: float
    lost: int


def measure(process: psutil.Process, url: str, token: str, chosen: argparse.Namespace) -> Result:
    env = environment(MLFLOW_TRACKING_TOKEN=token) if token else environment()
    command = [PEER / "bin" / "python", "-W", "ignore", "-c", CLIENT, url, str(chosen.traces)]
    clients = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )
        for _ in range(chosen.clients)
    ]

    def say(one: subprocess.Popen[str]) -> None:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()

    for one in clients:
        assert one.stdout and one.stdout.readline().strip() == "ready"
    before, begun = spent(process), time.perf_counter()
    for one in clients:
        say(one)
    for one in clients:
        assert one.stdout and one.stdout.readline().strip() == "done"
    seconds, server_s = time.perf_counter() - begun, spent(process) - before
    say(clients[0])
    assert clients[0].stdout
    page, named, there = json.loads(clients[0].stdout.readline())
    for one in clients:
        one.kill()
    count = chosen.clients * chosen.traces
    lost = count + chosen.clients - there
    return Result(count / seconds, server_s * 1e3 / count, page, named, lost)


def trine(chosen: argparse.Namespace, folder: Path) -> Result:
    from trine.access import operations as access
    from trine.workspace import connect

    with connect(folder) as ws:
        access.create_principal(ws, name="user:ana")
        access.grant_role(ws, principal_name="user:ana", role="admin", everywhere=True)
        token = access.create_token(ws, principal_name="user:ana", everywhere=True).text
    port = free_port()
    command = [sys.executable, "-m", "trine.cli", "server", "--workspace", str(folder), "--port", str(port)]
    with server(command, folder, port, dict(os.environ)) as (process, _):
        return measure(process, f"http://127.0.0.1:{port}", token, chosen)


def mlflow(chosen: argparse.Namespace, folder: Path) -> Result:
    port = free_port()
    command = [
        PEER / "bin" / "mlflow", "server", "--workers", "1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder),
    ]  # fmt: skip
    with server(command, folder, port, environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")) as (process, _):
        return measure(process, f"http://127.0.0.1:{port}", "", chosen)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--traces", type=int, default=15, help="Traces of each client.")
    chosen = parser.parse_args()
    install()
    found: dict[str, Result] = {}
    for name, work in (("trine", trine), ("mlflow", mlflow)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = work(chosen, Path(folder))
    print(f"{chosen.clients} clients of MLflow, {chosen.traces} traces of three spans each")
    heads = ("traces/s", "server ms", "page ms", "by span ms", "lost")
    print(f"{'':<8}" + "".join(f"{head:>13}" for head in heads))
    for name, one in found.items():
        print(
            f"{name:<8}" + "".join(f"{value:13,.1f}" if isinstance(value, float) else f"{value:13,}" for value in one)
        )
    own, peer = found["trine"], found["mlflow"]
    print(
        f"trine : mlflow   traces {own.traces_s / peer.traces_s:.1f} x, processor time {own.server_ms / peer.server_ms:.2f} x, "
        f"page {peer.page_ms / own.page_ms:.1f} x quicker, by span {peer.named_ms / own.named_ms:.1f} x quicker"
    )


if __name__ == "__main__":
    main()
