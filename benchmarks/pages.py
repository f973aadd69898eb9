"""Trine's pages beside MLflow's in one browser: what a page weighs, how many requests it takes, and when it can be used.

    python benchmarks/pages.py [--runs N] [--rounds N]

The same runs are written into both ledgers: a list of 10,000, one with 100 metrics of 1,000 points, ten side by side. A visit is
a fresh browser ("first") or the same page again ("next", with what the browser kept). A page can be used when what it is for
is there (the named run; for the run page a chart) and the last long task of its script is over. Both answer on this
machine, so that the network costs nothing; weight is what is transferred. MLflow is installed into `.bench/mlflow`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_wire import PEER, environment, free_port, install, server
from playwright.sync_api import Browser, BrowserContext, Request, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from search import add, fill

from trine.tracking.tables import run, run_metric, run_param, run_tag

METRICS, POINTS, COMPARED = 100, 1_000, 10

READY = """(wanted) => new Promise((done) => {
  let busy = 0;
  new PerformanceObserver((list) => { for (const one of list.getEntries()) busy = Math.max(busy, one.startTime + one.duration); })
    .observe({ type: "longtask", buffered: true });
  const is_there = () => wanted.startsWith("text=")
    ? document.body && document.body.innerText.includes(wanted.slice(5)) : document.querySelector(wanted) !== null;
  const look = () => {
    if (!is_there()) { setTimeout(look, 10); return; }
    const seen = performance.now();
    setTimeout(() => done(Math.max(seen, busy)), 1500);
  };
  look();
})"""
"""When a page can be used, in milliseconds after its navigation began."""


class Visit(NamedTuple):
    """One visit of a page: kB transferred, requests, milliseconds until it can be used."""

    weight_kb: float
    requests: int
    ready_ms: float


class Pages(NamedTuple):
    """Where a tool has its pages, and what tells that each is there."""

    run_list: tuple[str, str]
    run: tuple[str, str]
    compare: tuple[str, str]


def value(metric: int, step: int) -> float:
    return math.exp(-step / 300) * (1 + metric / 50)


def trine_pages(folder: Path, runs: int) -> Pages:
    import numpy as np

    import trine
    from trine.tracking import operations as door
    from trine.workspace import connect, using

    with connect(folder) as ws, using(ws):
        fill(ws, runs)
        with trine.run("wide", name="wide", capture=False) as made:
            steps = np.arange(POINTS)
            for at in range(METRICS):
                made.log_batch(f"metric/{at:02d}", [value(at, step) for step in range(POINTS)], steps=steps)
        found = door.search_runs(ws, experiment_name="churn", limit=COMPARED).items
    several = "&".join(f"run={one.id}" for one in found)
    return Pages(
        ("/runs?experiment=churn", f"text={found[0].name}"),
        (f"/runs/{made.id}", ".plot[data-drawn] canvas"),
        (f"/compare?{several}", f"text={found[-1].name}"),
    )


BEGIN = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.MlflowClient().create_experiment("churn")
"""


