"""The gate of a commit: 47 expectations and the full profile, beside one Polars plan made by hand, pandera and Great Expectations.

    python benchmarks/checks.py [--rows N] [--rounds N] [--alone]

A table of N rows (default 1,000,000; the promise is about 5,000,000) and 20 columns. The plan made by hand computes what
the rules ask and, of each column, nulls, least and greatest value, mean, deviation and an approximate number of different
values; it has no quantiles, no most common values and no effective sample size, which Trine's profile has too. pandera and
Great Expectations are asked the rules alone. Each runs in a process of its own: seconds of the work without reading the
file, processor seconds, and the greatest memory (reading included).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).parent.parent / ".bench"
PEERS = {"pandera": ["pandera[polars]==0.35.0"], "gx": ["great_expectations==1.24.1", "pyarrow"]}

MAKE = """
import sys
import numpy as np
import polars as pl
n, rng = int(sys.argv[2]), np.random.default_rng(0)
start, second = np.datetime64("2026-01-01T00:00:00", "us"), np.timedelta64(1, "s")
def times(low, high):
    return start + rng.integers(86_400 * low, 86_400 * high, n) * second
delay = rng.normal(10, 5, n)
pl.DataFrame({
    "id": np.arange(n), "customer": rng.integers(0, 200_000, n), "store": rng.integers(0, 500, n).astype(np.int32),
    "amount": np.round(rng.lognormal(3, 1, n), 2), "price": rng.normal(50, 10, n), "discount": rng.random(n),
    "quantity": rng.integers(1, 20, n).astype(np.int16), "rating": rng.integers(1, 6, n).astype(np.int8),
    "score": rng.normal(0, 1, n), "latitude": rng.uniform(-90, 90, n), "longitude": rng.uniform(-180, 180, n),
    "weight": rng.gamma(2, 3, n), "delay": pl.Series(delay).set(pl.Series(rng.random(n) < 0.05), None),
    "at": times(0, 300), "shipped": times(300, 400),
    "country": np.array(["DE", "FR", "US", "GB", "IT", "ES"])[rng.integers(0, 6, n)],
    "status": np.array(["new", "paid", "sent", "done"])[rng.integers(0, 4, n)],
    "code": "C" + pl.Series(rng.integers(0, 10**6, n)).cast(pl.String).str.zfill(6),
    "email": "u" + pl.Series(rng.integers(0, 10**6, n)).cast(pl.String) + "@example.com",
    "active": rng.random(n) < 0.9,
}).write_parquet(sys.argv[1], row_group_size=500_000)
"""

RULES = """
LIMITS = {"amount": (0, 1e5), "price": (-100, 300), "discount": (0, 1), "score": (-9, 9), "latitude": (-90, 90),
          "longitude": (-180, 180), "weight": (0, 100), "quantity": (1, 20), "rating": (1, 5), "store": (0, 499)}
SETS = {"country": ["DE", "FR", "US", "GB", "IT", "ES"], "status": ["new", "paid", "sent", "done"], "rating": [1, 2, 3, 4, 5]}
TEXTS = {"email": "^[^@]+@[^@]+$", "code": "^C[0-9]{6}$"}
NAMES = ["id", "customer", "store", "amount", "price", "discount", "quantity", "rating", "score", "latitude", "longitude",
         "weight", "at", "shipped", "country", "status", "code", "email", "active"]
"""

HAND = """
import polars as pl
table = pl.read_parquet(sys.argv[1])
C = pl.col
numbers = [name for name, kind in table.schema.items() if kind.is_numeric()]
def work():
    found = [C(name).is_null().sum().alias(f"null {name}") for name in NAMES]
    for name, (low, high) in LIMITS.items():
        outside = (C(name) < low) | (C(name) > high)
        outside = outside | C(name).is_nan() if table.schema[name].is_float() else outside
        found.append(outside.sum().alias(f"range {name}"))
    found += [(~C(name).is_in(values)).sum().alias(f"set {name}") for name, values in SETS.items()]
    found += [(~C(name).str.contains(text)).sum().alias(f"text {name}") for name, text in TEXTS.items()]
    found += [
        (pl.len() - C("id").n_unique()).alias("unique"), (C("code").str.len_chars() != 7).sum().alias("length"),
        (C("at") > C("shipped")).sum().alias("order"), C("status").is_in(["gone"]).sum().alias("not"),
        (~(C("price") * C("quantity") > -10000)).sum().alias("expression"), pl.len().alias("rows"),
        ((C("at") < pl.datetime(2026, 1, 1)) | (C("at") > pl.datetime(2027, 12, 31))).sum().alias("time"),
    ]
    for name in table.columns:
        told = {"nulls": C(name).null_count(), "low": C(name).min(), "high": C(name).max(), "distinct": C(name).approx_n_unique()}
        if name in numbers:
            told |= {"mean": C(name).mean(), "std": C(name).std()}
        found += [one.alias(f"{what} of {name}") for what, one in told.items()]
    return table.lazy().select(found).collect(engine="streaming")
