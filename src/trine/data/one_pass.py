"""One pass over rows, however many they are: their sketch, and what is asked of them on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from trine.data.merging import merge
from trine.data.profiles import Profile
from trine.data.sampled_sketches import LARGE, LEAST, SAMPLE, Pass
from trine.data.sketches import Sketch, count_values, sketch, summarise

BATCH_BYTES = 256 << 20
"""Rows that are looked at together, when they are not in memory already."""

PROBE = 1_000
"""Rows that tell how long a row is."""

Rows = pl.DataFrame | pl.LazyFrame
"""Rows in memory, or rows that are read batch by batch."""


def look_through(
    rows: Rows, expressions: Sequence[pl.Expr] = (), plans: Sequence[pl.LazyFrame] = ()
) -> tuple[Sketch, list[pl.DataFrame]]:
    """The sketch of rows, and with it what `expressions` give, which are summed up over rows (one frame for each batch of
    rows), and what `plans` of their own give."""
    sketches: list[Sketch] = []
    found: list[pl.DataFrame] = []
    total = rows.height if isinstance(rows, pl.DataFrame) else rows.select(pl.len()).collect(engine="streaming").item()
    for batch in _batches(rows):
        first = not sketches
        large = Pass(batch, _sampled(batch.height, total)) if batch.height >= LARGE else None
        lazy = batch.lazy()
        wanted = [count_values(lazy) if large is None else lazy.select(large.expressions)]
        wanted += [lazy.select(expressions)] if expressions else []
        told, *more = pl.collect_all([*wanted, *(plans if first else ())], engine="streaming")
        sketches.append(sketch(batch, told) if large is None else large.sketch(told))
        found += more
    return merge(sketches), found


def _sampled(rows: int, total: int) -> int:
    return max(LEAST, round(SAMPLE * rows / total))


def _batches(rows: Rows) -> Iterator[pl.DataFrame]:
    """At least one."""
    if isinstance(rows, pl.DataFrame):
        yield rows
        return
    probe = rows.head(PROBE).collect(engine="streaming")
    size = BATCH_BYTES // max(int(probe.estimated_size()) // max(probe.height, 1), 1)
    none = True
    for batch in rows.collect_batches(chunk_size=max(size, PROBE), lazy=True, engine="streaming"):
        none = False
        yield batch.rechunk()
    if none:
        yield probe.clear()


def profile_frame(frame: Rows) -> Profile:
    """The profile of rows. Exact up to 131,072 of them; of more, distributions are seen in a sample (see `ColumnProfile`)."""
    return summarise(look_through(frame)[0])
