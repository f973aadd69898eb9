"""MLflow's tracking database, as its schema has been since 1.12; what younger versions added is read where it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from trine.errors import InvalidInput, NotFound
from trine.tracking.importers.mlflow import INFINITE, MODEL_STATES, is_model_id, made_run, metric_columns, stage_of
from trine.tracking.importers.mlflow_artifacts import Artifacts
from trine.tracking.importers.source import (
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceModelFiles,
    SourceRun,
    SourceVersion,
    run_id,
)
from trine.tracking.logged_models import ModelMetric, RunInput
from trine.tracking.series import Points

Row = dict[str, Any]

TOGETHER = 200
"""Runs whose params and tags are read at once."""


class Database:
    """Runs and registry of a database; read only."""

    kind = "mlflow"

    def __init__(self, url: str, artifacts: str) -> None:
        made = sa.make_url(url)
        self.location = made.render_as_string(hide_password=True)
        base = Path.cwd()
        if made.get_backend_name() == "sqlite":
            path = Path(made.database or "").expanduser().resolve()
            if not path.is_file():
                raise NotFound(f"There is no database {path}.")
            base, made = path.parent, sa.make_url(f"sqlite:///file:{path}?mode=ro&uri=true")
        else:
            made = made.set(drivername="postgresql+psycopg")
        try:
            self.engine = sa.create_engine(made, poolclass=NullPool)
            with self.engine.connect():
                self.tables = set(sa.inspect(self.engine).get_table_names())
        except ModuleNotFoundError:
            raise InvalidInput("Reading PostgreSQL needs psycopg: pip install 'trine[postgres]'.") from None
        except DBAPIError as error:
            raise NotFound(f"{self.location} cannot be read: {str(error.orig).strip().splitlines()[0]}.") from None
        if not {"experiments", "runs", "metrics"} <= self.tables:
            raise NotFound(f"{self.location} is no tracking database of MLflow: it has no table of runs.")
        self.artifacts = Artifacts(base, artifacts)

    def _rows(self, connection: sa.Connection, table: str, more: str = "", **values: Any) -> list[Row]:
        if table not in self.tables:
            return []
        return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table} {more}"), values).mappings()]

    # -- runs -----------------------------------------------------------------------------------------------------------

    def experiments(self) -> Iterator[SourceExperiment]:
        """Experiments, deleted ones too."""
        with self.engine.connect() as connection:
            tags: dict[int, dict[str, str]] = {}
            for row in self._rows(connection, "experiment_tags"):
                tags.setdefault(row["experiment_id"], {})[row["key"]] = row["value"] or ""
            for row in self._rows(connection, "experiments", "ORDER BY experiment_id"):
                yield SourceExperiment(
                    name=_within(row, "/"),
                    tags=tags.get(row["experiment_id"], {}),
                    created_us=int(row.get("creation_time") or 0) * 1_000,
                    hidden=row["lifecycle_stage"] == "deleted",
                )

    def runs(self) -> Iterator[SourceRun]:
        """Runs by start, then id."""
        with self.engine.connect() as connection:
            titles = {row["experiment_id"]: _within(row, "/") for row in self._rows(connection, "experiments")}
            rows = self._rows(connection, "runs", "ORDER BY start_time, run_uuid")
            ids = {row["run_uuid"]: run_id("mlflow", row["run_uuid"]) for row in rows}
            logged: dict[str, list[Row]] = {}
            for one in self._rows(connection, "logged_models", "ORDER BY creation_timestamp_ms, model_id"):
                logged.setdefault(one["source_run_id"] or "", []).append(one)
            for first in range(0, len(rows), TOGETHER):
                some = rows[first : first + TOGETHER]
                params, tags = (self._texts(connection, table, some) for table in ("params", "tags"))
                for row in some:
                    id, title = row["run_uuid"], titles[row["experiment_id"]]
                    texts = params.get(id, {}), tags.get(id, {})
                    yield self._run(connection, row, title, ids, texts, logged.get(id, []))

    def _texts(self, connection: sa.Connection, table: str, runs: list[Row]) -> dict[str, dict[str, str]]:
        """Params or tags by run."""
        query = sa.text(f"SELECT run_uuid, key, value FROM {table} WHERE run_uuid IN :ids")
        wanted = query.bindparams(sa.bindparam("ids", expanding=True))
        found: dict[str, dict[str, str]] = {}
        for id, key, value in connection.execute(wanted, {"ids": [row["run_uuid"] for row in runs]}).all():
            found.setdefault(id, {})[key] = value or ""
        return found

    def _run(
        self,
        connection: sa.Connection,
        row: Row,
        experiment: str,
        ids: dict[str, str],
        texts: tuple[dict[str, str], dict[str, str]],
        logged: list[Row],
    ) -> SourceRun:
        id, (params, tags) = row["run_uuid"], texts
        problems: list[str] = []
        files = self._files(row["artifact_uri"], "", problems) if row["artifact_uri"] else []
        return made_run(
            id=id,
            name=row.get("name") or "",
            status=row["status"],
            experiment=experiment,
            start_ms=row["start_time"],
            end_ms=row["end_time"],
            user=row["user_id"] or "",
            hidden=row["lifecycle_stage"] == "deleted",
            tags=tags,
            ids=ids,
            params=params,
            points=self._points(connection, id),
            files=files,
            inputs=self._inputs(connection, id),
            models=[self._logged(connection, one, problems) for one in logged if is_model_id(one["model_id"])],
            problems=problems,
        )

    def _files(self, uri: str, prefix: str, problems: list[str]) -> list[SourceFile]:
        try:
            return self.artifacts.files(uri, prefix)
        except NotFound as error:
            problems.append(error.message)
            return []

    def _points(self, connection: sa.Connection, id: str) -> dict[str, Points]:
        """The points of a run, fetched by the driver itself: there may be millions."""
        cursor: Any = connection.connection.cursor()
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        query = f"SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = {mark}"
        cursor.execute(f"{query} ORDER BY key, timestamp, step, value", (id,))
        rows = cursor.fetchall()
        cursor.close()
        return metric_columns(rows)

    def _inputs(self, connection: sa.Connection, id: str) -> list[RunInput]:
        if not {"inputs", "datasets"} <= self.tables:
            return []
        query = (
            "SELECT d.*, i.input_uuid FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
            "WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = :id ORDER BY name, digest"
        )
        found: list[RunInput] = []
        for row in connection.execute(sa.text(query), {"id": id}).mappings().all():
            tags = self._rows(connection, "input_tags", "WHERE input_uuid = :id", id=row["input_uuid"])
            found.append(
                RunInput(
                    name=row["name"],
                    digest=row["digest"],
                    source_type=row["dataset_source_type"] or "",
                    source=row["dataset_source"] or "",
                    schema=row["dataset_schema"] or "",
                    profile=row["dataset_profile"] or "",
                    tags={one["name"]: one["value"] or "" for one in tags},
                )
            )
        return found

    def _logged(self, connection: sa.Connection, one: Row, problems: list[str]) -> SourceModelFiles:
        """A model that a run wrote (MLflow 3)."""
        id = one["model_id"]

        def mine(table: str) -> list[Row]:
            return self._rows(connection, table, "WHERE model_id = :id", id=id)

        metrics = {
            row["metric_name"]: ModelMetric(
                row["metric_name"],
                row["metric_value"],
                row["metric_timestamp_ms"] * 1_000,
                row["metric_step"],
                row["run_id"],
                row["dataset_name"] or "",
                row["dataset_digest"] or "",
            )
            for row in sorted(mine("logged_model_metrics"), key=lambda row: row["metric_timestamp_ms"])
            if row["metric_value"] is not None and abs(row["metric_value"]) < INFINITE
        }
        return SourceModelFiles(
            id=id,
            name=one["name"],
            kind=one["model_type"] or "",
            state=MODEL_STATES.get(one["status"], "ready"),
            params={row["param_key"]: row["param_value"] for row in mine("logged_model_params")},
            tags={row["tag_key"]: row["tag_value"] for row in mine("logged_model_tags")},
            metrics=list(metrics.values()),
            created_us=one["creation_timestamp_ms"] * 1_000,
            updated_us=one["last_updated_timestamp_ms"] * 1_000,
            files=self._files(one["artifact_location"], "", problems),
        )

    # -- registry -------------------------------------------------------------------------------------------------------

    def models(self) -> Iterator[SourceModel]:
        """Registered models by name."""
        with self.engine.connect() as connection:
            roots = {row["run_uuid"]: row["artifact_uri"] for row in self._rows(connection, "runs")}
            logged = {row["model_id"]: row["artifact_location"] for row in self._rows(connection, "logged_models")}
            for row in self._rows(connection, "registered_models", "ORDER BY name"):
                yield self._model(connection, row, roots, logged)

    def _model(self, connection: sa.Connection, row: Row, roots: dict[str, str], logged: dict[str, str]) -> SourceModel:
        def mine(table: str) -> list[Row]:
            found = self._rows(connection, table, "WHERE name = :name", name=row["name"])
            return [one for one in found if one.get("workspace") == row.get("workspace")]

        tags: dict[int, dict[str, str]] = {}
        for one in mine("model_version_tags"):
            tags.setdefault(one["version"], {})[one["key"]] = one["value"] or ""
        versions: list[SourceVersion] = []
        for one in sorted(mine("model_versions"), key=lambda one: one["version"]):
            if one["current_stage"] == "Deleted_Internal":  # how MLflow deletes a version
                continue
            problems: list[str] = []
            place = one.get("storage_location") or _place(one["source"] or "", roots, logged)
            is_prompt = "mlflow.prompt.is_prompt" in tags.get(one["version"], {})
            versions.append(
                SourceVersion(
                    version=one["version"],
                    created_us=int(one["creation_time"] or 0) * 1_000,
                    updated_us=int(one["last_updated_time"] or one["creation_time"] or 0) * 1_000,
                    run=run_id("mlflow", one["run_id"]) if one["run_id"] else "",
                    author=one["user_id"] or "",
                    description=one["description"] or "",
                    stage=stage_of(one["current_stage"]),
                    tags=tags.get(one["version"], {}),
                    files=self._files(place, "", problems) if place and not is_prompt else [],
                    problems=problems,
                )
            )
        return SourceModel(
            name=_within(row, "."),
            created_us=int(row["creation_time"] or 0) * 1_000,
            description=row["description"] or "",
            tags={one["key"]: one["value"] or "" for one in mine("registered_model_tags")},
            aliases={one["alias"]: int(one["version"]) for one in mine("registered_model_aliases")},
            versions=versions,
        )


def _within(row: Row, between: str) -> str:
    """The name of an experiment or model; that of another than MLflow's default workspace before it."""
    workspace = row.get("workspace") or "default"
    return row["name"] if workspace == "default" else f"{workspace}{between}{row['name']}"


def _place(source: str, roots: dict[str, str], logged: dict[str, str]) -> str:
    """The URI of a version's files."""
    scheme, _, path = source.partition(":/")
    name, _, rest = path.lstrip("/").partition("/")
    if scheme == "models" and name in logged:
        return logged[name]
    if scheme == "runs" and name in roots:
        return f"{roots[name].rstrip('/')}/{rest}"
    return source