"""

TRINE = """
import polars as pl
from trine import data
from trine.data.checks import Checking
from trine.data.one_pass import look_through
from trine.data.sketches import summarise
table = pl.read_parquet(sys.argv[1])
rules = [data.not_null(name) for name in NAMES] + [data.between(name, *limits) for name, limits in LIMITS.items()]
rules += [data.one_of(name, values) for name, values in SETS.items()] + [data.matches(name, text) for name, text in TEXTS.items()]
rules += [
    data.unique("id"), data.length_between("code", 7, 7), data.compare("at", "<=", "shipped"), data.none_of("status", ["gone"]),
    data.expression("price * quantity > -10000"), data.row_count(1), data.between("at", "2026-01-01", "2027-12-31"),
    data.null_share("delay", 0.1), data.mean_between("amount", 10, 60), data.std_between("price", 5, 15),
    data.minimum_between("score", -10, 0), data.fresh("shipped", "3650d"), data.dtype("id", "Int64"),
]
assert len(rules) == 47, len(rules)
def work():
    checking = Checking(rules, table.lazy())
    sketch, found = look_through(table, checking.by_row, checking.other_plans)
    results = checking.results(found, summarise(sketch))
    assert all(one.passed for one in results)
"""

STREAM = TRINE.replace("pl.read_parquet", "pl.scan_parquet").replace("table.lazy()", "table")

PANDERA = """
import pandera.polars as pa
import polars as pl
table = pl.read_parquet(sys.argv[1])
C = pa.Check
def work():
    columns = {}
    for name in table.columns:
        checks = []
        if name in LIMITS: checks.append(C.in_range(*LIMITS[name]))
        if name in SETS: checks.append(C.isin(SETS[name]))
        if name in TEXTS: checks.append(C.str_matches(TEXTS[name]))
        if name == "code": checks.append(C.str_length(7, 7))
        if name == "status": checks.append(C.notin(["gone"]))
        columns[name] = pa.Column(checks=checks, nullable=name == "delay", unique=name == "id")
    order = C(lambda one: one.lazyframe.select(pl.col("at") <= pl.col("shipped")))
    product = C(lambda one: one.lazyframe.select(pl.col("price") * pl.col("quantity") > -10000))
    pa.DataFrameSchema(columns, checks=[order, product]).validate(table, lazy=True)
"""

GX = """
import great_expectations as gx
import great_expectations.expectations as e
import pandas as pd
table = pd.read_parquet(sys.argv[1])
def work():
    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    rules = [e.ExpectColumnValuesToNotBeNull(column=name) for name in NAMES]
    rules += [e.ExpectColumnValuesToBeBetween(column=n, min_value=low, max_value=high) for n, (low, high) in LIMITS.items()]
    rules += [e.ExpectColumnValuesToBeInSet(column=name, value_set=values) for name, values in SETS.items()]
    rules += [e.ExpectColumnValuesToMatchRegex(column=name, regex=text) for name, text in TEXTS.items()]
    rules += [
        e.ExpectColumnValuesToBeUnique(column="id"), e.ExpectColumnValueLengthsToEqual(column="code", value=7),
        e.ExpectColumnPairValuesAToBeGreaterThanB(column_A="shipped", column_B="at", or_equal=True),
        e.ExpectColumnValuesToNotBeInSet(column="status", value_set=["gone"]), e.ExpectTableRowCountToBeBetween(min_value=1),
        e.ExpectColumnMeanToBeBetween(column="amount", min_value=10, max_value=60),
        e.ExpectColumnStdevToBeBetween(column="price", min_value=5, max_value=15),
        e.ExpectColumnMinToBeBetween(column="score", min_value=-10, max_value=0),
        e.ExpectColumnValuesToNotBeNull(column="delay", mostly=0.9),
    ]
    suite = gx.ExpectationSuite(name="s", expectations=rules)
    assert batch.get_batch({"dataframe": table}).validate(suite).success
"""

RUN = """
import json, sys, time
{rules}
{script}
wall, cpu = time.perf_counter(), time.process_time()
work()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps([wall, cpu, peak]))
"""


def python_of(peer: str) -> Path:
    """A peer in an environment of its own."""
    folder = BENCH / peer
    program = folder / "bin" / "python"
    if not program.exists():
        print(f"installing {PEERS[peer][0]} into {folder} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[peer]], check=True
        )
    return program


def run(python: str | Path, script: str, table: Path) -> list[float]:
    code = RUN.format(rules=RULES, script=script)
    done = subprocess.run([python, "-c", code, table], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="without pandera and Great Expectations")
    asked = parser.parse_args()
    rivals = {
        "one Polars plan": (sys.executable, HAND),
        "Trine": (sys.executable, TRINE),
        "Trine, from the file": (sys.executable, STREAM),
    }
    if not asked.alone:
        rivals["pandera (rules alone)"] = (python_of("pandera"), PANDERA)
        rivals["Great Expectations (rules alone)"] = (python_of("gx"), GX)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.parquet")
        subprocess.run([sys.executable, "-c", MAKE, table, str(asked.rows)], check=True)
        found: dict[str, list[list[float]]] = {name: [] for name in rivals}
        for _ in range(asked.rounds):
            for name, (python, script) in rivals.items():
                found[name].append(run(python, script, table))
    print(f"{asked.rows:,} rows × 20, medians of {asked.rounds}")
    print(f"{'':34}{'s':>8}{'ratio':>8}{'cpu s':>8}{'ratio':>8}{'peak MB':>10}")
    least = [statistics.median(column) for column in zip(*found["one Polars plan"], strict=True)]
    for name, rounds in found.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:34}{wall:8.2f}{wall / least[0]:8.2f}{cpu:8.2f}{cpu / least[1]:8.2f}{peak:10,.0f}")


if __name__ == "__main__":
    main()
