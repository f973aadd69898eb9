"""Moving in from Delta Lake: the versions of a table, as far back as its log and its files reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.frames import first_line
from trine.data.importers.writer import Imported
from trine.data.references import head_of
from trine.errors import Conflict, NotFound
from trine.extras import need
from trine.ids import to_datetime
from trine.types import Name
from trine.workspace import Workspace, current_workspace

SAME_ROWS = frozenset(
    {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT", "DROP CONSTRAINT"}
)
"""What Delta calls a new version, and changes no row."""

Tell = Callable[[str], None]


def import_delta(
    table: Path | str, *, name: str, branch: str = "main", tell: Tell | None = None, ws: Workspace | None = None
) -> Imported:
    """Each version of a Delta table that can still be read becomes a version of a table dataset, with the tag `delta-N`; its
    message says what was done, and when. What was appended is stored as such, everything else as the table it made.

    Rows are read by Polars and delta-rs (`pip install 'trine[delta]'`), deletion vectors and partitions included, and
    profiled and checked as in any commit. A version whose files were vacuumed is left out and told in the problems.
    Raises Conflict when the branch went on here since the last import.
    """
    ws = ws or current_workspace()
    msgspec.convert(name, Name)
    deltalake = need("deltalake", extra="delta", purpose="Moving a Delta table in")
    where = str(table)
    try:
        now = deltalake.DeltaTable(where)
        history = {int(one["version"]): one for one in now.history()}
    except (deltalake.exceptions.TableNotFoundError, FileNotFoundError, OSError):
        raise NotFound(f"There is no Delta table at {where}.") from None
    return _Import(ws, deltalake, where, name, branch).run(history, tell)


class _Import:
    def __init__(self, ws: Workspace, deltalake: Any, where: str, name: str, branch: str) -> None:
        self.ws = ws
        self.deltalake = deltalake
        self.where = where
        self.name = name
        self.branch = branch
        self.problems: list[str] = []

    def run(self, history: Mapping[int, Mapping[str, Any]], tell: Tell | None) -> Imported:
        head = head_of(self.ws, self.name, self.branch)
        known = door.get_dataset(self.ws, name=self.name).tags if head else {}
        added = versions = 0
        files: set[str] = set()
        for version in sorted(history):
            tag = f"delta-{version}"
            if tag in known:
                versions += 1
                files = set()  # not those that the head was made from, unless it is read anew
                continue
            if not added and head and head.id not in (known.get(f"delta-{one}") for one in history):
                raise Conflict(
                    f'Branch "{self.branch}" of dataset "{self.name}" went on here since it was imported, and version '
                    f"{version} of {self.where} would undo that. Import onto a branch of its own: --branch NAME."
                )
            if tell:
                tell(f"{tag} of {max(history)}")
            made, files = self._take(version, history[version], head, files)
            if made is not None:
                versions, added = versions + 1, added + (head is None or made.id != head.id)
                head = made
        if head is None:
            return Imported(self.name, 0, 0, 0, 0, "", self.problems)
        return Imported(self.name, versions, added, head.files, head.size_bytes, head.id, self.problems)

    def _take(
        self, version: int, facts: Mapping[str, Any], head: Commit | None, before: set[str]
    ) -> tuple[Commit | None, set[str]]:
        """The commit of a version, or None when it cannot be read; and the files it is in."""
        import polars as pl

        from trine.data.rows import commit

        operation, tag = str(facts.get("operation", "")), f"delta-{version}"
        try:
            there = self.deltalake.DeltaTable(self.where, version=version)
            files = set(there.file_uris())
            if head and operation in SAME_ROWS:
                return door.tag_commit(self.ws, name=self.name, tag=tag, ref=head.id), files
            fresh = sorted(files - before) if before and before < files and self._is_append(facts, there) else []
            frame = self._appended(fresh, head) if fresh and head else None
            mode = "replace" if frame is None else "append"
            if frame is None:
                frame = pl.read_delta(self.where, version=version)
        except (self.deltalake.exceptions.DeltaError, pl.exceptions.PolarsError, FileNotFoundError, OSError) as error:
            told = str(error).splitlines()[0] if isinstance(error, OSError) else first_line(error)
            self.problems.append(f"version {version} of {self.where} was left out: {told}")
            return None, set()
        when = to_datetime(int(facts.get("timestamp", 0)) * 1_000)
        message = f"Delta version {version}: {operation} at {when:%Y-%m-%d %H:%M:%S} UTC"
        made = commit(frame, name=self.name, message=message, branch=self.branch, mode=mode, tag=tag, ws=self.ws)
        return made, files

    @staticmethod
    def _is_append(facts: Mapping[str, Any], table: Any) -> bool:
        parameters = facts.get("operationParameters") or {}
        return parameters.get("mode") == "Append" and not table.metadata().partition_columns

    @staticmethod
    def _appended(files: Sequence[str], head: Commit) -> Any:
        """The rows of files alone, when they have the columns of the table before them; else None."""
        import polars as pl

        rows = pl.read_parquet(list(files), glob=False)
        schema = {column: str(kind) for column, kind in rows.schema.items()}
        return rows if list(schema.items()) == list(head.schema.items()) else None
