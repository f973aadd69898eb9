"""Datasets as a read-only file system for everything that speaks fsspec: `trine://name@ref/path`.

    import fsspec, pandas
    with fsspec.open("trine://images@v1/cats/1.jpg") as file: ...
    pandas.read_csv("trine://sales@main/2013.csv")

What is opened was checked against its hash, and the active run or step keeps the version as an input.
"""

from __future__ import annotations

import errno
import io
from typing import IO, Any

from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.reading import local_file
from trine.data.references import resolve
from trine.data.trees import Entry, read_tree
from trine.errors import InvalidInput, NotFound
from trine.extras import need
from trine.operations import every
from trine.workspace import Workspace, current_workspace, record_use

AbstractFileSystem: Any = need("fsspec", extra="fsspec", purpose="trine:// in other tools").AbstractFileSystem

LARGE = 4 << 20
"""Files from this size on are read from the disk, where this computer has them; smaller ones are held in memory."""


class TrineFileSystem(AbstractFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """The datasets of a workspace (`ws`; default: the current one, when something is opened)."""

    protocol = "trine"
    root_marker = ""
    cachable = False

    def __init__(self, ws: Workspace | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._ws = ws
        self._trees: dict[str, dict[str, Entry]] = {}

    @property
    def ws(self) -> Workspace:
        return self._ws or current_workspace()

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is directly in a folder; at the top: the datasets."""
        path = self._strip_protocol(path).strip("/")
        if not path:
            found = [_folder(one.name) for one in every(door.list_datasets, self.ws)]
        else:
            dataset, inner, files = self._files(path)
            found = list(_inside(dataset, inner, files).values())
            if not found:
                raise FileNotFoundError(errno.ENOENT, "There is no such file or folder", f"trine://{path}")
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type of a file or folder; of a file its hash (BLAKE3) as well."""
        path = self._strip_protocol(path).strip("/")
        if not path:
            return _folder("")
        dataset, inner, files = self._files(path)
        if inner in files:
            return _file(dataset, files[inner])
        if not inner or any(one.startswith(inner + "/") for one in files):
            return _folder(path)
        raise FileNotFoundError(errno.ENOENT, "There is no such file or folder", f"trine://{path}")

    def ukey(self, path: str) -> str:
        """What stays the same as long as the content does."""
        return self.info(path).get("hash", "")

    def _open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:
        if mode != "rb":
            raise OSError(errno.EROFS, "A dataset changes by commits only: trine.data.add", f"trine://{path}")
        dataset, inner, files = self._files(self._strip_protocol(path).strip("/"))
        if inner not in files:
            raise FileNotFoundError(errno.ENOENT, "There is no such file", f"trine://{dataset}/{inner}")
        entry = files[inner]
        record_use(resolve(dataset, ws=self.ws).node)
        if entry.size < LARGE:
            return io.BytesIO(self.ws.store.get(entry.hash))
        return open(local_file(self.ws, entry.hash), "rb")

    def _files(self, path: str) -> tuple[str, str, dict[str, Entry]]:
        """The dataset as it was named, the path inside it, and its files."""
        dataset, _, inner = path.partition("/")
        try:
            commit = resolve(dataset, ws=self.ws)
        except (NotFound, InvalidInput) as error:
            raise FileNotFoundError(errno.ENOENT, error.message, f"trine://{dataset}") from error
        return dataset, inner, self._tree(commit)

    def _tree(self, commit: Commit) -> dict[str, Entry]:
        if commit.tree not in self._trees:
            self._trees[commit.tree] = {entry.path: entry for entry in read_tree(self.ws.store, commit.tree)}
        return self._trees[commit.tree]

    def created(self, path: str) -> Any:
        """When the version was committed."""
        from trine.ids import to_datetime

        return to_datetime(resolve(self._strip_protocol(path).partition("/")[0], ws=self.ws).created_us)


def _inside(dataset: str, inner: str, files: dict[str, Entry]) -> dict[str, dict[str, Any]]:
    if inner in files:
        return {inner: _file(dataset, files[inner])}
    start = f"{inner}/" if inner else ""
    found: dict[str, dict[str, Any]] = {}
    for path, entry in files.items():
        if path.startswith(start):
            name, deeper, _ = path[len(start) :].partition("/")
            found[name] = _folder(f"{dataset}/{start}{name}") if deeper else _file(dataset, entry)
    return found


def _folder(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _file(dataset: str, entry: Entry) -> dict[str, Any]:
    return {"name": f"{dataset}/{entry.path}", "size": entry.size, "type": "file", "hash": entry.hash}
