"""Tables of evaluations and gate reports; the reports themselves are objects."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from trine.ledger import is_object, metadata

evaluation = Table(
    "evaluation",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("model", Text, nullable=False, comment="name"),
    Column("body", String(64), nullable=False, info=is_object()),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "model", "id"),
)

gate = Table(
    "gate",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("model", Text, nullable=False, comment="name of the candidate's model"),
    Column("candidate", Text, nullable=False, comment="name@version"),
    Column("outcome", String(20), nullable=False),
    Column("body", String(64), nullable=False, info=is_object()),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "model", "id"),
)