def mlflow_pages(folder: Path, runs: int) -> Pages:
    """The same runs, written into the tables of MLflow's database: through its client it would take an hour."""
    place = f"sqlite:///{folder}/mlflow.db"
    subprocess.run([PEER / "bin" / "python", "-c", BEGIN, place], check=True, env=environment(), capture_output=True)
    rng = random.Random(7)
    rows: dict[Any, list[dict[str, Any]]] = {run: [], run_param: [], run_tag: [], run_metric: []}
    for at in range(runs):
        add(rows, "default", 1, at, rng)
    wide = "f" * 32
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as ledger, ledger:

        def put(table: str, values: Iterable[dict[str, Any]]) -> None:
            for one in values:
                names, marks = ", ".join(one), ", ".join("?" * len(one))
                ledger.execute(f"insert into {table} ({names}) values ({marks})", list(one.values()))

        put("runs", (as_mlflow(one["id"], one["name"], one["started_us"] // 1000) for one in rows[run]))
        put("runs", [as_mlflow(wide, "wide", 1_600_000_000_000)])
        put("params", ({"run_uuid": one["run"], "key": one["key"], "value": one["value"]} for one in rows[run_param]))
        put("tags", ({"run_uuid": one["run"], "key": one["key"], "value": one["value"]} for one in rows[run_tag]))
        names = [*((one["id"], one["name"]) for one in rows[run]), (wide, "wide")]
        put("tags", ({"run_uuid": id, "key": "mlflow.runName", "value": name} for id, name in names))
        for one in rows[run_metric]:
            put("latest_metrics", [point(one["run"], one["key"], one["last"], 99)])
        for at in range(METRICS):
            points = [point(wide, f"metric/{at:02d}", value(at, step), step) for step in range(POINTS)]
            put("metrics", points)
            put("latest_metrics", points[-1:])
    newest = [(one["id"], one["name"]) for one in rows[run][: -COMPARED - 1 : -1]]
    query = f"runs={json.dumps([id for id, _ in newest])}&experiments=[%221%22]".replace('"', "%22").replace(" ", "")
    return Pages(
        ("/#/experiments/1/runs", f"text={newest[0][1]}"),
        (f"/#/experiments/1/runs/{wide}/model-metrics", "canvas, .js-plotly-plot svg"),
        (f"/#/compare-runs?{query}", f"text={newest[-1][1]}"),
    )


def as_mlflow(id: str, name: str, started_ms: int) -> dict[str, Any]:
    return {
        "run_uuid": id, "name": name, "source_type": "LOCAL", "source_name": "", "entry_point_name": "", "user_id": "ana",
        "status": "FINISHED", "start_time": started_ms, "end_time": started_ms + 1000, "source_version": "",
        "lifecycle_stage": "active", "artifact_uri": "", "experiment_id": 1,
    }  # fmt: skip


def point(id: str, key: str, value: float, step: int) -> dict[str, Any]:
    return {
        "run_uuid": id,
        "key": key,
        "value": value,
        "timestamp": 1_700_000_000_000 + step,
        "step": step,
        "is_nan": 0,
    }


def visit(context: BrowserContext, url: str, wanted: str) -> Visit:
    page = context.new_page()
    sizes: list[int] = []
    seen: list[Request] = []
    page.on("requestfinished", lambda one: seen.append(one))
    page.goto(url, wait_until="commit")
    ready = float(page.evaluate(READY, wanted))
    for one in seen:
        with contextlib.suppress(PlaywrightError):  # what came from the browser's own cache
            measured = one.sizes()
            sizes.append(measured["responseBodySize"] + measured["responseHeadersSize"])
    page.close()
    return Visit(sum(sizes) / 1e3, len(sizes), ready)


def visits(browser: Browser, base: str, pages: Pages, rounds: int) -> dict[tuple[str, str], Visit]:
    """Medians of each page, first and next."""
    found: dict[tuple[str, str], list[Visit]] = {}
    for _ in range(rounds):
        for name, (path, wanted) in pages._asdict().items():
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            for when in ("first", "next"):
                found.setdefault((name, when), []).append(visit(context, base + path, wanted))
            context.close()
    return {
        key: Visit(*(statistics.median(each) for each in zip(*each_of, strict=True))) for key, each_of in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    install()
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if name and (path := shutil.which(name))), None)
    found: dict[str, dict[tuple[str, str], Visit]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        own, peer = Path(folder, "trine"), Path(folder, "mlflow")
        for tool, place, fill_pages in (("trine", own, trine_pages), ("mlflow", peer, mlflow_pages)):
            place.mkdir()
            pages, port = fill_pages(place, chosen.runs), free_port()
            if tool == "trine":
                command = [sys.executable, "-m", "trine.cli", "ui", "-w", place, "--no-browser", "--port", str(port)]
            else:
                command = [
                    PEER / "bin" / "mlflow", "server", "--workers", "1", "--port", str(port),
                    "--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place),
                ]  # fmt: skip
            env = dict(os.environ) if tool == "trine" else environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
            with server(command, place, port, env):
                found[tool] = visits(browser, f"http://127.0.0.1:{port}", pages, chosen.rounds)
        browser.close()
    print(f"{chosen.runs:,} runs; medians of {chosen.rounds}; kB transferred, requests, ms until it can be used")
    for key, mine in found["trine"].items():
        theirs = found["mlflow"][key]
        told = [
            f"{tool} {one.weight_kb:8,.0f} kB {one.requests:4.0f} requests {one.ready_ms:7,.0f} ms"
            for tool, one in (("trine", mine), ("mlflow", theirs))
        ]
        print(f"  {key[0]:<9} {key[1]:<6} {'   '.join(told)}   {theirs.ready_ms / mine.ready_ms:.1f} x")


if __name__ == "__main__":
    main()
