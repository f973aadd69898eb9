"""Looking at datasets without opening the workspace: opening it costs more than many a command has to do.

Only of a local workspace on SQLite, where whoever can read the files may read everything; elsewhere, and for all that
changes something, the door is opened (`Glance.ws`).
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any

from trine import settings
from trine.data.commits import Commit, commit_of, split_ref
from trine.workspace import Located, Workspace

if TYPE_CHECKING:
    from trine.storage import Store

_STEPS = re.compile(r"([^~]+)(?:~([0-9]{1,4}))?")
_PREFIX = re.compile(r"[0-9a-f]{6,64}")


class Glance:
    """The datasets of a workspace, which is opened when it has to be. A context manager: it closes what it opened."""

    def __init__(self, where: Workspace | Located) -> None:
        self._where = where
        self._open = contextlib.ExitStack()
        self._ws = where if isinstance(where, Workspace) else None
        self._store: Store | None = None
        self._rows = None if isinstance(where, Workspace) else self._look(where)

    @property
    def ws(self) -> Workspace:
        """The workspace, open."""
        if self._ws is None:
            from trine.workspace import existing

            self._ws = self._open.enter_context(existing(self._where.location, project=self._where.project))
        return self._ws

    @property
    def store(self) -> Store:
        """Its objects."""
        if self._store is None:
            place = self._store_place() if self._rows and self._ws is None else ""
            if place:
                from trine.storage.objects import ObjectStore

                self._store = ObjectStore.open(place)
            else:
                self._store = self.ws.store
        return self._store

    def head(self, name: str, branch: str) -> Commit | None:
        """The commit a branch is at; None where there is no such dataset or branch yet."""
        if found := self._first(
            "SELECT c.* FROM data_ref r JOIN data_commit c ON c.project = r.project AND c.dataset = r.dataset "
            "AND c.id = r.\"commit\" WHERE r.project = ? AND r.dataset = ? AND r.name = ? AND r.kind = 'branch'",
            name,
            branch,
        ):
            return found
        from trine.data.references import head_of

        return head_of(self.ws, name, branch)

    def commit(self, ref: str) -> Commit:
        """What a reference means now. Raises as `resolve` does."""
        if self._ws is None and (found := self._by_ref(ref)):
            return found
        from trine.data.references import resolve

        return resolve(ref, ws=self.ws)

    def _by_ref(self, ref: str) -> Commit | None:
        name, version = split_ref(ref)
        told = _STEPS.fullmatch(version)
        if told is None:
            return None
        base = told[1]
        found = self._first(
            "SELECT c.* FROM data_ref r JOIN data_commit c ON c.project = r.project AND c.dataset = r.dataset "
            'AND c.id = r."commit" WHERE r.project = ? AND r.dataset = ? AND r.name = ?',
            name,
            base,
        )
        of_id = "SELECT * FROM data_commit WHERE project = ? AND dataset = ? AND id BETWEEN ? AND ?"
        if found is None and _PREFIX.fullmatch(base):
            found = self._first(of_id, name, base, base + "g")
        for _ in range(int(told[2] or 0)):
            found = self._first(of_id, name, found.parents[0], found.parents[0]) if found and found.parents else None
        return found

    def _look(self, where: Located) -> Callable[..., list[Any]] | None:
        if "://" in where.location or settings.resolve()["token"]:
            return None
        ledger = where.spool.parent / "ledger.db"
        try:
            connection = sqlite3.connect(f"{ledger.as_uri()}?mode=rw", uri=True, isolation_level=None)
        except sqlite3.Error:
            return None
        self._open.callback(connection.close)
        connection.row_factory = _row

        def rows(query: str, *values: str) -> list[Any]:
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.Error:  # an older ledger, or one that is being made: the door knows how to go on
                return []

        return rows

    def _first(self, query: str, name: str, *values: str) -> Commit | None:
        """The one commit a query finds; None when it finds none, or several."""
        if self._rows is None or self._ws is not None:
            return None
        found = self._rows(f"{query} LIMIT 2", self._where.project, name, *values)
        return commit_of(found[0]) if len(found) == 1 else None

    def _store_place(self) -> str:
        assert self._rows
        told = self._rows("SELECT value FROM about WHERE key = 'store'")
        asked = settings.resolve()["store"]
        if told or asked:
            return told[0].value if told and asked in ("", told[0].value) else ""
        return str(Path(self._where.spool.parent) / "store")

    def __enter__(self) -> Glance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> SimpleNamespace:
    return SimpleNamespace(**{column[0]: value for column, value in zip(cursor.description, values, strict=True)})
