"""Files by the digest that another tool knows them by: what makes DVC's and git-lfs' stores of this one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from sqlalchemy import select

from trine.data.tables import data_alias
from trine.errors import InvalidInput
from trine.ledger import upsert
from trine.operations import Done, operation
from trine.workspace import Workspace

Algorithm = Literal["md5", "sha256"]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}([0-9a-f]{32})?$(?!\n)")]

MOST = 1_000


class Alias(msgspec.Struct, frozen=True):
    """An object's other digest, and its size in bytes."""

    digest: str
    object: str
    size_bytes: int


@operation("GET /aliases/{algorithm}", allows="data.read")
def find_aliases(
    ws: Workspace,
    *,
    algorithm: Algorithm,
    digests: Annotated[list[Digest], msgspec.Meta(max_length=MOST)] = [],  # noqa: B006 (copied by the door)
) -> list[Alias]:
    """The objects with these digests, as far as the project has them."""
    mine = select(data_alias).where(
        data_alias.c.project == ws.project, data_alias.c.algorithm == algorithm, data_alias.c.digest.in_(digests)
    )
    return [Alias(row.digest, row.object, row.size_bytes) for row in ws.tx.all(mine)]


@operation("PUT /aliases/{algorithm}", allows="data.write")
def keep_aliases(
    ws: Workspace, *, algorithm: Algorithm, aliases: Annotated[list[Alias], msgspec.Meta(max_length=MOST)]
) -> Done:
    """Remember that stored objects have these digests, as whoever stored them found; the objects stay as long as that."""
    objects = {one.object for one in aliases}
    if missing := objects - ws.store.has(objects):
        raise InvalidInput(f"Object {missing.pop()} is not in the store: upload it first.")
    for one in aliases:
        msgspec.convert(one.digest, Digest)
        row = {"project": ws.project, "algorithm": algorithm, "digest": one.digest}
        ws.tx.execute(upsert(data_alias), {**row, "object": one.object, "size_bytes": one.size_bytes})
    ws.tx.touch(f"aliases:{algorithm}", after=[one.digest for one in aliases])
    return Done(f"aliases:{algorithm}")
