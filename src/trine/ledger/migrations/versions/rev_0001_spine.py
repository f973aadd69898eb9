"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "about",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_about")),
        comment="facts about the workspace itself: its id, where its store is",
    )
    op.create_table(
        "access_grant",
        sa.Column("project", sa.Text(), nullable=False, comment="* is every project"),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "principal", "role", name=op.f("pk_access_grant")),
    )
    op.create_index(op.f("ix_access_grant_principal"), "access_grant", ["principal"], unique=False)
    op.create_table(
        "alert",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("monitor", sa.Text(), nullable=False),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("breaches", sa.Integer(), nullable=False),
        sa.Column("quiet", sa.Integer(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("fired_us", sa.BigInteger(), nullable=True),
        sa.Column("resolved_us", sa.BigInteger(), nullable=True),
        sa.Column("window_end_us", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("notified", sa.Integer(), nullable=False),
        sa.Column("acknowledged_by", sa.Text(), nullable=False),
        sa.Column("acknowledged_us", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("muted_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_alert")),
    )
    op.create_index(op.f("ix_alert_project_monitor"), "alert", ["project", "monitor"], unique=False)
    op.create_table(
        "alert_transition",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("alert", sa.String(length=16), nullable=False),
        sa.Column("before", sa.String(length=20), nullable=False),
        sa.Column("after", sa.String(length=20), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("notify", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_alert_transition")),
    )
    op.create_index(
        op.f("ix_alert_transition_project_alert_id"), "alert_transition", ["project", "alert", "id"], unique=False
    )
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="of operation, arguments and state"),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "state", sa.String(length=20), nullable=False, comment="pending, approved, rejected, used, void, expired"
        ),
        sa.Column("decided_by", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index(op.f("ix_approval_digest"), "approval", ["digest"], unique=False)
    op.create_index(op.f("ix_approval_project_state"), "approval", ["project", "state"], unique=False)
    op.create_table(
        "assessment",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False, comment="feedback, expectation or issue"),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "value",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="text as it is, anything else as JSON",
        ),
        sa.Column("number", sa.Double(), nullable=True, comment="the value, when it is a number"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON of the Assessment"),
        sa.Column("valid", sa.Boolean(), nullable=False, comment="no other one overrides it"),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_assessment")),
        sa.UniqueConstraint("trace", "id", name=op.f("uq_assessment_trace_id")),
    )
    op.create_index("ix_assessment_name", "assessment", ["kind", "name", "trace"], unique=False)
    op.create_table(
        "code_version",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("node", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON of the CodeVersion"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "node", name=op.f("pk_code_version")),
    )
    op.create_table(
        "cursor",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "consumer", name=op.f("pk_cursor")),
    )
    op.create_table(
        "data_alias",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.String(length=10), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "algorithm", "digest", name=op.f("pk_data_alias")),
    )
    op.create_index(op.f("ix_data_alias_project_object"), "data_alias", ["project", "object"], unique=False)
    op.create_table(
        "data_commit",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("parents", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("tree", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False, comment="JSON object of column types, in order"),
        sa.Column("profile", sa.String(length=64), nullable=False, comment="or empty"),
        sa.Column("checks", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="accepted or rejected"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "id", name=op.f("pk_data_commit")),
    )
    op.create_index(
        op.f("ix_data_commit_project_dataset_created_us"),
        "data_commit",
        ["project", "dataset", "created_us"],
        unique=False,
    )
    op.create_table(
        "data_fact",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "name", name=op.f("pk_data_fact")),
    )
    op.create_table(
        "data_header",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("file", sa.String(length=32), nullable=False, comment="half a digest of path and object"),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False, comment="JSON object of texts"),
        sa.PrimaryKeyConstraint("project", "dataset", "file", name=op.f("pk_data_header")),
    )
    op.create_table(
        "data_kept",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project", "object", name=op.f("pk_data_kept")),
        comment="files that were stored by digest (DVC, git-lfs) and stay, whatever datasets need",
    )
    op.create_table(
        "data_ref",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="branch or tag"),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "name", name=op.f("pk_data_ref")),
    )
    op.create_table(
        "data_remote",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("project_there", sa.Text(), nullable=False, comment="of a workspace; or empty"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_data_remote")),
    )
    op.create_table(
        "data_staged",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False, comment="or empty: the file goes"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("executable", sa.Boolean(), nullable=False),
        sa.Column("change", sa.String(length=32), nullable=False, comment="another one whenever the row changes"),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "branch", "path", name=op.f("pk_data_staged")),
    )
    op.create_table(
        "data_suite",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rules", sa.Text(), nullable=False, comment="JSON list of expectations"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "number", name=op.f("pk_data_suite")),
    )
    op.create_table(
        "data_upload",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False, comment="JSON object of texts"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_data_upload")),
    )
    op.create_table(
        "data_upload_part",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("upload", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "upload", "number", name=op.f("pk_data_upload_part")),
    )
    op.create_table(
        "dataset",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False, comment="files or table"),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_dataset")),
    )
    op.create_table(
        "edge",
        sa.Column("up", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("down", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("up", "kind", "down", name=op.f("pk_edge")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_edge_down_kind_up"), "edge", ["down", "kind", "up"], unique=False)
    op.create_table(
        "endpoint",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="the column that keeps a caller on one variant, or empty"),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("route", sa.Integer(), nullable=False, comment="number of the route that serves now; 0: none"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column(
            "deleted_us",
            sa.BigInteger(),
            nullable=True,
            comment="its routes and log stay; numbers go on if it is made again",
        ),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_endpoint")),
    )
    op.create_table(
        "eval_dataset",
        sa.Column(
            "id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="d- and 32 hex digits",
        ),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("experiments", sa.Text(), nullable=False, comment="JSON list of experiments' numbers"),
        sa.Column("schema", sa.Text(), nullable=False, comment="JSON: the kinds of the fields of its records"),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("changed_by", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_eval_dataset")),
    )
    op.create_index(
        op.f("ix_eval_dataset_project_created_us_id"), "eval_dataset", ["project", "created_us", "id"], unique=False
    )
    op.create_table(
        "eval_record",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("dataset", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="dr- and 32 hex digits",
        ),
        sa.Column("inputs", sa.String(length=64), nullable=False, comment="digest of its inputs"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON of the EvalRecord"),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_eval_record")),
        sa.UniqueConstraint("dataset", "inputs", name=op.f("uq_eval_record_dataset_inputs")),
    )
    op.create_index(op.f("ix_eval_record_dataset_id"), "eval_record", ["dataset", "id"], unique=False)
    op.create_table(
        "evaluation",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="name"),
        sa.Column("body", sa.String(length=64), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_evaluation")),
    )
    op.create_index(op.f("ix_evaluation_project_model_id"), "evaluation", ["project", "model", "id"], unique=False)
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_object_seq"), "event", ["object", "seq"], unique=False)
    op.create_index(op.f("ix_event_operation_seq"), "event", ["operation", "seq"], unique=False)
    op.create_table(
        "experiment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=True),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_experiment_project_name")),
    )
    op.create_table(
        "feature_definition",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "kind", "name", "version", name=op.f("pk_feature_definition")),
        sa.UniqueConstraint(
            "project", "kind", "name", "hash", name=op.f("uq_feature_definition_project_kind_name_hash")
        ),
        comment="every version of every entity, feature view and feature service, as canonical JSON",
    )
    op.create_table(
        "feature_publication",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.String(length=64), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("newest_us", sa.BigInteger(), nullable=True),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("published_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "view", "version", name=op.f("pk_feature_publication")),
        comment="the snapshot that online reads of a view version answer from",
    )
    op.create_table(
        "gate",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="name of the candidate's model"),
        sa.Column("candidate", sa.Text(), nullable=False, comment="name@version"),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_gate")),
    )
    op.create_index(op.f("ix_gate_project_model_id"), "gate", ["project", "model", "id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("arguments", sa.String(length=64), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False, comment="MessagePack"),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_time_us"), "idempotency", ["time_us"], unique=False)
    op.create_table(
        "label_part",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column(
            "number", sa.Integer(), autoincrement=False, nullable=False, comment="order of arrival: the last label wins"
        ),
        sa.Column("object", sa.String(length=64), nullable=False, comment="Parquet"),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column(
            "unknown", sa.BigInteger(), nullable=False, comment="ids that were not in the log when the labels came"
        ),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "endpoint", "number", name=op.f("pk_label_part")),
    )
    op.create_table(
        "log_part",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column(
            "segment", sa.String(length=32), nullable=False, comment="the segment it was made from: registered once"
        ),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False, comment="Parquet"),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_id", sa.String(length=32), nullable=False),
        sa.Column("last_id", sa.String(length=32), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("lost_bytes", sa.BigInteger(), nullable=False, comment="bytes of damaged frames that were left out"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "segment", name=op.f("pk_log_part")),
    )
    op.create_index(
        op.f("ix_log_part_project_endpoint_last_us"), "log_part", ["project", "endpoint", "last_us"], unique=False
    )
    op.create_index(op.f("ix_log_part_project_last_id"), "log_part", ["project", "last_id"], unique=False)
    op.create_table(
        "logged_model",
        sa.Column(
            "id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="m- and 32 hex digits",
        ),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("experiment", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "run",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="that made it, or empty",
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False, comment="pending, ready or failed"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("metrics", sa.Text(), nullable=False, comment="JSON list: the last point of each metric and dataset"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_model")),
        comment="models that runs wrote, before anybody registers them; their files are in run_artifact under their id",
    )
    op.create_index(
        op.f("ix_logged_model_project_experiment_created_us"),
        "logged_model",
        ["project", "experiment", "created_us"],
        unique=False,
    )
    op.create_index(op.f("ix_logged_model_run"), "logged_model", ["run"], unique=False)
    op.create_table(
        "loop",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False, comment="schedules are judged up to here"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_loop")),
    )
    op.create_table(
        "loop_cycle",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("loop", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column(
            "epoch", sa.Integer(), nullable=False, comment="goes up with every move: a late writer changes nothing"
        ),
        sa.Column("trigger", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("facts", sa.Text(), nullable=False, comment="JSON: pipeline run, candidate, gate, approval, rollout"),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_loop_cycle")),
    )
    op.create_index(op.f("ix_loop_cycle_project_loop_id"), "loop_cycle", ["project", "loop", "id"], unique=False)
    op.create_table(
        "metric_direction",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("better", sa.String(length=4), nullable=False, comment="less or more"),
        sa.PrimaryKeyConstraint("project", "key", name=op.f("pk_metric_direction")),
    )
    op.create_table(
        "model",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column(
            "last_version",
            sa.Integer(),
            nullable=False,
            comment="the highest number given out; a number never comes back",
        ),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Text(), nullable=False, comment="deleted, or renamed to NAME; empty: it is there"),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_model")),
    )
    op.create_table(
        "model_alias_event",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False, comment="gapless per model"),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False, comment="promoted, rolled_back or removed"),
        sa.Column("version", sa.Integer(), nullable=True, comment="what it points at from here on; null: nothing"),
        sa.Column("before", sa.Integer(), nullable=True, comment="what it pointed at"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False, comment="node, or empty"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model", "number", name=op.f("pk_model_alias_event")),
    )
    op.create_index(
        op.f("ix_model_alias_event_project_model_alias_number"),
        "model_alias_event",
        ["project", "model", "alias", "number"],
        unique=False,
    )
    op.create_table(
        "model_protection",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column(
            "gate", sa.Boolean(), nullable=False, comment="a passed gate against what the alias points at is needed"
        ),
        sa.Column("approvals", sa.Integer(), nullable=False, comment="how many others have to approve"),
        sa.Column("pickles", sa.Boolean(), nullable=False, comment="whether pickled versions may have it"),
        sa.Column("expires_s", sa.BigInteger(), nullable=False, comment="how long an approval is good"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model", "alias", name=op.f("pk_model_protection")),
    )
    op.create_table(
        "model_stage",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "position", name=op.f("pk_model_stage")),
    )
    op.create_table(
        "model_version",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("artifact", sa.String(length=64), nullable=False, comment="the manifest"),
        sa.Column("manifest", sa.Text(), nullable=False, comment="JSON, as in the object"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False, comment="node of the training data, or empty"),
        sa.Column("producer", sa.Text(), nullable=False, comment="node of the run or step that made it, or empty"),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("metrics", sa.Text(), nullable=False, comment="JSON object"),
        sa.Column("stage", sa.Text(), nullable=False, comment="one of the project's stages, or empty"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model", "version", name=op.f("pk_model_version")),
    )
    op.create_index(op.f("ix_model_version_project_artifact"), "model_version", ["project", "artifact"], unique=False)
    op.create_index(op.f("ix_model_version_project_run"), "model_version", ["project", "run"], unique=False)
    op.create_table(
        "monitor",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False, comment="canonical JSON of the Monitor"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_monitor")),
    )
    op.create_table(
        "node",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("project", "ref", name=op.f("uq_node_project_ref")),
    )
    op.create_table(
        "pipeline_run",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False, comment="digest of the code"),
        sa.Column(
            "entry",
            sa.Text(),
            nullable=False,
            comment="where the code is: file.py:name or module:name; empty: in a session",
        ),
        sa.Column("params", sa.Text(), nullable=False, comment="JSON object of documents"),
        sa.Column("graph", sa.Text(), nullable=False, comment="JSON: the steps with their arguments, and the result"),
        sa.Column("code", sa.Text(), nullable=False, comment="node of the code commit, or empty"),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column(
            "epoch", sa.Integer(), nullable=False, comment="goes up with every owner: a late writer changes nothing"
        ),
        sa.Column("owner", sa.Text(), nullable=False, comment="the process that drives the run"),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_by", sa.Text(), nullable=False, comment="who asked for it to end"),
        sa.Column("error", sa.Text(), nullable=False, comment="JSON, or empty"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_pipeline_run")),
    )
    op.create_index(
        op.f("ix_pipeline_run_project_pipeline_id"), "pipeline_run", ["project", "pipeline", "id"], unique=False
    )
    op.create_table(
        "policy",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False, comment="name or pattern with *"),
        sa.Column(
            "when_arguments",
            sa.Text(),
            nullable=False,
            comment="JSON object: arguments that must be equal for it to hold",
        ),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("expires_s", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_policy")),
    )
    op.create_table(
        "principal",
        sa.Column("name", sa.Text(), nullable=False, comment="user:ana, service:ci"),
        sa.Column("password", sa.Text(), nullable=False, comment="argon2id, or empty: no login"),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_principal")),
    )
    op.create_table(
        "rollout",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="the candidate, name@version"),
        sa.Column("canary", sa.Text(), nullable=False, comment="canonical JSON of the Canary"),
        sa.Column("baseline_route", sa.Integer(), nullable=False),
        sa.Column(
            "route", sa.Integer(), nullable=False, comment="the route of the present step, or the one it ended with"
        ),
        sa.Column("variant", sa.Text(), nullable=False, comment="the candidate's name in the routes of the steps"),
        sa.Column("state", sa.String(length=12), nullable=False, comment="running, promoted, rolled_back or aborted"),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step_us", sa.BigInteger(), nullable=False, comment="when the present step began"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_rollout")),
    )
    op.create_index(
        op.f("ix_rollout_project_endpoint_state"), "rollout", ["project", "endpoint", "state"], unique=False
    )
    op.create_table(
        "rollout_move",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("rollout", sa.String(length=32), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("route", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False, comment="JSON list: what the guards saw"),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "rollout", "epoch", name=op.f("pk_rollout_move")),
    )
    op.create_table(
        "route",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("variants", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.Column("back", sa.Integer(), nullable=False, comment="number of the route that rollback restores; 0: none"),
        sa.Column("restores", sa.Integer(), nullable=False, comment="number of the route this is a copy of; 0: none"),
        sa.Column("rollout", sa.String(length=32), nullable=False, comment="the rollout that made it, or empty"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False, comment="why a server could not take it up, or empty"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "endpoint", "number", name=op.f("pk_route")),
    )
    op.create_table(
        "run",
        sa.Column(
            "id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False, comment="32 hex digits"
        ),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("experiment", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "state",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="scheduled, running, finished, failed or killed",
        ),
        sa.Column(
            "reason",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="why it failed or was killed",
        ),
        sa.Column("parent", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("author", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("session", sa.String(length=32), nullable=False, comment="the process that keeps the run open"),
        sa.Column("code", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True, comment="node"),
        sa.Column("environment", sa.String(length=64), nullable=False, comment="or empty"),
        sa.Column("context", sa.Text(), nullable=False, comment="JSON: arguments, host, seeds"),
        sa.Column("lost", sa.BigInteger(), nullable=False, comment="points that could not be kept"),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.Column(
            "seen_us", sa.BigInteger(), nullable=True, comment="the last sign of life of the process that keeps it open"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_experiment_started_us_id"), "run", ["experiment", "started_us", "id"], unique=False)
    op.create_index(op.f("ix_run_parent"), "run", ["parent"], unique=False)
    op.create_index("ix_run_project_name", "run", ["project", "name"], unique=False)
    op.create_index(op.f("ix_run_project_started_us_id"), "run", ["project", "started_us", "id"], unique=False)
    op.create_index("ix_run_project_state", "run", ["project", "state"], unique=False)
    op.create_table(
        "run_artifact",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "path", name=op.f("pk_run_artifact")),
    )
    op.create_table(
        "run_import",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="the tool it comes from"),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="of the run's state there"),
        sa.Column("points", sa.BigInteger(), nullable=False, comment="that the run has there"),
        sa.Column("taken", sa.BigInteger(), nullable=False, comment="of them, that are here"),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_run_import")),
    )
    op.create_index(op.f("ix_run_import_project_run"), "run_import", ["project", "run"], unique=False)
    op.create_table(
        "run_input",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("digest", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "body", sa.Text(), nullable=False, comment="JSON: what its reader said of it: source, schema, profile, tags"
        ),
        sa.PrimaryKeyConstraint("run", "name", "digest", name=op.f("pk_run_input")),
        comment="data that a run said it read and that may be no dataset of ours",
    )
    op.create_table(
        "run_metric",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("nans", sa.BigInteger(), nullable=False, comment="how many of them are not a number"),
        sa.Column("first", sa.Double(), nullable=True, comment="of the least (step, time); here and below null is NaN"),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.Double(), nullable=True, comment="of the greatest (step, time)"),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("min_step", sa.BigInteger(), nullable=False),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_run_metric")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_metric_last", "run_metric", ["key", "last", "run"], unique=False)
    op.create_index("ix_run_metric_max", "run_metric", ["key", "max", "run"], unique=False)
    op.create_index("ix_run_metric_min", "run_metric", ["key", "min", "run"], unique=False)
    op.create_table(
        "run_model",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "model",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="a logged model",
        ),
        sa.Column("role", sa.String(length=6), nullable=False, comment="input or output"),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "model", "role", name=op.f("pk_run_model")),
    )
    op.create_table(
        "run_param",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("number", sa.Double(), nullable=True, comment="the value, when it is a number"),
        sa.Column(
            "head",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            sa.Computed("substr(value, 1, 100)", persisted=True),
            nullable=True,
            comment="for the index",
        ),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_run_param")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_param_head", "run_param", ["key", "head", "run"], unique=False)
    op.create_index(op.f("ix_run_param_key_number_run"), "run_param", ["key", "number", "run"], unique=False)
    op.create_table(
        "run_points",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False, comment="how many points came before"),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="columns of steps, times and values"),
        sa.PrimaryKeyConstraint("run", "key", "start", name=op.f("pk_run_points")),
    )
    op.create_table(
        "run_segment",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False, comment="the bytes of it that are in the ledger"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_segment")),
    )
    op.create_index(op.f("ix_run_segment_run"), "run_segment", ["run"], unique=False)
    op.create_table(
        "run_tag",
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("number", sa.Double(), nullable=True, comment="the value, when it is a number"),
        sa.Column(
            "head",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            sa.Computed("substr(value, 1, 100)", persisted=True),
            nullable=True,
            comment="for the index",
        ),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_run_tag")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_tag_head", "run_tag", ["key", "head", "run"], unique=False)
    op.create_index(op.f("ix_run_tag_key_number_run"), "run_tag", ["key", "number", "run"], unique=False)
    op.create_table(
        "step_run",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="the run's epoch when the step last moved"),
        sa.Column("cache_key", sa.String(length=64), nullable=False, comment="empty: cannot be cached"),
        sa.Column("parts", sa.Text(), nullable=False, comment="JSON: what the cache key is made of"),
        sa.Column("outputs", sa.Text(), nullable=False, comment="JSON list of stored values"),
        sa.Column("uses", sa.Text(), nullable=False, comment="JSON list of nodes"),
        sa.Column(
            "resolved",
            sa.Text(),
            nullable=False,
            comment="JSON object: names that were asked for, and what they stood for",
        ),
        sa.Column("hit", sa.Text(), nullable=False, comment="node of the step run whose outputs these are, or empty"),
        sa.Column("reason", sa.Text(), nullable=False, comment="why it was no hit"),
        sa.Column("error", sa.Text(), nullable=False, comment="JSON, or empty"),
        sa.Column("log", sa.Text(), nullable=False, comment="a short log itself"),
        sa.Column("log_object", sa.String(length=64), nullable=False, comment="of a long log, or empty"),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("duration_us", sa.BigInteger(), nullable=True, comment="of the last attempt"),
        sa.Column("retry_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("project", "run", "key", name=op.f("pk_step_run")),
    )
    op.create_index(op.f("ix_step_run_project_cache_key"), "step_run", ["project", "cache_key"], unique=False)
    op.create_index(op.f("ix_step_run_project_key_ended_us"), "step_run", ["project", "key", "ended_us"], unique=False)
    op.create_table(
        "sweep_entry",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("sweep", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False, comment="gapless, from 0"),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON: one entry of the sampler's journal"),
        sa.PrimaryKeyConstraint("project", "sweep", "number", name=op.f("pk_sweep_entry")),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False, comment="SHA-256 of the secret part"),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False, comment="* is every project"),
        sa.Column("scopes", sa.Text(), nullable=False, comment="JSON list of permission patterns"),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.Column("signs", sa.Boolean(), nullable=False, comment="whether it is a key pair too"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
    )
    op.create_index(op.f("ix_token_principal"), "token", ["principal"], unique=False)
    op.create_table(
        "trace",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column(
            "id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False, comment="32 hex digits"
        ),
        sa.Column("experiment", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False, comment="running, ok, error or unknown"),
        sa.Column("told", sa.Boolean(), nullable=False, comment="its client said what it is: spans do not change that"),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=True),
        sa.Column(
            "request",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="the beginning of what was asked",
        ),
        sa.Column("response", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("client_request", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("session", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("user", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("spans", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, comment="of its spans as they are kept"),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_trace")),
        sa.UniqueConstraint("project", "id", name=op.f("uq_trace_project_id")),
    )
    op.create_index(
        op.f("ix_trace_experiment_started_us_row"), "trace", ["experiment", "started_us", "row"], unique=False
    )
    op.create_index(op.f("ix_trace_project_started_us_row"), "trace", ["project", "started_us", "row"], unique=False)
    op.create_index("ix_trace_session", "trace", ["project", "session"], unique=False)
    op.create_table(
        "trace_file",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "path", name=op.f("pk_trace_file")),
        comment="what spans refer to: images, sound",
    )
    op.create_table(
        "trace_part",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False, comment="or empty: then it is in data"),
        sa.Column("data", sa.LargeBinary(), nullable=True, comment="packed spans"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trace", "number", name=op.f("pk_trace_part")),
    )
    op.create_table(
        "trace_run",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("run", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("trace", "run", name=op.f("pk_trace_run")),
    )
    op.create_index(op.f("ix_trace_run_run"), "trace_run", ["run"], unique=False)
    op.create_table(
        "trace_span",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("parent", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("type", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column(
            "model",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            comment="the language model",
        ),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_trace_span")),
        comment="what searches and sums ask of spans",
    )
    op.create_table(
        "trace_text",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False, comment="tag or metadata"),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("number", sa.Double(), nullable=True, comment="the value, when it is a number"),
        sa.Column(
            "head",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            sa.Computed("substr(value, 1, 100)", persisted=True),
            nullable=True,
            comment="for the index",
        ),
        sa.PrimaryKeyConstraint("trace", "kind", "key", name=op.f("pk_trace_text")),
    )
    op.create_index("ix_trace_text_head", "trace_text", ["kind", "key", "head", "trace"], unique=False)
    op.create_table(
        "verdict",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("monitor", sa.Text(), nullable=False),
        sa.Column("window_start_us", sa.BigInteger(), nullable=False),
        sa.Column("window_end_us", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="canonical JSON of the Verdict"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_verdict")),
    )
    op.create_index(
        op.f("ix_verdict_project_monitor_window_end_us_id"),
        "verdict",
        ["project", "monitor", "window_end_us", "id"],
        unique=False,
    )
    op.create_table(
        "webhook",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False, comment="JSON list of operations or patterns with *"),
        sa.Column("secret", sa.Text(), nullable=False, comment="what deliveries are signed with"),
        sa.Column("allow_private", sa.Boolean(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the last event that was looked at"),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_webhook")),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the event"),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False, comment="pending, delivered or given up"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "next_us",
            sa.BigInteger(),
            nullable=False,
            comment="not before; while it is under way: when another may try",
        ),
        sa.Column("status", sa.Integer(), nullable=False, comment="of the last answer; 0: there was none"),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("done_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index(
        op.f("ix_webhook_delivery_project_webhook_id"), "webhook_delivery", ["project", "webhook", "id"], unique=False
    )
    op.create_index(op.f("ix_webhook_delivery_state_next_us"), "webhook_delivery", ["state", "next_us"], unique=False)
