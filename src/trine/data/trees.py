"""Trees: a commit's content as sorted entries in pages, each page an object; the root names the pages.

A page ends after an entry whose path hashes to a multiple of `PAGE` (content-defined, so inserting a file rewrites one
page and the root) and never holds more than four times that. The root's hash is the tree's id.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec
from blake3 import blake3

from trine.errors import Damaged, InvalidInput
from trine.storage import Store

PAGE = 1_000
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One file: path with forward slashes, BLAKE3 of its bytes, size in bytes, whether it is executable."""

    path: str
    hash: str
    size: int
    executable: bool = False


class _Page(msgspec.Struct, frozen=True, array_like=True):
    first: str
    hash: str
    entries: int
    size: int


class _Root(msgspec.Struct, frozen=True):
    format: str
    algorithm: str
    pages: list[_Page]


def check_path(path: str) -> str:
    """The path, when it is safe to write below any folder. Raises InvalidInput naming it."""
    parts = path.split("/")
    if not path or "\0" in path or "\\" in path or path.startswith("/") or any(p in ("", ".", "..") for p in parts):
        raise InvalidInput(f"{path!r} is no path that can be kept: relative, with forward slashes, without '..'.")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{path!r} is not valid UTF-8; rename the file.") from None
    return path


def write_tree(store: Store, entries: Iterable[Entry]) -> str:
    """Store a tree; gives its id. Raises InvalidInput for an unsafe or doubled path."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    pages: list[list[Entry]] = []
    current: list[Entry] = []
    last = ""
    for entry in ordered:
        if check_path(entry.path) == last:
            raise InvalidInput(f"{entry.path!r} is there twice.")
        last = entry.path
        current.append(entry)
        cut = int.from_bytes(blake3(entry.path.encode()).digest(4), "little") % PAGE == 0
        if cut or len(current) >= 4 * PAGE:
            pages.append(current)
            current = []
    if current:
        pages.append(current)
    hashes = store.put_many([msgspec.msgpack.encode(page) for page in pages])
    told = [
        _Page(page[0].path, hash_, len(page), sum(entry.size for entry in page))
        for page, hash_ in zip(pages, hashes, strict=True)
    ]
    return store.put(msgspec.msgpack.encode(_Root("tree-1", "blake3", told)))


def read_tree(store: Store, tree: str) -> list[Entry]:
    """The entries of a tree, by path. Raises Damaged or NotFound naming the object."""
    return list(iter_tree(store, tree))


def iter_tree(store: Store, tree: str) -> Iterator[Entry]:
    root = _decode(store.get(tree), _Root, tree)
    for page in root.pages:
        yield from _decode(store.get(page.hash), list[Entry], page.hash)


def _decode(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Damaged(f"Object {name} is no part of a tree: {error}.", hash=name) from error


def tree_objects(store: Store, tree: str) -> Iterator[str]:
    """Every object a tree needs: root, pages, files."""
    yield tree
    root = _decode(store.get(tree), _Root, tree)
    for page in root.pages:
        yield page.hash
        for entry in _decode(store.get(page.hash), list[Entry], page.hash):
            yield entry.hash


class Found(msgspec.Struct, frozen=True):
    """A file as the scan saw it."""

    path: str
    stat: os.stat_result


def scan_folder(root: Path) -> list[Found]:
    """The files below a folder, by path. `.git` and `.trine` are left out; symbolic links must stay inside the folder.

    Raises InvalidInput naming what cannot be kept: a socket, a device, a link out of the folder, a name that is no text.
    """
    root = root.resolve()
    found: list[Found] = []
    folders = [root]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in (".git", ".trine"):
                    continue
                path = Path(entry.path)
                if entry.is_symlink() and not path.resolve().is_relative_to(root):
                    raise InvalidInput(f"{path} is a link that leaves {root}; only links inside it can be kept.")
                if entry.is_symlink() and entry.is_dir():
                    continue  # its files are found where they are
                if entry.is_dir():
                    folders.append(path)
                    continue
                try:
                    seen = entry.stat()
                except FileNotFoundError:
                    raise InvalidInput(f"{path} is a link to nothing.") from None
                if not stat.S_ISREG(seen.st_mode):
                    raise InvalidInput(f"{path} is neither a file nor a folder; it cannot be kept.")
                found.append(Found(check_path(PurePosixPath(path.relative_to(root)).as_posix()), seen))
    found.sort(key=lambda one: one.path)
    return found
