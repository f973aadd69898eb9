"""Reading datasets: tables as lazy frames, profiles, single files. What is read was checked against its hash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from trine.data.commits import Commit
from trine.data.profiles import Profile, read_profile
from trine.data.references import resolve
from trine.data.trees import read_tree
from trine.errors import InvalidInput, NotFound, nearest
from trine.ids import new_id
from trine.workspace import Workspace, current_workspace, record_use

if TYPE_CHECKING:
    import polars as pl

    from trine.data.expectations import CheckResult

_checked: dict[tuple[str, str], tuple[Path, tuple[int, int, int]]] = {}
"""Files of objects that this process has checked, with inode, size and time of change, by workspace and hash."""


def load(ref: str, *, ws: Workspace | None = None) -> pl.LazyFrame:
    """A table dataset's rows as a lazy frame, in the order they were committed; the active run or step keeps it as an input."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    frame = scan_commit(ws, commit)
    record_use(commit.node)
    return frame


def scan_commit(ws: Workspace, commit: Commit) -> pl.LazyFrame:
    """A commit's rows, from checked local files."""
    from trine.data.parts import read_parts, scan_parts

    if commit.kind != "table":
        raise InvalidInput(
            f'Dataset "{commit.dataset}" holds files. Check them out: trine data checkout {commit.ref} FOLDER'
        )
    return scan_parts(ws, read_parts(ws.store, commit.tree))


def local_file(ws: Workspace, hash_: str) -> Path:
    """An object as a file on this disk, the store's own or a copy in the cache: checked, once per process and change."""
    key = (str(ws.spool), hash_)
    path, marks = _checked.get(key, (None, None))
    if path is not None and _marks(path) == marks:
        return path
    path_of = getattr(ws.store, "path_of", None)
    path = (path_of(hash_) if path_of else None) or _cached(ws, hash_)
    if marks := _marks(path):
        _checked[key] = (path, marks)
    return path


def _marks(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _cached(ws: Workspace, hash_: str) -> Path:
    path = ws.spool.parent / "cache" / "objects" / hash_[:2] / hash_
    if path.exists() and blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() == hash_:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{new_id()}")
    ws.store.get_file(hash_, draft)
    os.replace(draft, path)
    return path


def failing_rows(ref: str, check: int = 0, *, ws: Workspace | None = None) -> pl.LazyFrame:
    """All rows of a commit, also a rejected one, that fail one of its expectations: the `check`-th of those that failed.

    They come with their number in the table in front.
    """
    from trine.data.checks import failing
    from trine.data.foreign import foreign_rows

    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    failed: list[CheckResult] = [one for one in commit.checks if not one.passed]
    if not 0 <= check < len(failed):
        raise NotFound(f"{commit.ref} has {len(failed)} failed checks, so there is none at {check}.")
    return failing(scan_commit(ws, commit), failed[check].rule, foreign_rows(ws))


def failed_sample(ref: str, *, ws: Workspace | None = None) -> dict[int, pl.DataFrame]:
    """The rows that were kept with a commit because they fail an expectation: at most a hundred for each, by its number
    among the commit's checks. Of an append, new rows only; `failing_rows` finds all.
    """
    import polars as pl

    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    kept = profile_of(ws, commit).failing if commit.profile else ""
    if not kept:
        return {}
    found = pl.read_parquet(ws.store.get(kept))
    return {
        int(key[0]): rows for key, rows in found.partition_by(found.columns[0], as_dict=True, include_key=False).items()
    }


def profile(ref: str, *, ws: Workspace | None = None) -> Profile:
    """The profile a table commit carries."""
    ws = ws or current_workspace()
    return profile_of(ws, resolve(ref, ws=ws))


def profile_of(ws: Workspace, commit: Commit) -> Profile:
    """The profile of a commit at hand."""
    if not commit.profile:
        raise NotFound(f"{commit.ref} holds files and has no profile.")
    return read_profile(ws.store, commit.profile)


def read(ref: str, path: str, *, ws: Workspace | None = None) -> bytes:
    """One file of a dataset."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    entries = {entry.path: entry for entry in read_tree(ws.store, commit.tree)}
    if path not in entries:
        raise NotFound(f'{commit.ref} has no file "{path}".{nearest(path, entries)}')
    record_use(commit.node)
    return ws.store.get(entries[path].hash)
