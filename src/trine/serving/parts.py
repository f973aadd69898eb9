"""What the ledger knows about the prediction log and the labels: Parquet objects, and what each holds."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import func, insert, select

from trine.errors import NotFound
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.serving import tables
from trine.serving.merging import merge_small_parts
from trine.serving.route_rows import author, endpoint_row, matching
from trine.workspace import Workspace


class LogPart(msgspec.Struct, frozen=True, kw_only=True):
    """A stored part of an endpoint's prediction log, made from one segment. Small parts share an object."""

    endpoint: str
    segment: str
    object: str
    rows: int
    size_bytes: int
    first_id: str
    last_id: str
    first_us: int
    last_us: int
    lost_bytes: int


class LabelPart(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that came together; `unknown` of them name predictions that were not in the log then."""

    endpoint: str
    number: int
    object: str
    rows: int
    unknown: int
    author: str
    created_us: int


@operation("POST /endpoints/{endpoint}/log", allows="serving.write")
def register_log_part(
    ws: Workspace,
    *,
    endpoint: str,
    segment: str,
    object: str,
    rows: int,
    size_bytes: int,
    first_id: str,
    last_id: str,
    first_us: int,
    last_us: int,
    lost_bytes: int = 0,
) -> Done:
    """Add a stored part of the prediction log, made from one segment. A segment counts once, however often it comes."""
    endpoint_row(ws, endpoint, deleted=True)
    if not ws.store.has([object]):
        raise NotFound(f"Object {object} is not stored: store the part before it is registered.")
    values: dict[str, Any] = {
        "endpoint": endpoint,
        "object": object,
        "rows": rows,
        "size_bytes": size_bytes,
        "first_id": first_id,
        "last_id": last_id,
        "first_us": first_us,
        "last_us": last_us,
        "lost_bytes": lost_bytes,
        "created_us": ws.tx.now_us,
    }
    ws.tx.touch(f"endpoint:{endpoint}", after=[segment, object])
    table = tables.log_part
    if ws.tx.first(select(table.c.rows).where(*matching(table, ws, segment=segment))):
        return Done(segment, changed=False)
    ws.tx.execute(insert(table).values(project=ws.project, segment=segment, **values))
    if merged := merge_small_parts(ws, endpoint):
        ws.tx.note(merged=merged)
    return Done(segment)


@operation("GET /log-parts", allows="serving.read")
def list_log_parts(
    ws: Workspace,
    *,
    endpoint: str = "",
    since_us: int = 0,
    until_us: int | None = None,
    prediction: str = "",
    limit: Limit = 1000,
    page: str = "",
) -> Page[LogPart]:
    """The stored parts of the prediction log that can hold what is asked for, oldest first."""
    table = tables.log_part
    query = select(table).where(*matching(table, ws), table.c.last_us >= since_us)
    if endpoint:
        endpoint_row(ws, endpoint, deleted=True)
        query = query.where(table.c.endpoint == endpoint)
    if until_us is not None:
        query = query.where(table.c.first_us < until_us)
    if prediction:
        query = query.where(table.c.first_id <= prediction, table.c.last_id >= prediction)
    if start := page_start(page, fields=str):
        query = query.where(table.c.segment > start)
    rows = ws.tx.all(query.order_by(table.c.segment).limit(limit + 1))
    return page_of([_to_part(row) for row in rows], limit, lambda one: one.segment)


@operation("POST /endpoints/{endpoint}/labels", allows="serving.write")
def register_labels(ws: Workspace, *, endpoint: str, object: str, rows: int, unknown: int = 0) -> LabelPart:
    """Add stored labels of an endpoint's predictions; for an id that had one, the later label wins."""
    endpoint_row(ws, endpoint, deleted=True)
    if not ws.store.has([object]):
        raise NotFound(f"Object {object} is not stored: store the labels before they are registered.")
    table = tables.label_part
    last = ws.tx.scalar(select(func.max(table.c.number)).where(*matching(table, ws, endpoint=endpoint))) or 0
    values: dict[str, Any] = {"object": object, "rows": rows, "unknown": unknown, "author": author(ws)}
    ws.tx.execute(
        insert(table).values(project=ws.project, endpoint=endpoint, number=last + 1, created_us=ws.tx.now_us, **values)
    )
    ws.tx.touch(f"endpoint:{endpoint}", after=[last + 1, object])
    ws.tx.note(endpoint=endpoint, labels=rows, unknown=unknown)
    return LabelPart(endpoint=endpoint, number=last + 1, created_us=ws.tx.now_us, **values)


@operation("GET /endpoints/{endpoint}/labels", allows="serving.read")
def list_label_parts(ws: Workspace, *, endpoint: str, limit: Limit = 1000, page: str = "") -> Page[LabelPart]:
    """The stored labels of an endpoint in the order they came."""
    endpoint_row(ws, endpoint, deleted=True)
    table = tables.label_part
    query = select(table).where(*matching(table, ws, endpoint=endpoint)).order_by(table.c.number).limit(limit + 1)
    if start := page_start(page, fields=int):
        query = query.where(table.c.number > start)
    fields = LabelPart.__struct_fields__
    rows = [LabelPart(**{name: getattr(row, name) for name in fields}) for row in ws.tx.all(query)]
    return page_of(rows, limit, lambda one: one.number)


def _to_part(row: Any) -> LogPart:
    return LogPart(**{name: getattr(row, name) for name in LogPart.__struct_fields__})
