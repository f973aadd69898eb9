"""Pinning data beside code, following the pins, and telling which code needed which data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from trine.data.changes import status
from trine.data.commits import Commit, split_ref
from trine.data.lock import LOCK, Pin, Pins, check_folder, lock_path, merge_locks, parse_lock, read_lock, write_lock
from trine.data.moving import Moved, Tell, pull, push
from trine.data.peers import WorkspacePeer
from trine.data.references import resolve
from trine.data.remotes import find_remote, list_remotes
from trine.data.repository import Repository
from trine.errors import InvalidInput, NotFound, TrineError, nearest
from trine.operations import Done, operation
from trine.workspace import Workspace, current_workspace

FolderState = Literal["", "as pinned", "changed", "other version", "not there"]


class PinState(msgspec.Struct, frozen=True):
    """A pin and what is the case: whether its commit is here, where `main` is, and how its folder is."""

    dataset: str
    commit: str
    here: bool
    main: str
    folder: str = ""
    folder_state: FolderState = ""
    folder_commit: str = ""

    @property
    def holds(self) -> bool:
        """Whether all is as the lock says."""
        return self.here and self.folder_state in ("", "as pinned")


class Followed(msgspec.Struct, frozen=True):
    """What following a pin did: whether its commit was pulled, and the folder that was brought to it, if it was not there."""

    dataset: str
    commit: str
    pulled: bool
    folder: str = ""


class Traced(msgspec.Struct, frozen=True):
    """A git commit that moved a pin, newest first: from one data commit to another (empty: there was none, or is none)."""

    code: str
    time: str
    author: str
    subject: str
    before: str
    after: str


def pin(
    *refs: str, folder: Path | str | None = None, start: Path | None = None, ws: Workspace | None = None
) -> list[Pin]:
    """Write into `trine.lock` that the code needs these versions (`name` means what `main` is at now); gives their pins.

    `folder` is where it is checked out, for one dataset. A pin keeps the folder it has.
    """
    ws = ws or current_workspace()
    if folder is not None and len(refs) != 1:
        raise InvalidInput("A folder goes with one dataset: pin it by itself.")
    path = lock_path(start)
    pins = read_lock(path)
    made: list[Pin] = []
    for ref in refs:
        commit = resolve(ref, ws=ws)
        if commit.state == "rejected":
            raise InvalidInput(f"{commit.ref} was rejected by its checks, so nothing should need it.")
        old = pins.get(commit.dataset)
        where = _relative(path, Path(folder)) if folder is not None else old.folder if old else ""
        made.append(Pin(commit.dataset, commit.id, commit.tree, where))
    write_lock(path, pins | {one.dataset: one for one in made})
    return made


def _relative(lock: Path, folder: Path) -> str:
    try:
        where = folder.resolve().relative_to(lock.parent.resolve()).as_posix()
    except ValueError:
        raise InvalidInput(f"{folder} is not below {lock.parent}, where {LOCK} is.") from None
    if where == ".":
        raise InvalidInput(f"{folder} holds {LOCK} itself: check the data out in a folder below it.")
    return check_folder(where, str(lock))


def unpin(*names: str, start: Path | None = None) -> None:
    """Take datasets out of `trine.lock`."""
    path = lock_path(start)
    pins = read_lock(path)
    for name in names:
        if name not in pins:
            raise NotFound(f'"{name}" is not in {path}.{nearest(name, pins)}')
    write_lock(path, {name: one for name, one in pins.items() if name not in names})


def pinned(name: str, *, start: Path | None = None) -> str:
    """The reference of the version that `trine.lock` pins, for code to load: `trine.load(data.pinned("flights"))`."""
    path = lock_path(start)
    pins = read_lock(path)
    if name not in pins:
        raise NotFound(f'"{name}" is not in {path}.{nearest(name, pins)} Pin it: trine data pin {name}')
    return f"{name}@{pins[name].commit}"


def pin_states(*, start: Path | None = None, ws: Workspace | None = None) -> list[PinState]:
    """Every pin of `trine.lock`, and what deviates from it."""
    ws = ws or current_workspace()
    path = lock_path(start)
    return [_state(ws, path, one) for one in read_lock(path).values()]


def _state(ws: Workspace, lock: Path, one: Pin) -> PinState:
    main = WorkspacePeer(ws).refs(one.dataset).get("main")
    here = _commit(ws, one) is not None
    state = PinState(one.dataset, one.commit, here, main.commit if main else "", one.folder)
    if not one.folder:
        return state
    try:
        found = status(lock.parent / one.folder, ws=ws)
    except NotFound:
        return msgspec.structs.replace(state, folder_state="not there")
    is_pinned = (found.dataset, found.commit) == (one.dataset, one.commit)
    told: FolderState = (
        "as pinned" if is_pinned and found.changes.clean else "changed" if is_pinned else "other version"
    )
    if not is_pinned and not found.changes.clean:
        told = "changed"
    return msgspec.structs.replace(state, folder_state=told, folder_commit=found.commit)


def _commit(ws: Workspace, one: Pin) -> Commit | None:
    """The pinned commit, when it is here. Raises InvalidInput when the lock names another tree for it."""
    try:
        found = resolve(f"{one.dataset}@{one.commit}", ws=ws)
    except NotFound:
        return None
    if found.tree != one.tree:
        raise InvalidInput(
            f"{LOCK} names tree {one.tree[:12]} for {one.ref}, and it is {found.tree[:12]}. Pin it again."
        )
    return found


def follow(
    *,
    remote: str = "",
    force: bool = False,
    tell: Tell | None = None,
    start: Path | None = None,
    ws: Workspace | None = None,
) -> list[Followed]:
    """Bring data to where `trine.lock` says: pull commits that are not here, and check out the folders.

    Raises Conflict when a folder was changed and the changes would be lost, unless `force`. Branches stay where they are.
    """
    from trine.data.checkouts import checkout

    ws = ws or current_workspace()
    path = lock_path(start)
    done: list[Followed] = []
    for one in read_lock(path).values():
        missing = _commit(ws, one) is None
        if missing:
            _fetch(ws, one, remote, tell)
            _commit(ws, one)
        state = _state(ws, path, one)
        if one.folder and state.folder_state != "as pinned":
            checkout(f"{one.dataset}@{one.commit}", path.parent / one.folder, force=force, ws=ws)
        done.append(Followed(one.dataset, one.commit, missing, "" if state.holds else one.folder))
    record_head(start=start, ws=ws)
    return done


def _fetch(ws: Workspace, one: Pin, remote: str, tell: Tell | None) -> None:
    names = [remote] if remote else [each.name for each in list_remotes(ws, limit=1000).items]
    for name in names:
        try:
            pull(f"{one.dataset}@{one.commit}", remote=name, tell=tell, ws=ws)
            return
        except NotFound:
            continue
    where = f"nor in {', '.join(names)}" if names else "and there is no remote to get it from: trine data remote add …"
    raise NotFound(f"{one.ref}, which {LOCK} asks for, is not here, {where}.")


def push_pinned(
    *, remote: str = "", tell: Tell | None = None, start: Path | None = None, ws: Workspace | None = None
) -> list[Moved]:
    """Push every version that `trine.lock` pins: who gets the code can get its data then."""
    ws = ws or current_workspace()
    name = find_remote(ws, remote).name
    return [
        push(f"{one.dataset}@{one.commit}", remote=name, tell=tell, ws=ws)
        for one in read_lock(lock_path(start)).values()
    ]


# -- git ----------------------------------------------------------------------------------------------------------


def merge_lock_files(base: Path, ours: Path, theirs: Path, *, ws: Workspace | None = None) -> list[str]:
    """git's merge driver: merge three locks into `ours`; gives the datasets in conflict."""
    for path in (ours, theirs):
        if not path.is_file():
            raise NotFound(f"There is no lock at {path} to merge.")
    was, one, two = read_lock(base), read_lock(ours), read_lock(theirs)
    text, conflicts = merge_locks(was, one, two, lambda a, b: _newer(ws, a, b) if ws else None)
    ours.write_text(text, encoding="utf-8")
    return conflicts


