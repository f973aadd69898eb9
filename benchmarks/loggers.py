"""What one logged point costs the training loop, and points a second until durable: Trine beside every peer.

    python benchmarks/loggers.py [--rounds N]

MLflow (SQLite), W&B (offline), Aim, trackio and TensorBoard's event files, each through its own documented call, one metric a
call, in its own environment under `.bench/` (made the first time), after one call that is not counted. Points until durable
include the peer's own way to end a run. The raw limit is a packed struct appended to a file.
"""

from __future__ import annotations

import argparse
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
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1] / ".bench"
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


def mlflow(points: int, folder: Path) -> Result:
    import logging

    import mlflow  # type: ignore[import-not-found]

    logging.disable(logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with mlflow.start_run():
        return after_one(points, lambda at: mlflow.log_metric("loss", 0.5, step=at), lambda: None)


def wandb(points: int, folder: Path) -> Result:
    import wandb  # type: ignore[import-not-found]

    run = wandb.init(mode="offline", dir=str(folder), settings=wandb.Settings(silent=True, console="off"))
    return after_one(points, lambda at: run.log({"loss": 0.5}, step=at), run.finish)


def aim(points: int, folder: Path) -> Result:
    from aim import Run  # type: ignore[import-not-found]

    run = Run(repo=str(folder), system_tracking_interval=None, capture_terminal_logs=False, log_system_params=False)
    return after_one(points, lambda at: run.track(0.5, name="loss", step=at), run.close)


def trackio(points: int, folder: Path) -> Result:
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio  # type: ignore[import-not-found]

    trackio.init(project="bench", embed=False)
    return after_one(points, lambda at: trackio.log({"loss": 0.5}, step=at), trackio.finish)


def tensorboard(points: int, folder: Path) -> Result:
    from tensorboardX import SummaryWriter  # type: ignore[import-not-found]

    writer = SummaryWriter(str(folder))
    return after_one(points, lambda at: writer.add_scalar("loss", 0.5, at), writer.close)


def after_one(points: int, log: Callable[[int], object], end: Callable[[], object]) -> Result:
    log(0)
    return measure(points, lambda at: log(at + 1), end)


PEERS: dict[str, tuple[Callable[[int, Path], Result], str, list[str], int]] = {
    "tensorboard": (tensorboard, "peers", ["tensorboardX"], 20_000),
    "trackio": (trackio, "peers", ["trackio"], 5_000),
    "wandb, offline": (wandb, "peers", ["wandb"], 3_000),
    "aim": (aim, "aim", ["aim"], 3_000),
    "mlflow, sqlite": (mlflow, "mlflow", ["mlflow>=3"], 100),
}
"""Function, environment, what is installed there, points."""


def elsewhere(name: str, folder: Path) -> Result:
    """A peer in its own environment and process."""
    _, environment, packages, points = PEERS[name]
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ROOT / environment], check=True)
    module = packages[0].partition(">")[0]
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        print(f"installing {module} into .bench/{environment} …", flush=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    quiet: dict[str, Any] = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, __file__, "--peer", name, "--points", str(points), "--folder", str(folder)],
        capture_output=True, text=True, env=quiet, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return Result(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--points", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        print(json.dumps(PEERS[chosen.peer][0](chosen.points, chosen.folder)))
        return
    rivals: dict[str, Callable[[Path], Result]] = {
        "raw append": lambda folder: raw(200_000, folder),
        "trine": lambda folder: trine(200_000, folder),
    }
    rivals |= {name: lambda folder, name=name: elsewhere(name, folder) for name in PEERS}
    found: dict[str, list[Result]] = {name: [] for name in rivals}
    for _ in range(chosen.rounds):
        for name, work in rivals.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(work(Path(folder)))
    medians = {name: Result(*map(statistics.median, zip(*rounds, strict=True))) for name, rounds in found.items()}
    own = medians["trine"]
    print(f"one metric a call, medians of {chosen.rounds} rounds; the ratios are to Trine")
    print(f"{'':<18}{'p50 µs':>10}{'':9}{'p99 µs':>10}{'':9}{'points/s':>12}")
    for name, one in medians.items():
        print(
            f"{name:<18}{one.p50:10.2f}{one.p50 / own.p50:8.1f}x{one.p99:10.2f}{one.p99 / own.p99:8.1f}x"
            f"{one.points_s:12,.0f}{own.points_s / one.points_s:9.1f}x fewer"
        )


if __name__ == "__main__":
    main()
