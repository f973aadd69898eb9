"""The online file: `online.sqlite`, one row per key of each materialised view.

It is filled from published snapshots, which are in the object store and named in the ledger, so it can be thrown away at any
time: the next read fills it again. Writers replace a view's rows in one transaction; readers see the old rows or the new ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from trine.errors import Damaged
from trine.features.snapshots import OnlineRow

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


class Held(NamedTuple):
    """A view's rows in the file: as known at `until_us`, with the snapshot's header as JSON."""

    until_us: int
    header: str
    rows: list[tuple[bytes, bytes]]


class OnlineFile:
    """One process's door to the file; safe for several processes and threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = 1; COMMIT;")
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
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
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                held = connection.execute(
                    "SELECT id, published_us, generation FROM held WHERE project = ? AND view = ? AND hash = ?",
                    (project, view, hash),
                ).fetchone()
                if held and held[1] > published_us:
                    connection.execute("ROLLBACK")
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
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return True

    def read(self, project: str, view: str, hash: str, published_us: int, keys: Sequence[bytes]) -> Held | None:
        """What the file holds for those keys, or None when it holds no snapshot as new as that."""
        rows: list[tuple[bytes, bytes]] = []
        with self._open() as connection:
            connection.execute("BEGIN")
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
