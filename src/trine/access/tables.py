"""Tables of principals, grants, tokens, policies, approvals and webhooks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from trine.ledger import metadata

principal = Table(
    "principal",
    metadata,
    Column("name", Text, primary_key=True, comment="user:ana, service:ci"),
    Column("password", Text, nullable=False, comment="argon2id, or empty: no login"),
    Column("disabled", Boolean, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

access_grant = Table(
    "access_grant",
    metadata,
    Column("project", Text, primary_key=True, comment="* is every project"),
    Column("principal", Text, primary_key=True),
    Column("role", String(20), primary_key=True),
    Column("time_us", BigInteger, nullable=False),
    Index(None, "principal"),
)

token = Table(
    "token",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("hash", String(64), nullable=False, comment="SHA-256 of the secret part"),
    Column("principal", Text, nullable=False),
    Column("project", Text, nullable=False, comment="* is every project"),
    Column("scopes", Text, nullable=False, comment="JSON list of permission patterns"),
    Column("description", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=True),
    Column("revoked_us", BigInteger, nullable=True),
    Column("signs", Boolean, nullable=False, comment="whether it is a key pair too"),
    Index(None, "principal"),
)

policy = Table(
    "policy",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("operation", Text, nullable=False, comment="name or pattern with *"),
    Column(
        "when_arguments",
        Text,
        nullable=False,
        comment="JSON object: arguments that must be equal for it to hold",
    ),
    Column("approvals", Integer, nullable=False),
    Column("expires_s", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

approval = Table(
    "approval",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("project", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("digest", String(64), nullable=False, comment="of operation, arguments and state"),
    Column("requester", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", String(20), nullable=False, comment="pending, approved, rejected, used, void, expired"),
    Column("decided_by", Text, nullable=False, comment="JSON list"),
    Column("needed", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger, nullable=True),
    Index(None, "project", "state"),
    Index(None, "digest"),
)

webhook = Table(
    "webhook",
    metadata,
    Column("project", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False, comment="JSON list of operations or patterns with *"),
    Column("secret", Text, nullable=False, comment="what deliveries are signed with"),
    Column("allow_private", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="the last event that was looked at"),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("project", Text, nullable=False),
    Column("webhook", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="the event"),
    Column("operation", Text, nullable=False),
    Column("state", String(20), nullable=False, comment="pending, delivered or given up"),
    Column("attempts", Integer, nullable=False),
    Column("next_us", BigInteger, nullable=False, comment="not before; while it is under way: when another may try"),
    Column("status", Integer, nullable=False, comment="of the last answer; 0: there was none"),
    Column("error", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("done_us", BigInteger, nullable=True),
    Index(None, "state", "next_us"),
    Index(None, "project", "webhook", "id"),
)
