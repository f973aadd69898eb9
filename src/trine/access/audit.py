"""The door's part on the event log: the audit trail and the event stream are one list."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
from sqlalchemy import func, select

from trine.errors import InvalidInput, Unavailable
from trine.ledger import upsert
from trine.ledger.events import ChainReport, Checkpoint, Event, checkpoint, read_events, verify_chain
from trine.ledger.tables import cursor, event
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.workspace import Workspace


@operation("GET /events", allows="access.read")
def list_events(
    ws: Workspace,
    *,
    after: int = 0,
    operation: str = "",
    object: str = "",
    actor: str = "",
    outcome: str = "",
    newest_first: bool = False,
    limit: Limit = 100,
    page: str = "",
) -> Page[Event]:
    """Events of this project after a sequence number; `operation` may hold a `*` (`models.*`). Readers keep their own cursor."""
    if after < 0:
        raise InvalidInput("after cannot be negative: it is the sequence number of the last event seen, 0 at first.")
    start = page_start(page, fields=int)
    events = read_events(
        ws.tx.connection,
        after=start if start is not None else after,
        limit=limit + 1,
        descending=newest_first,
        project=ws.project,
        operation=operation,
        object=object,
        actor=actor,
        outcome=outcome,
    )
    return page_of(events, limit, lambda one: one.seq)


@operation("GET /audit/chain", allows="access.audit")
def verify_events(ws: Workspace, *, seq: int = 0, hash: str = "") -> ChainReport:
    """Re-compute the hash chain of the whole workspace; with a checkpoint kept elsewhere (`seq`, `hash`) cuts at the end show too."""
    return verify_chain(ws.tx.connection, Checkpoint(seq, hash) if hash else None)


@operation("GET /audit/checkpoint", allows="access.audit")
def get_checkpoint(ws: Workspace) -> Checkpoint:
    """The length and head of the chain now; keep it outside the workspace."""
    return checkpoint(ws.tx.connection)


@operation("GET /audit/events", allows="access.audit")
def export_events(ws: Workspace, *, after: int = 0, limit: Limit = 1000) -> list[Event]:
    """Events of all projects in order, for keeping elsewhere and verifying offline."""
    return read_events(ws.tx.connection, after=max(after, 0), limit=limit)


def follow(ws: Workspace, after: int = 0) -> Iterator[Event]:
    """Events of this project after a sequence number as they happen, without end.

    On a server they are pushed (server-sent events), and a lost connection is taken up where it was.
    """
    while True:
        for one in _pushed(ws, after) if ws.remote else _looked_up(ws, after):
            after = one.seq
            yield one


def _looked_up(ws: Workspace, after: int) -> Iterator[Event]:
    batch = list_events(ws, after=after, limit=500).items
    yield from batch
    if not batch:
        ws.ledger.wait_for_change(0.25)


def _pushed(ws: Workspace, after: int) -> Iterator[Event]:
    assert ws.remote is not None
    query, patient = {"after": after}, 60.0  # the server says something every 15 seconds
    try:
        with ws.remote.open("GET", "/events/stream", params=query, timeout=patient) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield msgspec.json.decode(line.removeprefix("data: "), type=Event)
    except Unavailable:
        time.sleep(1.0)


class Cursor(msgspec.Struct, frozen=True):
    """How far a reader of the event stream has come, and how far the stream goes."""

    consumer: str
    seq: int
    head: int


@operation("GET /cursors/{consumer}", allows="access.read")
def get_cursor(ws: Workspace, *, consumer: str) -> Cursor:
    """A reader's place in the event stream; 0 for a new one."""
    query = select(cursor.c.seq).where(cursor.c.project == ws.project, cursor.c.consumer == consumer)
    return Cursor(consumer, ws.tx.scalar(query) or 0, ws.tx.scalar(select(func.max(event.c.seq))) or 0)


@operation("PUT /cursors/{consumer}", allows="access.run")
def set_cursor(ws: Workspace, *, consumer: str, seq: int) -> Done:
    """Move a reader's place in the event stream forward."""
    known = get_cursor(ws, consumer=consumer)
    if not 0 <= seq <= known.head:
        raise InvalidInput(f"The event stream goes from 0 to {known.head}; {seq} is outside.")
    ws.tx.execute(upsert(cursor), {"project": ws.project, "consumer": consumer, "seq": seq})
    return Done(consumer, seq != known.seq)