def _newer(ws: Workspace, one: Pin, two: Pin) -> Pin | None:
    from trine.data.moving import history

    if one.commit == two.commit:
        return one if one.folder == two.folder else None
    peer = WorkspacePeer(ws)
    if one.commit in history(peer, one.dataset, [two.commit]):
        return two
    return one if two.commit in history(peer, one.dataset, [one.commit]) else None


def _repository(start: Path | None) -> tuple[Repository, str]:
    """The git repository, and the lock's path in it."""
    path = lock_path(start)
    repository = Repository.around(path.parent)
    if repository is None:
        raise NotFound(f"{path.parent} is in no git repository, so there is no code to trace.")
    return repository, path.relative_to(repository.root).as_posix()


def data_of(rev: str = "HEAD", *, start: Path | None = None) -> tuple[str, Pins]:
    """The git commit that a revision means, and the data it needs: its own `trine.lock`."""
    repository, path = _repository(start)
    commit = repository.commit_of(rev)
    text = repository.file_at(commit, path)
    return commit, parse_lock(text.decode(), f"{path} of {commit[:12]}") if text else {}


def code_of(ref: str, *, start: Path | None = None, ws: Workspace | None = None) -> list[Traced]:
    """The git commits, on any branch, that brought a version into `trine.lock` or moved it on, newest first."""
    ws = ws or current_workspace()
    repository, path = _repository(start)
    wanted = resolve(ref, ws=ws)
    form = "%H%x00%aI%x00%an%x00%s%x00%P"
    lines = repository.git("log", "--all", f"-S{wanted.id}", f"--format={form}", "--", path).splitlines()
    found: list[Traced] = []
    for line in lines:
        code, time, author, subject, above = line.split("\0")
        before = _pin_at(repository, above.split(" ")[0], path, wanted.dataset) if above else ""
        found.append(Traced(code, time, author, subject, before, _pin_at(repository, code, path, wanted.dataset)))
    return found


