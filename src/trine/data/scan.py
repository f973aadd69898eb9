"""What is in a folder: its files with their stat, symbolic links followed as long as they stay inside."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from trine.errors import Conflict, InvalidInput, NotFound

IGNORED = frozenset({".git", ".trine"})
"""Names that are no data, wherever they are."""

DRAFTS = (".trine-", "..trine-")
"""How the names of files begin that a checkout is writing, or was when it was killed."""


Found = tuple[str, os.stat_result]
"""A file as the scan saw it: its relative path with forward slashes, and its stat."""


class Scan(NamedTuple):
    """The files below a folder, in no order, or the one file in it that was asked for."""

    root: Path
    files: list[Found]


def scan(path: Path) -> Scan:
    """Look at a folder or a file; reads no content. Empty folders do not show.

    A link is read as what it points to. Raises NotFound when nothing is there, and InvalidInput naming what cannot be
    kept: a socket, a device, a link that leaves the folder or goes in a circle, a name that is not UTF-8, a folder
    that may not be read.
    """
    try:
        seen = path.stat()
    except FileNotFoundError:
        raise NotFound(f"There is nothing at {path}.") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    is_folder = stat.S_ISDIR(seen.st_mode)
    root = path.resolve() if is_folder else path.parent
    walk = _Walk(str(root))
    if is_folder:
        walk.go()
    else:
        walk.keep(path.name, seen, str(path))
    _check_names(walk.found)
    return Scan(root, walk.found)


class _Walk:
    def __init__(self, root: str) -> None:
        self.root = root
        self.found: list[Found] = []
        self.folders: list[tuple[str, str, tuple[str, ...]]] = [(root, "", (root,))]

    def go(self) -> None:
        while self.folders:
            folder, prefix, above = self.folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name
                        if name in IGNORED or name.startswith(DRAFTS):
                            continue
                        if entry.is_file(follow_symlinks=False):
                            self.found.append((prefix + name, entry.stat(follow_symlinks=False)))
                        elif entry.is_dir(follow_symlinks=False):
                            self.folders.append((entry.path, f"{prefix}{name}/", above))
                        elif entry.is_symlink():
                            self._follow(entry, prefix + name, above)
                        else:
                            self.keep(prefix + name, entry.stat(follow_symlinks=False), entry.path)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Conflict(f"{error.filename} went away while {self.root} was read. Try again.") from error
            except OSError as error:
                raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}.") from error

    def _follow(self, entry: os.DirEntry[str], path: str, above: tuple[str, ...]) -> None:
        """`above` are the real folders that links led through: a link back to one of them is a circle."""
        real = os.path.realpath(entry.path)
        if not (real + "/").startswith(self.root.rstrip("/") + "/"):
            raise InvalidInput(f"{entry.path} is a link that leaves {self.root}; only links inside it can be kept.")
        if not os.path.exists(real):
            raise InvalidInput(f"{entry.path} is a link to nothing.")
        if not os.path.isdir(real):
            self.keep(path, os.stat(real), entry.path)
            return
        here = os.path.realpath(os.path.dirname(entry.path))
        if any((one + "/").startswith(real.rstrip("/") + "/") for one in (*above, here)):
            raise InvalidInput(f"{entry.path} is a link to a folder around it, so it would never end. Remove it.")
        self.folders.append((real, path + "/", (*above, here)))

    def keep(self, path: str, seen: os.stat_result, shown: str) -> None:
        if not stat.S_ISREG(seen.st_mode):
            raise InvalidInput(f"{shown} is neither a file nor a folder; it cannot be kept.")
        self.found.append((path, seen))


def _check_names(files: list[Found]) -> None:
    from trine.data.trees import check_path

    joined = "".join([path for path, _ in files])
    if "\\" in joined or not joined.isprintable():  # one look at all names; a closer one only where it is needed
        for path, _ in files:
            check_path(path)
