"""Trees: a commit's content as sorted entries in pages, each page an object; the root names the pages.

A page ends after an entry whose path hashes to a multiple of `PAGE` (content-defined, so inserting a file rewrites one
page and the root) and never holds more than four times that. The root's hash is the tree's id.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec
from blake3 import blake3

from trine.errors import Damaged, InvalidInput

if TYPE_CHECKING:
    from trine.storage import Store

PAGE = 1_000
EXECUTABLE = "+x"
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One file: path with forward slashes, BLAKE3 of its bytes, size in bytes, whether it is executable."""

    path: str
    hash: str
    size: int
    executable: bool = False

    @property
    def content(self) -> bytes:
        """Hash and mode: what makes the file another one when it changes (as `Files.content` in `statcache`)."""
        return bytes.fromhex(self.hash) + (b"\1" if self.executable else b"\0")

    @property
    def state(self) -> str:
        """What makes the file another one when it changes."""
        return self.hash + EXECUTABLE if self.executable else self.hash


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
    if "\0" in path or "\\" in path or "" in parts or "." in parts or ".." in parts:
        raise InvalidInput(f"{path!r} is no path that can be kept: relative, with forward slashes, without '..'.")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{path!r} is not valid UTF-8; rename the file.") from None
    return path


def encode_tree(entries: Iterable[Entry]) -> tuple[str, list[bytes]]:
    """A tree's id and its objects, pages and root. Raises InvalidInput for an unsafe or doubled path."""
    pages: list[_Page] = []
    objects: list[bytes] = []
    current: list[Entry] = []

    def end_page() -> None:
        data = msgspec.msgpack.encode(current)
        objects.append(data)
        pages.append(
            _Page(current[0].path, blake3(data).hexdigest(), len(current), sum(entry.size for entry in current))
        )
        current.clear()

    last = ""
    for entry in sorted(entries, key=lambda entry: entry.path):
        if check_path(entry.path) == last:
            raise InvalidInput(f"{entry.path!r} is there twice.")
        last = entry.path
        current.append(entry)
        cut = int.from_bytes(blake3(entry.path.encode()).digest(4), "little") % PAGE == 0
        if cut or len(current) >= 4 * PAGE:
            end_page()
    if current:
        end_page()
    root = msgspec.msgpack.encode(_Root("tree-1", "blake3", pages))
    return blake3(root).hexdigest(), [*objects, root]


def write_tree(store: Store, entries: Iterable[Entry]) -> str:
    """Store a tree; gives its id."""
    tree, objects = encode_tree(entries)
    store.put_many(objects)
    return tree


def read_tree(store: Store, tree: str) -> list[Entry]:
    """The entries of a tree, by path. Raises Damaged or NotFound naming the object."""
    return [entry for page in read_root(store, tree) for entry in read_page(store, page)]


def read_difference(store: Store, before: str, after: str) -> tuple[list[Entry], list[Entry]]:
    """The entries of each tree without the pages that both have: O(changed pages)."""
    old, new = dict.fromkeys(read_root(store, before)), dict.fromkeys(read_root(store, after))
    return (
        [entry for page in old if page not in new for entry in read_page(store, page)],
        [entry for page in new if page not in old for entry in read_page(store, page)],
    )


def named_in(store: Store, tree: str, opened: set[str]) -> Iterator[str]:
    """What a tree names: its pages and files, those of pages in `opened` left out (see `trine.upkeep`)."""
    for page in read_root(store, tree):
        yield page
        if page not in opened:
            opened.add(page)
            yield from [entry.hash for entry in read_page(store, page)]


def read_root(store: Store, tree: str) -> list[str]:
    """The pages of a tree, as objects."""
    return [page.hash for page in _pages(store, tree)]


def _pages(store: Store, tree: str) -> list[_Page]:
    root = _decode(store.get(tree), _Root, tree)
    if root.format != "tree-1":
        raise InvalidInput(f"Tree {tree} has format {root.format!r}, which this Trine cannot read. Upgrade it.")
    return root.pages


def entries_from(store: Store, tree: str, start: str) -> Iterator[Entry]:
    """The entries of a tree from a path on (which need not be there), in order; reads a page when it is reached."""
    pages = _pages(store, tree)
    first = max(0, bisect_right(pages, start, key=lambda page: page.first) - 1)
    for page in pages[first:]:
        yield from (entry for entry in read_page(store, page.hash) if entry.path >= start)


def look_up(store: Store, tree: str, paths: Iterable[str]) -> dict[str, Entry]:
    """The entries with these paths, as far as they are there; reads the pages that could hold them."""
    pages = _pages(store, tree)
    wanted: dict[str, set[str]] = {}
    for path in paths:
        if at := bisect_right(pages, path, key=lambda page: page.first):
            wanted.setdefault(pages[at - 1].hash, set()).add(path)
    return {
        entry.path: entry for page, some in wanted.items() for entry in read_page(store, page) if entry.path in some
    }


def read_page(store: Store, page: str) -> list[Entry]:
    return _decode(store.get(page), list[Entry], page)


def _decode(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Damaged(f"Object {name} is no part of a tree: {error}.", hash=name) from error
