"""Tables of traces, their spans and assessments, and of evaluation datasets.

What a search asks of spans is in rows; their whole content is packed, in the row of a part when it is small, else as an object.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Computed, Double, Index, LargeBinary, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

from trine.ledger import RowId, is_object, metadata
from trine.tracking.tables import Exact

trace = Table(
    "trace",
    metadata,
    Column("row", RowId, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("id", Exact, nullable=False, comment="32 hex digits"),
    Column("experiment", RowId, nullable=False),
    Column("name", Exact, nullable=False),
    Column("state", String(8), nullable=False, comment="running, ok, error or unknown"),
    Column("told", Boolean, nullable=False, comment="its client said what it is: spans do not change that"),
    Column("started_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=True),
    Column("request", Exact, nullable=False, comment="the beginning of what was asked"),
    Column("response", Exact, nullable=False),
    Column("client_request", Exact, nullable=False),
    Column("session", Exact, nullable=False),
    Column("user", Exact, nullable=False),
    Column("spans", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, comment="of its spans as they are kept"),
    Column("input_tokens", BigInteger, nullable=True),
    Column("output_tokens", BigInteger, nullable=True),
    Column("total_tokens", BigInteger, nullable=True),
    Column("cost", Double, nullable=True),
    Column("created_us", BigInteger, nullable=False),
    Unique("project", "id"),
    Index(None, "project", "started_us", "row"),
    Index(None, "experiment", "started_us", "row"),
    Index("ix_trace_session", "project", "session"),
)

trace_text = Table(
    "trace_text",
    metadata,
    Column("trace", RowId, primary_key=True, autoincrement=False),
    Column("kind", String(8), primary_key=True, comment="tag or metadata"),
    Column("key", Exact, primary_key=True),
    Column("value", Exact, nullable=False),
    Column("number", Double, nullable=True, comment="the value, when it is a number"),
    Column("head", Exact, Computed("substr(value, 1, 100)", persisted=True), comment="for the index"),
    Index("ix_trace_text_head", "kind", "key", "head", "trace"),
)

trace_span = Table(
    "trace_span",
    metadata,
    Column("trace", RowId, primary_key=True, autoincrement=False),
    Column("id", String(16), primary_key=True),
    Column("parent", String(16), nullable=False),
    Column("name", Exact, nullable=False),
    Column("type", Exact, nullable=False),
    Column("state", String(8), nullable=False),
    Column("model", Exact, nullable=False, comment="the language model"),
    Column("started_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=True),
    Column("input_tokens", BigInteger, nullable=True),
    Column("output_tokens", BigInteger, nullable=True),
    Column("total_tokens", BigInteger, nullable=True),
    Column("cost", Double, nullable=True),
    comment="what searches and sums ask of spans",
)

trace_part = Table(
    "trace_part",
    metadata,
    Column("trace", RowId, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("object", String(64), nullable=False, info=is_object(), comment="or empty: then it is in data"),
    Column("data", LargeBinary, nullable=True, comment="packed spans"),
    Column("size_bytes", BigInteger, nullable=False),
)

trace_file = Table(
    "trace_file",
    metadata,
    Column("trace", RowId, primary_key=True, autoincrement=False),
    Column("path", Exact, primary_key=True),
    Column("object", String(64), nullable=False, info=is_object()),
    Column("size_bytes", BigInteger, nullable=False),
    comment="what spans refer to: images, sound",
)

trace_run = Table(
    "trace_run",
    metadata,
    Column("trace", RowId, primary_key=True, autoincrement=False),
    Column("run", Exact, primary_key=True),
    Index(None, "run"),
)

assessment = Table(
    "assessment",
    metadata,
    Column("row", RowId, primary_key=True, autoincrement=True),
    Column("trace", RowId, nullable=False),
    Column("id", Exact, nullable=False),
    Column("kind", String(12), nullable=False, comment="feedback, expectation or issue"),
    Column("name", Exact, nullable=False),
    Column("value", Exact, nullable=False, comment="text as it is, anything else as JSON"),
    Column("number", Double, nullable=True, comment="the value, when it is a number"),
    Column("body", Text, nullable=False, comment="JSON of the Assessment"),
    Column("valid", Boolean, nullable=False, comment="no other one overrides it"),
    Unique("trace", "id"),
    Index("ix_assessment_name", "kind", "name", "trace"),
)

eval_dataset = Table(
    "eval_dataset",
    metadata,
    Column("id", Exact, primary_key=True, comment="d- and 32 hex digits"),
    Column("project", Text, nullable=False),
    Column("name", Exact, nullable=False),
    Column("tags", Text, nullable=False, comment="JSON object"),
    Column("experiments", Text, nullable=False, comment="JSON list of experiments' numbers"),
    Column("schema", Text, nullable=False, comment="JSON: the kinds of the fields of its records"),
    Column("records", BigInteger, nullable=False),
    Column("author", Exact, nullable=False),
    Column("changed_by", Exact, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index(None, "project", "created_us", "id"),
)

eval_record = Table(
    "eval_record",
    metadata,
    Column("row", RowId, primary_key=True, autoincrement=True),
    Column("dataset", Exact, nullable=False),
    Column("id", Exact, nullable=False, comment="dr- and 32 hex digits"),
    Column("inputs", String(64), nullable=False, comment="digest of its inputs"),
    Column("body", Text, nullable=False, comment="JSON of the EvalRecord"),
    Unique("dataset", "inputs"),
    Index(None, "dataset", "id"),
)
