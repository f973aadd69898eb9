"""The first page of a search over 10,000 and 100,000 runs, beside the raw limit: one row a run through SQLite's index.

    python benchmarks/search.py [--runs N,N] [--rounds N] [--page N] [--workspace postgresql://…]

The time is that of the door: expression parsed, page found, and its runs read with all their params, tags and metrics.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from trine.tracking import operations as door
from trine.tracking.tables import experiment, run, run_metric, run_param, run_tag
from trine.workspace import Workspace, connect

QUERIES = {
    "newest first": ("", ""),
    "by a metric": ("", "metrics.auc.best desc"),
    "half of them, by a metric": ("metrics.loss.last < 0.5", "metrics.auc.best desc"),
    "the long example": (
        "metrics.auc.max > 0.9 and (params.lr in ('1e-3', '1e-4') or not tags.bad)",
        "metrics.auc.best desc",
    ),
    "one in a thousand": ("params.seed = 7 and metrics.auc > 0.1", ""),
    "text, newest first": ("params.model = 'forest' and state = 'finished'", ""),
    "like": ("tags.team like 'ri%' and not params.model = 'forest'", "started"),
    "by a param": ("metrics.auc.max between 0.2 and 0.8", "params.depth, params.lr desc"),
}


def fill(ws: Workspace, runs: int) -> None:
    """Runs as teams have them: six params, two tags, four metrics."""
    rng = random.Random(7)
    with ws.ledger.transaction(write=True) as connection:
        group = connection.execute(
            insert(experiment).values(project=ws.project, name="churn", created_us=1).returning(experiment.c.id)
        ).scalar()
        for start in range(0, runs, 5_000):
            rows: dict[Any, list[dict[str, Any]]] = {run: [], run_param: [], run_tag: [], run_metric: []}
            for at in range(start, min(start + 5_000, runs)):
                add(rows, ws.project, group, at, rng)
            for table, values in rows.items():
                connection.execute(insert(table), values)
    with ws.ledger.transaction(write=True) as connection:
        connection.execute(text("ANALYZE"))


def add(rows: dict[Any, list[dict[str, Any]]], project: str, group: Any, at: int, rng: random.Random) -> None:
    identity = f"{rng.getrandbits(128):032x}"
    rows[run].append(
        {
            "id": identity, "project": project, "experiment": group, "name": f"churn-{at}", "reason": "",
            "state": rng.choice(("finished", "finished", "finished", "failed")), "parent": None, "author": "ana",
            "session": "", "code": None, "environment": "", "context": "{}", "lost": 0,
            "started_us": 1_700_000_000_000_000 + at * 60_000_000, "ended_us": 1_700_000_000_000_000 + at * 61_000_000,
        }
    )  # fmt: skip
    params = {
        "lr": rng.choice(("1e-2", "1e-3", "1e-4")), "depth": str(rng.randrange(3, 12)), "seed": str(rng.randrange(1000)),
        "model": rng.choice(("forest", "boost", "linear")), "batch": str(2 ** rng.randrange(4, 9)), "optimizer": "adam",
    }  # fmt: skip
    tags = {"team": rng.choice(("risk", "growth", "ops"))} | ({"bad": "true"} if rng.random() < 0.1 else {})
    for table, values in ((run_param, params), (run_tag, tags)):
        for key, value in values.items():
            number = None if value[0].isalpha() else float(value)
            rows[table].append({"run": identity, "key": key, "value": value, "number": number})
    for key in ("auc", "loss", "val/auc", "val/loss"):
        low, high = sorted((rng.random(), rng.random()))
        row = {"run": identity, "key": key, "points": 100, "nans": 0, "first": low, "first_step": 0, "first_us": 1}
        row |= {"last": high, "last_step": 99, "last_us": 2, "min": low, "min_step": 0, "max": high, "max_step": 99}
        rows[run_metric].append(row)


def milliseconds(work: Callable[[], Any], rounds: int) -> list[float]:
    work()
    found: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append((time.perf_counter() - start) * 1e3)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="10000,100000")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--page", type=int, default=50)
    parser.add_argument("--workspace", default="", help="another database than a fresh SQLite file; must be empty")
    options = parser.parse_args()
    for runs in map(int, options.runs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            store = str(Path(tempfile.gettempdir(), "trine-bench-store")) if options.workspace else None
            with connect(options.workspace or folder, store=store, project=f"p{runs}") as ws:
                fill(ws, runs)
                report(ws, runs, options.rounds, options.page)


def report(ws: Workspace, runs: int, rounds: int, page: int) -> None:
    print(f"{runs:,} runs, a page of {page}, {rounds} rounds")
    print(f"  {'':<28} {'median ms':>10} {'slowest ms':>10}")

    def raw() -> Any:
        with ws.ledger.transaction(write=False) as connection:
            query = "SELECT * FROM run WHERE project = :p ORDER BY started_us DESC, id DESC LIMIT :n"
            return connection.execute(text(query), {"p": ws.project, "n": page}).all()

    rivals: dict[str, Callable[[], Any]] = {"raw: newest rows": raw}
    for name, (expression, order) in QUERIES.items():
        rivals[name] = lambda expression=expression, order=order: door.search_runs(
            ws, expression=expression, order_by=order, limit=page
        )
    for name, work in rivals.items():
        try:
            found = milliseconds(work, rounds)
        except Exception as error:
            print(f"  {name:<28} {str(error).splitlines()[0][:60]}")
            continue
        print(f"  {name:<28} {statistics.median(found):10.1f} {found[-1]:10.1f}")


if __name__ == "__main__":
    main()
