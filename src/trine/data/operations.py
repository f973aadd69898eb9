"""The door's part on datasets: commits, branches, tags."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

import msgspec
from sqlalchemy import and_, delete, insert, or_, select, update

from trine.data.commits import Commit, DatasetInfo, Kind, commit_of
from trine.data.expectations import CheckResult
from trine.data.suites import need_answers
from trine.data.tables import (
    data_commit,
    data_fact,
    data_header,
    data_ref,
    data_staged,
    data_suite,
    data_upload,
    dataset,
)
from trine.errors import Conflict, InvalidInput, NotFound, nearest
from trine.ids import canonical_json, digest, to_datetime, to_us
from trine.operations import Done, Limit, Name, Page, operation, page_of, page_start
from trine.workspace import Workspace

Count = Annotated[int, msgspec.Meta(ge=0)]


@operation("POST /datasets/{name}/commits", allows="data.write")
def commit_dataset(
    ws: Workspace,
    *,
    name: Name,
    kind: Kind,
    tree: str,
    expect: str = "",
    branch: Name = "main",
    rows: Count | None = None,
    files: Count = 0,
    size_bytes: Count = 0,
    schema: dict[str, str] = {},  # noqa: B006 (copied by the door)
    profile: str = "",
    checks: list[CheckResult] = [],  # noqa: B006 (copied by the door)
    message: str = "",
    tag: str = "",
    producer: str = "",
    inputs: list[str] = [],  # noqa: B006 (copied by the door)
    merged: str = "",
) -> Commit:
    """Add a commit whose tree is stored already, and move the branch to it from `expect` (empty: a new branch). `merged` is
    the other commit of the dataset that it brings together with that.

    A failed check of severity error keeps the commit as rejected and leaves the branch where it is. The checks of a table
    have to answer the expectations that are kept with it.
    """
    tx = ws.tx
    known = tx.first(select(dataset).where(dataset.c.project == ws.project, dataset.c.name == name))
    if known is None:
        tx.execute(
            insert(dataset).values(project=ws.project, name=name, kind=kind, description="", created_us=tx.now_us)
        )
    elif known.kind != kind:
        raise Conflict(f'Dataset "{name}" holds {known.kind}, not {kind}. Use another name, or add it as {known.kind}.')
    head = _ref(ws, name, branch)
    if head and head.kind == "tag":
        raise Conflict(f'"{branch}" is a tag of dataset "{name}", not a branch.')
    if head is None and (branches := [one.name for one in ws.tx.all(_refs_of(ws, name)) if one.kind == "branch"]):
        raise NotFound(
            f'Dataset "{name}" has no branch "{branch}".{nearest(branch, branches)} '
            f"Start it first: trine data branch {name}@{branches[0]} {branch}"
        )
    if missing := {tree, profile} - {""} - ws.store.has([one for one in (tree, profile) if one]):
        raise InvalidInput(f"Object {missing.pop()} is not in the store: upload what a commit stands on first.")
    now = head.commit if head else ""
    if now != expect:
        raise Conflict(
            f'Branch "{branch}" of dataset "{name}" has moved: this commit builds on {expect[:12] or "nothing"}, '
            f"the branch is at {now[:12] or 'nothing'}. Look at what came, and commit again.",
            expected=expect,
            now=now,
        )
    if kind == "table":
        need_answers(ws, name, checks)
    state = "rejected" if any(one.refuses for one in checks) else "accepted"
    parents = [one for one in (expect, get_commit(ws, name=name, ref=merged).id if merged else "") if one]
    values: dict[str, Any] = {
        "kind": kind,
        "parents": canonical_json(parents).decode(),
        "branch": branch,
        "tree": tree,
        "rows": rows,
        "files": files,
        "size_bytes": size_bytes,
        "schema": msgspec.json.encode(schema).decode(),
        "profile": profile,
        "checks": msgspec.json.encode(checks).decode(),
        "message": message,
        "author": ws.on_behalf_of or ws.principal.name,
        "state": state,
        "created_us": tx.now_us,
    }
    identity = digest([name, values])  # nothing of this workspace: `records` takes it elsewhere under the same id
    tx.execute(insert(data_commit).values(project=ws.project, dataset=name, id=identity, **values))
    if state == "accepted":
        _move(ws, name, branch, "branch", identity)
        if tag:
            _new_tag(ws, name, tag, identity)
    node = f"dataset:{name}@{identity[:12]}"
    for parent in parents:
        tx.link(node, "derived", f"dataset:{name}@{parent[:12]}")
    for source in inputs:
        tx.link(node, "derived", source)
    if producer:
        tx.link(producer, "produced", node)
    tx.make(node)
    tx.touch(node, before=now or None, after=identity if state == "accepted" else now or None)
    tx.note(dataset=name, branch=branch, commit=identity, state=state, rows=rows)
    return get_commit(ws, name=name, ref=identity)


@operation("GET /datasets/{name}/commits/{ref}", allows="data.read")
def get_commit(ws: Workspace, *, name: str, ref: str = "main") -> Commit:
    """A commit by branch, tag, prefix of its id (six digits or more), each with `~N` for the N-th before it; or by time.

    A date (its beginning) or time such as 2026-11-25T12:30:00Z gives what `main` was then; side@2026-11-25 what `side` was.
    """
    _dataset(ws, name)
    base, back, steps = ref.partition("~")
    if back and not re.fullmatch(r"[0-9]{1,9}", steps):
        raise InvalidInput(f'"{ref}" is no reference: after ~ comes a number, for instance main~1.')
    row = _by_ref(ws, name, base)
    for _ in range(int(steps or 0)):
        parents = msgspec.json.decode(row.parents)
        if not parents:
            raise NotFound(f'"{name}@{ref}" goes back further than the dataset does.')
        row = _by_ref(ws, name, parents[0])
    return commit_of(row)


def _by_ref(ws: Workspace, name: str, ref: str) -> Any:
    mine = _commits_of(ws, name)
    if found := _ref(ws, name, ref):
        return ws.tx.first(mine.where(data_commit.c.id == found.commit))
    if re.fullmatch(r"[0-9a-f]{6,64}", ref):
        rows = ws.tx.all(mine.where(data_commit.c.id.startswith(ref)).limit(2))
        if len(rows) == 2:
            raise InvalidInput(f'"{ref}" is the beginning of several commits of "{name}"; give more digits.')
        if rows:
            return rows[0]
    branch, _, text = ref.rpartition("@")
    if moment := _moment(text):
        return _as_of(ws, name, branch or "main", moment)
    names = [row.name for row in ws.tx.all(_refs_of(ws, name))]
    raise NotFound(
        f'Dataset "{name}" has no branch, tag or commit "{ref}".{nearest(ref, names)} '
        f"There {'are' if names else 'is'} {', '.join(names) or 'nothing accepted yet'}."
    )


def _moment(text: str) -> dt.datetime | None:
    """A date (its first moment) or time; UTC, when it does not say."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f'"{text}" is no time: write 2026-11-25, or 2026-11-25T12:30:00Z.') from None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _as_of(ws: Workspace, name: str, branch: str, moment: dt.datetime) -> Any:
    """The commit that a branch was at."""
    row = _by_ref(ws, name, branch)
    until = to_us(moment)
    while row.created_us > until:
        if not (parents := msgspec.json.decode(row.parents)):
            first = to_datetime(row.created_us).isoformat(" ", "seconds")
            raise NotFound(f'"{name}@{branch}" is not as old as {moment.isoformat(" ")}: it began at {first}.')
        row = _by_ref(ws, name, parents[0])
    return row


