"""The handle to a workspace: where it is, who acts in it, and its stores; local or remote behind one face."""

from __future__ import annotations

import contextvars
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trine import settings
from trine.errors import InvalidInput, NotFound
from trine.ids import digest, new_id, now_us

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.engine import Connection, CursorResult
    from sqlalchemy.sql.base import Executable

    from trine.access.principals import Principal
    from trine.ledger import Ledger
    from trine.remote import Remote
    from trine.storage import Store

__all__ = [
    "Transaction",
    "Workspace",
    "active_producer",
    "connect",
    "current_workspace",
    "init",
    "record_resolution",
    "record_use",
    "recording_uses",
    "using",
]


class Transaction:
    """The one open transaction of an operation: the database, and what the operation's event will say."""

    def __init__(self, connection: Connection, ws: Workspace, *, writes: bool, request_id: str) -> None:
        self.connection = connection
        self.ws = ws
        self.writes = writes
        self.request_id = request_id
        self.now_us = now_us()
        self.scope = Scope()

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self.connection.execute(statement, parameters)  # type: ignore[return-value]

    def first(self, statement: Executable) -> Row[Any] | None:
        """The first row, or None."""
        return self.connection.execute(statement).first()

    def all(self, statement: Executable) -> list[Row[Any]]:
        """All rows."""
        return list(self.connection.execute(statement).all())

    def scalar(self, statement: Executable) -> Any:
        """The first column of the first row, or None."""
        return self.connection.execute(statement).scalar()

    @property
    def prepared(self) -> Any:
        """What the running operation worked out before the transaction opened."""
        return self.scope.prepared

    def link(self, source: str, kind: str, target: str) -> None:
        """Add the lineage edge `source --kind--> target`; written once, before the transaction commits."""
        from trine.ledger.lineage import Edge

        self.scope.edges.append(Edge(source, kind, target))

    def make(self, node: str) -> None:
        """Have a node in the lineage graph, whether or not anything is linked to it yet."""
        self.scope.nodes.append(node)

    def touch(self, object: str, before: Any = None, after: Any = None) -> None:
        """Say what this operation changes: the object's node or name, and its state before and after (kept as digests)."""
        scope = self.scope
        if scope.object:
            scope.notes.setdefault("also", []).append(object)
            return
        scope.object = object
        scope.before = digest(before) if before is not None else ""
        scope.after = digest(after) if after is not None else ""

    def note(self, **facts: Any) -> None:
        """Add JSON-able facts to the event's body, for those who read the stream (triggers, the audit trail)."""
        self.scope.notes.update(facts)


class Scope:
    """What one operation inside a transaction tells about itself."""

    def __init__(self, prepared: Any = None) -> None:
        self.prepared = prepared
        self.object = ""
        self.before = ""
        self.after = ""
        self.notes: dict[str, Any] = {}
        self.nodes: list[str] = []
        self.edges: list[Any] = []


_transaction: contextvars.ContextVar[Transaction | None] = contextvars.ContextVar("trine_transaction", default=None)
_workspace: contextvars.ContextVar[Workspace | None] = contextvars.ContextVar("trine_workspace", default=None)
_producer: contextvars.ContextVar[str] = contextvars.ContextVar("trine_producer", default="")
_uses: contextvars.ContextVar[tuple[Callable[[str], None], ...]] = contextvars.ContextVar("trine_uses", default=())
_resolutions: contextvars.ContextVar[tuple[Callable[[str, str], None], ...]] = contextvars.ContextVar(
    "trine_resolutions", default=()
)


