"""Versions outside the registry: a copy of one's files in a folder, a model read from a file, and the check of what is kept."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from trine.errors import InvalidInput, NotFound
from trine.extras import need
from trine.models.artifact import ANSWERS, read_files, read_manifest
from trine.models.flavors import flavors
from trine.models.loading import read_native, resolve
from trine.models.scanning import scan
from trine.models.versions import ModelVersion
from trine.workspace import Workspace, current_workspace, record_use

MANIFEST = "trine-model.json"
SUFFIXES = {
    ".skops": "sklearn", ".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".onnx": "onnx", ".pkl": "pickle",
}  # fmt: skip
"""The flavor that a file of a library's own form has."""


class Verified(msgspec.Struct, frozen=True):
    """What was looked at of a version; `replayed` says that it was loaded and gave the answers of its example again."""

    ref: str
    artifact: str
    files: int
    size_bytes: int
    replayed: bool
    note: str = ""


def verify(ref: str, *, ws: Workspace | None = None) -> Verified:
    """Check a version: each file against its hash, its forms by the scan, and its answers to the example it was registered with.

    Raises Damaged, InvalidInput or Failure for the first that does not hold. Pickles are not loaded.
    """
    ws = ws or current_workspace()
    version = resolve(ref, ws=ws)
    manifest = read_manifest(ws.store, version.artifact)
    files = read_files(ws.store, manifest, version.ref)
    found = Verified(version.ref, version.artifact, len(files), sum(map(len, files.values())), False)
    if version.pickled:
        return msgspec.structs.replace(found, note="kept as a pickle, which was not loaded")
    scan(manifest, files)
    try:
        read_native(ws, version)
    except InvalidInput as error:
        if "extra" not in error.details:
            raise
        return msgspec.structs.replace(found, note=error.message)
    if ANSWERS not in files:
        return msgspec.structs.replace(found, note="it keeps no example to ask")
    return msgspec.structs.replace(found, replayed=True)


def download(ref: str, folder: str | Path, *, ws: Workspace | None = None) -> ModelVersion:
    """Write a version's files and its manifest into a folder that is empty or not there yet; each is checked first."""
    ws = ws or current_workspace()
    version = resolve(ref, ws=ws)
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InvalidInput(f"{place} is there and not empty: give a folder that is not there yet.")
    manifest = read_manifest(ws.store, version.artifact)
    files = read_files(ws.store, manifest, version.ref)
    root = place.resolve()
    for name in files:
        if not (root / name).resolve().is_relative_to(root):
            raise InvalidInput(f'"{name}", a file of {version.ref}, would be written outside {place}.')
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(version)) + b"\n")
    record_use(version.node)
    return version


def read_model(path: str, *, flavor: str = "", allow_pickle: bool = False) -> Any:
    """A model from a file in its library's own form (`model.skops`, `model.onnx` …), or `rules.py:function`."""
    file, colon, function = path.rpartition(":")
    if colon and file.endswith(".py"):
        return _function(Path(file), function)
    place = Path(path)
    flavor = flavor or SUFFIXES.get(place.suffix, "")
    if not place.is_file():
        raise NotFound(f"There is no file {place}.")
    if not flavor:
        raise InvalidInput(
            f"What is {place.name}? Say it with --flavor; files: {', '.join(SUFFIXES)}, rules.py:function."
        )
    if flavor == "xgboost":
        return need("xgboost", extra="xgboost", purpose="An XGBoost model").Booster(model_file=str(place))
    if flavor == "lightgbm":
        return need("lightgbm", extra="lightgbm", purpose="A LightGBM model").Booster(model_file=str(place))
    known = flavors().get(flavor)
    forms: Any = getattr(known, "forms", {})
    if known is None or len(forms) != 1:
        raise InvalidInput(
            f'A model of flavor "{flavor}" is not one file: register it from Python, trine.models.register(…).'
        )
    if known.pickles and not allow_pickle:
        raise InvalidInput(f"Loading {place.name} runs code that is in it. If you trust it: --allow-pickle")
    return known.load({next(iter(forms)): place.read_bytes()})


def _function(file: Path, name: str) -> Any:
    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    module = ModuleType(file.stem)
    module.__file__ = str(file)
    try:  # from its text: Python's cache of compiled files does not see a change within a second that keeps the size
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:
        raise InvalidInput(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise NotFound(f'{file} has no function "{name}".')
    return found
