"""Registries of other tools: their models and versions under the same names and numbers, their stages, and their aliases.

Versions come in through one operation a model. Aliases and stages move through the operations that always move them, so what
protects an alias protects it from an import too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from sqlalchemy import insert, select, update

from trine.errors import InvalidInput, TrineError
from trine.ids import canonical_json, digest
from trine.models import operations as door
from trine.models.artifact import FORMAT, read_manifest
from trine.models.mlmodel import FILE, flavor_in, read_mlmodel, signature_in, xgboost_file
from trine.models.names import ModelName, fitting_name, told_name
from trine.models.tables import model, model_version
from trine.models.versions import Manifest, Stored
from trine.models.xgboost import KINDS
from trine.operations import operation
from trine.tracking.importers.source import Source, SourceModel, SourceVersion
from trine.tracking.importers.writer import store_files
from trine.types import Micros
from trine.workspace import Workspace, current_workspace

Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class ForeignVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as another registry kept it; `artifact` is a manifest whose files are stored already."""

    version: Number
    artifact: str
    run: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$(?!\n)")] = ""
    description: str = ""
    tags: dict[str, str] = {}
    author: str = ""
    created_us: Micros


class TakenModel(msgspec.Struct, frozen=True):
    """Numbers of versions that are new here, that were there with the same files, and of those that are something else here."""

    added: list[int]
    unchanged: list[int]
    kept: list[int]


class ModelsReport(msgspec.Struct, kw_only=True):
    """What moved in of a registry. `kept` are versions, aliases and models that are something else here and stayed so."""

    models: int = 0
    versions: int = 0
    added: int = 0
    unchanged: int = 0
    aliases: int = 0
    aliases_moved: int = 0
    stages: int = 0
    files: int = 0
    file_bytes: int = 0
    checksum: str = ""
    kept: list[str] = []
    problems: list[str] = []


@operation("POST /models/{name}/imports", allows="models.register")
def import_model(
    ws: Workspace,
    *,
    name: ModelName,
    source: str,
    description: str = "",
    tags: dict[str, str] = {},  # noqa: B006 (copied by the door)
    created_us: Micros,
    versions: list[ForeignVersion],
) -> TakenModel:
    """Take in versions of another registry under their own numbers; what is there under a number stays as it is, and so
    does a model that was deleted or renamed here."""
    tx = ws.tx
    mine = model.c.project == ws.project, model.c.name == name
    known = tx.first(select(model).where(*mine))
    if known is None:
        row = {"description": description, "tags": canonical_json(tags).decode(), "last_version": 0}
        tx.execute(insert(model).values(project=ws.project, name=name, created_us=created_us, **row))
    elif known.gone:
        return TakenModel([], [], [one.version for one in versions])
    query = select(model_version.c.version, model_version.c.manifest).where(
        model_version.c.project == ws.project, model_version.c.model == name
    )
    here = {row.version: msgspec.json.decode(row.manifest, type=Manifest).files for row in tx.all(query)}
    taken = TakenModel([], [], [])
    last = known.last_version if known else 0
    for one in versions:
        manifest = read_manifest(ws.store, one.artifact)
        if one.version in here or one.version <= (known.last_version if known else 0):
            (taken.unchanged if here.get(one.version) == manifest.files else taken.kept).append(one.version)
            continue
        _add(ws, name, one, manifest)
        here[one.version] = manifest.files
        taken.added.append(one.version)
        last = max(last, one.version)
    tx.execute(update(model).where(*mine).values(last_version=last))
    tx.touch(f"model:{name}", after=taken.added)
    tx.note(model=name, source=source, added=taken.added)
    return taken


def _add(ws: Workspace, name: str, one: ForeignVersion, manifest: Manifest) -> None:
    node = f"model:{name}@{one.version}"
    ws.tx.execute(
        insert(model_version).values(
            project=ws.project,
            model=name,
            version=one.version,
            artifact=one.artifact,
            manifest=msgspec.json.encode(manifest).decode(),
            size_bytes=sum(file.size for file in manifest.files),
            run=one.run,
            data="",
            producer=f"run:{one.run}" if one.run else "",
            description=one.description,
            tags=canonical_json(one.tags).decode(),
            metrics="{}",
            author=one.author or ws.on_behalf_of or ws.principal.name,
            created_us=one.created_us,
        )
    )
    if one.run:
        ws.tx.link(f"run:{one.run}", "produced", node)
    ws.tx.make(node)


# -- from a source ----------------------------------------------------------------------------------------------------


def move_models_in(
    source: Source, *, tell: Callable[[ModelsReport], None] | None = None, ws: Workspace | None = None
) -> ModelsReport:
    """Bring the registry of a source into the workspace; again, it changes nothing."""
    ws = ws or current_workspace()
    report = ModelsReport()
    sums: list[tuple[str, int, str]] = []
    for found in source.models():
        _move_model(ws, source, found, report, sums)
        if tell:
            tell(report)
    report.checksum = digest(sorted(sums))
    return report


