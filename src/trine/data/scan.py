"""What is in a folder: its files with their stat, symbolic links followed as long as they stay inside."""

from __future__ import annotations

import os
import stat
from array import array
from pathlib import Path
from typing import NamedTuple

from trine.errors import Conflict, InvalidInput, NotFound
from trine.forks import share, workers

IGNORED = frozenset({".git", ".trine"})
"""Names that are no data, wherever they are."""

DRAFTS = (".trine-", "..trine-")
"""How the names of files begin that a checkout is writing, or was when it was killed."""


MANY = 2_000
"""From so many files on a folder is read by several processes."""

_MASK = (1 << 63) - 1


class Listing(NamedTuple):
    """The files of one folder, as the scan saw them: columns, because a file of its own costs more than its stat.

    `prefix` is the folder's path with a slash at its end, or nothing. `marks` are four numbers a file: size, time of
    change and of its marks (nanoseconds), inode: as long as they are the same, the file is. `executable` is 0 or 1.
    """

    prefix: str
    names: list[str]
    marks: array[int]
    executable: bytearray


class Scan(NamedTuple):
    """The files below a folder, folder by folder in no order, or the one file in it that was asked for."""

    root: Path
    folders: list[Listing]

    @property
    def paths(self) -> list[str]:
        """Relative paths with forward slashes."""
        return [one.prefix + name for one in self.folders for name in one.names]


def scan(path: Path, expected: int = 0) -> Scan:
    """Look at a folder or a file; reads no content. Empty folders do not show.

    A link is read as what it points to. Raises NotFound when nothing is there, and InvalidInput naming what cannot be
    kept: a socket, a device, a link that leaves the folder or goes in a circle, a name that is not UTF-8, a folder
    that may not be read. When many files are `expected`, several processes look.
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
        walk.go(expected)
    else:
        alone = Listing("", [], array("q"), bytearray())
        walk.keep(alone, path.name, seen, str(path))
        walk.found.append(alone)
    _check_names(walk.found)
    return Scan(root, walk.found)


_Folder = tuple[str, str, tuple[str, ...]]
"""A folder to look at: its place, its prefix in the scan, and the real folders that links to it led through."""


class _Walk:
    def __init__(self, root: str) -> None:
        self.root = root
        self.found: list[Listing] = []
        self.folders: list[_Folder] = [(root, "", (root,))]

    def go(self, expected: int = 0) -> None:
        parts = workers() if expected >= MANY else 1
        while self.folders and (parts == 1 or len(self.folders) < 4 * parts):
            self._list(*self.folders.pop(0 if parts > 1 else -1))
        if self.folders:
            for listings in share(self._branch, [self.folders[part::parts] for part in range(parts)]):
                for prefix, names, marks, executable in listings:
                    self.found.append(Listing(prefix, names, array("q", marks), bytearray(executable)))

    def _branch(self, folders: list[_Folder]) -> list[tuple[str, list[str], bytes, bytes]]:
        walk = _Walk(self.root)
        walk.folders = list(folders)
        walk.go()
        return [(one.prefix, one.names, one.marks.tobytes(), bytes(one.executable)) for one in walk.found]

    def _list(self, folder: str, prefix: str, above: tuple[str, ...]) -> None:
        listing = Listing(prefix, [], array("q"), bytearray())
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name in IGNORED or name.startswith(DRAFTS):
                        continue
                    if entry.is_file(follow_symlinks=False):
                        _put(listing, name, entry.stat(follow_symlinks=False))
                    elif entry.is_dir(follow_symlinks=False):
                        self.folders.append((entry.path, f"{prefix}{name}/", above))
                    elif entry.is_symlink():
                        self._follow(listing, entry, above)
                    else:
                        self.keep(listing, name, entry.stat(follow_symlinks=False), entry.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Conflict(f"{error.filename} went away while {self.root} was read. Try again.") from error
        except OSError as error:
            raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}.") from error
        if listing.names:
            self.found.append(listing)

    def _follow(self, listing: Listing, entry: os.DirEntry[str], above: tuple[str, ...]) -> None:
        """`above` are the real folders that links led through: a link back to one of them is a circle."""
        real = os.path.realpath(entry.path)
        if not (real + "/").startswith(self.root.rstrip("/") + "/"):
            raise InvalidInput(f"{entry.path} is a link that leaves {self.root}; only links inside it can be kept.")
        if not os.path.exists(real):
            raise InvalidInput(f"{entry.path} is a link to nothing.")
        if not os.path.isdir(real):
            self.keep(listing, entry.name, os.stat(real), entry.path)
            return
        here = os.path.realpath(os.path.dirname(entry.path))
        if any((one + "/").startswith(real.rstrip("/") + "/") for one in (*above, here)):
            raise InvalidInput(f"{entry.path} is a link to a folder around it, so it would never end. Remove it.")
        self.folders.append((real, f"{listing.prefix}{entry.name}/", (*above, here)))

    def keep(self, listing: Listing, name: str, seen: os.stat_result, shown: str) -> None:
        if not stat.S_ISREG(seen.st_mode):
            raise InvalidInput(f"{shown} is neither a file nor a folder; it cannot be kept.")
        _put(listing, name, seen)


def _put(listing: Listing, name: str, seen: os.stat_result) -> None:
    listing.names.append(name)
    try:
        listing.marks.extend((seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino))
    except OverflowError:  # times after 2262, and inodes of some network file systems
        del listing.marks[4 * len(listing.names) - 4 :]
        listing.marks.extend(marks_of(seen))
    listing.executable.append(seen.st_mode >> 6 & 1)


def marks_of(seen: os.stat_result) -> tuple[int, int, int, int]:
    """What tells that a file is as it was."""
    return seen.st_size, seen.st_mtime_ns & _MASK, seen.st_ctime_ns & _MASK, seen.st_ino & _MASK


def _check_names(folders: list[Listing]) -> None:
    from trine.data.trees import check_path

    # one look at all names; a closer one only where it is needed
    joined = "".join([part for one in folders for part in (one.prefix, *one.names)])
    if "\\" in joined or not joined.isprintable():
        for one in folders:
            for name in one.names:
                check_path(one.prefix + name)
