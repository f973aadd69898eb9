"""What the pipeline engine adds to a step, beside the raw limits: a function call, and one durable SQLite commit.

    python benchmarks/pipelines.py [--steps N] [--rounds N]

Steps do nothing. A chain has one move at a time, so it shows the whole cost of a step; a fan-out shares its commits; the
cached chain is the same run again. In a folder on disk, and in /dev/shm, where commits cost nothing and the engine is left.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trine.pipelines import pipeline, step
from trine.workspace import connect, using


@step
def nothing(x: int, turn: int) -> int:
    return x + 1


@step
def total(values: list[int]) -> int:
    return sum(values)


@pipeline
def chain(steps: int, turn: int) -> int:
    x = 0
    for _ in range(steps):
        x = nothing(x, turn)
    return x


@pipeline
def fan_out(steps: int, turn: int) -> int:
    return total([nothing(x, turn) for x in range(steps)])


def commits(folder: Path, count: int) -> float:
    """Milliseconds of a durable SQLite commit of one small row."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        database = sqlite3.connect(Path(place) / "raw.db", isolation_level=None)
        for text in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (a INTEGER, b TEXT)"):
            database.execute(text)
        begin = time.perf_counter()
        for number in range(count):
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO t VALUES (?, 'succeeded')", (number,))
            database.execute("COMMIT")
        took = time.perf_counter() - begin
        database.close()
    return took / count * 1e3


def measured(work: Callable[[], object], steps: int) -> tuple[float, float]:
    """Milliseconds a step: on the clock, and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - clock) / steps * 1e3, (time.process_time() - processor) / steps * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    steps = options.steps
    places = [Path(tempfile.gettempdir()), *([Path("/dev/shm")] if Path("/dev/shm").is_dir() else [])]
    call, _ = measured(lambda: chain(steps * 100, 0), steps * 100)
    print(f"{steps} steps, median of {options.rounds} rounds, ms a step; a plain call of a step takes {call:.5f} ms")
    print(f"{'':28}{'clock':>9}{'processor':>11}{'÷ commit':>10}")
    for place in places:
        with tempfile.TemporaryDirectory(dir=place) as folder, connect(folder) as ws, using(ws):
            os.chdir(folder)
            chain.run(steps=3, turn=-1)
            rows: dict[str, list[tuple[float, float]]] = {"chain": [], "chain, cached": [], "fan-out": []}
            raw: list[float] = []
            for turn in range(options.rounds):
                raw.append(commits(Path(folder), steps))
                rows["chain"].append(measured(lambda turn=turn: chain.run(steps=steps, turn=turn), steps))
                rows["chain, cached"].append(measured(lambda turn=turn: chain.run(steps=steps, turn=turn), steps))
                rows["fan-out"].append(measured(lambda turn=turn: fan_out.run(steps=steps, turn=1_000 + turn), steps))
            limit = statistics.median(raw)
            print(f"{place!s:28}{limit:9.3f}{'':11}{'1.0':>10}   raw commit")
            for name, found in rows.items():
                clock, processor = (statistics.median(one[i] for one in found) for i in (0, 1))
                print(f"  {name:26}{clock:9.3f}{processor:11.3f}{clock / limit:10.1f}")
            os.chdir("/")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