@operation("GET /datasets/{name}/log", allows="data.read")
def list_commits(ws: Workspace, *, name: str, ref: str = "", limit: Limit = 100, page: str = "") -> Page[Commit]:
    """The commit a reference means and those before it, newest first; without one: all commits, rejected ones too."""
    _dataset(ws, name)
    if ref:
        return _history(ws, name, page_start(page, fields=str) or get_commit(ws, name=name, ref=ref).id, limit)
    made, id_ = data_commit.c.created_us, data_commit.c.id
    query = _commits_of(ws, name).order_by(made.desc(), id_.desc()).limit(limit + 1)
    if start := page_start(page, fields=tuple[int, str]):
        query = query.where(or_(made < start[0], and_(made == start[0], id_ < start[1])))
    return page_of([commit_of(row) for row in ws.tx.all(query)], limit, lambda one: (one.created_us, one.id))


def _history(ws: Workspace, name: str, start: str, limit: int) -> Page[Commit]:
    """From a commit up its parents; the page token is the commit that comes next."""
    found: list[Commit] = []
    wanted = [start]
    while wanted and len(found) <= limit:
        row = ws.tx.first(_commits_of(ws, name).where(data_commit.c.id == wanted[0]))
        if row is None:
            raise NotFound(f'Dataset "{name}" has no commit {wanted[0][:12]}.')
        found.append(commit_of(row))
        wanted = found[-1].parents
    return page_of(found, limit, lambda one: one.parents[0])


