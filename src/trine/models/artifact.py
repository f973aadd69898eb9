"""A version's artifact: its files and a manifest that names them, all objects of the store, verified when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from trine.errors import Damaged, InvalidInput
from trine.ids import canonical_json
from trine.models.versions import Manifest, Stored
from trine.storage import Store

T = TypeVar("T")

FORMAT = "trine-model-1"
EXAMPLE, ANSWERS = "example.arrow", "answers.arrow"
"""Files of every flavor: some rows of the example, and the model's answers to them."""


def write_artifact(store: Store, files: Mapping[str, bytes], manifest: Manifest) -> str:
    """Store the files, then the manifest that names them; gives the manifest's hash. All on disk when it returns."""
    paths = sorted(files)
    hashes = store.put_many([files[path] for path in paths])
    stored = tuple(Stored(path, hash_, len(files[path])) for path, hash_ in zip(paths, hashes, strict=True))
    return store.put(canonical_json(msgspec.structs.replace(manifest, format=FORMAT, files=stored)))


def read_manifest(store: Store, artifact: str) -> Manifest:
    """The manifest an artifact is, with all its files there. Raises InvalidInput when it is none, or a file is missing."""
    try:
        manifest = msgspec.json.decode(store.get(artifact), type=Manifest)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"Object {artifact[:12]} is no model: {error}.") from None
    if manifest.format != FORMAT:
        raise InvalidInput(
            f'Object {artifact[:12]} has the form "{manifest.format}", which this Trine does not read: upgrade it.'
        )
    wanted = {file.hash for file in manifest.files}
    if missing := wanted - store.has(wanted):
        raise InvalidInput(f"Object {min(missing)[:12]}, a file of the model, is not in the store: store it first.")
    return manifest


def named_in(store: Store, artifact: str, opened: set[str]) -> Iterator[str]:
    """The files of an artifact (see `trine.upkeep`)."""
    try:
        yield from [file.hash for file in msgspec.json.decode(store.get(artifact), type=Manifest).files]
    except msgspec.DecodeError as error:
        raise Damaged(f"Object {artifact} is no model: {error}.", hash=artifact) from error


def read_files(store: Store, manifest: Manifest, ref: str) -> dict[str, bytes]:
    """The files of a version, each checked against its hash. Raises Damaged naming version, file and object."""
    try:
        return {file.path: store.get(file.hash) for file in manifest.files}
    except Damaged as error:
        raise Damaged(f"{ref} cannot be loaded. {error.message}", **error.details) from error
