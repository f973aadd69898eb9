"""Tables of registered models, their versions, the events of their aliases, what protects those, and stages."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from trine.ledger import is_object, metadata

model = Table(
    "model",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False, comment="JSON object"),
    Column("last_version", Integer, nullable=False, comment="the highest number given out; a number never comes back"),
    Column("created_us", BigInteger, nullable=False),
    Column("gone", Text, nullable=False, default="", comment="deleted, or renamed to NAME; empty: it is there"),
)

model_version = Table(
    "model_version",
    metadata,
    Column("project", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column(
        "artifact",
        String(64),
        nullable=False,
        info=is_object(opened_by="trine.models.artifact:named_in"),
        comment="the manifest",
    ),
    Column("manifest", Text, nullable=False, comment="JSON, as in the object"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("run", Text, nullable=False),
    Column("data", Text, nullable=False, comment="node of the training data, or empty"),
    Column("producer", Text, nullable=False, comment="node of the run or step that made it, or empty"),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False, comment="JSON object"),
    Column("metrics", Text, nullable=False, comment="JSON object"),
    Column("stage", Text, nullable=False, default="", comment="one of the project's stages, or empty"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "artifact"),
    Index(None, "project", "run"),
)

model_alias_event = Table(
    "model_alias_event",
    metadata,
    Column("project", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="gapless per model"),
    Column("alias", Text, nullable=False),
    Column("kind", String(20), nullable=False, comment="promoted, rolled_back or removed"),
    Column("version", Integer, nullable=True, comment="what it points at from here on; null: nothing"),
    Column("before", Integer, nullable=True, comment="what it pointed at"),
    Column("reason", Text, nullable=False),
    Column("gate", Text, nullable=False, comment="node, or empty"),
    Column("author", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "project", "model", "alias", "number"),
)

model_protection = Table(
    "model_protection",
    metadata,
    Column("project", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("gate", Boolean, nullable=False, comment="a passed gate against what the alias points at is needed"),
    Column("approvals", Integer, nullable=False, comment="how many others have to approve"),
    Column("pickles", Boolean, nullable=False, comment="whether pickled versions may have it"),
    Column("expires_s", BigInteger, nullable=False, comment="how long an approval is good"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

model_stage = Table(
    "model_stage",
    metadata,
    Column("project", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
)
