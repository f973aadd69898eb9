"""The door's part on whole commits: given out and taken in exactly as they were made, so that they keep their ids.

A record is the text whose BLAKE3 is the commit's id: the canonical JSON of its dataset and of all that was fixed. Whoever
takes one in checks it against its id, so a commit's parents, author, time and content cannot change on the way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import delete, insert, select

from trine.data.commits import Commit
from trine.data.expectations import CheckResult
from trine.data.suites import need_answers
from trine.data.tables import data_commit, data_ref, dataset
from trine.errors import Conflict, Damaged, InvalidInput, NotFound
from trine.ids import canonical_json, digest
from trine.operations import Done, Limit, Name, operation
from trine.workspace import Workspace

MOST = 500
"""Records that are taken in by one call."""

RefKind = Literal["branch", "tag"]
FIXED = tuple(column.name for column in data_commit.c if column.name not in ("project", "dataset", "id"))


class Record(msgspec.Struct, frozen=True):
    """A commit as text: `id` is the BLAKE3 of it."""

    id: str
    text: str

    @property
    def parents(self) -> list[str]:
        """The ids of the commits before it."""
        return commit_of(self).parents


class Records(msgspec.Struct, frozen=True):
    """Commits, nearest first, and the ids to go on with for those before them."""

    items: list[Record]
    next: list[str] = []


def record_of(commit: Commit) -> Record:
    """The record of a commit at hand. For one that is being made, the record's id is the commit's."""
    values: dict[str, Any] = {
        **{name: getattr(commit, name) for name in FIXED},
        "parents": canonical_json(commit.parents).decode(),
        "schema": msgspec.json.encode(commit.schema).decode(),
        "checks": msgspec.json.encode(commit.checks).decode(),
    }
    text = canonical_json([commit.dataset, values])
    return Record(digest(text), text.decode())


def commit_of(record: Record) -> Commit:
    """The commit in a record. Raises Damaged when it is not the one that its id says, InvalidInput when it is none at all."""
    if digest(record.text.encode()) != record.id:
        raise Damaged(f"The record of commit {record.id[:12]} is damaged: its text has another hash.", hash=record.id)
    try:
        name, values = msgspec.json.decode(record.text, type=tuple[Name, dict[str, Any]])
        if set(values) != set(FIXED):
            raise InvalidInput(
                f'Commit {record.id[:12]} of "{name}" was made by another version of Trine, which keeps other facts '
                f"({', '.join(sorted(set(values) ^ set(FIXED)))}). Use the same version here."
            )
        for field, kind in (("parents", list[str]), ("schema", dict[str, str]), ("checks", list[CheckResult])):
            values[field] = msgspec.json.decode(values[field], type=kind)
        return msgspec.convert({**values, "dataset": name, "id": record.id}, Commit)
    except (msgspec.DecodeError, msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"The record of {record.id[:12]} is no commit: {error}.") from None


@operation("GET /datasets/{name}/records", allows="data.read")
def list_records(ws: Workspace, *, name: str, ids: list[str] = [], limit: Limit = 500) -> Records:  # noqa: B006 (copied by the door)
    """The commits with these ids and those before them, nearest first; ids that are not here are left out."""
    found: dict[str, Record] = {}
    wanted = list(dict.fromkeys(ids))
    while wanted and len(found) < limit:
        now, rest = wanted[: limit - len(found)], wanted[limit - len(found) :]
        mine = select(data_commit).where(
            data_commit.c.project == ws.project, data_commit.c.dataset == name, data_commit.c.id.in_(now)
        )
        rows = {row.id: row for row in ws.tx.all(mine)}
        above: dict[str, None] = {}
        for row in (rows[one] for one in now if one in rows):
            text = canonical_json([name, {field: getattr(row, field) for field in FIXED}]).decode()
            found[row.id] = Record(row.id, text)
            above |= dict.fromkeys(msgspec.json.decode(row.parents, type=list[str]))
        wanted = list(dict.fromkeys([*rest, *(one for one in above if one not in found)]))
    return Records(list(found.values()), wanted)


@operation("POST /datasets/{name}/records", allows="data.write")
def receive_records(
    ws: Workspace, *, name: Name, records: Annotated[list[Record], msgspec.Meta(max_length=MOST)]
) -> Done:
    """Take in commits that were made elsewhere, parents first, each with its own author and time; what is here stays.

    Their trees and profiles are stored already. Branches and tags stay where they are: see `move_ref`.
    """
    try:
        commits = [commit_of(one) for one in records]
    except Damaged as error:  # of the caller's making or on its way here, not in this workspace
        raise InvalidInput(error.message) from None
    ids = [one.id for one in commits]
    here = _known(ws, name, [*ids, *(parent for one in commits for parent in one.parents)])
    fresh = [one for one in commits if one.id not in here]
    _check_objects(ws, fresh)
    for one in fresh:
        if one.dataset != name:
            raise InvalidInput(f'Commit {one.id[:12]} is of dataset "{one.dataset}", not "{name}".')
        if one.state == "accepted" and any(check.refuses for check in one.checks):
            raise InvalidInput(f"{one.ref} failed its checks, so it cannot be one that was accepted.")
        if missing := [parent for parent in one.parents if parent not in here]:
            raise InvalidInput(
                f'Commit {one.id[:12]} of "{name}" comes after {missing[0][:12]}, which is not here: that one first.'
            )
        here.add(one.id)
        _have_dataset(ws, one)
        values = msgspec.json.decode(record_of(one).text)[1]
        ws.tx.execute(insert(data_commit).values(project=ws.project, dataset=name, id=one.id, **values))
        ws.tx.make(one.node)
        for parent in one.parents:
            ws.tx.link(one.node, "derived", f"dataset:{name}@{parent[:12]}")
    ws.tx.touch(f"dataset:{name}", after=[one.id for one in fresh])
    ws.tx.note(dataset=name, commits=[one.id for one in fresh][:100])
    return Done(f"dataset:{name}", bool(fresh))


@operation("PUT /datasets/{name}/refs/{ref}", allows="data.write")
def move_ref(
    ws: Workspace, *, name: str, ref: Name, kind: RefKind = "branch", commit: str = "", expect: str = ""
) -> Done:
    """Put a branch or tag at a commit that is here, if it is still where `expect` says (empty: it does not exist yet).

    The checks of a table's commit have to answer the expectations that are kept with the dataset here, before a branch goes
    there. Raises Conflict.
    """
    at = (data_ref.c.project == ws.project, data_ref.c.dataset == name, data_ref.c.name == ref)
    old = ws.tx.first(select(data_ref).where(*at))
    row = ws.tx.first(
        select(data_commit).where(
            data_commit.c.project == ws.project, data_commit.c.dataset == name, data_commit.c.id == commit
        )
    )
    if row is None:
        raise NotFound(f'Dataset "{name}" has no commit {commit[:12]}.')
    if kind == "branch" and row.state == "rejected":
        raise Conflict(f"{name}@{commit[:12]} was rejected by its checks; no branch can be there.")
    if kind == "branch" and row.kind == "table" and not (old and old.commit == commit):
        need_answers(ws, name, msgspec.json.decode(row.checks, type=list[CheckResult]))
    if old and old.kind != kind:
        raise Conflict(f'"{ref}" is a {old.kind} of dataset "{name}", not a {kind}.')
    now = old.commit if old else ""
    if now != expect:
        raise Conflict(
            f'"{ref}" of dataset "{name}" has moved: it was at {expect[:12] or "nothing"}, and is at '
            f"{now[:12] or 'nothing'}. Try again.",
            expected=expect,
            now=now,
        )
    if now != commit:
        ws.tx.execute(delete(data_ref).where(*at))
        ws.tx.execute(
            insert(data_ref).values(
                project=ws.project, dataset=name, name=ref, kind=kind, commit=commit, updated_us=ws.tx.now_us
            )
        )
    node = f"dataset:{name}@{commit[:12]}"
    ws.tx.touch(node, before=now or None, after=commit)
    branch = ref if kind == "branch" and now != commit else ""
    ws.tx.note(dataset=name, ref=ref, branch=branch, commit=commit, state=row.state, rows=row.rows)
    return Done(node, now != commit)


def _known(ws: Workspace, name: str, ids: list[str]) -> set[str]:
    mine = select(data_commit.c.id).where(data_commit.c.project == ws.project, data_commit.c.dataset == name)
    return {row.id for row in ws.tx.all(mine.where(data_commit.c.id.in_(list(dict.fromkeys(ids)))))}


def _check_objects(ws: Workspace, commits: list[Commit]) -> None:
    needed = {one for commit in commits for one in (commit.tree, commit.profile) if one}
    if missing := needed - ws.store.has(needed):
        raise InvalidInput(f"Object {missing.pop()} is not in the store: upload what a commit stands on first.")


def _have_dataset(ws: Workspace, commit: Commit) -> None:
    known = ws.tx.first(select(dataset).where(dataset.c.project == ws.project, dataset.c.name == commit.dataset))
    if known is None:
        made = {"kind": commit.kind, "description": "", "created_us": commit.created_us}
        ws.tx.execute(insert(dataset).values(project=ws.project, name=commit.dataset, **made))
    elif known.kind != commit.kind:
        raise Conflict(f'Dataset "{commit.dataset}" holds {known.kind} here, and {commit.kind} where this comes from.')
