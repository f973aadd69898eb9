"""Datasets: commits and branches, what a commit looks like column by column, what changed, what failed, who uses it."""

from __future__ import annotations

from typing import Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from trine import data
from trine.access.graph import lineage
from trine.data import operations as door
from trine.data.commits import Commit
from trine.data.profiles import ColumnProfile, shown
from trine.data.trees import Entry, read_tree
from trine.errors import InvalidInput, NotFound, TrineError
from trine.server.ui.branches import branches
from trine.server.ui.drawings import bars, edges_of, histogram, shares_between
from trine.server.ui.files import preview, raw
from trine.server.ui.links import path
from trine.server.ui.pages import Asked, page
from trine.workspace import Workspace

PREVIEW_ROWS = 20
MOST_ENTRIES = 500


class Looked(msgspec.Struct, frozen=True):
    """A column with its picture."""

    column: ColumnProfile
    picture: Markup
    low: str
    high: str


class Folder(msgspec.Struct, frozen=True):
    """One level of a tree: folders with their sizes, then files."""

    prefix: str
    folders: list[tuple[str, int, int]]
    files: list[Entry]
    left_out: int


@page("/data")
def datasets(asked: Asked) -> Response:
    """Datasets and where their main branches are."""
    found = door.list_datasets(asked.ws, limit=100, page=asked.text("page"))
    heads: dict[str, Commit] = {}
    for one in found.items:
        ref = one.branches.get("main") or next(iter(one.branches.values()), "")
        if ref:
            heads[one.name] = door.get_commit(asked.ws, name=one.name, ref=ref)
    return asked.show("datasets.html", found=found, heads=heads)


@page("/data/{name}")
def dataset(asked: Asked) -> Response:
    """One dataset: its commits, newest first, with the branches and tags on them."""
    name, ref = asked.path["name"], asked.text("ref")
    found = door.get_dataset(asked.ws, name=name)
    commits = door.list_commits(asked.ws, name=name, ref=ref, limit=50, page=asked.text("page"))
    named: dict[str, list[tuple[str, str]]] = {}
    for kind, refs in (("branch", found.branches), ("tag", found.tags)):
        for label, commit in refs.items():
            named.setdefault(commit, []).append((kind, label))
    return asked.show(
        "dataset.html",
        dataset=found,
        commits=commits,
        graph=branches(commits.items),
        named=named,
        ref=ref,
        refs=[*found.branches, *found.tags],
    )


@page("/data/{name}/commits/{ref}")
def commit(asked: Asked) -> Response:
    """One commit."""
    found = door.get_commit(asked.ws, name=asked.path["name"], ref=asked.path["ref"])
    profile, problem = None, ""
    try:
        profile = data.profile_of(asked.ws, found) if found.profile else None
    except TrineError as error:
        problem = error.message
    return asked.show(
        "commit.html",
        commit=found,
        problem=problem,
        columns=[_looked(one) for one in profile.columns] if profile else [],
        rows=_rows(asked, found) if found.kind == "table" else None,
        folder=_folder(asked.ws, found, asked.text("in")) if found.kind == "files" else None,
        used=_used(asked.ws, found.node),
    )


def _looked(column: ColumnProfile) -> Looked:
    labels, shares = histogram(column)
    picture = bars(shares, labels=labels, title=f"distribution of {column.name}") if shares else Markup("")
    return Looked(column, picture, shown(column.min, column.dtype), shown(column.max, column.dtype))


def _rows(asked: Asked, found: Commit) -> tuple[list[str], list[list[Any]]] | None:
    """The first rows; None when their bytes cannot be read now."""
    try:
        frame = data.load(found.ref, ws=asked.ws).head(PREVIEW_ROWS).collect()
    except TrineError:
        return None
    return frame.columns, [list(row) for row in frame.rows()]


