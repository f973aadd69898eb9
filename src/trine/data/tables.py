"""Tables of datasets, their commits, branches and tags, what is staged on branches, of remotes, of what people say of
datasets, and of the digests that other tools know files by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from trine.ledger import is_object, metadata, tells_of_object

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

Exact = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is ordered by code point on both databases, as trees are."""

data_alias = Table(
    "data_alias",
    metadata,
    Column("project", Text, primary_key=True),
    Column("algorithm", String(10), primary_key=True),
    Column("digest", String(64), primary_key=True, info=tells_of_object()),
    Column("object", String(64), nullable=False, info=tells_of_object()),
    Column("size_bytes", BigInteger, nullable=False),
    Index(None, "project", "object"),
)

data_kept = Table(
    "data_kept",
    metadata,
    Column("project", Text, primary_key=True),
    Column("object", String(64), primary_key=True, info=is_object()),
    comment="files that were stored by digest (DVC, git-lfs) and stay, whatever datasets need",
)

data_staged = Table(
    "data_staged",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("branch", Text, primary_key=True),
    Column("path", Exact, primary_key=True),
    Column("object", String(64), nullable=False, comment="or empty: the file goes", info=is_object()),
    Column("size_bytes", BigInteger, nullable=False),
    Column("executable", Boolean, nullable=False),
    Column("change", String(32), nullable=False, comment="another one whenever the row changes"),
    Column("changed_us", BigInteger, nullable=False),
)

data_header = Table(
    "data_header",
    metadata,
    Column("project", Text, primary_key=True),
    Column("dataset", Text, primary_key=True),
    Column("file", String(32), primary_key=True, comment="half a digest of path and object"),
    Column("content_type", Text, nullable=False),
    Column("metadata", Text, nullable=False, comment="JSON object of texts"),
)

data_upload = Table(
    "data_upload",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("branch", Text, nullable=False),
    Column("path", Exact, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("metadata", Text, nullable=False, comment="JSON object of texts"),
    Column("created_us", BigInteger, nullable=False),
)

data_upload_part = Table(
    "data_upload_part",
    metadata,
    Column("project", Text, primary_key=True),
    Column("upload", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("object", String(64), nullable=False, info=is_object()),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("changed_us", BigInteger, nullable=False),
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
