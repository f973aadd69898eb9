"""What moving in costs: points a second of `trine import mlflow` beside reading the same rows from SQLite, and of W&B's files.

    python benchmarks/importing.py [POINTS] [ROUNDS]

The MLflow database is made here in its schema: runs of 10 metrics, with 1,000 and with 20 points a metric. Raw: the rows of every
run read with `sqlite3` into lists, the least that any importer has to do. Trine: until every point is committed, and the whole
is read again and has the same checksum. The second import finds everything here and writes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

METRICS = 10


def mlflow_database(path: Path, points: int, each: int) -> int:
    """A database with about so many points, `each` in a metric; gives how many."""
    runs = max(1, points // (METRICS * each))
    with sqlite3.connect(path) as db:
        db.executescript("""
            CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT, lifecycle_stage TEXT);
            CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, user_id TEXT, status TEXT, start_time BIGINT,
                end_time BIGINT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT, PRIMARY KEY (key, run_uuid));
            CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT, PRIMARY KEY (key, run_uuid));
            CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN,
                PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
            CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
            CREATE INDEX index_params_run_uuid ON params (run_uuid);
            CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
        """)
        db.execute("INSERT INTO experiments VALUES (1, 'churn', ?, 'active')", (str(path.parent),))
        for number in range(runs):
            id = f"{number:032x}"
            row = (id, f"run-{number}", "ana", "FINISHED", 1_795_590_000_000, 1_795_590_100_000, "active", "", 1)
            db.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?)", row)
            db.executemany("INSERT INTO params VALUES (?,?,?)", [(f"p{at}", str(at), id) for at in range(10)])
            for metric in range(METRICS):
                rows = (
                    (f"m{metric}", (step * 7919 % 1000) / 7, 1_795_590_000_000 + step, id, step, 0)
                    for step in range(each)
                )
                db.executemany("INSERT INTO metrics VALUES (?,?,?,?,?,?)", rows)
    return runs * METRICS * each


def wandb_file(folder: Path, points: int) -> int:
    """A `.wandb` file with five metrics a call of `log`."""

    def field(tag: int, data: bytes) -> bytes:
        size = len(data)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        head = tag << 3 | 2
        return (bytes([head]) if head < 128 else bytes([head & 127 | 128, head >> 7])) + length + data

    calls = points // 5
    out = bytearray(b":W&B\xe1\xbe\x00")

    def write(record: bytes) -> None:
        left = 32_768 - len(out) % 32_768
        if left < len(record) + 7:  # no record is divided here: the rest of the block is filled
            fill = left - 7
            if fill >= 0:
                out.extend(struct.pack("<IHB", zlib.crc32(b"\x01" + bytes(fill)), fill, 1) + bytes(fill))
            else:
                out.extend(bytes(left))
        out.extend(struct.pack("<IHB", zlib.crc32(b"\x01" + record), len(record), 1) + record)

    write(field(17, field(1, b"bench") + field(3, b"churn")))
    for call in range(calls):
        items = [(f"metric/{at}", (call * 31 + at) / 7) for at in range(5)] + [
            ("_timestamp", 1_795_590_000 + call / 10)
        ]
        body = b"".join(
            field(1, field(2, key.encode()) + field(16, json.dumps(value).encode())) for key, value in items
        )
        write(field(2, body + field(2, b"\x08" + bytes([call & 127 | 128, call >> 7 & 127 | 128, call >> 14]))))
    (folder / "run-bench.wandb").write_bytes(bytes(out))
    return calls * 5


def raw(path: Path) -> None:
    with sqlite3.connect(path) as db:
        for (id,) in db.execute("SELECT run_uuid FROM runs").fetchall():
            query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, timestamp, step"
            db.execute(query, (id,)).fetchall()


def trine(kind: str, where: Path, points: int) -> tuple[float, float]:
    """Seconds of the first import and of the second."""
    from trine.tracking.importers import open_source
    from trine.tracking.importers.writer import move_in
    from trine.workspace import connect

    with tempfile.TemporaryDirectory() as folder, connect(folder) as ws:
        took: list[float] = []
        for _ in range(2):
            start = time.perf_counter()
            report = move_in(open_source(kind, str(where)), ws=ws)
            took.append(time.perf_counter() - start)
            assert report.points == points and report.checksum == report.source_checksum
        return took[0], took[1]


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"{'source':<34}{'points':>9}{'raw read/s':>12}{'Trine/s':>10}{'raw/Trine':>11}{'again/s':>10}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in (1_000, 20):
            path = folder / f"mlflow-{each}.db"
            count = mlflow_database(path, points if each > 100 else points // 3, each)
            bare = statistics.median(seconds(lambda path=path: raw(path)) for _ in range(rounds))
            both = [trine("mlflow", path, count) for _ in range(rounds)]
            _print(f"MLflow SQLite, {each:,} points a metric", count, bare, both)
        count = wandb_file(folder, points // 3)
        both = [trine("wandb", folder / "run-bench.wandb", count) for _ in range(rounds)]
        bare = statistics.median(seconds((folder / "run-bench.wandb").read_bytes) for _ in range(rounds))
        _print("W&B file (raw: its bytes)", count, bare, both)


def _print(what: str, count: int, bare: float, both: list[tuple[float, float]]) -> None:
    first, again = (statistics.median(column) for column in zip(*both, strict=True))
    print(
        f"{what:<34}{count:>9,}{count / bare:>12,.0f}{count / first:>10,.0f}{first / bare:>11.1f}{count / again:>10,.0f}"
    )


if __name__ == "__main__":
    main()