def _folder(ws: Workspace, found: Commit, prefix: str) -> Folder:
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    below: dict[str, list[int]] = {}
    files: list[Entry] = []
    for entry in read_tree(ws.store, found.tree):
        if not entry.path.startswith(prefix):
            continue
        first, slash, _ = entry.path[len(prefix) :].partition("/")
        if slash:
            counted = below.setdefault(first, [0, 0])
            counted[0] += 1
            counted[1] += entry.size
        else:
            files.append(entry)
    folders = [(name, count, size) for name, (count, size) in below.items()]
    return Folder(prefix, folders[:MOST_ENTRIES], files[:MOST_ENTRIES], max(0, len(files) - MOST_ENTRIES))


def _used(ws: Workspace, node: str) -> list[str]:
    """What came of a commit directly."""
    try:
        found = lineage(ws, node=node, direction="down", depth=1)
    except NotFound:
        return []
    return [one for one in found.nodes if one != node][:200]


@page("/data/{name}/commits/{ref}/files/{file:path}")
def file(asked: Asked) -> Response:
    """One file of a dataset."""
    found, entry = _entry(asked)
    address = path("data", found.dataset, "commits", found.id[:12])
    back = [("Data", "/data"), (found.dataset, path("data", found.dataset)), (found.id[:12], address)]
    return preview(asked, entry.path, entry.hash, entry.size, back, f"{address}/raw/{entry.path}")


@page("/data/{name}/commits/{ref}/raw/{file:path}")
def file_bytes(asked: Asked) -> Response:
    """The bytes of a file of a dataset, inert."""
    _, entry = _entry(asked)
    return raw(asked, entry.path, entry.hash, entry.size)


def _entry(asked: Asked) -> tuple[Commit, Entry]:
    found = door.get_commit(asked.ws, name=asked.path["name"], ref=asked.path["ref"])
    name = asked.path["file"]
    for entry in read_tree(asked.ws.store, found.tree):
        if entry.path == name:
            return found, entry
    raise NotFound(f'{found.ref} has no file "{name}".')


@page("/data/{name}/commits/{ref}/failing/{check}")
def failing(asked: Asked) -> Response:
    """The rows that fail one of a commit's checks."""
    found = door.get_commit(asked.ws, name=asked.path["name"], ref=asked.path["ref"])
    failed = [one for one in found.checks if not one.passed]
    number = asked.path["check"]
    if not number.isdigit() or int(number) >= len(failed):
        raise NotFound(f"{found.ref} has {len(failed)} failed checks, so there is none at {number[:20]}.")
    frame = data.failing_rows(found.ref, int(number), ws=asked.ws).head(200).collect()
    rows = [list(row) for row in frame.rows()]
    return asked.show("failing.html", commit=found, check=failed[int(number)], header=frame.columns, rows=rows)


@page("/data/{name}/diff")
def diff(asked: Asked) -> Response:
    """What changed from one commit to another: rows, columns, files."""
    name = asked.path["name"]
    before, after = asked.text("before"), asked.text("after", "main")
    if not before:
        raise InvalidInput("Say what to compare: ?before=COMMIT&after=COMMIT")
    one = door.get_commit(asked.ws, name=name, ref=before)
    two = door.get_commit(asked.ws, name=name, ref=after)
    found = data.diff(one.ref, two.ref, ws=asked.ws)
    pictures = {each.name: both(each.before, each.after) for each in found.columns}
    return asked.show("diff.html", name=name, before=one, after=two, found=found, pictures=pictures)


def both(one: ColumnProfile | None, two: ColumnProfile | None) -> Markup:
    """Two distributions of a column over each other."""
    if one is None or two is None or one.dtype != two.dtype:
        return Markup("")
    if len(one.quantiles) > 1 and len(two.quantiles) > 1 and max(one.distinct, two.distinct) > 12:
        edges = edges_of([one.quantiles, two.quantiles])
        return bars(
            shares_between(one.quantiles, edges), shares_between(two.quantiles, edges), title="before and after"
        )
    if not (one.top and two.top):
        return Markup("")
    levels = [value for value, _ in one.top[:20]]
    levels += [value for value, _ in two.top[:20] if value not in levels]
    first, second = dict(one.top), dict(two.top)
    shares = [
        [counts.get(level, 0) / max(1, column.count - column.nulls) for level in levels]
        for counts, column in ((first, one), (second, two))
    ]
    return bars(*shares, labels=[str(level) for level in levels], title="before and after")
