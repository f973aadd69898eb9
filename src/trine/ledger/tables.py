"""The ledger's own tables: the event log, the lineage graph, idempotency keys, cursors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    any_,
    literal,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)
"""All tables of a workspace; each room adds its own."""

RowId = BigInteger().with_variant(Integer, "sqlite")

about = Table(
    "about",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("value", Text, nullable=False),
    comment="facts about the workspace itself: its id, where its store is",
)

event = Table(
    "event",
    metadata,
    Column("seq", RowId, primary_key=True, autoincrement=False),
    Column("time_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("on_behalf_of", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "operation", "seq"),
    Index(None, "object", "seq"),
)

node = Table(
    "node",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("ref", Text, nullable=False),
    UniqueConstraint("project", "ref"),
)

edge = Table(
    "edge",
    metadata,
    Column("up", RowId, primary_key=True, autoincrement=False),
    Column("kind", String(20), primary_key=True),
    Column("down", RowId, primary_key=True, autoincrement=False),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "down", "kind", "up"),
    sqlite_with_rowid=False,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("operation", Text, nullable=False),
    Column("arguments", String(64), nullable=False),
    Column("result", LargeBinary, nullable=False, comment="MessagePack"),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "time_us"),
)

cursor = Table(
    "cursor",
    metadata,
    Column("project", Text, primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)


def is_object(*, opened_by: str = "") -> dict[str, str]:
    """The `info` of a column that holds the name of a stored object, or none.

    `opened_by` is the function ("module:name") that gives the objects which this one names, if it names any: what it is
    for is in `trine.upkeep`.
    """
    return {"object": opened_by}


def tells_of_object() -> dict[str, str]:
    """The `info` of a column that tells something of a stored object and does not keep it."""
    return {"tells": "object"}


def among(connection: Connection, column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """`column in values` for many texts: as one array where the database has those, so that the statement stays the same."""
    if connection.dialect.name != "postgresql":
        return column.in_(values)
    from sqlalchemy.dialects.postgresql import ARRAY

    return column == any_(literal(list(values), ARRAY(Text)))


def upsert(table: Table, columns: Iterable[str] = (), *, keep: bool = False) -> Insert:
    """INSERT … ON CONFLICT (primary key) DO UPDATE of `columns` (default: all that are no key), or DO NOTHING with `keep`.

    Execute it with one dict or a list of dicts. PostgreSQL's construct renders the same text on SQLite.
    """
    from sqlalchemy.dialects import postgresql  # costs as much to import as a small command takes

    statement = postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = list(columns) or [one.name for one in table.c if one.name not in keys and one.computed is None]
    if keep or not changed:
        return statement.on_conflict_do_nothing(index_elements=keys)
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in changed}
    )
