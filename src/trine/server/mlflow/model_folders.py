"""A registered version as the folder that MLflow's clients load: its files and, where Trine made them, an `MLmodel` that says how."""

from __future__ import annotations

import platform
from typing import Any

import msgspec
import yaml

from trine.models.artifact import ANSWERS, EXAMPLE, read_manifest
from trine.models.boosted import KIND
from trine.models.signature import Signature
from trine.models.versions import ModelVersion
from trine.tracking.runs import Artifact
from trine.workspace import Workspace

DESCRIPTION = "MLmodel"
_TYPES = {
    "float64": "double", "float32": "float", "int64": "long", "int32": "integer", "int16": "integer", "int8": "integer",
    "boolean": "boolean", "string": "string", "datetime": "datetime", "date": "datetime",
}  # fmt: skip


def files_of(ws: Workspace, version: ModelVersion) -> list[Artifact]:
    """The files of a version by path."""
    manifest = read_manifest(ws.store, version.artifact)
    found = {one.path: Artifact(one.path, one.hash, one.size, version.created_us) for one in manifest.files}
    if DESCRIPTION not in found and (told := described(version, set(found))):
        data = yaml.safe_dump(told, sort_keys=False).encode()
        found[DESCRIPTION] = Artifact(DESCRIPTION, ws.store.put(data), len(data), version.created_us)
    return [found[path] for path in sorted(found) if path not in (EXAMPLE, ANSWERS)]


def described(version: ModelVersion, paths: set[str]) -> dict[str, Any]:
    """What an `MLmodel` says of a version that Trine made; nothing when MLflow has no such flavor."""
    make = _FLAVORS.get(version.flavor)
    if make is None:
        return {}
    name, file, flavor = make(version, paths)
    function = {"loader_module": f"mlflow.{name}", "python_version": platform.python_version(), "env": {}}
    if name == "sklearn":
        function |= {"model_path": file, "predict_fn": "predict"}
    else:
        function["data"] = file
    found: dict[str, Any] = {
        "flavors": {"python_function": function, name: flavor},
        "model_size_bytes": version.size_bytes,
        "utc_time_created": "",
    }
    if version.run:
        found["run_id"] = version.run
    if signature := _signature(version.signature):
        found["signature"] = signature
    del found["utc_time_created"]
    return found


def _sklearn(version: ModelVersion, _: set[str]) -> tuple[str, str, dict[str, Any]]:
    from trine.models.trusted import trusted_types

    return (
        "sklearn",
        "model.skops",
        {
            "pickled_model": "model.skops",
            "serialization_format": "skops",
            "sklearn_version": version.libraries.get("scikit-learn", ""),
            "skops_trusted_types": list(trusted_types()),
            "code": None,
        },
    )


def _xgboost(version: ModelVersion, paths: set[str]) -> tuple[str, str, dict[str, Any]]:
    file = next((path for path in sorted(paths) if path.endswith((".ubj", ".json")) and path != KIND), "model.ubj")
    kind = version.estimator.rpartition(".")[2] or "Booster"
    where = "xgboost.core.Booster" if kind == "Booster" else f"xgboost.sklearn.{kind}"
    flavor = {"model_class": where, "data": file, "model_format": file.rpartition(".")[2], "code": None}
    return "xgboost", file, flavor | {"xgb_version": version.libraries.get("xgboost", "")}


def _lightgbm(version: ModelVersion, paths: set[str]) -> tuple[str, str, dict[str, Any]]:
    file = next((path for path in sorted(paths) if path.endswith(".txt")), "model.txt")
    flavor = {"model_class": "lightgbm.basic.Booster", "data": file, "code": None}
    return "lightgbm", file, flavor | {"lgb_version": version.libraries.get("lightgbm", "")}


def _onnx(version: ModelVersion, paths: set[str]) -> tuple[str, str, dict[str, Any]]:
    file = next((path for path in sorted(paths) if path.endswith(".onnx")), "model.onnx")
    flavor = {"data": file, "providers": ["CPUExecutionProvider"], "code": None}
    return "onnx", file, flavor | {"onnx_version": version.libraries.get("onnx", "")}


_FLAVORS = {"sklearn": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm, "onnx": _onnx}


def _signature(signature: Signature) -> dict[str, str | None]:
    """The columns; outputs are left out, since what MLflow answers is a plain array."""
    fields = [
        {"type": _TYPES[one.dtype], "name": one.name, "required": one.required}
        for one in signature.inputs
        if one.dtype in _TYPES
    ]
    if not fields or len(fields) != len(signature.inputs):
        return {}
    return {"inputs": msgspec.json.encode(fields).decode(), "outputs": None, "params": None}
