"""The metadata database: opening, transactions, migrations. Everything that differs between databases is in `backends`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from trine.errors import Conflict, Damaged, Failure, InvalidInput, NoSpace, TrineError, Unavailable
from trine.ledger import backends
from trine.ledger.migrations import HEAD, migrate


class Ledger:
    """A workspace's database.

    Reads run in parallel on a snapshot. Writers are serialised for the whole workspace (SQLite's one writer,
    an advisory lock on PostgreSQL), so what a writer reads cannot change before it commits. A commit that
    returned is on disk.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.backend = backends.of(url)
        self._engine = self._connect()
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._ensure_schema()

    @classmethod
    def at(cls, path: Path) -> Ledger:
        """The SQLite ledger in a file, created when it is not there."""
        return cls(f"sqlite:///{path}")

    def _connect(self) -> Engine:
        return self.backend.engine(self.url)

    @property
    def engine(self) -> Engine:
        if self._pid != os.getpid():  # a forked child must not share its parent's connections
            self._engine.dispose(close=False)
            self._engine, self._pid = self._connect(), os.getpid()
            self._changed = threading.Condition()
        return self._engine

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[Connection]:
        """One transaction; commits at the end, rolls back on any error. Database trouble becomes a TrineError."""
        try:
            with (
                self.engine.connect() as connection,
                connection.execution_options(trine_write=write, **self.backend.options(write)).begin(),
            ):
                if write:
                    self.backend.lock(connection)
                yield connection
        except exc.DBAPIError as error:
            raise self._explain(error) from error
        except exc.TimeoutError:
            raise Unavailable("Too many calls wait for the database at once. Try again.") from None
        if write:
            with self._changed:
                self._changed.notify_all()

    def compact(self) -> None:
        """Give the space of deleted rows back to the disk (SQLite) or to later rows (PostgreSQL). O(size of the database)."""
        try:
            with self.engine.connect() as connection:
                self.backend.compact(connection)
        except exc.DBAPIError as error:
            raise self._explain(error) from error
        except sqlite3.Error as error:
            raise Unavailable(f"The database could not be made smaller now: {error}.") from None

    def wait_for_change(self, timeout_s: float) -> None:
        """Return when this process committed something, or after `timeout_s`; another process's commit does not wake it."""
        with self._changed:
            self._changed.wait(timeout_s)

    def close(self) -> None:
        self._engine.dispose()

    def _ensure_schema(self) -> None:
        with self.transaction(write=False) as connection:
            if self.backend.version(connection) == HEAD:
                return
        with self.transaction(write=True) as connection:  # whoever comes second finds it done
            found = self.backend.version(connection)
            if found != HEAD:
                migrate(connection, found)

    def _explain(self, error: exc.DBAPIError) -> TrineError:
        text = str(error.orig).strip()
        shown = sa.make_url(self.url).render_as_string(hide_password=True)
        first = text.splitlines()[0] if text else type(error.orig).__name__
        if isinstance(error, exc.IntegrityError):
            return Conflict(f"The database refused the change: {first}. Something else has that name or key.")
        if isinstance(error, exc.DataError):
            return InvalidInput(f"A value does not fit into the database: {first}.")
        if "full" in text or "No space" in text:
            return NoSpace(f"The disk of {shown} is full; nothing was changed. Free some space and try again.")
        if "I/O" in text:
            return NoSpace(f"Writing {shown} failed ({first}); nothing was changed. Is the disk full?")
        if "malformed" in text or "not a database" in text:
            return Damaged(f"The database {shown} is damaged: {first}.", path=shown)
        if "readonly" in text or "read-only" in text:
            return Failure(f"The database {shown} cannot be written: {first}.")
        return Unavailable(f"The database {shown} does not answer: {first}.")
