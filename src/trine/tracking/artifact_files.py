"""Artifacts: files of a run, stored once by content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trine.errors import InvalidInput, NotFound, nearest
from trine.tracking.runs import Artifact, id_of, is_text
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    from trine.tracking.live import Run
    from trine.tracking.runs import RunInfo


def check_path(path: str) -> str:
    """The path, when it is safe to write below any folder. Raises InvalidInput naming it."""
    parts = path.split("/")
    if not is_text(path) or "\\" in path or len(path) > 1_000 or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"{path[:200]!r} is no path of an artifact: relative, with forward slashes, without '..'.")
    return path


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and below, by path; links that leave it are refused."""
    root = folder.resolve()
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise InvalidInput(f"{path} is a link that leaves {folder}; only links inside it can be kept.")
        if path.is_file():
            found.append(path)
    return found


def artifacts(run: Run | RunInfo | str, prefix: str = "", *, ws: Workspace | None = None) -> list[Artifact]:
    """A run's files by path; `prefix` keeps those below a folder or at a path."""
    from trine.tracking import operations as door

    ws = ws or current_workspace()
    found: list[Artifact] = []
    page = door.list_artifacts(ws, id=id_of(run), prefix=prefix)
    found += page.items
    while page.next:
        page = door.list_artifacts(ws, id=id_of(run), prefix=prefix, page=page.next)
        found += page.items
    return found


def read_artifact(run: Run | RunInfo | str, path: str, *, ws: Workspace | None = None) -> bytes:
    """The bytes of one file of a run, checked against their hash. Raises NotFound with the nearest path."""
    ws = ws or current_workspace()
    one = next((one for one in artifacts(run, path, ws=ws) if one.path == path), None)
    if one is None:
        known = [one.path for one in artifacts(run, ws=ws)]
        raise NotFound(f'Run {id_of(run)} has no artifact "{path}".{nearest(path, known)}')
    return ws.store.get(one.hash)


def download_artifacts(
    run: Run | RunInfo | str, folder: Path | str, prefix: str = "", *, ws: Workspace | None = None
) -> list[Path]:
    """Write a run's files below a folder; gives their paths."""
    ws = ws or current_workspace()
    found = artifacts(run, prefix, ws=ws)
    if prefix and not found:
        raise NotFound(f'Run {id_of(run)} has no artifact at or below "{prefix}".')
    return [ws.store.get_file(one.hash, Path(folder) / check_path(one.path)) for one in found]
