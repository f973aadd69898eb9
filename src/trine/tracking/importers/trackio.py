"""trackio: a SQLite database a project, and beside them the folders of media and artifacts."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import NotFound
from trine.ids import to_us
from trine.tracking.importers.source import (
    Lines,
    Source,
    SourceFile,
    SourceModel,
    SourceRun,
    files_of,
    flat,
    number_of,
    run_id,
)


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """The projects of trackio's folder, or the one of a database."""
    path = Path(where).expanduser()
    files = [path] if path.is_file() else [one for one in sorted(path.glob("*.db")) if _tables(one)]
    if not files or not _tables(files[0]):
        raise NotFound(
            f"{where} holds no database of trackio: give its folder (as in TRACKIO_DIR), or PROJECT.db in it."
        )
    return Trackio(path, files)


def _tables(path: Path) -> bool:
    try:
        with closing(_opened(path)) as db:
            return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'metrics'").fetchone() is not None
    except sqlite3.DatabaseError:
        return False


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    return db


class Trackio:
    """Runs of trackio's projects; a project is an experiment."""

    kind = "trackio"

    def __init__(self, place: Path, files: list[Path]) -> None:
        self.location, self.files = str(place), files

    def runs(self) -> Iterator[SourceRun]:
        """Runs by project, then as they began."""
        for path in self.files:
            with closing(_opened(path)) as db:
                yield from _Project(path, db).runs()

    def models(self) -> Iterator[SourceModel]:
        """Nothing: trackio has no registry of models."""
        return iter(())


class _Project:
    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self.db, self.name = path, db, path.stem
        self.tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = {row["name"] for row in db.execute("PRAGMA table_info(metrics)")}
        self.id = "run_id" if "run_id" in names else "run_name"  # before 0.20 a run had its name alone

    def _rows(self, table: str, id: str, order: str = "id") -> list[sqlite3.Row]:
        if table not in self.tables:
            return []
        return self.db.execute(f"SELECT * FROM {table} WHERE {self.id} = ? ORDER BY {order}", (id,)).fetchall()

    def runs(self) -> Iterator[SourceRun]:
        tables = [table for table in ("metrics", "configs", "system_metrics") if table in self.tables]
        every = " UNION ALL ".join(f"SELECT {self.id} AS id, run_name AS name FROM {table}" for table in tables)
        for row in self.db.execute(f"SELECT id, max(name) AS name FROM ({every}) GROUP BY id ORDER BY id").fetchall():
            yield self._run(row["id"], row["name"])

    def _run(self, id: str, name: str) -> SourceRun:
        lines, other, times = Lines(), [], []
        for row in self._rows("metrics", id):
            times.append(_us(row["timestamp"]))
            rest = dict(_points(lines, _json(row["metrics"]), row["step"], times[-1]))
            if rest:
                other.append(msgspec.json.encode({"step": row["step"], "time_us": times[-1], "values": rest}))
        for number, row in enumerate(self._rows("system_metrics", id)):
            list(_points(lines, _json(row["metrics"]), number, _us(row["timestamp"]), "system/"))
        config: dict[str, Any] = {}
        for row in self._rows("configs", id):
            config |= _json(row["config"])
        times += [_us(str(config["_Created"]))] if config.get("_Created") else []
        params = {key: value for key, value in config.items() if not key.startswith("_")}
        tags = {"trackio.id": id, "trackio.group": str(config.get("_Group") or "")}
        problems: list[str] = []
        files = files_of(self.path.parent / "media" / self.name / name, "media/")
        files += self._artifacts(id, problems)
        if other:
            files.append(SourceFile("imported/history.jsonl", data=b"\n".join(other)))
        return SourceRun(
            id=run_id("trackio", self.name, id),
            experiment=self.name,
            name=name,
            state="finished",
            started_us=min(times, default=0),
            ended_us=max(times, default=0),
            author=str(config.get("_Username") or ""),
            params=dict(pair for key, value in params.items() for pair in flat(value, key)),
            tags={key: value for key, value in tags.items() if value},
            points=lines.points(),
            files=files,
            problems=problems,
        )

    def _artifacts(self, id: str, problems: list[str]) -> Iterator[SourceFile]:
        if "artifact_versions" not in self.tables:
            return
        query = (
            "SELECT a.name, v.version, v.manifest FROM artifact_versions v JOIN artifacts a ON a.id = v.artifact_id "
            f"WHERE v.producer_{self.id} = ? ORDER BY 1, 2"
        )
        blobs = self.path.parent / "artifacts" / self.name / "blobs" / "sha256"
        for row in self.db.execute(query, (id,)):
            for one in msgspec.json.decode(row["manifest"]):
                local = blobs / one["digest"][:2] / one["digest"]
                if local.is_file():
                    yield SourceFile(f"artifacts/{row['name']}/v{row['version']}/{one['path']}", local=local)
                elif "ref" not in one:
                    problems.append(f"File {one['path']} of artifact {row['name']} is not in {blobs}.")


def _points(lines: Lines, values: Any, step: int, time_us: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers as points, also those in dictionaries; gives what is no number."""
    for key, value in values.items():
        found = number_of(value)
        if found is not None:
            lines.add(prefix + key, step, time_us, found)
        elif isinstance(value, dict) and "_type" not in value:
            yield from _points(lines, value, step, time_us, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value


def _json(text: Any) -> dict[str, Any]:
    found = msgspec.json.decode(text)
    return found if isinstance(found, dict) else {}


def _us(text: str) -> int:
    try:
        return to_us(dt.datetime.fromisoformat(text))
    except ValueError:
        return 0
