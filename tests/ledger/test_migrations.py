from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import trine
from trine.errors import Failure, InvalidInput, NotFound
from trine.ledger import Ledger, metadata
from trine.workspace import Workspace, connect

for _tables in Path(trine.__file__).parent.glob("*/tables.py"):
    importlib.import_module(f"trine.{_tables.parent.name}.tables")


def test_migrations_make_the_tables_that_the_code_declares(postgres_url: str, tmp_path: Path) -> None:
    for ledger in (Ledger(postgres_url), Ledger.at(tmp_path / "ledger.db")):
        with ledger.transaction(write=False) as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        ledger.close()


def test_a_workspace_of_a_newer_trine_is_refused(tmp_path: Path) -> None:
    Ledger.at(tmp_path / "ledger.db").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(Failure, match="newer Trine"):
        Ledger.at(tmp_path / "ledger.db")


def test_places_that_cannot_hold_a_workspace_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="not a folder"):
        connect(tmp_path / "file")
    with pytest.raises(InvalidInput, match="no database"):
        connect("mysql://host/db", store=str(tmp_path))
    with pytest.raises(InvalidInput, match="place for its objects"):
        connect("postgresql://127.0.0.1:1/none") if False else _needs_store()


def _needs_store() -> Workspace:
    from trine.workspace import _store_location

    class Empty(Ledger):
        def __init__(self) -> None:
            self.url = "sqlite://"
            from trine.ledger import backends

            self.backend = backends.of(self.url)
            self._engine = sa.create_engine("sqlite://")
            import os
            import threading

            self._pid, self._changed = os.getpid(), threading.Condition()
            with self._engine.begin() as connection:
                metadata.tables["about"].create(connection)

    _store_location(Empty(), "", None)
    raise AssertionError


def test_a_database_that_is_away_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="does not answer"):
        connect("postgresql://postgres@127.0.0.1:9/none", store=str(tmp_path))
    with pytest.raises(NotFound, match="no workspace"):
        from trine.workspace import existing

        existing(str(tmp_path / "none"))