def _pin_at(repository: Repository, commit: str, path: str, name: str) -> str:
    text = repository.file_at(commit, path)
    found = parse_lock(text.decode(), f"{path} of {commit[:12]}").get(name) if text else None
    return found.commit if found else ""


def record_head(*, start: Path | None = None, ws: Workspace | None = None) -> Done | None:
    """Have the graph say that the code's commit here uses the data it pins; None outside git, or when nothing is pinned."""
    ws = ws or current_workspace()
    try:
        commit, found = data_of(start=start)
    except TrineError:
        return None
    nodes = [f"dataset:{one.dataset}@{one.commit[:12]}" for one in found.values() if _commit(ws, one)]
    return record_code_data(ws, code=commit, datasets=nodes) if nodes else None


@operation("PUT /code/{code}/data", allows="data.write")
def record_code_data(ws: Workspace, *, code: str, datasets: list[str]) -> Done:
    """Link a git commit to the dataset versions that its `trine.lock` pins."""
    if not re.fullmatch(r"[0-9a-f]{40,64}", code):
        raise InvalidInput(f'"{code[:80]}" is no git commit: 40 hexadecimal digits.')
    for node in datasets:
        kind, _, ref = node.partition(":")
        split_ref(ref)
        if kind != "dataset" or not re.fullmatch(r"[^@]+@[0-9a-f]{12}", ref):
            raise InvalidInput(f'"{node}" is no node of a dataset version: write dataset:NAME@ and 12 digits.')
        ws.tx.link(f"code:{code}", "used", node)
    ws.tx.touch(f"code:{code}", after=datasets)
    return Done(f"code:{code}")
