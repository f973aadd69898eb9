"""Where MLflow's artifacts are: local folders, the server's artifact root, buckets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from trine.errors import NotFound
from trine.tracking.importers.source import SourceFile, files_of

ROOTS = ("mlruns", "mlartifacts")
"""The folders in which MLflow keeps artifacts if nobody says otherwise."""


class Artifacts:
    """Files below artifact URIs. `root` stands for `mlflow-artifacts:/`, and is tried for local folders that are gone; `base` is
    where relative paths begin."""

    def __init__(self, base: Path, root: str = "") -> None:
        self.base, self.root = base, root

    def files(self, uri: str, prefix: str = "") -> list[SourceFile]:
        """The files below a URI. Raises NotFound saying where they should be."""
        scheme = urlsplit(uri).scheme
        if scheme == "mlflow-artifacts":
            path = urlsplit(uri).path.lstrip("/")
            if "://" in self.root:
                return self.files(f"{self.root.rstrip('/')}/{path}", prefix)
            return files_of(self._root_folder() / path, prefix)
        if scheme in ("", "file") or re.fullmatch("[A-Za-z]", scheme):
            return files_of(self._folder(unquote(urlsplit(uri).path) if scheme == "file" else uri), prefix)
        return _in_bucket(uri, prefix)

    def _root_folder(self) -> Path:
        folder = Path(self.root).expanduser() if self.root else self.base / "mlartifacts"
        if not folder.is_dir():
            raise NotFound(f"The server's artifacts are not in {folder}. Say where they are with --artifacts.")
        return folder

    def _folder(self, place: str) -> Path:
        """The folder, or where it is now when it was moved together with the database or with `mlruns`."""
        path = self.base / place
        if path.is_dir():
            return path
        parts, empty = path.parts, path if any(above.is_dir() for above in path.parents[:3]) else None
        for at in (at for at, part in enumerate(parts) if part in ROOTS):
            roots = [self.base / parts[at], self.base.parent / parts[at]]
            for root in [Path(self.root).expanduser(), *roots] if self.root else roots:
                moved = root.joinpath(*parts[at + 1 :])
                if moved.is_dir():
                    return moved
                if empty is None and root.is_dir():
                    empty = moved
        if empty is None:
            above = path.parents[min(2, len(path.parents) - 1)]
            raise NotFound(
                f"There is no folder {above}, where artifacts should be. Say where they are with --artifacts."
            )
        return empty  # a run without artifacts has no folder for them


def _in_bucket(uri: str, prefix: str) -> list[SourceFile]:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        store: Any = from_url(uri)
        paths = [str(one["path"]) for batch in obstore.list(store) for one in batch]
    except (BaseError, ValueError) as error:
        raise NotFound(f"{uri} cannot be read: {str(error).strip().splitlines()[0]}") from None

    def fetching(path: str) -> Callable[[Path], None]:
        def fetch(target: Path) -> None:
            with target.open("wb") as file:
                for part in obstore.get(store, path).stream():
                    file.write(bytes(part))

        return fetch

    return [SourceFile(prefix + path, fetch=fetching(path)) for path in sorted(paths)]
