"""MLflow's `mlruns` folder: a folder a run, a file a param, tag and metric; the registry below `models`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trine.errors import NotFound
from trine.tracking.importers.mlflow import BY_NUMBER, MODEL_STATES, is_model_id, made_run, stage_of
from trine.tracking.importers.mlflow_artifacts import Artifacts
from trine.tracking.importers.source import (
    SourceExperiment,
    SourceFile,
    SourceModel,
    SourceModelFiles,
    SourceRun,
    SourceVersion,
    columns,
    files_of,
    run_id,
)
from trine.tracking.logged_models import RunInput
from trine.tracking.series import Points

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_APART = {"datasets", "models", "tags", "traces"}
"""Folders of an experiment that are no runs."""


class Folder:
    """Runs and registry of an `mlruns` folder."""

    kind = "mlflow"

    def __init__(self, folder: Path, artifacts: str) -> None:
        self.folder = folder
        self.location = str(folder)
        self.artifacts = Artifacts(folder.parent, artifacts)

    # -- runs -----------------------------------------------------------------------------------------------------------

    def experiments(self) -> Iterator[SourceExperiment]:
        """Experiments, deleted ones too."""
        for about in sorted([*self.folder.glob("*/meta.yaml"), *self.folder.glob(".trash/*/meta.yaml")]):
            if about.parent.name != "models":
                meta = _meta(about)
                yield SourceExperiment(
                    name=str(meta.get("name", about.parent.name)),
                    tags=_texts(about.parent / "tags"),
                    created_us=int(meta.get("creation_time") or 0) * 1_000,
                    hidden=meta.get("lifecycle_stage") == "deleted",
                )

    def runs(self) -> Iterator[SourceRun]:
        """Runs by experiment and folder; those of deleted experiments too."""
        found: list[tuple[Path, dict[str, Any], bool]] = []
        for about in sorted([*self.folder.glob("*/meta.yaml"), *self.folder.glob(".trash/*/meta.yaml")]):
            if about.parent.name != "models":
                meta = _meta(about)
                found.append((about.parent, meta, meta.get("lifecycle_stage") == "deleted"))
        ids: dict[str, str] = {}
        for experiment, _, _ in found:
            for run in _runs_in(experiment):
                ids[run.name] = run_id("mlflow", run.name)
        for experiment, meta, hidden in found:
            logged = _logged_models(experiment)
            for run in _runs_in(experiment):
                yield self._run(run, str(meta.get("name", experiment.name)), hidden, ids, logged.get(run.name, []))

    def _run(
        self, folder: Path, experiment: str, hidden: bool, ids: dict[str, str], logged: list[dict[str, Any]]
    ) -> SourceRun:
        meta = _meta(folder / "meta.yaml")
        problems: list[str] = []
        files = files_of(folder / "artifacts")
        if not files and meta.get("artifact_uri"):
            files = self._files(str(meta["artifact_uri"]), "", problems)
        points: dict[str, Points] = {}
        for key, path in _entries(folder / "metrics"):
            try:
                points[key] = _points(path.read_text())
            except ValueError as error:
                problems.append(f'run {folder.name}: metric "{key}" cannot be read: {error}.')
        status = meta.get("status")
        return made_run(
            id=folder.name,
            name=str(meta.get("run_name") or meta.get("name") or ""),
            status=BY_NUMBER[status] if isinstance(status, int) and status < len(BY_NUMBER) else str(status),
            experiment=experiment,
            start_ms=meta.get("start_time"),
            end_ms=meta.get("end_time"),
            user=str(meta.get("user_id") or ""),
            hidden=hidden or meta.get("lifecycle_stage") == "deleted",
            tags=_texts(folder / "tags"),
            ids=ids,
            params=_texts(folder / "params"),
            points=points,
            files=files,
            inputs=_inputs(folder),
            models=[_logged(one) for one in logged if is_model_id(one["model_id"])],
            problems=problems,
        )

    def _files(self, uri: str, prefix: str, problems: list[str]) -> list[SourceFile]:
        try:
            return self.artifacts.files(uri, prefix)
        except NotFound as error:
            problems.append(error.message)
            return []

    # -- registry -------------------------------------------------------------------------------------------------------

    def models(self) -> Iterator[SourceModel]:
        """Registered models by name."""
        logged = {path.parent.name: path.parent / "artifacts" for path in self.folder.glob("*/models/*/meta.yaml")}
        runs = {path.parent.name: path.parent for path in self.folder.glob("*/*/meta.yaml")}
        for about in sorted(self.folder.glob("models/*/meta.yaml")):
            meta, folder = _meta(about), about.parent
            aliases: dict[str, Any] = {key: path.read_text() for key, path in _entries(folder / "aliases")}
            aliases |= meta.get("aliases") or {}
            versions = [self._version(path, logged, runs) for path in folder.glob("version-*/meta.yaml")]
            yield SourceModel(
                name=str(meta["name"]),
                created_us=int(meta.get("creation_timestamp") or 0) * 1_000,
                description=meta.get("description") or "",
                tags=_texts(folder / "tags"),
                aliases={alias: int(version) for alias, version in aliases.items()},
                versions=sorted((one for one in versions if one), key=lambda one: one.version),
            )

    def _version(self, about: Path, logged: dict[str, Path], runs: dict[str, Path]) -> SourceVersion | None:
        meta = _meta(about)
        if meta.get("current_stage") == "Deleted_Internal":
            return None
        tags = _texts(about.parent / "tags")
        problems: list[str] = []
        files: list[SourceFile] = []
        if "mlflow.prompt.is_prompt" not in tags:
            source = str(meta.get("source") or "")
            name, _, rest = source.partition(":/")[2].lstrip("/").partition("/")
            folder = logged.get(str(meta.get("model_id") or name))
            if folder is None and source.startswith("runs:/") and name in runs:
                folder = runs[name] / "artifacts" / rest
            place = str(meta.get("storage_location") or source)
            files = files_of(folder) if folder else self._files(place, "", problems)
        created = int(meta.get("creation_timestamp") or 0)
        return SourceVersion(
            version=int(meta["version"]),
            created_us=created * 1_000,
            updated_us=int(meta.get("last_updated_timestamp") or created) * 1_000,
            run=run_id("mlflow", meta["run_id"]) if meta.get("run_id") else "",
            author=meta.get("user_id") or "",
            description=meta.get("description") or "",
            stage=stage_of(meta.get("current_stage")),
            tags=tags,
            files=files,
            problems=problems,
        )


def _meta(path: Path) -> dict[str, Any]:
    """A meta.yaml. Raises NotFound naming one that cannot be read."""
    try:
        found = yaml.load(path.read_text(), _LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise NotFound(f"{path} cannot be read: {error}.") from None
    return found if isinstance(found, dict) else {}


def _runs_in(experiment: Path) -> list[Path]:
    return sorted(path.parent for path in experiment.glob("*/meta.yaml") if path.parent.name not in _APART)


def _logged_models(experiment: Path) -> dict[str, list[dict[str, Any]]]:
    """Logged models by the run that made them, oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    models: list[dict[str, Any]] = [
        {**_meta(path), "folder": path.parent} for path in experiment.glob("models/*/meta.yaml")
    ]
    for one in sorted(models, key=lambda one: (one.get("creation_timestamp") or 0, one["model_id"])):
        found.setdefault(one.get("source_run_id") or "", []).append(one)
    return found


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """Files by key; a key with slashes is a path."""
    return [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def _texts(folder: Path) -> dict[str, str]:
    return {key: path.read_bytes().decode(errors="replace").rstrip("\n") for key, path in _entries(folder)}


def _points(text: str) -> Points:
    """Lines of `milliseconds value step`; before MLflow 1.0 they had no step."""
    import numpy as np

    words = text.split()
    width = 3 if len(words) == 3 * text.strip().count("\n") + 3 else 2
    table = np.array(words, np.float64).reshape(-1, width)
    steps = table[:, 2] if width == 3 else np.zeros(len(table))
    return columns(steps.astype(np.int64), table[:, 0].astype(np.int64) * 1_000, table[:, 1])


def _logged(one: dict[str, Any]) -> SourceModelFiles:
    """A model that a run wrote (MLflow 3)."""
    folder: Path = one["folder"]
    return SourceModelFiles(
        id=one["model_id"],
        name=str(one.get("name") or one["model_id"]),
        kind=one.get("model_type") or "",
        state=MODEL_STATES.get(one.get("status"), "ready"),
        params=_texts(folder / "params"),
        tags=_texts(folder / "tags"),
        created_us=int(one.get("creation_timestamp") or 0) * 1_000,
        updated_us=int(one.get("last_updated_timestamp") or 0) * 1_000,
        files=files_of(folder / "artifacts"),
    )


def _inputs(folder: Path) -> list[RunInput]:
    """The datasets a run read."""
    found: dict[tuple[str, str], RunInput] = {}
    for path in sorted(folder.glob("inputs/*/meta.yaml")):
        one = _meta(path)
        about = folder.parent / "datasets" / str(one.get("source_id")) / "meta.yaml"
        if one.get("source_type") == "DATASET" and about.is_file():
            data = {name: str(value) for name, value in _meta(about).items() if value is not None}
            kept = {
                name: data.get(name, "") for name in ("name", "digest", "source_type", "source", "schema", "profile")
            }
            tags = {str(key): str(value) for key, value in (one.get("tags") or {}).items()}
            found[kept["name"], kept["digest"]] = RunInput(**kept, tags=tags)
    return [found[key] for key in sorted(found)]