def _move_model(
    ws: Workspace, source: Source, found: SourceModel, report: ModelsReport, sums: list[tuple[str, int, str]]
) -> None:
    name = fitting_name(found.name)
    tags = dict(found.tags) if told_name(name) == found.name else {**found.tags, f"{source.kind}.name": found.name}
    versions: list[ForeignVersion] = []
    for one in found.versions:
        versions.append(_version(ws, one, report))
        sums.append((name, one.version, versions[-1].artifact))
        report.problems += one.problems
    report.models += 1
    report.versions += len(versions)
    taken = _import(ws, source, name, found, tags, versions)
    report.added += len(taken.added)
    report.unchanged += len(taken.unchanged)
    report.kept += [f"{name}@{version}" for version in taken.kept]
    present = {*taken.added, *taken.unchanged}
    report.aliases += len(found.aliases)
    report.stages += sum(bool(one.stage) for one in found.versions)
    for one in found.versions:
        if one.stage and one.version in taken.added:
            _stage(ws, name, one, report)
    for alias, version in found.aliases.items():
        if version in present:
            _point(ws, source, name, alias, version, report)


def _import(
    ws: Workspace, source: Source, name: str, found: SourceModel, tags: dict[str, str], versions: list[ForeignVersion]
) -> TakenModel:
    """The versions of a model, so many in a call that it stays small."""
    taken = TakenModel([], [], [])
    for first in range(0, max(1, len(versions)), 500):
        part = import_model(
            ws,
            name=name,
            source=source.kind,
            description=found.description,
            tags=tags,
            created_us=found.created_us,
            versions=versions[first : first + 500],
        )
        taken.added.extend(part.added)
        taken.unchanged.extend(part.unchanged)
        taken.kept.extend(part.kept)
    return taken


def _stage(ws: Workspace, name: str, one: SourceVersion, report: ModelsReport) -> None:
    """Put a version that is new here into the stage it has there."""
    try:
        door.set_stage(ws, name=name, version=one.version, stage=one.stage)
    except TrineError as error:
        report.problems.append(f"{name}@{one.version} was not put into stage {one.stage}: {error.message}")


def _point(ws: Workspace, source: Source, name: str, alias: str, version: int, report: ModelsReport) -> None:
    """Let an alias point where it does at the source, unless somebody moved it here."""
    reason = f"as it is in {source.kind}"
    try:
        last = next(iter(door.list_alias_events(ws, name=name, alias=alias, limit=1).items), None)
        if last and last.version == version:
            return
        if last and last.reason != reason:
            report.kept.append(f"{name}@{alias}")
            return
        expect = (last.version or 0) if last else 0
        door.promote_model(ws, name=name, alias=alias, version=version, expect=expect, reason=reason)
        report.aliases_moved += 1
    except TrineError as error:
        report.problems.append(f"Alias {alias} of {name} was not moved: {error.message}")


def _version(ws: Workspace, one: SourceVersion, report: ModelsReport) -> ForeignVersion:
    stored = tuple(Stored(file.path, file.hash, file.size_bytes) for file in store_files(ws, one.files))
    report.files += len(stored)
    report.file_bytes += sum(file.size for file in stored)
    manifest = describe(ws, tuple(sorted(stored, key=lambda file: file.path)))
    return ForeignVersion(
        version=one.version,
        artifact=ws.store.put(canonical_json(manifest)),
        run=one.run,
        description=one.description,
        tags=one.tags,
        author=one.author,
        created_us=one.created_us,
    )


# -- MLmodel ----------------------------------------------------------------------------------------------------------


def describe(ws: Workspace, files: tuple[Stored, ...]) -> Manifest:
    """The manifest of a model's files. What an `MLmodel` says to be scikit-learn's in the form of skops, or XGBoost's in its own
    form, is loaded as that, which trusts nothing it says; anything else needs MLflow, and may run code that comes with it."""
    about: dict[str, Any] = {}
    for file in files:
        if file.path == FILE:
            about = read_mlmodel(ws.store.get(file.hash))
    scikit, xgboost = flavor_in(about, "sklearn"), flavor_in(about, "xgboost")
    flavor = _own_flavor(about, {file.path for file in files})
    versions = {
        "mlflow": about.get("mlflow_version"),
        "scikit-learn": scikit.get("sklearn_version"),
        "xgboost": xgboost.get("xgb_version"),
    }
    return Manifest(
        format=FORMAT,
        flavor=flavor or "mlflow",
        files=files,
        signature=signature_in(about),
        libraries={name: str(version) for name, version in versions.items() if version},
        estimator=str(flavor_in(about, "python_function").get("loader_module") or ""),
        feed="polars" if flavor == "xgboost" else "pandas",
        pickled=not flavor and bool(files),
    )


def _own_flavor(about: dict[str, Any], paths: set[str]) -> str:
    """The flavor of Trine's that loads it without MLflow, if there is one."""
    if flavor_in(about, "sklearn").get("serialization_format") == "skops" and "model.skops" in paths:
        return "sklearn"
    if flavor_in(about, "xgboost"):
        try:
            return "xgboost" if xgboost_file(about, KINDS)[0] in paths else ""
        except InvalidInput:
            return ""
    return ""
