"""The online file: `online.sqlite`, one row per key of each materialised view.

It is filled from published snapshots, which are in the object store and named in the ledger, so it can be thrown away at any
time: the next read fills it again. Writers replace a view's rows in one transaction; readers see the old rows or the new ones.
"""

from __future__ import annotations

import functools
import io
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trine.errors import Damaged, NoSpace, Unavailable
from trine.features.definitions import KeyType

if TYPE_CHECKING:
    import polars as pl

_SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, view TEXT NOT NULL, hash TEXT NOT NULL,
    published_us INTEGER NOT NULL, until_us INTEGER NOT NULL, header TEXT NOT NULL, generation INTEGER NOT NULL,
    UNIQUE (project, view, hash)
);
CREATE TABLE IF NOT EXISTS online_row (
    held INTEGER NOT NULL, key BLOB NOT NULL, generation INTEGER NOT NULL, event_us INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (held, key)
) WITHOUT ROWID;
"""
_KEYS_AT_ONCE = 500
_FILES_AT_ONCE = 8


class Header(msgspec.Struct, frozen=True, array_like=True):
    """How to read a snapshot's rows: the kinds of its keys, the columns' types (as an empty Arrow file)."""

    kinds: list[KeyType]
    schema: bytes
    whole: list[bool]

    def types(self) -> pl.Schema:
        """The source's column types by name."""
        return _types(self.schema)


@functools.lru_cache(maxsize=256)
def _types(schema: bytes) -> pl.Schema:
    import polars as pl

    return pl.read_ipc(io.BytesIO(schema)).schema


class OnlineRow(msgspec.Struct, frozen=True, array_like=True):
    """A key's bytes, the time of its newest row, its encoded `Value`."""

    key: bytes
    event_us: int
    value: bytes


class Held(NamedTuple):
    """A view's rows in the file: as known at `until_us`, with the snapshot's header as JSON."""

    until_us: int
    header: str
    rows: list[tuple[bytes, bytes]]


class _Kept:
    """A thread's open connection to one file: opening it costs more than reading from it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self.owner = os.getpid()
        if self.connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = 1; COMMIT;")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.inode = path.stat().st_ino

    def is_of(self, path: Path) -> bool:
        """Whether it still is this process's, and the file still is the one that was opened."""
        try:
            return self.owner == os.getpid() and path.stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def __del__(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()


class _Open(threading.local):
    def __init__(self) -> None:
        self.kept: dict[Path, _Kept] = {}


_open = _Open()


class OnlineFile:
    """One process's door to the file; safe for several processes and threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _transaction(self, begin: str) -> Generator[sqlite3.Connection]:
        """A transaction on the thread's connection; rolled back unless it is committed inside."""
        try:
            kept = _open.kept.get(self.path)
            if kept is None or not kept.is_of(self.path):
                kept = _Kept(self.path)
                _open.kept = {self.path: kept} | dict(list(_open.kept.items())[:_FILES_AT_ONCE])
            connection = kept.connection
            connection.execute(begin)
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            trouble = NoSpace if "full" in str(error) else Unavailable
            raise trouble(f"The online file {self.path} does not answer: {error}.") from error
        except sqlite3.DatabaseError as error:
            _open.kept.pop(self.path, None)
            raise Damaged(
                f"The online file {self.path} is damaged ({error}). Delete it: the next read fills it again."
            ) from error

    def fill(
        self,
        project: str,
        view: str,
        hash: str,
        *,
        published_us: int,
        until_us: int,
        header: str,
        rows: Iterable[OnlineRow],
    ) -> bool:
        """Replace a view version's rows by a snapshot's; False when the file holds one that was published later."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            held = connection.execute(
                "SELECT id, published_us, generation FROM held WHERE project = ? AND view = ? AND hash = ?",
                (project, view, hash),
            ).fetchone()
            if held and held[1] > published_us:
                return False
            generation = held[2] + 1 if held else 1
            identity = connection.execute(
                "INSERT INTO held (project, view, hash, published_us, until_us, header, generation) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project, view, hash) DO UPDATE SET "
                "published_us = excluded.published_us, until_us = excluded.until_us, header = excluded.header, "
                "generation = excluded.generation RETURNING id",
                (project, view, hash, published_us, until_us, header, generation),
            ).fetchone()[0]
            connection.executemany(
                "INSERT INTO online_row (held, key, generation, event_us, value) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (held, key) DO UPDATE SET generation = excluded.generation, "
                "event_us = excluded.event_us, value = excluded.value",
                ((identity, row.key, generation, row.event_us, row.value) for row in rows),
            )
            connection.execute("DELETE FROM online_row WHERE held = ? AND generation < ?", (identity, generation))
            connection.execute("COMMIT")
        return True

    def read(self, project: str, view: str, hash: str, published_us: int, keys: Sequence[bytes]) -> Held | None:
        """What the file holds for those keys, or None when it holds no snapshot as new as that."""
        rows: list[tuple[bytes, bytes]] = []
        with self._transaction("BEGIN") as connection:
            held = connection.execute(
                "SELECT id, until_us, header FROM held WHERE project = ? AND view = ? AND hash = ? AND published_us >= ?",
                (project, view, hash, published_us),
            ).fetchone()
            if held is None:
                return None
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[start : start + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM online_row WHERE held = ? AND key IN ({marks})"
                rows += connection.execute(query, (held[0], *some))
        return Held(held[1], held[2], rows)
