"""A walk over 100,000 edges of the lineage graph, beside the raw limit: SQLite handing the same rows to Python.

    python benchmarks/lineage.py [--edges N] [--rounds N]

Three shapes: one dataset that everything used; runs of ten thousand datasets; layers in which each node uses five others.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from trine.ids import new_id
from trine.ledger.lineage import Edge, add_edges, walk
from trine.workspace import connect


def star(edges: int) -> list[Edge]:
    return [Edge("dataset:d@1", "triggered", f"run:{new_id()}") for _ in range(edges)]


def tree(edges: int) -> list[Edge]:
    middle = [f"dataset:{new_id()}@1" for _ in range(edges // 100)]
    first = [Edge("dataset:d@1", "produced", name) for name in middle]
    return first + [
        Edge(middle[index % len(middle)], "produced", f"run:{new_id()}") for index in range(edges - len(middle))
    ]


def layers(edges: int) -> list[Edge]:
    wide = edges // 50
    floors = [[f"step:{new_id()}" for _ in range(wide)] for _ in range(11)]
    found = [Edge("dataset:d@1", "produced", name) for name in floors[0]]
    for above, below in pairwise(floors):
        found += [
            Edge(name, "produced", below[(index * 7 + k * 13) % wide])
            for index, name in enumerate(above)
            for k in range(5)
        ]
    return found[:edges]


def rows_of(cursor: Any, query: str) -> list[Any]:
    return cursor.execute(query).fetchall()


def median_ms(call: Callable[[], object], rounds: int) -> float:
    taken: list[float] = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        taken.append((time.process_time() - begun) * 1e3)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    print(f"{chosen.edges:,} edges on SQLite, ms of processor time, median of {chosen.rounds}")
    for shape in (star, tree, layers):
        with tempfile.TemporaryDirectory() as folder, connect(Path(folder)) as ws:
            with ws.ledger.transaction(write=True) as connection:
                add_edges(connection, "default", shape(chosen.edges), 1)
            with ws.ledger.transaction(write=False) as connection:
                driver = connection.connection.cursor()
                edges, nodes = (
                    median_ms(partial(rows_of, driver, f"SELECT {columns}"), chosen.rounds)
                    for columns in ("up, down, kind FROM edge", "id, ref FROM node")
                )
                go = partial(walk, connection, "default", "dataset:d@1", direction="down", limit=chosen.edges)
                taken, found = median_ms(go, chosen.rounds), go()
        print(
            f"  {shape.__name__:<8}{len(found.nodes):>9,} nodes  raw rows of edges {edges:5.1f}, of nodes {nodes:5.1f}"
            f"   walk {taken:5.1f}   {taken / (edges + nodes):.2f} x raw"
        )


if __name__ == "__main__":
    main()
