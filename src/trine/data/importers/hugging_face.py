"""Moving in a dataset of the Hugging Face Hub, from the folder it was downloaded to.

Its cache holds `refs/`, `snapshots/<revision>/` with links to `blobs/`, whose names are the SHA-256 of large files and git's
SHA-1 of small ones: each is checked. A plain folder (a clone, `--local-dir`) is one version.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trine.data.folders import add
from trine.data.importers.intake import Intake, Source, Taken
from trine.data.importers.writer import Imported, Version, write_history
from trine.data.scan import IGNORED
from trine.data.trees import Entry, check_path
from trine.errors import InvalidInput, NotFound
from trine.storage.places import Folder
from trine.workspace import Workspace, current_workspace


def import_hugging_face(
    folder: Path | str, *, name: str = "", branch: str = "main", ws: Workspace | None = None
) -> Imported:
    """A dataset that was downloaded from the Hub: each snapshot of its cache folder is a version, oldest download first; a plain
    folder is one. Its name is the dataset's, without the owner's, unless `name` says another."""
    ws = ws or current_workspace()
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.")
    if not (folder / "snapshots").is_dir():
        name = name or re.sub(r"[^A-Za-z0-9_.\-]", "-", folder.resolve().name).lstrip(".-")
        made = add(folder, name=name, message="imported from Hugging Face", branch=branch, ws=ws)
        return Imported(name, 1, 1, made.files, made.size_bytes, made.id)
    repository = folder.resolve().name.removeprefix("datasets--").replace("--", "/")
    name = name or repository.rpartition("/")[2]
    refs = {
        path.read_text().strip(): path.relative_to(folder / "refs").as_posix()
        for path in (folder / "refs").rglob("*")
        if path.is_file()
    }
    snapshots = sorted(
        (folder / "snapshots").iterdir(), key=lambda one: (refs.get(one.name) == "main", one.stat().st_mtime_ns)
    )
    versions: list[Version] = []
    problems: list[str] = []
    for one in snapshots:
        files = dict(_files(one, folder / "blobs"))
        taken = {"sha256": Intake(ws, "sha256"), "git": Intake(ws, "git-sha1", _git_sha1)}
        found = _take(taken, folder, files)
        if missing := [path for path, blob in files.items() if blob not in found]:
            told = [*taken["sha256"].problems.values(), *taken["git"].problems.values(), missing[0]]
            problems.append(f"{one.name[:12]} was left out: {told[0]}")
            continue
        entries = [Entry(check_path(path), *found[blob]) for path, blob in files.items()]
        message = f"{repository} at {one.name[:12]}"
        tag = re.sub(r"[^A-Za-z0-9_.\-]", "-", refs.get(one.name, ""))
        tags = (tag,) if tag and tag not in ("main", branch) else ()
        author = f"Hugging Face {repository.partition('/')[0]}"
        versions.append(Version(entries, message, author, one.stat().st_mtime_ns // 1_000, "", tags))
    if not versions and not problems:
        raise NotFound(f"There is no snapshot in {folder}.")
    return write_history(ws, name, versions, branch=branch, problems=problems)


def _files(snapshot: Path, blobs: Path) -> Iterator[tuple[str, str]]:
    """(path, name of its blob) of a snapshot's files."""
    for folder, folders, names in os.walk(snapshot):
        folders[:] = [one for one in folders if one not in IGNORED]
        for name in names:
            path = Path(folder, name)
            real = path.resolve()
            if real.parent != blobs.resolve():
                raise InvalidInput(f"{path} is no link into {blobs}, as the Hub's cache has it.")
            yield path.relative_to(snapshot).as_posix(), real.name


def _git_sha1(size: int) -> Any:
    """git's digest of a file."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


def _take(intakes: dict[str, Intake], folder: Path, files: dict[str, str]) -> dict[str, Taken]:
    place = Folder((folder / "blobs").resolve())
    found: dict[str, Taken] = {}
    for kind, length in (("sha256", 64), ("git", 40)):
        sources = {blob: Source(place, blob, blob) for blob in files.values() if len(blob) == length}
        found |= intakes[kind].take(sources)
        intakes[kind].save()
    return found