@operation("GET /datasets/{name}/base", allows="data.read")
def common_commit(ws: Workspace, *, name: str, one: str, two: str) -> Commit:
    """The commit that two came from: the newest that is in the history of both, merges included. Raises NotFound."""
    ids = [get_commit(ws, name=name, ref=ref).id for ref in (one, two)]
    columns = select(data_commit.c.id, data_commit.c.parents, data_commit.c.created_us)
    rows = ws.tx.all(columns.where(data_commit.c.project == ws.project, data_commit.c.dataset == name))
    parents = {row.id: msgspec.json.decode(row.parents, type=list[str]) for row in rows}
    made = {row.id: row.created_us for row in rows}
    common = _above(ids[:1], parents) & _above(ids[1:], parents)
    older = _above([parent for one_ in common for parent in parents[one_]], parents)
    newest = max(common - older, key=lambda id_: (made[id_], id_), default="")
    if not newest:
        raise NotFound(f'"{name}@{one}" and "{name}@{two}" have no commit in common, so they cannot be merged.')
    return get_commit(ws, name=name, ref=newest)


def _above(starts: list[str], parents: dict[str, list[str]]) -> set[str]:
    """Commits and all that they came from."""
    found: set[str] = set()
    way = list(starts)
    while way:
        if (one := way.pop()) not in found and one in parents:
            found.add(one)
            way += parents[one]
    return found


@operation("GET /datasets", allows="data.read")
def list_datasets(ws: Workspace, *, limit: Limit = 100, page: str = "") -> Page[DatasetInfo]:
    """Datasets by name, with their branches and tags."""
    query = select(dataset).where(dataset.c.project == ws.project).order_by(dataset.c.name).limit(limit + 1)
    if start := page_start(page, fields=str):
        query = query.where(dataset.c.name > start)
    return page_of([_info(ws, row) for row in ws.tx.all(query)], limit, lambda one: one.name)


@operation("GET /datasets/{name}", allows="data.read")
def get_dataset(ws: Workspace, *, name: str) -> DatasetInfo:
    """One dataset with its branches and tags."""
    return _info(ws, _dataset(ws, name))


@operation("PUT /datasets/{name}/tags/{tag}", allows="data.write")
def tag_commit(ws: Workspace, *, name: str, tag: Name, ref: str = "main", move: bool = False) -> Commit:
    """Name a commit for good; moving a tag has to be asked for."""
    found = get_commit(ws, name=name, ref=ref)
    old = _ref(ws, name, tag)
    if old and old.kind == "branch":
        raise Conflict(f'"{tag}" is a branch of dataset "{name}".')
    if old and old.commit != found.id and not move:
        raise Conflict(f'Tag "{tag}" of dataset "{name}" names {old.commit[:12]} already. Move it with --move.')
    _move(ws, name, tag, "tag", found.id)
    ws.tx.touch(found.node, before=old.commit if old else None, after=found.id)
    return found


@operation("PUT /datasets/{name}/branches/{branch}", allows="data.write")
def create_branch(ws: Workspace, *, name: str, branch: Name, ref: str = "main") -> Commit:
    """Start a branch at a commit; nothing is copied."""
    found = get_commit(ws, name=name, ref=ref)
    if found.state == "rejected":
        raise Conflict(f"{found.ref} was rejected by its checks; no branch can start there.")
    if old := _ref(ws, name, branch):
        raise Conflict(f'Dataset "{name}" has a {old.kind} "{branch}" already.')
    _move(ws, name, branch, "branch", found.id)
    ws.tx.touch(found.node, after=[branch, found.id])
    return found


