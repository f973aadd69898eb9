"""`trine.lock`: the file beside the code that says which data it needs, one sorted line for each dataset.

    # trine.lock 1: …
    flights 00dabad…(64 digits) 91ab04f…(64 digits)
    photos 12ab33c…(64 digits) 33cd78e…(64 digits) data/photos

A line is the dataset's name, the commit's id, the id of its tree, and the folder it is checked out in, if any: relative to
the lock, with forward slashes. git compares and merges it line by line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from trine.data.repository import Repository
from trine.errors import InvalidInput
from trine.ids import is_hash, new_id
from trine.types import Name

LOCK = "trine.lock"
HEAD = "# trine.lock 1: the data this code needs. Written by `trine data pin`, followed by `trine data pull`.\n"
_MARKS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


class Pin(msgspec.Struct, frozen=True, order=True):
    """One line: a dataset at a commit, with the commit's tree, and the folder that holds it, if any."""

    dataset: str
    commit: str
    tree: str
    folder: str = ""

    @property
    def ref(self) -> str:
        return f"{self.dataset}@{self.commit[:12]}"

    @property
    def line(self) -> str:
        return " ".join([self.dataset, self.commit, self.tree, *([self.folder] if self.folder else [])])


Pins = dict[str, Pin]


def lock_path(start: Path | None = None) -> Path:
    """The lock of a folder: the nearest one upwards, inside the git repository; else where it would be made."""
    here = (start or Path.cwd()).resolve()
    repository = Repository.around(here)
    top = repository.root if repository else here
    for folder in (here, *here.parents):
        if (folder / LOCK).is_file():
            return folder / LOCK
        if folder == top:
            break
    return top / LOCK


def read_lock(path: Path) -> Pins:
    """The pins of a lock; none when there is no such file. Raises InvalidInput naming the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error
    return parse_lock(text, str(path))


def parse_lock(text: str, where: str = LOCK) -> Pins:
    """The pins in a lock's text. Raises InvalidInput naming the line."""
    pins: Pins = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(_MARKS):
            raise InvalidInput(
                f"{where} has a merge conflict at line {number}. Keep one of the lines, or pin again: trine data pin NAME"
            )
        pin = _parse(line, f"{where}, line {number}")
        if pin.dataset in pins:
            raise InvalidInput(f"{where}, line {number}: {pin.dataset} is there twice.")
        pins[pin.dataset] = pin
    return pins


def _parse(line: str, where: str) -> Pin:
    name, commit, tree, folder = [*line.split(" ", 3), "", "", "", ""][:4]
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise InvalidInput(f'{where}: "{name}" is no name of a dataset.') from None
    if not (is_hash(commit) and is_hash(tree)):
        raise InvalidInput(f"{where}: a line is NAME COMMIT TREE [FOLDER], with 64 digits for a commit and a tree.")
    return Pin(name, commit, tree, check_folder(folder, where))


def check_folder(folder: str, where: str) -> str:
    """The folder of a pin, when it is below the lock. Raises InvalidInput: a lock comes from others, and says where to write."""
    if folder and (folder.startswith("/") or {"..", ".git", ".trine"} & set(PurePosixPath(folder).parts)):
        raise InvalidInput(f'{where}: the folder "{folder}" is not below the lock.')
    return folder


def render_lock(pins: Iterable[Pin]) -> str:
    """A lock's text."""
    return HEAD + "".join(f"{one.line}\n" for one in sorted(pins))


def write_lock(path: Path, pins: Mapping[str, Pin]) -> None:
    """Write a lock, whole or not at all."""
    draft = path.with_name(f".{path.name}.{new_id()}")
    try:
        draft.write_text(render_lock(pins.values()), encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


Newer = Callable[[Pin, Pin], Pin | None]
"""Of two pins of a dataset the one whose commit comes after the other's; None when neither does."""


def merge_locks(base: Pins, ours: Pins, theirs: Pins, newer: Newer) -> tuple[str, list[str]]:
    """The text of a three-way merge by dataset, and the datasets in conflict, whose lines are marked as git does.

    Where both sides moved a pin, the commit that builds on the other one wins.
    """
    lines: list[str] = []
    conflicts: list[str] = []
    for name in sorted({*base, *ours, *theirs}):
        was, one, two = base.get(name), ours.get(name), theirs.get(name)
        if one == two or two == was:
            found = one
        elif one == was:
            found = two
        else:
            found = newer(one, two) if one and two else None
            if found is None:
                conflicts.append(name)
                mine, other = [f"{side.line}\n" if side else "" for side in (one, two)]
                lines.append(f"<<<<<<< ours\n{mine}=======\n{other}>>>>>>> theirs\n")
                continue
        if found:
            lines.append(f"{found.line}\n")
    return HEAD + "".join(lines), conflicts
