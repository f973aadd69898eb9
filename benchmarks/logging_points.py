"""What a metric point costs: `run.log`, MLflow's `log_metric` on SQLite, and a raw file append of packed structs.

    python benchmarks/logging_points.py [POINTS] [ROUNDS]

Per call: what the training loop waits. Points a second: until every point is durable (Trine: committed in the ledger and
readable; MLflow: its calls have returned; raw: fsync). MLflow is installed into `.bench/mlflow` the first time.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BENCH = Path(__file__).parents[1] / ".bench" / "mlflow"
FRAME = struct.Struct("<Iqqd")


class Result(NamedTuple):
    """Microseconds of a call (median and 99th percentile), and points a second until durable."""

    p50: float
    p99: float
    points_s: float


def measure(points: int, log: Callable[[int], object], make_durable: Callable[[], object]) -> Result:
    clock = time.perf_counter_ns
    calls = [0] * points
    start = clock()
    for at in range(points):
        before = clock()
        log(at)
        calls[at] = clock() - before
    make_durable()
    total = clock() - start
    calls.sort()
    return Result(calls[points // 2] / 1e3, calls[points * 99 // 100] / 1e3, points * 1e9 / total)


def raw(points: int, folder: Path) -> Result:
    with open(folder / "raw.bin", "ab") as file:
        pack, write = FRAME.pack, file.write

        def make_durable() -> None:
            file.flush()
            os.fsync(file.fileno())

        return measure(points, lambda at: write(pack(1, at, time.time_ns() // 1000, 0.5)), make_durable)


def trine(points: int, folder: Path) -> Result:
    from trine.tracking import run
    from trine.workspace import connect

    with connect(folder) as ws:
        made = run(capture=False, ws=ws)
        made.log("loss", 0.0)
        made.flush()
        log = made.log
        found = measure(points, lambda at: log("loss", 0.5, step=at), made.flush)
        made.finish()
        return found


def mlflow_in_here(points: int, folder: Path) -> Result:
    import logging

    import mlflow  # type: ignore[import-not-found]

    logging.disable(logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.0, step=0)
        return measure(points, lambda at: mlflow.log_metric("loss", 0.5, step=at), lambda: None)


def mlflow(points: int, folder: Path) -> Result:
    command = [BENCH / "bin" / "python", __file__, "mlflow", str(points), str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Result(*json.loads(done.stdout.splitlines()[-1]))


def install() -> None:
    if not (BENCH / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", BENCH], check=True)
    if subprocess.run([BENCH / "bin" / "python", "-c", "import mlflow"], capture_output=True, check=False).returncode:
        print("installing mlflow into .bench/mlflow …", flush=True)
        subprocess.run([BENCH / "bin" / "pip", "install", "-q", "mlflow>=3"], check=True)


def main(points: int, rounds: int) -> None:
    install()
    rivals = {"raw append": (raw, points), "trine run.log": (trine, points), "mlflow log_metric": (mlflow, 100)}
    results: dict[str, list[Result]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, (work, count) in rivals.items():
            with tempfile.TemporaryDirectory() as folder:
                results[name].append(work(count, Path(folder)))
    medians = {name: Result(*map(statistics.median, zip(*found, strict=True))) for name, found in results.items()}
    own = medians["trine run.log"]
    print(f"{points:,} points (mlflow 100), median of {rounds} rounds")
    print(f"  {'':<18} {'p50 µs':>9} {'p99 µs':>9} {'durable points/s':>17}   p50 and points/s against trine")
    for name, one in medians.items():
        ratios = f"{one.p50 / own.p50:8.2f} × {own.points_s / one.points_s:8.2f} ×"
        print(f"  {name:<18} {one.p50:9.2f} {one.p99:9.2f} {one.points_s:17,.0f}   {ratios}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["mlflow"]:
        print(json.dumps(mlflow_in_here(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
