"""Tables of monitors, verdicts, alerts and their transitions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from trine.ledger import metadata

monitor = Table(
    "monitor",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("definition", Text, nullable=False, comment="canonical JSON of the Monitor"),
    Column("created_us", BigInteger, nullable=False),
)

verdict = Table(
    "verdict",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("monitor", Text, nullable=False),
    Column("window_start_us", BigInteger, nullable=False),
    Column("window_end_us", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("body", Text, nullable=False, comment="canonical JSON of the Verdict"),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "monitor", "window_end_us", "id"),
)

alert = Table(
    "alert",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(16), primary_key=True),
    Column("monitor", Text, nullable=False),
    Column("rule", String(40), nullable=False),
    Column("column_name", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("breaches", Integer, nullable=False),
    Column("quiet", Integer, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("fired_us", BigInteger, nullable=True),
    Column("resolved_us", BigInteger, nullable=True),
    Column("window_end_us", BigInteger, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("notified", Integer, nullable=False),
    Column("acknowledged_by", Text, nullable=False),
    Column("acknowledged_us", BigInteger, nullable=True),
    Column("note", Text, nullable=False),
    Column("muted_until_us", BigInteger, nullable=True),
    Index(None, "project", "monitor"),
)

alert_transition = Table(
    "alert_transition",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("alert", String(16), nullable=False),
    Column("before", String(20), nullable=False),
    Column("after", String(20), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("notify", Integer, nullable=False),
    Index(None, "project", "alert", "id"),
)
