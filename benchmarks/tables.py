"""A keyed upsert of 1 % of a table's rows: Trine against delta-rs' MERGE, in seconds and bytes, and the raw limit beside them.

    python benchmarks/tables.py [--rows N] [--rounds N]

19 columns of numbers and short texts, scattered keys. The raw limit writes the changed rows alone, as one Parquet file; Trine
profiles the whole table besides, and delta-rs writes every file that holds a changed row again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import DeltaTable, write_deltalake

from trine import data
from trine.workspace import connect


def make(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns = {"id": np.arange(rows)}
    columns |= {f"f{i}": rng.normal(size=rows) for i in range(12)}
    columns |= {f"n{i}": rng.integers(0, 1000, rows) for i in range(4)}
    texts = {f"s{i}": pl.Series(rng.integers(0, 100, rows)).cast(pl.String) for i in range(2)}
    return pl.DataFrame(columns | texts)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "cache" not in path.parts)


def measured(folder: Path, action: Callable[[], object]) -> tuple[float, int]:
    before, start = size_of(folder), time.perf_counter()
    action()
    return time.perf_counter() - start, size_of(folder) - before


def main(rows: int, rounds: int) -> None:
    table = make(rows)
    with tempfile.TemporaryDirectory(prefix="trine-bench-") as root:
        ours, theirs, raw = (Path(root, name) for name in ("trine", "delta", "raw"))
        raw.mkdir()
        ws = connect(ours)
        data.commit(table, name="t", ws=ws)
        write_deltalake(theirs, table)
        found: dict[str, list[tuple[float, int]]] = {"raw": [], "trine": [], "delta-rs": []}
        for number in range(rounds):
            new = table.sample(rows // 100, seed=number).with_columns(f0=pl.lit(float(number)))
            file = raw / f"{number}.parquet"
            found["raw"].append(
                measured(raw, partial(new.write_parquet, file, compression="zstd", compression_level=3))
            )
            found["trine"].append(measured(ours, partial(data.upsert, new, name="t", key="id", ws=ws)))
            merge = DeltaTable(theirs).merge(new, predicate="t.id = s.id", source_alias="s", target_alias="t")
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            found["delta-rs"].append(measured(theirs, merge.execute))
        ws.close()
    seconds = {name: statistics.median(one for one, _ in each) for name, each in found.items()}
    written = {name: statistics.median(one for _, one in each) for name, each in found.items()}
    print(f"upsert of {rows // 100:,} of {rows:,} rows, medians of {rounds}")
    for name in found:
        print(
            f"  {name:<9} {seconds[name]:7.3f} s  {seconds[name] / seconds['delta-rs']:6.3f} x delta-rs"
            f"   {written[name] / 1e6:8.2f} MB  {written[name] / written['raw']:7.2f} x the changed rows"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    main(options.rows, options.rounds)