class Workspace:
    """Everything lives in a workspace: a metadata database (the ledger) and an object store, or a server that has them.

    A handle is cheap to copy for another project or principal (`for_project`, `acting_as`) and safe to share between threads.
    """

    def __init__(
        self,
        *,
        location: str,
        project: str,
        principal: Principal,
        spool: Path,
        ledger: Ledger | None = None,
        store: Store | None = None,
        remote: Remote | None = None,
        root: Path | None = None,
        on_behalf_of: str = "",
    ) -> None:
        self.location = location
        self.project = project
        self.principal = principal
        self.spool = spool
        self.root = root
        self.remote = remote
        self.on_behalf_of = on_behalf_of
        self.loads_pickles = True
        self._ledger = ledger
        self._store = store

    @property
    def ledger(self) -> Ledger:
        """The metadata database; operations alone use it, and never with a remote workspace."""
        if self._ledger is None:
            raise InvalidInput(
                f"{self.location} is a remote workspace: its database is reached through operations only."
            )
        return self._ledger

    @property
    def store(self) -> Store:
        """The content-addressed object store."""
        assert self._store is not None
        return self._store

    @property
    def tx(self) -> Transaction:
        """The open transaction; only inside an operation."""
        open_ = self.transaction
        if open_ is None:
            raise InvalidInput("There is no open operation here: only an operation's body may use the transaction.")
        return open_

    @property
    def transaction(self) -> Transaction | None:
        """The transaction of the operation that is running in this context, if it is on this workspace."""
        open_ = _transaction.get()
        return open_ if open_ is not None and open_.ws._ledger is self._ledger else None

    def _copy(self, **changes: Any) -> Workspace:
        other = object.__new__(Workspace)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def for_project(self, project: str) -> Workspace:
        """The same workspace, looking at another project."""
        settings.check_project(project)
        remote = self.remote.for_project(project) if self.remote else None
        return self._copy(project=project, remote=remote)

    def acting_as(self, principal: Principal, on_behalf_of: str = "") -> Workspace:
        """The same local workspace, with somebody else acting."""
        return self._copy(principal=principal, on_behalf_of=on_behalf_of)

    def refusing_pickles(self) -> Workspace:
        """The same workspace, loading no pickled model whoever allows it: what a server is that others send calls to."""
        return self._copy(loads_pickles=False)

    def close(self) -> None:
        """Let go of connections; the handle is of no use afterwards."""
        if self._ledger is not None:
            self._ledger.close()
        if self.remote is not None:
            self.remote.close()

    def __repr__(self) -> str:
        return f"<Workspace {self.location} project={self.project!r} as {self.principal.name}>"

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def transaction(ws: Workspace, *, write: bool, request_id: str = "") -> Generator[Transaction]:
    """Open the workspace's transaction for this context (the door does this; nobody else)."""
    with ws.ledger.transaction(write=write) as connection:
        open_ = Transaction(connection, ws, writes=write, request_id=request_id or (new_id() if write else ""))
        mark = _transaction.set(open_)
        try:
            yield open_
        finally:
            _transaction.reset(mark)


def current_workspace() -> Workspace:
    """The workspace of this context: the one of `using` or the last `connect`, else the one the settings name."""
    return _workspace.get() or connect()


@contextmanager
def using(ws: Workspace) -> Generator[Workspace]:
    """Make a workspace the current one inside the block."""
    mark = _workspace.set(ws)
    try:
        yield ws
    finally:
        _workspace.reset(mark)


def record_use(node: str) -> None:
    """Say that a versioned thing was read: the active run or step keeps it as an input."""
    for sink in _uses.get():
        sink(node)


def pinned(name: str) -> str:
    """The version that a name means while an earlier run is reproduced (`dataset:flights` → `3a91c2…`), or nothing."""
    pins = os.environ.get("TRINE_PINS")
    return json.loads(pins).get(name, "") if pins else ""


def record_resolution(asked: str, node: str) -> None:
    """Say what a name that may move (`dataset:flights@main`) stands for now, or that there is no such thing (an empty node):
    a cached step is good only while that is still so."""
    for sink in _resolutions.get():
        sink(asked, node)


@contextmanager
def recording_uses(
    sink: Callable[[str], None], producer: str = "", resolved: Callable[[str, str], None] | None = None
) -> Generator[None]:
    """Call `sink` with every node that is read inside the block; what the block makes was produced by `producer` (a run, a step).

    `resolved` is told what every name that was asked for stood for (`record_resolution`).
    """
    uses = _uses.set((*_uses.get(), sink))
    made_by = _producer.set(producer or _producer.get())
    resolutions = _resolutions.set((*_resolutions.get(), resolved) if resolved else _resolutions.get())
    try:
        yield
    finally:
        _resolutions.reset(resolutions)
        _producer.reset(made_by)
        _uses.reset(uses)


def active_producer() -> str:
    """The node of the run or step that is active here, or nothing: the maker of what is made."""
    return _producer.get()


def connect(
    where: str | Path | None = None,
    *,
    token: str | None = None,
    project: str | None = None,
    store: str | None = None,
) -> Workspace:
    """Open a workspace and make it the current one.

    `where` is a folder (its `.trine/` is made when missing), `postgresql://…` (with `store`, once: a folder or
    `s3://…`), or `http(s)://…` of a Trine server (with `token`). Default: what the settings name, else `.trine/` here.
    """
    if os.environ.get("TRINE_REPRODUCES"):
        where = None  # this program runs in another folder than it did: the settings name the workspace it had
    found = settings.resolve(
        workspace=str(where) if where is not None else None, token=token, project=project, store=store
    )
    place = found["workspace"] or str(Path.cwd())
    if place.startswith(("http://", "https://")):
        ws = _connect_remote(place, found)
    else:
        ws = _connect_local(place, found)
    _workspace.set(ws)
    return ws


