"""Reading datasets: tables as lazy frames, profiles, single files. What is read was checked against its hash."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import polars as pl
from blake3 import blake3

from trine.data.commits import Commit
from trine.data.datasets import resolve
from trine.data.profile import Profile
from trine.data.trees import read_tree
from trine.errors import InvalidInput, NotFound, nearest
from trine.ids import new_id
from trine.workspace import Workspace, current_workspace, record_use

_checked: set[tuple[str, int, int]] = set()
"""Cached files this process has checked: path, inode and time of change."""


def load(ref: str, *, ws: Workspace | None = None) -> pl.LazyFrame:
    """A table dataset's rows as a lazy frame, in the order they were committed; the active run or step keeps it as an input."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    if commit.kind != "table":
        raise InvalidInput(
            f'Dataset "{commit.dataset}" holds files. Check them out: trine data checkout {commit.ref} FOLDER'
        )
    frame = scan_commit(ws, commit)
    record_use(commit.node)
    return frame


def scan_commit(ws: Workspace, commit: Commit) -> pl.LazyFrame:
    """A commit's rows, from checked local files."""
    parts = [local_file(ws, entry.hash, ".parquet") for entry in read_tree(ws.store, commit.tree)]
    return pl.scan_parquet(parts)


def local_file(ws: Workspace, hash_: str, suffix: str = "") -> Path:
    """An object as a file on this disk: the store's own, or a copy in the cache. Checked once per process and change."""
    path = getattr(ws.store, "path_of", lambda _hash: None)(hash_) if not suffix else None
    if path is not None:
        return path
    path = ws.spool.parent / "cache" / "objects" / hash_[:2] / f"{hash_}{suffix}"
    try:
        found = path.stat()
        mark = (str(path), found.st_ino, found.st_mtime_ns)
        if mark in _checked or blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() == hash_:
            _checked.add(mark)
            return path
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{new_id()}")
    ws.store.get_file(hash_, temporary)
    os.replace(temporary, path)
    found = path.stat()
    _checked.add((str(path), found.st_ino, found.st_mtime_ns))
    return path


def profile(ref: str, *, ws: Workspace | None = None) -> Profile:
    """The profile a table commit carries."""
    ws = ws or current_workspace()
    return profile_of(ws, resolve(ref, ws=ws))


def profile_of(ws: Workspace, commit: Commit) -> Profile:
    if not commit.profile:
        raise NotFound(f"{commit.ref} holds files and has no profile.")
    return msgspec.json.decode(ws.store.get(commit.profile), type=Profile)


def read(ref: str, path: str, *, ws: Workspace | None = None) -> bytes:
    """One file of a dataset."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    entries = {entry.path: entry for entry in read_tree(ws.store, commit.tree)}
    if path not in entries:
        raise NotFound(f'{commit.ref} has no file "{path}".{nearest(path, entries)}')
    record_use(commit.node)
    return ws.store.get(entries[path].hash)
