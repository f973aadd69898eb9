"""`MLmodel`: what MLflow writes beside a model's files to say what they are. Read as data; nothing it says is trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import yaml

from trine.errors import InvalidInput
from trine.models.signature import Dtype, Field, Signature

FILE = "MLmodel"

_TYPES: dict[str, Dtype] = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "boolean",
    "string": "string",
    "datetime": "datetime",
}


def read_mlmodel(data: bytes) -> dict[str, Any]:
    """What an `MLmodel` says; nothing when it is none."""
    try:
        found = yaml.safe_load(data)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def flavor_in(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What it says of one of MLflow's flavors, which may be nothing."""
    found = about.get("flavors")
    one: Any = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType]
    return one if isinstance(one, dict) else {}


def xgboost_file(about: Mapping[str, Any], kinds: Collection[str]) -> tuple[str, str]:
    """The file of a model that `mlflow.xgboost` saved in XGBoost's own form, and its class. Raises InvalidInput."""
    told = flavor_in(about, "xgboost")
    file, kind = str(told.get("data") or ""), str(told.get("model_class") or "").rpartition(".")[2]
    if kind not in kinds:
        raise InvalidInput(f'The MLmodel names "{kind}", which is none of {", ".join(kinds)}.')
    if not file.endswith((".ubj", ".json")) or told.get("code"):
        raise InvalidInput(f'The MLmodel names "{file}", which is no file of XGBoost\'s own form alone.')
    return file, kind


def signature_in(about: Mapping[str, Any]) -> Signature:
    """The signature, as far as it is made of named columns of plain types."""
    found = about.get("signature")
    told: dict[str, Any] = found if isinstance(found, dict) else {}
    return Signature(_fields(told.get("inputs")), _fields(told.get("outputs")))


def _fields(text: Any) -> tuple[Field, ...]:
    try:
        found: Any = msgspec.json.decode(text) if isinstance(text, str) else text
        return tuple(
            Field(str(one["name"]), _TYPES[one["type"]], bool(one.get("required", True))) for one in found or ()
        )
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return ()
