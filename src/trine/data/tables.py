"""Tables of datasets, their commits, branches and tags, of remotes, of what people say of datasets, and of the digests
that other tools know files by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from trine.ledger import is_object, metadata

dataset = Table(
    "dataset",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", String(10), nullable=False, comment="files or table"),
    Column("description", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

data_commit = Table(
    "data_commit",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("parents", Text, nullable=False, comment="JSON list"),
    Column("branch", Text, nullable=False),
    Column("tree", String(64), nullable=False, info=is_object(opened_by="trine.data.trees:named_in")),
    Column("rows", BigInteger, nullable=True),
    Column("files", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("schema", Text, nullable=False, comment="JSON object of column types, in order"),
    Column(
        "profile",
        String(64),
        nullable=False,
        comment="or empty",
        info=is_object(opened_by="trine.data.profiles:named_in"),
    ),
    Column("checks", Text, nullable=False, comment="JSON list"),
    Column("message", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("state", String(10), nullable=False, comment="accepted or rejected"),
    Column("created_us", BigInteger, nullable=False),
    Index(None, "project", "dataset", "created_us"),
)

data_ref = Table(
    "data_ref",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", String(10), nullable=False, comment="branch or tag"),
    Column("commit", String(64), nullable=False),
    Column("updated_us", BigInteger, nullable=False),
)

data_alias = Table(
    "data_alias",
    metadata,
    Column("project", Text, primary_key=True),
    Column("algorithm", String(10), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("object", String(64), nullable=False, info=is_object()),
    Column("size_bytes", BigInteger, nullable=False),
)

data_remote = Table(
    "data_remote",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("project_there", Text, nullable=False, comment="of a workspace; or empty"),
    Column("created_us", BigInteger, nullable=False),
)

data_suite = Table(
    "data_suite",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("rules", Text, nullable=False, comment="JSON list of expectations"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

data_fact = Table(
    "data_fact",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
)
