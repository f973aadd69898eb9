"""Tables of loops and their cycles."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from trine.ledger import metadata

loop = Table(
    "loop",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("definition", Text, nullable=False, comment="JSON"),
    Column("paused", Boolean, nullable=False),
    Column("seen_us", BigInteger, nullable=False, comment="schedules are judged up to here"),
    Column("created_us", BigInteger, nullable=False),
)

loop_cycle = Table(
    "loop_cycle",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("loop", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("epoch", Integer, nullable=False, comment="goes up with every move: a late writer changes nothing"),
    Column("trigger", Text, nullable=False, comment="JSON"),
    Column("facts", Text, nullable=False, comment="JSON: pipeline run, candidate, gate, approval, rollout"),
    Column("outcome", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index(None, "project", "loop", "id"),
)
