"""The model registry: versions, signatures, flavors, aliases."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.models.aliases import at, history, promote, rollback
    from trine.models.copies import Verified, download, verify
    from trine.models.differences import Difference, diff
    from trine.models.flavors import Flavor
    from trine.models.loading import LoadedModel, load_model, resolve
    from trine.models.operations import (
        delete_model,
        delete_version,
        find_versions,
        get_model,
        get_version,
        latest_versions,
        list_alias_events,
        list_models,
        list_protections,
        list_stages,
        list_versions,
        promote_model,
        protect_alias,
        register_version,
        remove_alias,
        rename_model,
        rollback_alias,
        set_stage,
        set_stages,
        unprotect_alias,
        update_model,
        update_version,
    )
    from trine.models.registry import register
    from trine.models.signature import Field, Signature, infer_signature
    from trine.models.versions import AliasEvent, ModelInfo, ModelVersion, Protection

_HOMES = {
    "aliases": ("at", "history", "promote", "rollback"),
    "copies": ("Verified", "download", "verify"),
    "differences": ("Difference", "diff"),
    "flavors": ("Flavor",),
    "loading": ("LoadedModel", "load_model", "resolve"),
    "operations": (
        "delete_model", "delete_version", "find_versions", "get_model", "get_version", "latest_versions",
        "list_alias_events", "list_models", "list_protections", "list_stages", "list_versions", "promote_model",
        "protect_alias", "register_version", "remove_alias", "rename_model", "rollback_alias", "set_stage",
        "set_stages", "unprotect_alias", "update_model", "update_version",
    ),
    "registry": ("register",),
    "signature": ("Field", "Signature", "infer_signature"),
    "versions": ("AliasEvent", "ModelInfo", "ModelVersion", "Protection"),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "AliasEvent",
    "Difference",
    "Field",
    "Flavor",
    "LoadedModel",
    "ModelInfo",
    "ModelVersion",
    "Protection",
    "Signature",
    "Verified",
    "at",
    "delete_model",
    "delete_version",
    "diff",
    "download",
    "find_versions",
    "get_model",
    "get_version",
    "history",
    "infer_signature",
    "latest_versions",
    "list_alias_events",
    "list_models",
    "list_protections",
    "list_stages",
    "list_versions",
    "load_model",
    "promote",
    "promote_model",
    "protect_alias",
    "register",
    "register_version",
    "remove_alias",
    "rename_model",
    "resolve",
    "rollback",
    "rollback_alias",
    "set_stage",
    "set_stages",
    "unprotect_alias",
    "update_model",
    "update_version",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
