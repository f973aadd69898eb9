"""Tables of pipeline runs and their steps."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from trine.ledger import is_object, metadata

pipeline_run = Table(
    "pipeline_run",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("version", String(64), nullable=False, comment="digest of the code"),
    Column(
        "entry", Text, nullable=False, comment="where the code is: file.py:name or module:name; empty: in a session"
    ),
    Column("params", Text, nullable=False, comment="JSON object of documents"),
    Column("graph", Text, nullable=False, comment="JSON: the steps with their arguments, and the result"),
    Column("code", Text, nullable=False, comment="node of the code commit, or empty"),
    Column("state", String(20), nullable=False),
    Column("epoch", Integer, nullable=False, comment="goes up with every owner: a late writer changes nothing"),
    Column("owner", Text, nullable=False, comment="the process that drives the run"),
    Column("lease_until_us", BigInteger, nullable=False),
    Column("cancelled_by", Text, nullable=False, comment="who asked for it to end"),
    Column("error", Text, nullable=False, comment="JSON, or empty"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger, nullable=True),
    Index(None, "project", "pipeline", "id"),
)

step_run = Table(
    "step_run",
    metadata,
    Column("project", Text, primary_key=True),
    Column("run", String(32), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("step", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("epoch", Integer, nullable=False, comment="the run's epoch when the step last moved"),
    Column("cache_key", String(64), nullable=False, comment="empty: cannot be cached"),
    Column("parts", Text, nullable=False, comment="JSON: what the cache key is made of"),
    Column("outputs", Text, nullable=False, comment="JSON list of stored values"),
    Column("uses", Text, nullable=False, comment="JSON list of nodes"),
    Column("resolved", Text, nullable=False, comment="JSON object: names that were asked for, and what they stood for"),
    Column("hit", Text, nullable=False, comment="node of the step run whose outputs these are, or empty"),
    Column("reason", Text, nullable=False, comment="why it was no hit"),
    Column("error", Text, nullable=False, comment="JSON, or empty"),
    Column("log", Text, nullable=False, comment="a short log itself"),
    Column("log_object", String(64), nullable=False, info=is_object(), comment="of a long log, or empty"),
    Column("started_us", BigInteger, nullable=True),
    Column("ended_us", BigInteger, nullable=True),
    Column("duration_us", BigInteger, nullable=True, comment="of the last attempt"),
    Column("retry_at_us", BigInteger, nullable=True),
    Index(None, "project", "cache_key"),
    Index(None, "project", "key", "ended_us"),
)
