"""A table as a folder that readers of Delta Lake know: its parts, linked, and a log of its commits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl
from blake3 import blake3

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.delta.log import File, Vector, Version, write_log
from trine.data.delta.types import delta_schema, rewritten
from trine.data.parts import Part, positions_of, read_parts, rows_in, schema_of
from trine.data.reading import local_file
from trine.data.references import resolve
from trine.errors import Conflict, InvalidInput
from trine.ids import new_id
from trine.operations import every
from trine.storage import ObjectStore
from trine.storage.places import no_space
from trine.workspace import Workspace, current_workspace, record_use

LOG = "_delta_log"
Link = Literal["auto", "hard", "copy"]


def write_delta(ref: str, folder: Path | str, *, link: Link = "auto", ws: Workspace | None = None) -> Commit:
    """Write a table with its history as a Delta table: version N is the N-th commit of the reference's history.

    Parts share their bytes with the store where the file system can (reflinks; `link="hard"`: hard links, which are
    read-only), and are checked against their hash. A folder that holds the beginning of the same history is brought up to
    date. The log is written last, so readers see whole versions whenever this is interrupted; it can be called again.

    Raises Conflict when the folder holds another history, or somebody wrote to it; nothing is changed then.
    """
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    if commit.kind != "table":
        raise InvalidInput(f'Dataset "{commit.dataset}" holds files, and Delta Lake holds rows.')
    folder = Path(folder)
    writing = _Writing(ws, folder, link)
    try:
        known = _logged(folder)
        history = list(every(door.list_commits, ws, name=commit.dataset, ref=commit.id))[::-1]
        logs = list(write_log((writing.version(one) for one in history), f"{ws.project}/{commit.dataset}"))
        for number, data in known.items():
            if number >= len(logs) or logs[number] != data:
                raise Conflict(
                    f"{folder} holds another history than {commit.ref} at version {number}: another branch, or somebody "
                    "wrote to it. Take another folder, or bring what was written here: trine data import delta"
                )
        writing.write_files()
        for number in range(len(known), len(logs)):
            _write_log(folder, number, logs[number], history[number].created_us)
    except OSError as error:
        raise no_space(str(folder), error) from error
    record_use(commit.node)
    return commit


class _Source(NamedTuple):
    """What a file of the folder is made from: an object, and what to select from it when it is not taken as it is."""

    hash: str
    select: tuple[pl.Expr, ...] = ()


class _Writing:
    def __init__(self, ws: Workspace, folder: Path, link: Link) -> None:
        self._ws = ws
        self._folder = folder
        self._link = link
        self._files: dict[Part, File] = {}
        self._rows: dict[str, int] = {}
        self._sources: dict[str, _Source] = {}

    def version(self, commit: Commit) -> Version:
        parts = read_parts(self._ws.store, commit.tree)
        return Version(commit, delta_schema(schema_of(self._ws, parts)), [self._file(part) for part in parts])

    def _file(self, part: Part) -> File:
        if part not in self._files:
            self._files[part] = self._new_file(part)
        return self._files[part]

    def _new_file(self, part: Part) -> File:
        number, hash_ = part.file.path.removesuffix(".parquet"), part.file.hash
        select = tuple(rewritten(pl.Schema(pl.read_parquet_schema(local_file(self._ws, hash_)))))
        path = f"{number}-{hash_}{'-delta' if select else ''}.parquet"
        self._sources[path] = _Source(hash_, select)
        size = part.file.size
        if select:  # how large it is, its log has to say
            self._write(path)
            size = (self._folder / path).stat().st_size
        if hash_ not in self._rows:
            self._rows[hash_] = rows_in(self._ws, part)
        vector = None
        if part.vector:
            vector = Vector(part.vector.hash, part.vector.size - 9, len(positions_of(self._ws, part)))
            self._sources[vector.path] = _Source(part.vector.hash)
        return File(path, size, self._rows[hash_], vector)

    def write_files(self) -> None:
        """Have all files there; one that is there is read and compared."""
        for path, source in self._sources.items():
            target = self._folder / path
            if not target.exists() or (
                not source.select and blake3(max_threads=blake3.AUTO).update_mmap(target).hexdigest() != source.hash
            ):
                self._write(path)

    def _write(self, path: str) -> None:
        source, target = self._sources[path], self._folder / path
        if source.select and target.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".trine-{new_id()}")
        try:
            store = self._ws.store
            if source.select:
                file = pl.scan_parquet(local_file(self._ws, source.hash), glob=False)
                file.select(source.select).collect().write_parquet(draft, compression="zstd", compression_level=3)
            elif not (
                self._link != "copy"
                and isinstance(store, ObjectStore)
                and store.link_file(source.hash, draft, hard=self._link == "hard")
            ):
                store.get_file(source.hash, draft)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _logged(folder: Path) -> dict[int, bytes]:
    """The versions that the folder's log has. Raises Conflict when something else is in it."""
    found: dict[int, bytes] = {}
    for path in _in_log(folder):
        if path.suffix != ".json" or path.stem != f"{len(found):020d}":
            raise Conflict(f"{path} was not written by Trine: somebody wrote to this Delta table. Take another folder.")
        found[len(found)] = path.read_bytes()
    return found


def _in_log(folder: Path) -> Iterator[Path]:
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    log = folder / LOG
    yield from sorted(one for one in log.iterdir() if not one.name.startswith(".trine-")) if log.is_dir() else ()


def _write_log(folder: Path, number: int, data: bytes, time_us: int) -> None:
    target = folder / LOG / f"{number:020d}.json"
    target.parent.mkdir(exist_ok=True)
    draft = target.with_name(f".trine-{new_id()}")
    draft.write_bytes(data)
    os.utime(draft, ns=(time_us * 1_000, time_us * 1_000))  # by which readers find a version by its time
    os.replace(draft, target)
