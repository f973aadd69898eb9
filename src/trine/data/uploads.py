"""Uploads in parts: each part is an object of its own until all of them are put together and staged."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, insert, select

from trine.data.staging import Change, head_of_files, stage
from trine.data.tables import data_upload, data_upload_part
from trine.data.trees import check_path
from trine.errors import InvalidInput, NotFound
from trine.ids import canonical_json, check_hash, new_id
from trine.ledger import upsert
from trine.operations import Done, Limit, Page, operation, page_of, page_start
from trine.workspace import Workspace

KEPT_US = 7 * 86_400_000_000
"""How long an upload may go on: after that its parts are let go of when another one begins."""

Number = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Md5 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]


class Upload(msgspec.Struct, frozen=True):
    """An upload that is under way, and what the file will be."""

    id: str
    dataset: str
    branch: str
    path: str
    content_type: str
    metadata: dict[str, str]
    created_us: int


class Part(msgspec.Struct, frozen=True):
    """One part of an upload, and the object that holds it."""

    number: int
    object: str
    size_bytes: int
    md5: str
    changed_us: int


@operation("POST /datasets/{name}/branches/{branch}/uploads", allows="data.write")
def begin_upload(
    ws: Workspace,
    *,
    name: str,
    path: str,
    branch: str = "main",
    content_type: str = "",
    metadata: dict[str, str] = {},  # noqa: B006 (copied by the door)
) -> Upload:
    """Begin to upload a file of a branch in parts."""
    head_of_files(ws, name, branch)
    check_path(path)
    tx = ws.tx
    for row in tx.all(_mine(ws).where(data_upload.c.created_us < tx.now_us - KEPT_US)):
        _forget(ws, row.id)
    made = Upload(new_id(), name, branch, path, content_type, metadata, tx.now_us)
    row = msgspec.structs.asdict(made) | {"metadata": canonical_json(metadata).decode()}
    tx.execute(insert(data_upload).values(project=ws.project, **row))
    tx.touch(f"dataset:{name}", after=made.id)
    tx.note(dataset=name, branch=branch, upload=made.id)
    return made


@operation("GET /uploads", allows="data.read")
def list_uploads(ws: Workspace, *, name: str = "", limit: Limit = 100, page: str = "") -> Page[Upload]:
    """Uploads that are under way, of the project or of one dataset, oldest first."""
    query = _mine(ws).order_by(data_upload.c.id).limit(limit + 1)
    if name:
        query = query.where(data_upload.c.dataset == name)
    if after := page_start(page, fields=str):
        query = query.where(data_upload.c.id > after)
    return page_of([_upload(row) for row in ws.tx.all(query)], limit, lambda one: one.id)


@operation("GET /uploads/{id}", allows="data.read")
def get_upload(ws: Workspace, *, id: str) -> Upload:
    """One upload that is under way."""
    row = ws.tx.first(_mine(ws).where(data_upload.c.id == id))
    if row is None:
        raise NotFound(f'There is no upload "{id[:80]}" under way: it is complete, was given up, or took too long.')
    return _upload(row)


@operation("PUT /uploads/{id}/parts/{number}", allows="data.write")
def keep_part(ws: Workspace, *, id: str, number: Number, object: str, size_bytes: int, md5: Md5) -> Done:
    """Remember a part whose bytes are stored already; one of that number takes its place."""
    upload = get_upload(ws, id=id)
    if not ws.store.has([check_hash(object)]):
        raise InvalidInput(f"Object {object} is not in the store: upload it first.")
    row = {"project": ws.project, "upload": id, "number": number, "object": object, "size_bytes": size_bytes}
    ws.tx.execute(upsert(data_upload_part), {**row, "md5": md5, "changed_us": ws.tx.now_us})
    ws.tx.touch(f"dataset:{upload.dataset}", after=[id, number, object])
    return Done(f"dataset:{upload.dataset}")


@operation("GET /uploads/{id}/parts", allows="data.read")
def list_parts(
    ws: Workspace, *, id: str, after: Annotated[int, msgspec.Meta(ge=0)] = 0, limit: Limit = 1000
) -> list[Part]:
    """The parts of an upload that are here, by number, after a number."""
    get_upload(ws, id=id)
    query = select(data_upload_part).where(*_parts(ws, id), data_upload_part.c.number > after)
    rows = ws.tx.all(query.order_by(data_upload_part.c.number).limit(limit))
    return [Part(row.number, row.object, row.size_bytes, row.md5, row.changed_us) for row in rows]


@operation("POST /uploads/{id}", allows="data.write")
def end_upload(
    ws: Workspace,
    *,
    id: str,
    object: str,
    size_bytes: int,
    expect: dict[str, str] = {},  # noqa: B006 (copied by the door)
) -> Done:
    """Stage the file that was put together from an upload's parts; the upload is over. `expect` is that of `stage`."""
    one = get_upload(ws, id=id)
    change = Change(one.path, object, size_bytes, False, one.content_type, one.metadata)
    stage(ws, name=one.dataset, branch=one.branch, changes=[change], expect=expect)
    _forget(ws, id)
    ws.tx.touch(f"dataset:{one.dataset}", before=id, after=object)
    return Done(f"dataset:{one.dataset}")


@operation("DELETE /uploads/{id}", allows="data.write")
def give_up_upload(ws: Workspace, *, id: str) -> Done:
    """Let go of an upload and its parts."""
    one = get_upload(ws, id=id)
    _forget(ws, id)
    ws.tx.touch(f"dataset:{one.dataset}", before=id)
    return Done(f"dataset:{one.dataset}")


def _forget(ws: Workspace, id: str) -> None:
    ws.tx.execute(delete(data_upload_part).where(*_parts(ws, id)))
    ws.tx.execute(delete(data_upload).where(data_upload.c.project == ws.project, data_upload.c.id == id))


def _mine(ws: Workspace) -> Any:
    return select(data_upload).where(data_upload.c.project == ws.project)


def _parts(ws: Workspace, id: str) -> tuple[Any, ...]:
    return data_upload_part.c.project == ws.project, data_upload_part.c.upload == id


def _upload(row: Any) -> Upload:
    told = msgspec.json.decode(row.metadata, type=dict[str, str])
    return Upload(row.id, row.dataset, row.branch, row.path, row.content_type, told, row.created_us)
