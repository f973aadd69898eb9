"""The event log: one row per operation that changed something (or was refused), gapless and hash-chained.

Each row's hash is SHA-256 over the previous row's hash and the canonical JSON of the row, so an edited, removed,
inserted or moved row breaks the chain at its place. Cutting off the end leaves a valid chain: only a checkpoint
(sequence and hash) kept elsewhere shows that, and `verify` takes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.engine import Connection

from trine.ids import canonical_json
from trine.ledger.tables import event

GENESIS = "0" * 64

FIELDS = (
    "seq", "time_us", "actor", "on_behalf_of", "project", "operation", "object",
    "outcome", "request_id", "before", "after", "body",
)  # fmt: skip


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation did: the audit trail's entry and the event stream's message."""

    seq: int
    time_us: int
    actor: str
    on_behalf_of: str = ""
    project: str
    operation: str
    object: str = ""
    outcome: str = "done"
    request_id: str = ""
    before: str = ""
    after: str = ""
    body: dict[str, Any] = {}
    hash: str = ""


class Checkpoint(msgspec.Struct, frozen=True):
    """The length and head of the chain at one moment; keep it outside the workspace."""

    seq: int
    hash: str


class ChainReport(msgspec.Struct, frozen=True):
    """What `verify` found: `intact`, or the first bad entry and what is wrong with it."""

    intact: bool
    entries: int
    head: str
    first_bad: int | None = None
    problem: str = ""


_HEAD = select(event.c.seq, event.c.hash).order_by(event.c.seq.desc()).limit(1)
_APPEND = event.insert()


def _hash(prev: str, values: dict[str, Any]) -> str:
    return hashlib.sha256(prev.encode() + canonical_json([values[name] for name in FIELDS])).hexdigest()


def append_event(connection: Connection, **values: Any) -> Event:
    """Write the next entry. The caller holds the workspace's write lock, so the sequence has no gap and no double."""
    head = connection.execute(_HEAD).first()
    seq, prev = (head.seq + 1, head.hash) if head else (1, GENESIS)
    body: dict[str, Any] = values.pop("body")
    row = {**values, "seq": seq, "body": canonical_json(body).decode()}
    row["prev"], row["hash"] = prev, _hash(prev, row)
    connection.execute(_APPEND, row)
    return Event(**values, seq=seq, body=body, hash=row["hash"])


def to_event(row: Row[Any]) -> Event:
    return Event(
        body=msgspec.json.decode(row.body),
        hash=row.hash,
        **{name: getattr(row, name) for name in FIELDS[:-1]},
    )


def row_of(one: Event, prev: str) -> dict[str, Any]:
    """The row an event was read from, when it follows the entry with that hash."""
    row = {name: getattr(one, name) for name in FIELDS}
    return row | {"body": canonical_json(one.body).decode(), "prev": prev, "hash": one.hash}


def read_events(
    connection: Connection, *, after: int = 0, limit: int = 100, descending: bool = False, **equals: str
) -> list[Event]:
    """Entries after (or, descending, before) a sequence number, filtered by column values."""
    seq = event.c.seq
    query = select(event).limit(limit).order_by(seq.desc() if descending else seq)
    if after:
        query = query.where(seq < after if descending else seq > after)
    for name, value in equals.items():
        if value:
            column = event.c[name]
            query = query.where(_like(column, value) if "*" in value else column == value)
    return [to_event(row) for row in connection.execute(query)]


def _like(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    escaped = pattern.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return column.like(escaped.replace("*", "%"), escape="/")


def checkpoint(connection: Connection) -> Checkpoint:
    """The chain's length and head now."""
    head = connection.execute(_HEAD).first()
    return Checkpoint(head.seq, head.hash) if head else Checkpoint(0, GENESIS)


def verify_chain(connection: Connection, kept: Checkpoint | None = None) -> ChainReport:
    """Re-compute every hash in order; O(entries). `kept` is a checkpoint exported earlier: the chain must pass through it."""
    rows = ({column.name: row[i] for i, column in enumerate(event.c)} for row in _all(connection))
    return verify_rows(rows, kept)


def _all(connection: Connection) -> Iterator[Row[Any]]:
    return iter(connection.execution_options(yield_per=5_000).execute(select(event).order_by(event.c.seq)))


def verify_rows(rows: Iterator[dict[str, Any]], kept: Checkpoint | None = None) -> ChainReport:
    """`verify_chain` over any ordered rows (an exported file, for instance)."""
    prev, count = GENESIS, 0

    def bad(seq: int, problem: str) -> ChainReport:
        return ChainReport(False, count, prev, seq, problem)

    for row in rows:
        expected = count + 1
        if row["seq"] != expected:
            return bad(expected, f"entry {expected} is missing; entry {row['seq']} follows entry {count}")
        if row["prev"] != prev:
            return bad(
                expected,
                f"entry {expected} does not follow entry {count}: it was inserted, moved or re-written",
            )
        if row["hash"] != _hash(prev, row):
            return bad(expected, f"entry {expected} was edited: its content does not match its hash")
        prev, count = row["hash"], expected
        if kept and kept.seq == expected and kept.hash != prev:
            return bad(expected, f"entry {expected} is not the one of the checkpoint: the chain was re-written")
    if kept and kept.seq > count:
        cut = f"entry {count + 1} and what followed it were cut off"
        return bad(count + 1, f"{cut}: the log ends at entry {count}, the checkpoint at {kept.seq}")
    return ChainReport(True, count, prev)