@operation("DELETE /datasets/{name}/refs/{ref}", allows="data.delete")
def delete_ref(ws: Workspace, *, name: str, ref: str) -> Done:
    """Remove a branch or tag; its commits stay, what is staged on it goes."""
    _dataset(ws, name)
    old = _ref(ws, name, ref)
    if old is None:
        raise NotFound(f'Dataset "{name}" has no branch or tag "{ref}".')
    ws.tx.execute(delete(data_ref).where(*_is(ws, name, ref)))
    staged = (data_staged.c.project == ws.project, data_staged.c.dataset == name, data_staged.c.branch == ref)
    ws.tx.execute(delete(data_staged).where(*staged))
    ws.tx.touch(f"dataset:{name}", before=[ref, old.commit])
    return Done(f"{name}@{ref}")


@operation("DELETE /datasets/{name}", allows="data.delete")
def delete_dataset(ws: Workspace, *, name: str) -> Done:
    """Remove a dataset with all its commits from the ledger; the objects go at the next garbage collection."""
    _dataset(ws, name)
    for table, column in (
        (data_ref, data_ref.c.dataset),
        (data_commit, data_commit.c.dataset),
        (data_suite, data_suite.c.dataset),
        (data_fact, data_fact.c.dataset),
        (data_staged, data_staged.c.dataset),
        (data_header, data_header.c.dataset),
        (data_upload, data_upload.c.dataset),
        (dataset, dataset.c.name),
    ):
        ws.tx.execute(delete(table).where(table.c.project == ws.project, column == name))
    ws.tx.touch(f"dataset:{name}", before=name)
    return Done(f"dataset:{name}")


def _dataset(ws: Workspace, name: str) -> Any:
    row = ws.tx.first(select(dataset).where(dataset.c.project == ws.project, dataset.c.name == name))
    if row is None:
        known = [one.name for one in ws.tx.all(select(dataset.c.name).where(dataset.c.project == ws.project))]
        raise NotFound(f'No dataset "{name}" in project "{ws.project}".{nearest(name, known)} See: trine data ls')
    return row


def _commits_of(ws: Workspace, name: str) -> Any:
    return select(data_commit).where(data_commit.c.project == ws.project, data_commit.c.dataset == name)


def _is(ws: Workspace, name: str, ref: str) -> tuple[Any, ...]:
    return data_ref.c.project == ws.project, data_ref.c.dataset == name, data_ref.c.name == ref


def _ref(ws: Workspace, name: str, ref: str) -> Any:
    return ws.tx.first(select(data_ref).where(*_is(ws, name, ref)))


def _refs_of(ws: Workspace, name: str) -> Any:
    return (
        select(data_ref).where(data_ref.c.project == ws.project, data_ref.c.dataset == name).order_by(data_ref.c.name)
    )


def _move(ws: Workspace, name: str, ref: str, kind: str, commit: str) -> None:
    values = {"kind": kind, "commit": commit, "updated_us": ws.tx.now_us}
    if _ref(ws, name, ref):
        ws.tx.execute(update(data_ref).where(*_is(ws, name, ref)).values(values))
    else:
        ws.tx.execute(insert(data_ref).values(project=ws.project, dataset=name, name=ref, **values))


def _new_tag(ws: Workspace, name: str, tag: str, commit: str) -> None:
    if old := _ref(ws, name, tag):
        raise Conflict(f'Dataset "{name}" has a {old.kind} "{tag}" already, at {old.commit[:12]}.')
    _move(ws, name, msgspec.convert(tag, Name), "tag", commit)


def _info(ws: Workspace, row: Any) -> DatasetInfo:
    refs = ws.tx.all(_refs_of(ws, row.name))
    return DatasetInfo(
        row.name,
        row.kind,
        row.description,
        row.created_us,
        {one.name: one.commit for one in refs if one.kind == "branch"},
        {one.name: one.commit for one in refs if one.kind == "tag"},
    )
