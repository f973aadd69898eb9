"""Keeping a workspace sound: whether all that is needed is there and whole, and what can go.

The ledger is searched whole, text column by text column: an object stays as long as its hash stands anywhere in it, outside
the event log and the graph, so a room that forgets to say what it keeps loses nothing. Columns that are declared to hold
objects (`trine.ledger.is_object`) say more: what they name must be there, and what those objects name in turn. Columns that
only tell of objects (`tells_of_object`) keep none.
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Column, String, select
from sqlalchemy.engine import Connection

from trine import rooms
from trine.access.principals import authorise
from trine.errors import Damaged, InvalidInput, NotFound
from trine.ids import is_hash, now_us
from trine.ledger import metadata
from trine.ledger.events import append_event
from trine.storage import Damage, ObjectStore

if TYPE_CHECKING:
    from trine.storage import Collected
    from trine.workspace import Workspace

MOST_ROWS = 3
"""Rows that are named for a missing object."""

_DECLARED = "object"
_NO_ROOTS = frozenset({"event", "node", "edge", "cursor", "about"})
"""What tells of the past keeps nothing alive."""

_HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_DIGITS = 64
_ROWS = 10_000

Opener = Callable[[Any, str, set[str]], Iterator[str]]
"""(store, object, objects that were opened) → what the object names, and what that names, unless it was opened before.
Raises Damaged or NotFound."""


class Missing(msgspec.Struct, frozen=True):
    """An object that is needed and is not there, and the first rows of the ledger that need it."""

    hash: str
    needed_by: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """What a verification found: `objects` in the store, `needed` by the rooms, `spare` that can go, missing and damaged."""

    objects: int
    needed: int
    spare: int
    missing: tuple[Missing, ...]
    damaged: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        return not (self.missing or self.damaged)


def verify(ws: Workspace) -> Report:
    """Read every object against its hash, and look whether all that the ledger needs are there. O(bytes stored).

    Raises InvalidInput for a remote workspace: this runs where the store is.
    """
    store = _local_store(ws)
    here = set(store.iter_hashes())
    with ws.ledger.transaction(write=False) as connection:
        authorise(connection, ws.principal, ws.project, "store.read")
        found = _Needs(connection, store)
        missing = found.declared - here
        missing -= store.has(missing)  # written since
        rows = _rows_that_need(connection, store, missing)
    damaged = store.verify()
    lost = {one.hash for one in damaged}
    damaged += [one for one in found.unread if one.hash not in lost | missing]
    told = tuple(Missing(name, tuple(rows[name])) for name in sorted(missing - lost))
    return Report(len(here), len(found.declared), len(here - found.all), told, tuple(damaged))


def collect(ws: Workspace, *, grace_s: float = 86_400, dry_run: bool = False) -> Collected:
    """Move what nothing needs to the trash, and delete what has been there for the grace period. Safe beside writers.

    What was stored or put into the trash within the grace period stays: a writer has that long from storing an object to
    committing what refers to it. Raises InvalidInput for a remote workspace, and Damaged or NotFound, having deleted
    nothing, when an object that names others cannot be read: what it needs is not known then.
    """
    from trine.storage.garbage import collect as collect_unreachable

    store = _local_store(ws)
    with ws.ledger.transaction(write=False) as connection:
        authorise(connection, ws.principal, ws.project, "store.manage")
        found = _Needs(connection, store)
    if found.unread:
        first = found.unread[0]
        raise Damaged(
            f"Nothing was collected: {first.problem} What it needs is not known, so nothing can go. See: trine verify",
            hash=first.hash,
        )
    done = collect_unreachable(store, found.all, grace_s=grace_s, dry_run=dry_run)
    if not dry_run:
        _tell(ws, done, grace_s)
    return done


def _local_store(ws: Workspace) -> ObjectStore:
    if not isinstance(ws.store, ObjectStore):
        raise InvalidInput(
            f"{ws.location} is a server: this reads the whole store, so it runs where that is. "
            "On its machine: trine -w FOLDER, or with the database and bucket themselves."
        )
    return ws.store


def _tell(ws: Workspace, done: Collected, grace_s: float) -> None:
    with ws.ledger.transaction(write=True) as connection:
        append_event(
            connection,
            time_us=now_us(),
            actor=ws.principal.name,
            on_behalf_of=ws.on_behalf_of,
            project=ws.project,
            operation="store.collect",
            object="store",
            outcome="done",
            request_id="",
            before="",
            after="",
            body={"grace_s": grace_s, **msgspec.to_builtins(done)},
        )


class _Needs:
    """`all` that stays, `declared` of it by the rooms, and the damage of what names objects and cannot be read."""

    def __init__(self, connection: Connection, store: ObjectStore) -> None:
        self.all: set[str] = set()
        self.declared: set[str] = set()
        self.unread: list[Damage] = []
        opened: dict[str, set[str]] = defaultdict(set)
        for column, _, names in _roots(connection):
            self.all |= names
            if _DECLARED in column.info:
                self.declared |= names
                opened[column.info[_DECLARED]] |= names
        opened.pop("", None)
        for opener, names in opened.items():
            before: set[str] = set()
            for name in sorted(names):
                try:
                    self.declared.update(_opener(opener)(store, name, before))
                except (Damaged, NotFound) as error:
                    at = error.details
                    self.unread.append(Damage(at.get("hash", name), at.get("path", ""), error.message))
        self.all |= self.declared


def _rows_that_need(connection: Connection, store: ObjectStore, missing: set[str]) -> dict[str, list[str]]:
    """The first rows of the ledger that need each of the missing objects."""
    rows: dict[str, list[str]] = {name: [] for name in missing}
    if not missing:
        return rows
    for column, row, names in _roots(connection):
        wanted = names & missing
        if opener := column.info.get(_DECLARED):
            for name in names - missing:
                try:
                    wanted |= missing.intersection(_opener(opener)(store, name, set()))
                except (Damaged, NotFound) as error:
                    wanted |= missing & {error.details.get("hash", "")}
        for name in wanted:
            if len(rows[name]) < MOST_ROWS:
                rows[name].append(row)
    return rows


def _roots(connection: Connection) -> Iterator[tuple[Column[Any], str, set[str]]]:
    """(column, row in words, hashes that stand there) of all rows of all rooms."""
    rooms.load()
    for table in metadata.sorted_tables:
        columns = [column for column in table.c if _may_hold(column)]
        if table.name in _NO_ROOTS or not columns:
            continue
        keys = list(table.primary_key)
        for row in connection.execution_options(yield_per=_ROWS).execute(select(*columns, *keys)):
            for column, value in zip(columns, row, strict=False):
                if value and len(value) >= _DIGITS and (found := _hashes(value)):
                    yield column, " ".join([table.name, *map(str, row[len(columns) :])]), found


def _may_hold(column: Column[Any]) -> bool:
    return isinstance(column.type, String) and (column.type.length or _DIGITS) >= _DIGITS and "tells" not in column.info


def _hashes(text: str) -> set[str]:
    return {text} if is_hash(text) else set(_HASH.findall(text))


def _opener(path: str) -> Opener:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
