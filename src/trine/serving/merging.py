"""Many small parts of the prediction log become one: an endpoint stores one a minute, and who reads a month opens them all.

Only the object that a part's rows are in changes; the part itself, made from one segment, stays what it was. A reader that
has the old objects' names still finds them, for as long as garbage collection's grace period.
"""

from __future__ import annotations

import io
import logging
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select, update

from trine.errors import Damaged, NotFound
from trine.serving import tables
from trine.storage import Store
from trine.workspace import Workspace

MOST_SMALL = 64
SMALL_BYTES = 8 << 20
LARGEST_BYTES = 32 << 20
RECENT_US = 2 * 86_400_000_000
"""Older parts were merged long ago, or were too few."""

log = logging.getLogger("trine.serving")


def merge_small_parts(ws: Workspace, endpoint: str) -> int:
    """Put the rows of an endpoint's oldest small parts into one object, when there are many; gives how many it were."""
    table = tables.log_part
    mine = (table.c.project == ws.project, table.c.endpoint == endpoint)
    size = func.sum(table.c.size_bytes)
    small = ws.tx.all(
        select(table.c.object, size.label("size"))
        .where(*mine, table.c.last_us >= ws.tx.now_us - RECENT_US)
        .group_by(table.c.object)
        .having(size < SMALL_BYTES)
        .order_by(func.min(table.c.first_id))
    )
    if len(small) < MOST_SMALL:
        return 0
    chosen: list[str] = []
    total = 0
    for row in small:
        total += int(row.size)
        if total > LARGEST_BYTES:
            break
        chosen.append(row.object)
    try:
        merged = ws.store.put(_merged(ws.store, chosen))
    except (Damaged, NotFound) as error:
        log.error("the small parts of endpoint %s stay as they are: %s", endpoint, error.message)
        return 0
    ws.tx.execute(update(table).where(*mine, table.c.object.in_(chosen)).values(object=merged))
    return len(chosen)


def _merged(store: Store, objects: list[str]) -> bytes:
    import polars as pl

    from trine.serving.shipping import parquet_of, together

    with ThreadPoolExecutor(8) as pool:
        frames = [pl.read_parquet(io.BytesIO(data)) for data in pool.map(store.get, objects)]
    return parquet_of(together(frames).sort("prediction_id"))
