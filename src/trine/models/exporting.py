"""Moving out: the registry as the `models` folder of an `mlruns` folder that MLflow reads."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trine.models import operations as door
from trine.models.artifact import read_manifest
from trine.operations import every
from trine.tracking.artifact_files import check_path
from trine.tracking.exporting import folder_uri, write_meta, write_texts
from trine.workspace import Workspace, current_workspace


class ExportedModels(msgspec.Struct, frozen=True, kw_only=True):
    """How many models and versions were written, with how many files."""

    models: int
    versions: int
    files: int


def export_models(root: Path | str, *, ws: Workspace | None = None) -> ExportedModels:
    """Write all registered models into an `mlruns` folder: versions with their numbers, times, tags, stages and files, and where
    aliases point. MLflow loads a version whose files it wrote (those that were imported)."""
    ws = ws or current_workspace()
    models = versions = files = 0
    for info in every(door.list_models, ws):
        folder = Path(root) / "models" / info.name
        updated = info.created_us
        for one in every(door.list_versions, ws, name=info.name):
            place = folder / f"version-{one.version}"
            stored = place / "artifacts"
            stored.mkdir(parents=True, exist_ok=True)
            for file in read_manifest(ws.store, one.artifact).files:
                ws.store.get_file(file.hash, stored / check_path(file.path))
                files += 1
            facts = {"name": info.name, "version": one.version, "description": one.description or None}
            facts |= {"creation_timestamp": one.created_us // 1_000, "last_updated_timestamp": one.created_us // 1_000}
            facts |= {"current_stage": one.stage or "None", "run_id": one.run or None, "user_id": one.author}
            facts |= {"source": folder_uri(stored), "storage_location": folder_uri(stored), "status": "READY"}
            facts |= {"run_link": None, "status_message": None}
            write_texts(place / "tags", one.tags)
            write_meta(place, facts)
            updated = max(updated, one.created_us)
            versions += 1
        write_texts(folder / "tags", info.tags)
        write_texts(folder / "aliases", {alias: str(version) for alias, version in info.aliases.items()})
        about = {"name": info.name, "description": info.description or None, "aliases": info.aliases}
        about |= {"creation_timestamp": info.created_us // 1_000, "last_updated_timestamp": updated // 1_000}
        write_meta(folder, about)
        models += 1
    return ExportedModels(models=models, versions=versions, files=files)
