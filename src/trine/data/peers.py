"""What can be pushed to and pulled from: another workspace, or a bare folder or bucket.

A bare place needs no database. Its keys, beside those of its object store (the commits' records are objects too):

    trine.json                    what this place is, and the version of its form
    datasets/<name>/<ref>         where a branch or tag is; moved by compare-and-set
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from trine import settings
from trine.data import operations as door
from trine.data import records as records_door
from trine.data.records import Record, RefKind
from trine.data.remotes import RemoteInfo
from trine.errors import Conflict, InvalidInput, NotFound
from trine.storage import ObjectStore, Store
from trine.types import Name
from trine.workspace import Workspace, connect

FORM = b'{"format":"trine-remote-1"}'
MARK = "trine.json"
IDS = 100
"""Ids in one question to a workspace: they travel in an address."""

BATCH_BYTES = 4 << 20


class Place(msgspec.Struct, frozen=True):
    """Where a branch or tag is."""

    kind: RefKind
    commit: str


class Peer(Protocol):
    """One end of a push or pull."""

    location: str

    @property
    def store(self) -> Store: ...

    def refs(self, name: str) -> dict[str, Place]:
        """Branches and tags of a dataset; empty when there is none by that name."""
        ...

    def datasets(self) -> list[str]: ...

    def known(self, name: str, ids: Iterable[str]) -> set[str]:
        """Those of the commits that are there, with all that comes before them."""
        ...

    def records(self, name: str, ids: list[str]) -> list[Record]:
        """The records of these commits, as far as they are there; perhaps of some before them too."""
        ...

    def receive(self, name: str, records: list[Record]) -> None:
        """Take in commits, parents first, whose objects are there."""
        ...

    def move(self, name: str, ref: str, to: Place, expect: str) -> None:
        """Put a branch or tag somewhere, if it is where it is expected. Raises Conflict."""
        ...


class WorkspacePeer:
    """A workspace, local or behind a server."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.location = ws.location

    @property
    def store(self) -> Store:
        return self.ws.store

    def refs(self, name: str) -> dict[str, Place]:
        try:
            found = door.get_dataset(self.ws, name=name)
        except NotFound:
            return {}
        branches = {ref: Place("branch", commit) for ref, commit in found.branches.items()}
        return branches | {ref: Place("tag", commit) for ref, commit in found.tags.items()}

    def datasets(self) -> list[str]:
        from trine.operations import every

        return [one.name for one in every(door.list_datasets, self.ws)]

    def known(self, name: str, ids: Iterable[str]) -> set[str]:
        wanted = list(ids)
        found: set[str] = set()
        for start in range(0, len(wanted), IDS):
            asked = wanted[start : start + IDS]
            found |= {one.id for one in records_door.list_records(self.ws, name=name, ids=asked, limit=IDS).items}
        return found & set(wanted)

    def records(self, name: str, ids: list[str]) -> list[Record]:
        return [
            one
            for start in range(0, len(ids), IDS)
            for one in records_door.list_records(self.ws, name=name, ids=ids[start : start + IDS]).items
        ]

    def receive(self, name: str, records: list[Record]) -> None:
        batch: list[Record] = []
        for one in records:
            if batch and (len(batch) >= IDS or sum(len(each.text) for each in batch) > BATCH_BYTES):
                records_door.receive_records(self.ws, name=name, records=batch)
                batch = []
            batch.append(one)
        if batch:
            records_door.receive_records(self.ws, name=name, records=batch)

    def move(self, name: str, ref: str, to: Place, expect: str) -> None:
        records_door.move_ref(self.ws, name=name, ref=ref, kind=to.kind, commit=to.commit, expect=expect)


class BarePeer:
    """A folder or a bucket."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.store = ObjectStore.open(location)
        self._place = self.store.place
        self._marked = False

    def _check(self) -> None:
        """Raise InvalidInput for a place of a form that this version does not know."""
        if self._marked:
            return
        found = self._place.read(MARK)
        if found is not None and found != FORM:
            raise InvalidInput(f"{self.location} is a remote of another version of Trine ({found[:80]!r}). Upgrade it.")
        self._marked = found is not None

    def _mark(self) -> None:
        self._check()
        if not self._marked:
            self._place.swap(MARK, FORM, None)
            self._check()

    def refs(self, name: str) -> dict[str, Place]:
        self._check()
        prefix = f"datasets/{msgspec.convert(name, Name)}"
        keys = [key for key, _, _ in self._place.list(prefix)]
        return {key.rpartition("/")[2]: place for key in keys if (place := self._at(key)[0])}

    def _at(self, key: str) -> tuple[Place | None, bytes | None]:
        data = self._place.read(key)
        return (msgspec.json.decode(data, type=Place) if data is not None else None), data

    def datasets(self) -> list[str]:
        self._check()
        return sorted({key.split("/")[1] for key, _, _ in self._place.list("datasets")})

    def known(self, name: str, ids: Iterable[str]) -> set[str]:
        return self.store.has(ids)

    def records(self, name: str, ids: list[str]) -> list[Record]:
        with ThreadPoolExecutor(16) as pool:
            return [one for one in pool.map(self._record, ids) if one]

    def _record(self, id_: str) -> Record | None:
        try:
            return Record(id_, self.store.get(id_).decode())
        except NotFound:
            return None

    def receive(self, name: str, records: list[Record]) -> None:
        self._mark()
        self.store.put_many([one.text.encode() for one in records])

    def move(self, name: str, ref: str, to: Place, expect: str) -> None:
        self._mark()
        key = f"datasets/{msgspec.convert(name, Name)}/{msgspec.convert(ref, Name)}"
        old, data = self._at(key)
        now = old.commit if old else ""
        if now != expect or not self._place.swap(key, msgspec.json.encode(to), data):
            raise Conflict(
                f'"{ref}" of dataset "{name}" has moved in {self.location} meanwhile. Try again.',
                expected=expect,
                now=now,
            )


@contextlib.contextmanager
def open_peer(remote: RemoteInfo) -> Generator[Peer]:
    """The other end: a workspace at a server's or database's address or in a folder that has one, else a bare place."""
    url = remote.url
    folder = Path(url.removeprefix("file://")).expanduser()
    is_folder = "://" not in url or url.startswith("file://")
    has_workspace = is_folder and any((one / "ledger.db").is_file() for one in (folder, folder / settings.FOLDER))
    if has_workspace or url.startswith(("http://", "https://", "postgresql:", "postgresql+")):
        token = settings.kept_token(url) if "://" in url else ""
        project = remote.project or "default"
        # not in this context: the workspace that is current here stays so
        ws = contextvars.copy_context().run(lambda: connect(url, token=token, project=project, store=""))
        with ws:
            yield WorkspacePeer(ws)
    else:
        yield BarePeer(str(folder.resolve()) if is_folder else url)
