"""Tables of endpoints, their routes, rollouts, the parts of the prediction log, and labels."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from trine.ledger import is_object, metadata

endpoint = Table(
    "endpoint",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key", Text, nullable=False, comment="the column that keeps a caller on one variant, or empty"),
    Column("description", Text, nullable=False),
    Column("route", Integer, nullable=False, comment="number of the route that serves now; 0: none"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column(
        "deleted_us", BigInteger, nullable=True, comment="its routes and log stay; numbers go on if it is made again"
    ),
)

route = Table(
    "route",
    metadata,
    Column("project", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("variants", Text, nullable=False, comment="JSON list"),
    Column("salt", String(32), nullable=False),
    Column("back", Integer, nullable=False, comment="number of the route that rollback restores; 0: none"),
    Column("restores", Integer, nullable=False, comment="number of the route this is a copy of; 0: none"),
    Column("rollout", String(32), nullable=False, comment="the rollout that made it, or empty"),
    Column("reason", Text, nullable=False),
    Column("problem", Text, nullable=False, comment="why a server could not take it up, or empty"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

rollout = Table(
    "rollout",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False, comment="the candidate, name@version"),
    Column("canary", Text, nullable=False, comment="canonical JSON of the Canary"),
    Column("baseline_route", Integer, nullable=False),
    Column("route", Integer, nullable=False, comment="the route of the present step, or the one it ended with"),
    Column("variant", Text, nullable=False, comment="the candidate's name in the routes of the steps"),
    Column("state", String(12), nullable=False, comment="running, promoted, rolled_back or aborted"),
    Column("step", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step_us", BigInteger, nullable=False, comment="when the present step began"),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index(None, "project", "endpoint", "state"),
)

rollout_move = Table(
    "rollout_move",
    metadata,
    Column("project", Text, primary_key=True),
    Column("rollout", String(32), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("state", String(12), nullable=False),
    Column("step", Integer, nullable=False),
    Column("route", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("findings", Text, nullable=False, comment="JSON list: what the guards saw"),
    Column("time_us", BigInteger, nullable=False),
)

log_part = Table(
    "log_part",
    metadata,
    Column("project", Text, primary_key=True),
    Column("segment", String(32), primary_key=True, comment="the segment it was made from: registered once"),
    Column("endpoint", Text, nullable=False),
    Column("object", String(64), nullable=False, info=is_object(), comment="Parquet"),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("first_id", String(32), nullable=False),
    Column("last_id", String(32), nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("lost_bytes", BigInteger, nullable=False, comment="bytes of damaged frames that were left out"),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "endpoint", "last_us"),
    Index(None, "project", "last_id"),
)

label_part = Table(
    "label_part",
    metadata,
    Column("project", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="order of arrival: the last label wins"),
    Column("object", String(64), nullable=False, info=is_object(), comment="Parquet"),
    Column("rows", BigInteger, nullable=False),
    Column("unknown", BigInteger, nullable=False, comment="ids that were not in the log when the labels came"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)
