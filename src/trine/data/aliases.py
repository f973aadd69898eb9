"""Files by the digest that another tool knows them by: MD5 (DVC, S3's ETags) and SHA-256 (git-lfs, Croissant).

One table holds what is known of either; it is filled when somebody stores a file by digest, and when somebody asks. It keeps
nothing alive: what was stored by digest alone is kept by a table of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from sqlalchemy import select

from trine.data.references import resolve
from trine.data.tables import data_alias, data_kept
from trine.data.trees import read_tree
from trine.errors import InvalidInput, NotFound
from trine.ledger import upsert
from trine.operations import Done, operation
from trine.storage import ObjectStore
from trine.storage.places import CHUNK
from trine.workspace import Workspace, current_workspace

Algorithm = Literal["md5", "sha256"]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}([0-9a-f]{32})?$(?!\n)")]

MOST = 1_000
_DIGITS = {"md5": 32, "sha256": 64}


class Alias(msgspec.Struct, frozen=True):
    """An object's other digest, and its size in bytes."""

    digest: Digest
    object: str
    size_bytes: int


class FileDigest(msgspec.Struct, frozen=True):
    """A file's path and its digest."""

    path: str
    digest: str


@operation("GET /aliases/{algorithm}", allows="data.read")
def find_aliases(
    ws: Workspace,
    *,
    algorithm: Algorithm,
    digests: Annotated[list[Digest], msgspec.Meta(max_length=MOST)] = [],  # noqa: B006 (copied by the door)
    objects: Annotated[list[Digest], msgspec.Meta(max_length=MOST)] = [],  # noqa: B006 (copied by the door)
) -> list[Alias]:
    """The objects with these digests, and the digests of these objects, as far as the project knows and has them."""
    mine = select(data_alias).where(data_alias.c.project == ws.project, data_alias.c.algorithm == algorithm)
    rows = [
        row
        for column, some in ((data_alias.c.digest, digests), (data_alias.c.object, objects))
        if some
        for row in ws.tx.all(mine.where(column.in_(some)))
    ]
    here = ws.store.has({row.object for row in rows})
    return [Alias(row.digest, row.object, row.size_bytes) for row in rows if row.object in here]


@operation("PUT /aliases/{algorithm}", allows="data.write")
def keep_aliases(
    ws: Workspace,
    *,
    algorithm: Algorithm,
    aliases: Annotated[list[Alias], msgspec.Meta(max_length=MOST)],
    keep: bool = True,
) -> Done:
    """Remember that stored objects have these digests, as whoever read them found. With `keep` the objects stay for that
    alone; without, as long as something else needs them."""
    objects = {one.object for one in aliases}
    if missing := objects - ws.store.has(objects):
        raise InvalidInput(f"Object {missing.pop()} is not in the store: upload it first.")
    for one in aliases:
        row = {"project": ws.project, "algorithm": algorithm, "digest": one.digest}
        ws.tx.execute(upsert(data_alias), {**row, "object": one.object, "size_bytes": one.size_bytes})
        if keep:
            ws.tx.execute(upsert(data_kept, keep=True), {"project": ws.project, "object": one.object})
    ws.tx.touch(f"aliases:{algorithm}", after=[one.digest for one in aliases])
    return Done(f"aliases:{algorithm}")


def digests_of(ws: Workspace, objects: Iterable[str], algorithm: Algorithm) -> dict[str, str]:
    """The digest of each object. One that is not known yet is found by reading the object, and is known from then on."""
    wanted = sorted(set(objects))
    found = known_digests(ws, wanted, algorithm)
    missing = [name for name in wanted if name not in found]
    for at in range(0, len(missing), MOST):
        fresh = [_read(ws, name, algorithm) for name in missing[at : at + MOST]]
        keep_aliases(ws, algorithm=algorithm, aliases=fresh, keep=False)
        found |= {one.object: one.digest for one in fresh}
    return found


def known_digests(ws: Workspace, objects: Iterable[str], algorithm: Algorithm) -> dict[str, str]:
    """The digests that are known, by object."""
    wanted = sorted(set(objects))
    return {
        one.object: one.digest
        for at in range(0, len(wanted), MOST)
        for one in find_aliases(ws, algorithm=algorithm, objects=wanted[at : at + MOST])
    }


def _read(ws: Workspace, name: str, algorithm: Algorithm) -> Alias:
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    for part in _chunks(ws, name):
        hasher.update(part)
        size += len(part)
    return Alias(hasher.hexdigest(), name, size)


def _chunks(ws: Workspace, name: str) -> Iterator[bytes]:
    if isinstance(ws.store, ObjectStore):
        yield from ws.store.chunks(name)
        return
    with tempfile.TemporaryDirectory(prefix="trine-") as folder:
        copy = ws.store.get_file(name, Path(folder) / name)
        with copy.open("rb") as file:
            while part := file.read(CHUNK):
                yield part


def digests(ref: str, algorithm: Algorithm = "sha256", *, ws: Workspace | None = None) -> list[FileDigest]:
    """The digest of each file of a version, by path. Reads what nobody asked for before, and remembers it."""
    ws = ws or current_workspace()
    entries = read_tree(ws.store, resolve(ref, ws=ws).tree)
    found = digests_of(ws, (entry.hash for entry in entries), algorithm)
    return [FileDigest(entry.path, found[entry.hash]) for entry in entries]


def find_object(digest: str, *, ws: Workspace | None = None) -> Alias:
    """The stored object with a digest, written as `md5:…`, `sha256:…` or without the algorithm. Raises NotFound."""
    ws = ws or current_workspace()
    algorithm, _, digits = digest.lower().rpartition(":")
    algorithm = algorithm or next((name for name, length in _DIGITS.items() if length == len(digits)), "")
    if algorithm not in _DIGITS or len(digits) != _DIGITS[algorithm]:
        raise InvalidInput(f'"{digest[:80]}" is no digest: write md5: and 32 hexadecimal digits, or sha256: and 64.')
    found = find_aliases(ws, algorithm=algorithm, digests=[digits])  # type: ignore[arg-type]
    if not found:
        raise NotFound(
            f"No file with {algorithm} {digits} is known in project {ws.project}. Digests of a dataset are known from when "
            f"they were asked for: trine data digests NAME --algorithm {algorithm}"
        )
    return found[0]
