"""A patch as two columns: what was on the left, what is on the right, lines that belong together in one row."""

from __future__ import annotations

import re
from itertools import zip_longest

import msgspec

MOST_ROWS = 2_000
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)")


class Row(msgspec.Struct, frozen=True):
    """A line before and after, with their numbers; None where there is none. A row without numbers says where a part begins."""

    left: str | None
    right: str | None
    left_at: int | None = None
    right_at: int | None = None

    @property
    def kind(self) -> str:
        if self.left_at is None and self.right_at is None:
            return "part"
        return "same" if self.left == self.right else "changed"


class FilePatch(msgspec.Struct, frozen=True):
    """The rows of one file, and how many lines went and came."""

    path: str
    rows: list[Row]
    removed: int
    added: int


def side_by_side(patch: str) -> tuple[list[FilePatch], bool]:
    """The files of what `git diff` prints, and whether all of it is there: of long patches the beginning is kept."""
    files: list[FilePatch] = []
    left = MOST_ROWS
    for text in re.split(r"^diff --git ", patch, flags=re.MULTILINE)[1:]:
        if left <= 0:
            return files, False
        one = _file(text.splitlines(), left)
        files.append(one)
        left -= len(one.rows)
    return files, left > 0


def _file(lines: list[str], most: int) -> FilePatch:
    rows: list[Row] = []
    gone: list[tuple[int, str]] = []
    come: list[tuple[int, str]] = []
    removed = added = 0
    name = lines[0].rpartition(" b/")[2]
    old = new = 0
    in_part = False

    def settle() -> None:
        for before, after in zip_longest(gone, come):
            at, text = before or (None, None)
            to, other = after or (None, None)
            rows.append(Row(text, other, at, to))
        gone.clear()
        come.clear()

    for line in lines[1:]:
        if found := _HUNK.match(line):
            settle()
            old, new, in_part = int(found[1]), int(found[2]), True
            rows.append(Row(found[3].strip() or "…", None))
        elif not in_part:
            if line.startswith(("rename from ", "Binary files ", "GIT binary patch")) or "file mode" in line:
                rows.append(Row(line, None))
        elif line.startswith("-"):
            if come:
                settle()
            gone.append((old, line[1:]))
            old, removed = old + 1, removed + 1
        elif line.startswith("+"):
            come.append((new, line[1:]))
            new, added = new + 1, added + 1
        elif line.startswith(" "):
            settle()
            rows.append(Row(line[1:], line[1:], old, new))
            old, new = old + 1, new + 1
    settle()
    return FilePatch(name, rows[:most], removed, added)