def init(folder: str | Path = ".", **options: str | None) -> Workspace:
    """Make a workspace in a folder (`.trine/`), or open the one that is there."""
    return connect(Path(folder).resolve(), **options)


class Located(NamedTuple):
    """Where a workspace is, before anything of it is opened: enough for what only looks at its local files."""

    location: str
    project: str
    spool: Path


def locate(where: str | None = None, *, project: str | None = None) -> Located:
    """Where the workspace is that the settings name. Raises NotFound when there is none."""
    found = settings.resolve(workspace=where, project=project)
    place = found["workspace"]
    if not place:
        raise NotFound("There is no workspace here or in a folder above. Make one: trine init")
    if "://" not in place and not (_root(Path(place)) / "ledger.db").is_file():
        raise NotFound(f"There is no workspace in {place}. Make one: trine init {place}")
    return Located(place, found["project"], _spool(place))


def existing(where: str | None = None, *, project: str | None = None) -> Workspace:
    """Like `connect`, but a workspace that is not there is an error: what a command line wants."""
    locate(where, project=project)
    return connect(where, project=project)


def _spool(place: str) -> Path:
    if "://" in place and not place.startswith("file://"):
        return _cache_folder(place.rstrip("/")) / "spool"
    return _root(Path(place.removeprefix("file://")).expanduser().resolve()) / "spool"


def _root(folder: Path) -> Path:
    return folder if folder.name == settings.FOLDER else folder / settings.FOLDER


def _connect_remote(url: str, found: settings.Settings) -> Workspace:
    from trine.access.principals import Principal
    from trine.remote import Remote, RemoteStore

    remote = Remote(url.rstrip("/"), token=found["token"], project=found["project"])
    return Workspace(
        location=url,
        project=found["project"],
        principal=Principal("remote"),
        spool=_spool(url),
        remote=remote,
        store=RemoteStore(remote),
    )


def _connect_local(place: str, found: settings.Settings) -> Workspace:
    from trine.access.principals import by_token, local_principal
    from trine.ledger import Ledger
    from trine.storage import ObjectStore

    if "://" in place and not place.startswith("file://"):
        root, ledger = None, Ledger(place)
    else:
        root = _root(Path(place.removeprefix("file://")).expanduser().resolve())
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InvalidInput(f"{root.parent} is not a folder: a workspace needs one.") from None
        except PermissionError:
            raise InvalidInput(f"No right to make a workspace in {root.parent}.") from None
        if not (ignore := root / ".gitignore").exists():
            ignore.write_text("*\n")
        ledger = Ledger.at(root / "ledger.db")
    try:
        store = ObjectStore.open(_store_location(ledger, found["store"], root))
        principal = local_principal()
        if found["token"]:
            with ledger.transaction(write=False) as connection:
                principal = by_token(connection, found["token"], now_us())
    except BaseException:
        ledger.close()
        raise
    return Workspace(
        location=place,
        project=found["project"],
        principal=principal,
        spool=_spool(place),
        ledger=ledger,
        store=store,
        root=root,
    )


def _store_location(ledger: Ledger, asked: str, root: Path | None) -> str:
    """Where the objects are: asked for now, else what the ledger remembers, else `store/` in the workspace's folder."""
    from sqlalchemy import select

    from trine.ledger import upsert
    from trine.ledger.tables import about

    with ledger.transaction(write=False) as connection:
        known = connection.execute(select(about.c.value).where(about.c.key == "store")).scalar()
    if known and asked and known != asked:
        raise InvalidInput(f"This workspace keeps its objects in {known}; it cannot be opened with store {asked}.")
    place = known or asked
    if not place and root is None:
        raise InvalidInput(
            "A database workspace needs a place for its objects, once: store='s3://bucket/prefix' or a folder."
        )
    if not known and asked:
        if "://" not in asked:
            place = str(Path(asked).expanduser().resolve())
        with ledger.transaction(write=True) as connection:
            connection.execute(upsert(about), {"key": "store", "value": place})
    return place or str(root / "store" if root else "")


def _cache_folder(url: str) -> Path:
    """A local folder for what is on its way to a database or server elsewhere."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "trine" / digest(url.encode())[:16]
