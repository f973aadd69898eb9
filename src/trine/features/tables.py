"""The feature room's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, UniqueConstraint

from trine.ledger import is_object, metadata

definition = Table(
    "feature_definition",
    metadata,
    Column("project", Text, primary_key=True),
    Column("kind", String(10), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    UniqueConstraint("project", "kind", "name", "hash"),
    comment="every version of every entity, feature view and feature service, as canonical JSON",
)

publication = Table(
    "feature_publication",
    metadata,
    Column("project", Text, primary_key=True),
    Column("view", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("snapshot", String(64), nullable=False, info=is_object(opened_by="trine.features.online_store:named_in")),
    Column("header", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("newest_us", BigInteger),
    Column("until_us", BigInteger, nullable=False),
    Column("published_us", BigInteger, nullable=False),
    comment="the snapshot that online reads of a view version answer from",
)
