"""What is staged on a branch: files that came or went one by one and are not committed yet (the S3 gateway).

Whoever stages a file has it on disk when the call returns; all of them see it when they read the branch, and a commit takes
everything that is staged at once. Trine's own readers of `name@branch` see commits only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from sqlalchemy import delete, func, select

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.edits import check_folders
from trine.data.tables import data_header, data_staged
from trine.data.trees import Entry, check_path, encode_tree, look_up, read_tree
from trine.errors import Conflict, InvalidInput, NotFound
from trine.ids import canonical_json, digest, new_id
from trine.ledger import upsert
from trine.operations import Done, Limit, Page, every, operation, page_of, page_start
from trine.workspace import Workspace, active_producer, current_workspace

MOST = 1_000
RETRIES = 5
ABSENT = ""
"""In `expect`: the path must not be there."""


class Change(msgspec.Struct, frozen=True):
    """A file to have at a path, or (without an object) to have there no more."""

    path: str
    object: str = ""
    size_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    executable: bool = False
    content_type: str = ""
    metadata: dict[str, str] = {}


class Staged(msgspec.Struct, frozen=True):
    """A change that is staged. `change` is another one whenever it is staged anew."""

    path: str
    object: str
    size_bytes: int
    executable: bool
    change: str
    changed_us: int


class Header(msgspec.Struct, frozen=True):
    """What whoever stored a file said of it."""

    content_type: str = ""
    metadata: dict[str, str] = {}


@operation("GET /datasets/{name}/branches/{branch}/staged", allows="data.read")
def list_staged(
    ws: Workspace,
    *,
    name: str,
    branch: str = "main",
    start: str = "",
    paths: Annotated[list[str], msgspec.Meta(max_length=MOST)] = [],  # noqa: B006 (copied by the door)
    limit: Limit = 100,
    page: str = "",
) -> Page[Staged]:
    """What is staged on a branch by path, from a path on, or at these paths only."""
    query = select(data_staged).where(*_on(ws, name, branch)).order_by(data_staged.c.path).limit(limit + 1)
    if paths:
        query = query.where(data_staged.c.path.in_(paths))
    if start:
        query = query.where(data_staged.c.path >= start)
    if after := page_start(page, fields=str):
        query = query.where(data_staged.c.path > after)
    return page_of([_staged(row) for row in ws.tx.all(query)], limit, lambda one: one.path)


@operation("PATCH /datasets/{name}/branches/{branch}/staged", allows="data.write")
def stage(
    ws: Workspace,
    *,
    name: str,
    branch: str = "main",
    changes: Annotated[list[Change], msgspec.Meta(min_length=1, max_length=MOST)],
    expect: dict[str, str] = {},  # noqa: B006 (copied by the door)
) -> Done:
    """Stage files whose bytes are stored already. `expect` holds, for some paths, the object that has to be there now (empty:
    none): where it is another one, nothing is staged."""
    head = head_of_files(ws, name, branch)
    here = look_up(ws.store, head.tree, [*(one.path for one in changes if not one.object), *expect])
    before = {row.path: row.object for row in _rows(ws, name, branch, [*expect])}
    for path, wanted in expect.items():
        now = before.get(path, here[path].hash if path in here else ABSENT)
        if now != wanted:
            told = f"is {now[:12]}" if now else "is not there"
            raise Conflict(f'"{path}" on branch "{branch}" of "{name}" {told}, not what was expected.', path=path)
    objects = {one.object for one in changes if one.object}
    if missing := objects - ws.store.has(objects):
        raise InvalidInput(f"Object {missing.pop()} is not in the store: upload it first.")
    change = new_id()
    for one in changes:
        check_path(one.path)
        if one.object or one.path in here:
            row = {"project": ws.project, "dataset": name, "branch": branch, "path": one.path, "object": one.object}
            row |= {"size_bytes": one.size_bytes, "executable": one.executable}
            ws.tx.execute(upsert(data_staged), {**row, "change": change, "changed_us": ws.tx.now_us})
        else:  # what is gone was only staged, if anything
            ws.tx.execute(delete(data_staged).where(*_on(ws, name, branch), data_staged.c.path == one.path))
        if one.object:
            _keep_header(ws, name, one)
    ws.tx.touch(f"dataset:{name}", after=[(one.path, one.object) for one in changes])
    ws.tx.note(dataset=name, branch=branch, staged=len(changes))
    return Done(f"dataset:{name}")


@operation("DELETE /datasets/{name}/branches/{branch}/staged", allows="data.write")
def discard_staged(
    ws: Workspace,
    *,
    name: str,
    branch: str = "main",
    prefix: str = "",
    paths: Annotated[list[str], msgspec.Meta(max_length=MOST)] = [],  # noqa: B006 (copied by the door)
) -> Done:
    """Let go of what is staged on a branch: all of it, what is below a prefix, or these paths."""
    head_of_files(ws, name, branch)
    gone = delete(data_staged).where(*_on(ws, name, branch))
    if paths:
        gone = gone.where(data_staged.c.path.in_(paths))
    if prefix:
        gone = gone.where(func.substr(data_staged.c.path, 1, len(prefix)) == prefix)
    count = ws.tx.execute(gone).rowcount
    ws.tx.touch(f"dataset:{name}", before=[branch, prefix, paths])
    ws.tx.note(dataset=name, branch=branch, discarded=count)
    return Done(f"dataset:{name}", count > 0)


@operation("POST /datasets/{name}/branches/{branch}/staged", allows="data.write")
def commit_tree(
    ws: Workspace,
    *,
    name: str,
    branch: str = "main",
    expect: str,
    tree: str,
    files: door.Count,
    size_bytes: door.Count,
    taken: dict[str, str],
    message: str = "",
    producer: str = "",
) -> Commit:
    """Commit a tree that is stored already and holds these staged changes (`change` by path), which are staged no more."""
    made = door.commit_dataset(
        ws, name=name, kind="files", tree=tree, expect=expect, branch=branch, files=files, size_bytes=size_bytes,
        message=message, producer=producer,
    )  # fmt: skip
    for path, change in taken.items():
        ws.tx.execute(
            delete(data_staged).where(
                *_on(ws, name, branch), data_staged.c.path == path, data_staged.c.change == change
            )
        )
    ws.tx.touch(made.node, before=expect, after=made.id)
    ws.tx.note(dataset=name, branch=branch, commit=made.id)
    return made


@operation("GET /datasets/{name}/headers", allows="data.read")
def get_header(ws: Workspace, *, name: str, path: str, object: str) -> Header:
    """What whoever stored a file said of it; nothing of files that came another way."""
    row = ws.tx.first(
        select(data_header).where(
            data_header.c.project == ws.project,
            data_header.c.dataset == name,
            data_header.c.file == _file(path, object),
        )
    )
    return Header(row.content_type, msgspec.json.decode(row.metadata, type=dict[str, str])) if row else Header()


def commit_staged(name: str, *, branch: str = "main", message: str = "", ws: Workspace | None = None) -> Commit:
    """Commit all that is staged on a branch, on top of what the branch is at now. Raises Conflict when nothing is staged, and
    when a path would be a file and a folder."""
    ws = ws or current_workspace()
    for last in [False] * RETRIES + [True]:
        head = head_of_files(ws, name, branch)
        staged = list(every(list_staged, ws, name=name, branch=branch))
        if not staged:
            raise Conflict(
                f'Nothing is staged on branch "{branch}" of dataset "{name}", so there is nothing to commit.'
            )
        entries = _with(read_tree(ws.store, head.tree), staged)
        check_folders(entries)
        tree, objects = encode_tree(entries)
        ws.store.put_many(objects)
        try:
            return commit_tree(
                ws,
                name=name,
                branch=branch,
                expect=head.id,
                tree=tree,
                files=len(entries),
                size_bytes=sum(entry.size for entry in entries),
                taken={one.path: one.change for one in staged},
                message=message or f"{len(staged)} files",
                producer=active_producer(),
            )
        except Conflict as error:
            if last or "expected" not in error.details:
                raise
    raise AssertionError


def _with(entries: Sequence[Entry], staged: Sequence[Staged]) -> list[Entry]:
    found = {entry.path: entry for entry in entries}
    for one in staged:
        if one.object:
            found[one.path] = Entry(one.path, one.object, one.size_bytes, one.executable)
        else:
            found.pop(one.path, None)
    return list(found.values())


def head_of_files(ws: Workspace, name: str, branch: str) -> Commit:
    """The commit that a branch of files is at. Raises NotFound, Conflict for a tag, InvalidInput for a table."""
    info = door.get_dataset(ws, name=name)
    if branch in info.tags:
        raise Conflict(f'"{branch}" is a tag of dataset "{name}": only branches change.')
    if info.kind != "files":
        raise InvalidInput(f'Dataset "{name}" holds a table: it changes by commits of rows, not of files.')
    if branch not in info.branches:
        raise NotFound(f'Dataset "{name}" has no branch "{branch}". Start it: trine data branch {name} {branch}')
    return door.get_commit(ws, name=name, ref=info.branches[branch])


def _keep_header(ws: Workspace, name: str, one: Change) -> None:
    row: dict[str, Any] = {"project": ws.project, "dataset": name, "file": _file(one.path, one.object)}
    if one.content_type or one.metadata:
        told = {"content_type": one.content_type, "metadata": canonical_json(one.metadata).decode()}
        ws.tx.execute(upsert(data_header), row | told)
    else:
        mine = (data_header.c[column] == value for column, value in row.items())
        ws.tx.execute(delete(data_header).where(*mine))


def _file(path: str, object: str) -> str:
    return digest([path, object])[:32]


def _rows(ws: Workspace, name: str, branch: str, paths: Sequence[str]) -> Any:
    return ws.tx.all(select(data_staged).where(*_on(ws, name, branch), data_staged.c.path.in_(paths))) if paths else []


def _on(ws: Workspace, name: str, branch: str) -> tuple[Any, ...]:
    return data_staged.c.project == ws.project, data_staged.c.dataset == name, data_staged.c.branch == branch


def _staged(row: Any) -> Staged:
    return Staged(row.path, row.object, row.size_bytes, row.executable, row.change, row.changed_us)
