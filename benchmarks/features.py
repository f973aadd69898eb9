"""Features: the point-in-time join against Polars join_asof written by hand, and online reads against raw sqlite3.

    python benchmarks/features.py [SPINE_ROWS] [SOURCE_ROWS] [ROUNDS]

Five views of six features each, 20,000 keys; the hand-written joins do one `join_asof` a view, with the time to live as
tolerance, and put the spine's rows back in order (which Trine promises). Trine's join also breaks ties by position and
knows rows that arrive late; here there are none. The results are compared before anything is timed.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

import trine
from trine import data, features
from trine.features import Entity, FeatureService, FeatureView, count, mean
from trine.features.join import join_service

KEYS = 20_000
VIEWS = 5
COLUMNS = 6
DAYS = 60
START = dt.datetime(2026, 1, 1)
THING = Entity("thing", {"key": int})


def rows(rng: np.random.Generator, count: int) -> pl.DataFrame:
    """Keys at random times."""
    seconds = pl.Series(rng.integers(0, DAYS * 86_400 * 1_000_000, count), dtype=pl.Duration("us"))
    return pl.DataFrame({"key": rng.integers(0, KEYS, count), "at": seconds}).with_columns(
        (pl.lit(START) + pl.col("at")).alias("at")
    )


def source(rng: np.random.Generator, count: int, view: int) -> pl.DataFrame:
    columns = {f"v{view}_{i}": rng.normal(size=count) for i in range(COLUMNS)}
    return rows(rng, count).sort("at").with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def by_hand(spine: pl.DataFrame, sources: list[pl.DataFrame], in_order: bool = True) -> pl.DataFrame:
    found = spine.with_row_index("place").sort("at")
    for each in sources:
        found = found.join_asof(each, on="at", by="key", strategy="backward", tolerance="7d", check_sortedness=False)
    return found.sort("place").drop("place") if in_order else found.drop("place")


def median(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def joins(spine_rows: int, source_rows: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    spine = rows(rng, spine_rows)
    sources = [source(rng, source_rows, view) for view in range(VIEWS)]
    views = [
        FeatureView(
            f"v{n}", THING, source=f"v{n}", time="at", ttl="7d", features=[c for c in each.columns if c[0] == "v"]
        )
        for n, each in enumerate(sources)
    ]
    lazy = {view.name: each.lazy() for view, each in zip(views, sources, strict=True)}
    windowed = FeatureView(
        "w", THING, source="v0", time="at",
        features={"n7": count(window="7d"), "mean7": mean("v0_0", window="7d"), "mean1": mean("v0_1", window="1d")},
    )  # fmt: skip
    service, windows = FeatureService("s", views), FeatureService("w", [windowed])
    assert join_service(spine, service, lazy).equals(by_hand(spine, sources))
    found = median(
        {
            "polars, join_asof by hand": lambda: by_hand(spine, sources),
            "  the same, rows left in time order": lambda: by_hand(spine, sources, in_order=False),
            "trine": lambda: join_service(spine, service, lazy),
            "trine, three trailing windows of one view": lambda: join_service(spine, windows, {"w": lazy["v0"]}),
        },
        rounds,
    )
    base = found["polars, join_asof by hand"]
    print(f"point-in-time join: {spine_rows:,} spine rows x {VIEWS} views of {source_rows:,} rows, median of {rounds}")
    for name, value in found.items():
        print(f"  {name:<44} {value:8.2f} s   {value / base:6.2f} x by hand")


def reads(rounds: int = 400) -> None:
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder, trine.init(folder) as ws:
        data.commit(source(rng, 200_000, 0), name="v0", ws=ws)
        latest = FeatureView("latest", THING, source="v0", time="at", features=[f"v0_{i}" for i in range(COLUMNS)])
        windows = FeatureView(
            "windows", THING, source="v0", time="at", features={"n": count(window="7d"), "m": mean("v0_0", window="7d")}
        )
        services = {"latest": FeatureService("l", [latest]), "windows": FeatureService("w", [windows])}
        features.apply(*services.values(), ws=ws)
        for view in (latest, windows):
            features.materialize(view, START + dt.timedelta(days=DAYS), ws=ws)
        raw = sqlite3.connect(Path(folder) / "raw.db")
        raw.execute("CREATE TABLE online (key INTEGER PRIMARY KEY, value BLOB)")
        value = msgspec.msgpack.encode(rng.normal(size=COLUMNS).tolist())
        raw.executemany("INSERT INTO online VALUES (?, ?)", ((key, value) for key in range(KEYS)))
        raw.commit()

        def by_sqlite(keys: list[int]) -> list[list[float]]:
            marks = ",".join("?" * len(keys))
            query = f"SELECT value FROM online WHERE key IN ({marks})"
            return [msgspec.msgpack.decode(row[0]) for row in raw.execute(query, keys)]

        print(f"online reads, median of {rounds}")
        for size in (1, 100):
            keys = [int(key) for key in rng.integers(0, KEYS, size)]
            asked = [{"key": key} for key in keys]
            found = median(
                {
                    "raw sqlite3 and msgpack": lambda keys=keys: by_sqlite(keys),
                    f"trine, {COLUMNS} latest values": lambda asked=asked: features.online(
                        services["latest"], asked, ws=ws
                    ),
                    "trine, 2 trailing windows": lambda asked=asked: features.online(services["windows"], asked, ws=ws),
                },
                rounds,
            )
            for name, value in found.items():
                print(
                    f"  {size:>3} keys  {name:<34} {value * 1000:8.3f} ms   {value / found['raw sqlite3 and msgpack']:6.1f} x raw"
                )
        raw.close()


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    joins(*(given + [1_000_000, 300_000, 3][len(given) :]))
    reads()
