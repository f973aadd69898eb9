"""Pushing and pulling: commits, and of their objects those that the other end does not have.

The order makes every interruption harmless: files, then the pages that name them, then roots, then the commits' records,
then the branch. Called again, it goes on where it was. What is read is checked, and stored under the hash it was asked by.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from trine.data.commits import Commit, split_ref
from trine.data.peers import Peer, Place, WorkspacePeer, open_peer
from trine.data.profiles import named_in as sketches_in
from trine.data.records import Record, commit_of
from trine.data.references import resolve
from trine.data.remotes import find_remote, list_remotes
from trine.data.trees import read_page, read_root
from trine.errors import Conflict, Damaged, NotFound, nearest
from trine.storage import ObjectStore, Store, recipes
from trine.storage.keys import own_key
from trine.storage.packing import SMALL
from trine.storage.recipes import Recipe
from trine.workspace import Workspace, current_workspace

WORKERS = 8
READERS = 32
"""Objects that are fetched at the same time from a place that is far."""

BATCH_BYTES = 8 << 20
BATCH_OBJECTS = 2_000
LARGE = 4 << 20
"""Objects from this size on travel through a file, one by one."""

Outcome = Literal["new", "moved", "same", "behind", "diverged"]


class RefMove(msgspec.Struct, frozen=True):
    """What became of a branch or tag at the end that was written to: `behind` says that it is further already, `diverged`
    that both ends went on. It stayed where it was then."""

    name: str
    kind: str
    outcome: Outcome
    before: str
    after: str


class Moved(msgspec.Struct, frozen=True):
    """What a push or pull did."""

    dataset: str
    source: str
    target: str
    commits: int
    objects: int
    size_bytes: int
    refs: list[RefMove]


class Progress(msgspec.Struct):
    """How far a push or pull is; the totals are known from the start."""

    objects: int = 0
    objects_total: int = 0
    size_bytes: int = 0
    size_bytes_total: int = 0


Tell = Callable[[Progress], None]


def push(
    ref: str, *, remote: str = "", force: bool = False, tell: Tell | None = None, ws: Workspace | None = None
) -> Moved:
    """Give a remote what it lacks of a dataset: of one branch, tag or commit (`name@ref`), or of all branches and tags (`name`).

    `remote` is a remote's name or address. Raises Conflict when a branch that was asked for went on there (pull first), or
    a tag names something else there, unless `force`.
    """
    ws = ws or current_workspace()
    with open_peer(find_remote(ws, remote)) as peer:
        return _move(WorkspacePeer(ws), peer, ref, force, tell, is_pull=False)


def pull(
    ref: str, *, remote: str = "", force: bool = False, tell: Tell | None = None, ws: Workspace | None = None
) -> Moved:
    """Get from a remote what is not here of a dataset: of one branch, tag or commit (`name@ref`), or of all (`name`).

    Raises Conflict when a branch that was asked for went on at both ends: its commits are here then, to be merged.
    """
    ws = ws or current_workspace()
    with open_peer(find_remote(ws, remote)) as peer:
        return _move(peer, WorkspacePeer(ws), ref, force, tell, is_pull=True)


def mend(hashes: Iterable[str], *, remote: str = "", ws: Workspace | None = None) -> set[str]:
    """Store damaged or missing objects again, from the remotes that have them; gives those that were mended."""
    ws = ws or current_workspace()
    wanted = set(hashes)
    mended: set[str] = set()
    remotes = [find_remote(ws, remote)] if remote else list_remotes(ws, limit=1000).items
    for one in remotes:
        if not wanted - mended:
            break
        with open_peer(one) as peer:
            for name in sorted(peer.store.has(wanted - mended)):
                try:
                    _copy_batch(peer.store, ws.store, [name])
                except (Damaged, NotFound):
                    continue  # damaged there too: perhaps the next one has it whole
                mended.add(name)
    return mended


def _move(source: Peer, target: Peer, ref: str, force: bool, tell: Tell | None, *, is_pull: bool) -> Moved:
    at = "@" in ref
    name, version = split_ref(ref)
    found = source.refs(name)
    wanted = {version: found[version]} if at and version in found else {} if at else found
    single = "" if wanted else _commit_meant(source, name, version, found)
    heads = [single] if single else list(dict.fromkeys(one.commit for one in wanted.values()))
    records, known = _missing(source, target, name, heads)
    commits = [commit_of(one) for one in records]
    old = [commit_of(one) for one in source.records(name, sorted(known)) if one.id in known]
    objects, size = _copy_all(source.store, target.store, commits, old, tell)
    target.receive(name, records)
    there = target.refs(name)
    moves = [_move_ref(source, target, name, one, to, there.get(one), force) for one, to in wanted.items()]
    if at and moves and moves[0].outcome == "diverged":
        raise _stuck(source, target, name, moves[0], is_pull=is_pull)
    return Moved(name, source.location, target.location, len(records), objects, size, moves)


def _commit_meant(source: Peer, name: str, version: str, refs: Mapping[str, Place]) -> str:
    """The id of a commit that was asked for by its id, or by `branch~N` or a prefix where the source can say."""
    if isinstance(source, WorkspacePeer):
        return resolve(f"{name}@{version}", ws=source.ws).id
    if len(version) == 64 and source.known(name, [version]):
        return version
    if not refs:
        known = source.datasets()
        raise NotFound(f'There is no dataset "{name}" in {source.location}.{nearest(name, known)}')
    for one in history(source, name, [each.commit for each in refs.values()]):
        if one.startswith(version) and len(version) >= 6:
            return one
    raise NotFound(f'"{name}" has no branch, tag or commit "{version}" in {source.location}.{nearest(version, refs)}')


def _missing(source: Peer, target: Peer, name: str, heads: list[str]) -> tuple[list[Record], set[str]]:
    """The records that the target lacks, parents first, and the commits it has that they build on."""
    found: dict[str, Record] = {}
    known: set[str] = set()
    wanted = list(heads)
    while wanted:
        known |= target.known(name, wanted)
        asked = [one for one in wanted if one not in known]
        given = {one.id: one for one in source.records(name, asked)} if asked else {}
        if lost := [one for one in asked if one not in given]:
            raise NotFound(f'Commit {lost[0][:12]} of "{name}" is not in {source.location}.')
        known |= target.known(name, [one for one in given if one not in asked])
        wanted = _take(asked, given, known, found)
    return _parents_first(found), known


def _take(asked: list[str], given: Mapping[str, Record], known: set[str], found: dict[str, Record]) -> list[str]:
    """Take what was given into `found`, from the ids that were asked for upwards; gives those to ask for next."""
    after: dict[str, None] = {}
    way = list(asked)
    while way:
        one = way.pop()
        if one in known or one in found:
            continue
        if one not in given:
            after[one] = None
            continue
        found[one] = given[one]
        way += given[one].parents
    return list(after)


def _parents_first(records: Mapping[str, Record]) -> list[Record]:
    done: dict[str, Record] = {}
    for start in records:
        way = [start]
        while way:
            one = way[-1]
            above = [each for each in records[one].parents if each in records and each not in done]
            if one in done or not above:
                done.setdefault(one, records[one])
                way.pop()
            else:
                way += above
    return list(done.values())


def history(peer: Peer, name: str, heads: Iterable[str]) -> Iterator[str]:
    """The ids of commits and of all before them, nearest first."""
    seen: set[str] = set()
    given: dict[str, Record] = {}
    wanted = list(heads)
    while wanted:
        fresh = [one for one in dict.fromkeys(wanted) if one not in seen]
        if lacking := [one for one in fresh if one not in given]:
            given |= {one.id: one for one in peer.records(name, lacking)}
        seen |= set(fresh)
        yield from fresh
        wanted = [parent for one in fresh if one in given for parent in given[one].parents]


def _move_ref(source: Peer, target: Peer, name: str, ref: str, to: Place, old: Place | None, force: bool) -> RefMove:
    before = old.commit if old else ""
    outcome: Outcome = "moved"
    if old is None:
        outcome = "new"
    elif old.commit == to.commit:
        outcome = "same"
    elif to.kind == "tag" or old.kind == "tag":
        outcome = "moved" if force else "diverged"
    elif not force and old.commit not in history(source, name, [to.commit]):
        outcome = "behind" if to.commit in history(target, name, [old.commit]) else "diverged"
    if outcome in ("new", "moved"):
        target.move(name, ref, to, before)
    return RefMove(ref, to.kind, outcome, before, to.commit)


def _stuck(source: Peer, target: Peer, name: str, stuck: RefMove, *, is_pull: bool) -> Conflict:
    where = f'{stuck.kind} "{stuck.name}" of dataset "{name}"'
    if stuck.kind == "tag":
        return Conflict(
            f"The {where} names {stuck.before[:12]} in {target.location}, and {stuck.after[:12]} in {source.location}. "
            "Move it with --force, if that is what you want.",
            now=stuck.before,
        )
    if isinstance(source, WorkspacePeer):
        first = f"Pull it and bring both together: trine data pull {name}@{stuck.name}"
    else:
        first = (
            f"What came is here, bring both together: trine data merge {name}@{stuck.after[:12]} --into {stuck.name}"
        )
    return Conflict(
        f"The {where} went on at both ends: it is at {stuck.before[:12]} in {target.location} and at "
        f"{stuck.after[:12]} in {source.location}. {first}, or take the one for the other with --force.",
        now=stuck.before,
        came=stuck.after,
    )


# -- objects ------------------------------------------------------------------------------------------------------


def _copy_all(
    source: Store, target: Store, commits: list[Commit], old: list[Commit], tell: Tell | None
) -> tuple[int, int]:
    """Copy what the commits stand on, but for what the target has; gives the number of objects and bytes."""
    steps = _needed(source, commits, old)
    todo: list[dict[str, int]] = []
    for sizes in steps:
        here = _here(target, sizes)
        todo.append({name: size for name, size in sizes.items() if name not in here})
    cooked = _cooked(source, target, todo[0])
    for name, (_, size) in cooked.items():
        todo[0][name] = size
    progress = Progress(0, sum(map(len, todo)), 0, sum(sum(sizes.values()) for sizes in todo))
    if tell:
        tell(progress)
    for sizes in todo:
        for batch in _copy(source, target, sizes, cooked):
            progress.objects += len(batch)
            progress.size_bytes += sum(sizes[name] for name in batch)
            if tell:
                tell(progress)
    return progress.objects_total, progress.size_bytes_total


def _here(target: Store, sizes: Mapping[str, int]) -> set[str]:
    """Those that the target has. In a far place small ones are looked for in packs alone: one that is not found costs less
    to send again than all cost to ask for, one by one."""
    if not (isinstance(target, ObjectStore) and target.place.is_far):
        return target.has(sizes)
    small = {name for name, size in sizes.items() if 0 < size < SMALL}
    return target.has(small, alone=False) | target.has(sizes.keys() - small)


def _needed(source: Store, commits: list[Commit], old: list[Commit]) -> list[dict[str, int]]:
    """What commits stand on, with sizes as far as they are known, in the order it has to be written: each step names only
    what is in those before it. Pages of the commits that the target has are left out, so this costs O(what changed)."""
    files: dict[str, int] = {}
    with ThreadPoolExecutor(READERS) as pool:
        skip = {page for root in pool.map(lambda one: read_root(source, one.tree), old) for page in root}
        roots = dict.fromkeys(one.tree for one in commits)
        pages = {page for root in pool.map(lambda one: read_root(source, one), roots) for page in root} - skip
        for entries in pool.map(lambda one: read_page(source, one), sorted(pages)):
            files |= {entry.hash: entry.size for entry in entries}
        profiles = dict.fromkeys(one.profile for one in commits if one.profile)
        for sketches in pool.map(lambda one: list(sketches_in(source, one, set())), profiles):
            files |= {name: files.get(name, 0) for name in sketches}
    return [files, dict.fromkeys([*sorted(pages), *profiles], 0), dict.fromkeys(roots, 0)]


def _cooked(source: Store, target: Store, sizes: Mapping[str, int]) -> dict[str, tuple[Recipe, int]]:
    """Of large files those that the source puts together from others, where the target lacks little of these: with the
    bytes that it lacks. So a file that changed a little moves as what is new of it."""
    if not (isinstance(source, ObjectStore) and isinstance(target, ObjectStore)):
        return {}
    found: dict[str, tuple[Recipe, int]] = {}
    coming: set[str] = set(sizes)
    for name in [one for one, size in sizes.items() if size >= recipes.LARGE]:
        recipe = recipes.read_recipe(source, name)
        if recipe is None:
            continue
        lacking = [
            one for one in recipes.sources_of(recipe) if one not in coming and not target.place.holds(own_key(one))
        ]
        size = sum(map(source.size, lacking))
        if size <= sizes[name] * (1 - recipes.WORTH):
            found[name] = (recipe, size)
            coming |= set(lacking)
    return found


def _copy(
    source: Store, target: Store, sizes: Mapping[str, int], cooked: Mapping[str, tuple[Recipe, int]]
) -> Iterator[list[str]]:
    """Copy objects, several batches at a time; gives each batch when it is durable. Recipes come after all that they name."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
        running: dict[Future[None], list[str]] = {}
        stack.callback(lambda: [one.cancel() for one in running])
        for batch in _batches({name: size for name, size in sizes.items() if name not in cooked}):
            running[pool.submit(_copy_batch, source, target, batch)] = batch
        for done in as_completed(running):
            done.result()
            yield running[done]
    for name in [one for one in sizes if one in cooked]:
        assert isinstance(source, ObjectStore) and isinstance(target, ObjectStore)
        recipes.copy_recipe(source, target, name, cooked[name][0])
        yield [name]


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for name, size in sizes.items():
        if size >= LARGE:
            yield [name]
            continue
        batch.append(name)
        total += size
        if total >= BATCH_BYTES or len(batch) >= BATCH_OBJECTS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _copy_batch(source: Store, target: Store, batch: list[str]) -> None:
    if len(batch) == 1 and source.size(batch[0]) >= LARGE:
        stored = [_copy_large(source, target, batch[0])]
    else:
        stored = target.put_many(source.get_many(batch))
    for name, made in zip(batch, stored, strict=True):
        if name != made:
            raise Damaged(f"Object {name} arrived as {made}: it was damaged on its way.", hash=name)


def _copy_large(source: Store, target: Store, name: str) -> str:
    path_of = getattr(source, "path_of", None)
    if path := path_of(name) if path_of else None:
        return target.put_file(path)
    with tempfile.TemporaryDirectory(prefix="trine-") as folder:
        return target.put_file(source.get_file(name, Path(folder, "object")))
