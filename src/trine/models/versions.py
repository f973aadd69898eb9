"""Registered models, their versions and alias events as values, and the references that name a version."""

from __future__ import annotations

from typing import Literal

import msgspec

from trine.errors import InvalidInput
from trine.models.names import is_name
from trine.models.signature import Signature

NEWEST = "latest"
"""The reserved alias that always means the newest version."""


class Stored(msgspec.Struct, frozen=True):
    """One file of a model, in the object store."""

    path: str
    hash: str
    size: int


class Manifest(msgspec.Struct, frozen=True):
    """What a version's artifact is: how to read its files, what it takes, what made it. Its object's hash is the artifact.

    `classes` are the labels a classifier tells apart, in the order of its probabilities. `feed` is the kind of rows the
    model was fitted on; `bare` says that plain arrays give the same answers. `pickled` says that loading runs code from the file.
    """

    format: str
    flavor: str
    files: tuple[Stored, ...]
    signature: Signature
    libraries: dict[str, str]
    estimator: str = ""
    classes: tuple[bool | int | float | str, ...] = ()
    feed: Literal["polars", "pandas", "numpy"] = "polars"
    bare: bool = False
    pickled: bool = False


class ModelVersion(msgspec.Struct, frozen=True):
    """One immutable version of a model: its artifact, signature, run and data never change; description, tags
    and stage may.

    `data` is the node of the training data; `run` the id of the run and `producer` the node of the run or step that made it.
    """

    name: str
    version: int
    flavor: str
    signature: Signature
    run: str
    data: str
    artifact: str
    size_bytes: int
    description: str
    tags: dict[str, str]
    metrics: dict[str, float]
    libraries: dict[str, str]
    estimator: str
    classes: tuple[bool | int | float | str, ...]
    pickled: bool
    producer: str
    author: str
    created_us: int
    aliases: tuple[str, ...] = ()
    stage: str = ""

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"model:{self.name}@{self.version}"

    @property
    def ref(self) -> str:
        """A reference to exactly this version."""
        return f"{self.name}@{self.version}"


class ModelInfo(msgspec.Struct, frozen=True):
    """A registered model: how many versions it has, the newest (0: none is left), and where its aliases point."""

    name: str
    description: str
    tags: dict[str, str]
    versions: int
    newest: int
    aliases: dict[str, int]
    created_us: int


class AliasEvent(msgspec.Struct, frozen=True):
    """One move of an alias: from `before` to `version` (None: nothing). Numbers are gapless per model."""

    name: str
    number: int
    alias: str
    kind: Literal["promoted", "rolled_back", "removed"]
    version: int | None
    before: int | None
    reason: str
    gate: str
    author: str
    time_us: int


class Protection(msgspec.Struct, frozen=True):
    """What moving an alias asks for: a passed `gate`, so many `approvals` by others, and a version that is no pickle."""

    name: str
    alias: str
    gate: bool
    approvals: int
    pickles: bool
    expires_s: int
    author: str
    created_us: int


def split_ref(ref: str) -> tuple[str, str]:
    """`name@ref` as name and ref: a version number or an alias; without `@` the newest version."""
    name, at, version = ref.removeprefix("model:").partition("@")
    if not is_name(name) or (at and not version):
        raise InvalidInput(f'"{ref}" is no reference to a model: write name, name@3 or name@production.')
    return name, version or NEWEST


def check_alias(alias: str) -> str:
    """The alias, when it can be told from a version number."""
    if alias.isdigit() or alias == NEWEST:
        raise InvalidInput(f'"{alias}" cannot be an alias: numbers and "{NEWEST}" name versions already.')
    return alias
