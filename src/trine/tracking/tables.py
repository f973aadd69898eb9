"""Tables of experiments, runs and their metric points.

Text that expressions compare has the C collation on PostgreSQL, so both databases order it by code point.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Computed, Double, Index, LargeBinary, String, Table, Text, UniqueConstraint

from trine.ledger import RowId, is_object, metadata

Exact = Text().with_variant(Text(collation="C"), "postgresql")

experiment = Table(
    "experiment",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("name", Exact, nullable=False),
    Column("tags", Text, nullable=False, default="{}", comment="JSON object"),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=True),
    Column("deleted_us", BigInteger, nullable=True),
    UniqueConstraint("project", "name"),
)

run = Table(
    "run",
    metadata,
    Column("id", Exact, primary_key=True, comment="32 hex digits"),
    Column("project", Text, nullable=False),
    Column("experiment", RowId, nullable=False),
    Column("name", Exact, nullable=False),
    Column("state", Exact, nullable=False, comment="scheduled, running, finished, failed or killed"),
    Column("reason", Exact, nullable=False, comment="why it failed or was killed"),
    Column("parent", Exact, nullable=True),
    Column("author", Exact, nullable=False),
    Column("session", String(32), nullable=False, comment="the process that keeps the run open"),
    Column("code", Exact, nullable=True, comment="node"),
    Column("environment", String(64), nullable=False, info=is_object(), comment="or empty"),
    Column("context", Text, nullable=False, comment="JSON: arguments, host, seeds"),
    Column("lost", BigInteger, nullable=False, comment="points that could not be kept"),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger, nullable=True),
    Column("deleted_us", BigInteger, nullable=True),
    Column("seen_us", BigInteger, nullable=True, comment="the last sign of life of the process that keeps it open"),
    Index(None, "project", "started_us", "id"),
    Index(None, "experiment", "started_us", "id"),
    Index(None, "parent"),
    Index("ix_run_project_name", "project", "name"),
    Index("ix_run_project_state", "project", "state"),
)

run_param = Table(
    "run_param",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("key", Exact, primary_key=True),
    Column("value", Exact, nullable=False),
    Column("number", Double, nullable=True, comment="the value, when it is a number"),
    Column("head", Exact, Computed("substr(value, 1, 100)", persisted=True), comment="for the index"),
    Index(None, "key", "number", "run"),
    Index("ix_run_param_head", "key", "head", "run"),
    sqlite_with_rowid=False,
)

run_tag = Table(
    "run_tag",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("key", Exact, primary_key=True),
    Column("value", Exact, nullable=False),
    Column("number", Double, nullable=True, comment="the value, when it is a number"),
    Column("head", Exact, Computed("substr(value, 1, 100)", persisted=True), comment="for the index"),
    Index(None, "key", "number", "run"),
    Index("ix_run_tag_head", "key", "head", "run"),
    sqlite_with_rowid=False,
)

run_metric = Table(
    "run_metric",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("key", Exact, primary_key=True),
    Column("points", BigInteger, nullable=False),
    Column("nans", BigInteger, nullable=False, comment="how many of them are not a number"),
    Column("first", Double, nullable=True, comment="of the least (step, time); here and below null is NaN"),
    Column("first_step", BigInteger, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last", Double, nullable=True, comment="of the greatest (step, time)"),
    Column("last_step", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("min", Double, nullable=True),
    Column("min_step", BigInteger, nullable=False),
    Column("max", Double, nullable=True),
    Column("max_step", BigInteger, nullable=False),
    Index("ix_run_metric_last", "key", "last", "run"),
    Index("ix_run_metric_min", "key", "min", "run"),
    Index("ix_run_metric_max", "key", "max", "run"),
    sqlite_with_rowid=False,
)

run_points = Table(
    "run_points",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("key", Exact, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False, comment="how many points came before"),
    Column("points", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False, comment="columns of steps, times and values"),
)

run_segment = Table(
    "run_segment",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("run", Exact, nullable=False),
    Column("offset", BigInteger, nullable=False, comment="the bytes of it that are in the ledger"),
    Index(None, "run"),
)

run_artifact = Table(
    "run_artifact",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("path", Exact, primary_key=True),
    Column("hash", String(64), nullable=False, info=is_object()),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

run_input = Table(
    "run_input",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("name", Exact, primary_key=True),
    Column("digest", Exact, primary_key=True),
    Column("body", Text, nullable=False, comment="JSON: what its reader said of it: source, schema, profile, tags"),
    comment="data that a run said it read and that may be no dataset of ours",
)

run_model = Table(
    "run_model",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("model", Exact, primary_key=True, comment="a logged model"),
    Column("role", String(6), primary_key=True, comment="input or output"),
    Column("step", BigInteger, nullable=False),
)

logged_model = Table(
    "logged_model",
    metadata,
    Column("id", Exact, primary_key=True, comment="m- and 32 hex digits"),
    Column("project", Text, nullable=False),
    Column("experiment", RowId, nullable=False),
    Column("name", Exact, nullable=False),
    Column("run", Exact, nullable=False, comment="that made it, or empty"),
    Column("kind", Text, nullable=False),
    Column("state", String(12), nullable=False, comment="pending, ready or failed"),
    Column("reason", Text, nullable=False),
    Column("params", Text, nullable=False, comment="JSON object"),
    Column("tags", Text, nullable=False, comment="JSON object"),
    Column("metrics", Text, nullable=False, comment="JSON list: the last point of each metric and dataset"),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("deleted_us", BigInteger, nullable=True),
    Index(None, "project", "experiment", "created_us"),
    Index(None, "run"),
    comment="models that runs wrote, before anybody registers them; their files are in run_artifact under their id",
)

run_import = Table(
    "run_import",
    metadata,
    Column("run", Exact, primary_key=True),
    Column("project", Text, nullable=False),
    Column("source", Text, nullable=False, comment="the tool it comes from"),
    Column("digest", String(64), nullable=False, comment="of the run's state there"),
    Column("points", BigInteger, nullable=False, comment="that the run has there"),
    Column("taken", BigInteger, nullable=False, comment="of them, that are here"),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "project", "run"),
)

code_version = Table(
    "code_version",
    metadata,
    Column("project", Text, primary_key=True),
    Column("node", Exact, primary_key=True),
    Column("body", Text, nullable=False, comment="JSON of the CodeVersion"),
    Column("created_us", BigInteger, nullable=False),
)

metric_direction = Table(
    "metric_direction",
    metadata,
    Column("project", Text, primary_key=True),
    Column("key", Exact, primary_key=True),
    Column("better", String(4), nullable=False, comment="less or more"),
)

sweep_entry = Table(
    "sweep_entry",
    metadata,
    Column("project", Text, primary_key=True),
    Column("sweep", Exact, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="gapless, from 0"),
    Column("body", Text, nullable=False, comment="JSON: one entry of the sampler's journal"),
)
