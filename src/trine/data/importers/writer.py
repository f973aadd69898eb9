"""Writing imported versions: a line of commits whose ids follow from the source alone."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trine.data.commits import Commit
from trine.data.moving import history
from trine.data.peers import Place, WorkspacePeer
from trine.data.pins import record_code_data
from trine.data.records import Record, record_of
from trine.data.trees import Entry, encode_tree
from trine.errors import Conflict
from trine.types import Name
from trine.workspace import Workspace


class Version(msgspec.Struct, frozen=True):
    """A version as the source has it; its files are in the store. `code` is the git commit it belongs to, if any."""

    entries: Sequence[Entry]
    message: str
    author: str
    time_us: int
    code: str = ""
    tags: tuple[str, ...] = ()


class Imported(msgspec.Struct, frozen=True):
    """What an import did for one dataset: `versions` that the source has, `added` of them now. `problems` say what could
    not be had."""

    dataset: str
    versions: int
    added: int
    files: int
    size_bytes: int
    commit: str
    problems: list[str] = []


def write_history(
    ws: Workspace, name: str, versions: Sequence[Version], *, branch: str = "main", problems: Sequence[str] = ()
) -> Imported:
    """Write versions, oldest first, as commits, and move the branch to the last. One as the one before makes no commit.

    Raises Conflict, with the commits written, when the branch is somewhere that these do not lead to or come from.
    """
    msgspec.convert(name, Name)
    told = list(problems)
    commits, objects = _commits(name, versions, branch)
    if not commits:
        return Imported(name, 0, 0, 0, 0, "", told)
    peer = WorkspacePeer(ws)
    ids = [record.id for record, _ in commits]
    known = peer.known(name, ids)
    fresh = [(record, one) for record, one in commits if record.id not in known]
    if fresh:
        ws.store.put_many(objects)
        peer.receive(name, [record for record, _ in fresh])
    refs = peer.refs(name)
    _move_branch(peer, name, branch, refs.get(branch), ids)
    for record, one in commits:
        for tag in one.tags:
            at = refs.get(tag)
            if at is None:
                peer.move(name, tag, Place("tag", record.id), "")
            elif at.commit != record.id:
                told.append(f'"{tag}" of {name} names {at.commit[:12]} here already')
    for record, one in fresh:
        if one.code:
            record_code_data(ws, code=one.code, datasets=[f"dataset:{name}@{record.id[:12]}"])
    last = commits[-1][1].entries
    size = sum(entry.size for entry in last)
    return Imported(name, len(commits), len(fresh), len(last), size, ids[-1], told)


def _commits(name: str, versions: Sequence[Version], branch: str) -> tuple[list[tuple[Record, Version]], list[bytes]]:
    found: list[tuple[Record, Version]] = []
    objects: dict[bytes, None] = {}
    tree = ""
    for one in versions:
        tree_before = tree
        tree, pages = encode_tree(one.entries)
        if tree == tree_before:
            record, last = found[-1]
            found[-1] = (record, msgspec.structs.replace(last, tags=(*last.tags, *one.tags)))
            continue
        objects |= dict.fromkeys(pages)
        commit = Commit(
            dataset=name,
            id="",
            kind="files",
            parents=[found[-1][0].id] if found else [],
            branch=branch,
            tree=tree,
            rows=None,
            files=len(one.entries),
            size_bytes=sum(entry.size for entry in one.entries),
            schema={},
            profile="",
            checks=[],
            message=one.message,
            author=one.author,
            state="accepted",
            created_us=one.time_us,
        )
        found.append((record_of(commit), one))
    return found, list(objects)


def _move_branch(peer: WorkspacePeer, name: str, branch: str, at: Place | None, ids: list[str]) -> None:
    before = at.commit if at else ""
    if before == ids[-1]:
        return
    if not at or before in ids:
        peer.move(name, branch, Place("branch", ids[-1]), before)
    elif ids[-1] not in history(peer, name, [before]):
        raise Conflict(
            f'Branch "{branch}" of dataset "{name}" is at {before[:12]}, which has nothing to do with what was imported '
            f"({ids[-1][:12]}). Import onto a branch of its own: --branch NAME.",
            now=before,
            came=ids[-1],
        )
