"""What SQLite and PostgreSQL do differently, and nothing else."""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from trine.errors import InvalidInput

BUSY_TIMEOUT_MS = 120_000
"""How long a writer waits for another process's writer before it gives up."""


SYNCHRONOUS = "FULL"
"""One fsync of the log per commit: a commit that returned is on disk. (Tests of other things switch it off.)"""

POOL: dict[str, Any] = {"pool_size": 5, "max_overflow": 95, "pool_timeout": 60}
"""More connections than a server has threads: a call never waits for a connection behind one that waits for the lock."""


class Backend(Protocol):
    name: str

    def engine(self, url: str) -> Engine: ...

    def options(self, write: bool) -> dict[str, Any]:
        """What a transaction's connection is asked for: a reader sees one state of the workspace, whatever it reads."""
        ...

    def lock(self, connection: Connection) -> None:
        """Make this transaction the only writer of the workspace until it ends."""
        ...

    def compact(self, connection: Connection) -> None:
        """Give the space of deleted rows back, outside a transaction."""
        ...

    def version(self, connection: Connection) -> str:
        """The schema version, or nothing in an empty database."""
        ...


class Sqlite:
    name = "sqlite"

    def engine(self, url: str) -> Engine:
        engine = sa.create_engine(
            url, connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000}, **POOL
        )

        def configure(connection: Any, _record: Any) -> None:
            for pragma in (
                "journal_mode = WAL",
                f"synchronous = {SYNCHRONOUS}",
                "foreign_keys = ON",
                f"busy_timeout = {BUSY_TIMEOUT_MS}",
                "cache_size = -16384",
            ):
                connection.execute(f"PRAGMA {pragma}")

        def begin(connection: Connection) -> None:
            write = connection.get_execution_options().get("trine_write", True)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

        event.listen(engine, "connect", configure)
        event.listen(engine, "begin", begin)

        return engine

    def options(self, write: bool) -> dict[str, Any]:
        return {}  # every transaction is a snapshot

    def lock(self, connection: Connection) -> None:
        pass  # BEGIN IMMEDIATE took the write lock already

    def compact(self, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute("VACUUM")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def version(self, connection: Connection) -> str:
        found = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").first()
        if found is None:
            return ""
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or ""


class Postgres:
    name = "postgresql"
    LOCK = 0x7472696E65  # "trine"

    def engine(self, url: str) -> Engine:
        if importlib.util.find_spec("psycopg") is None:
            raise InvalidInput("A PostgreSQL workspace needs psycopg: pip install 'trine[postgres]'.")
        return sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"),
            connect_args={"options": f"-c lock_timeout={BUSY_TIMEOUT_MS}"},
            pool_pre_ping=True,
            **POOL,
        )

    def options(self, write: bool) -> dict[str, Any]:
        return {} if write else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def lock(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({self.LOCK})")

    def compact(self, connection: Connection) -> None:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM")

    def version(self, connection: Connection) -> str:
        found = connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
        if found is None:
            return ""
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or ""


def of(url: str) -> Backend:
    """The backend for a database URL."""
    if url.startswith("sqlite:"):
        return Sqlite()
    if url.startswith(("postgresql:", "postgres:", "postgresql+psycopg:")):
        return Postgres()
    raise InvalidInput(f'"{url.split(":")[0]}:" is no database Trine knows; use sqlite:///FILE or postgresql://…')
