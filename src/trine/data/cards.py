"""A dataset version's card: the datasheet, with what the graph shows and what people said."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

import msgspec

from trine.access.graph import lineage
from trine.data.commits import Commit
from trine.data.describing import QUESTIONS, Fact, list_facts
from trine.data.operations import get_dataset
from trine.data.profiles import ColumnProfile, shown
from trine.data.reading import profile_of
from trine.data.references import resolve
from trine.data.trees import read_tree
from trine.errors import NotFound
from trine.ids import to_datetime
from trine.workspace import Workspace, current_workspace

NEAR = 3
"""Steps of the graph that a card looks around."""


class FileKind(msgspec.Struct, frozen=True):
    """Files of one kind in a version: their ending, how many there are, and their bytes."""

    ending: str
    files: int
    size_bytes: int


class DataCard(msgspec.Struct, frozen=True):
    """What is known of a version: evidenced by the graph, said by people (`facts`), or asked for and not said (`missing`)."""

    commit: Commit
    tags: list[str]
    facts: list[Fact]
    missing: list[str]
    columns: tuple[ColumnProfile, ...]
    kinds: list[FileKind]
    made_from: list[str]
    used_by: list[str]

    @property
    def markdown(self) -> str:
        """The datasheet as text; the same bytes for the same facts."""
        return "\n".join(_markdown(self)) + "\n"

    @property
    def json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2).decode()


def card(ref: str, *, ws: Workspace | None = None) -> DataCard:
    """The card of a version: its content from the profile or the tree, what it was made from and what uses it from the
    lineage graph, and what people said with `trine data describe`."""
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    facts = list_facts(ws, name=commit.dataset)
    said = {one.name for one in facts}
    tags = [tag for tag, at in get_dataset(ws, name=commit.dataset).tags.items() if at == commit.id]
    return DataCard(
        commit,
        sorted(tags),
        facts,
        [name for name in QUESTIONS if name not in said],
        profile_of(ws, commit).columns if commit.profile else (),
        [] if commit.kind == "table" else _kinds(ws, commit),
        _around(ws, commit.node, "up"),
        _around(ws, commit.node, "down"),
    )


def _kinds(ws: Workspace, commit: Commit) -> list[FileKind]:
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for entry in read_tree(ws.store, commit.tree):
        ending = PurePosixPath(entry.path).suffix.lower() or "(none)"
        files[ending] += 1
        sizes[ending] += entry.size
    return [
        FileKind(ending, count, sizes[ending])
        for ending, count in sorted(files.items(), key=lambda one: (-one[1], one[0]))
    ]


def _around(ws: Workspace, node: str, direction: str) -> list[str]:
    try:
        found = lineage(ws, node=node, direction=direction, depth=NEAR)  # type: ignore[arg-type]
    except NotFound:
        return []
    return sorted(one for one in found.nodes if one != node)


def _markdown(one: DataCard) -> list[str]:
    commit = one.commit
    said = {fact.name: fact for fact in one.facts}
    size = f"{commit.files:,} files" if commit.rows is None else f"{commit.rows:,} rows of {len(commit.schema)} columns"
    lines = [f"# Datasheet: {commit.ref}", ""]
    if "description" in said:
        lines += [said["description"].value, ""]
    lines += [
        "| | |",
        "|---|---|",
        f"| Version | `{commit.id}`{f' ({_listed(one.tags)})' if one.tags else ''} |",
        f"| Content | {size}, {commit.size_bytes:,} bytes; tree `{commit.tree}` |",
        f"| Made | {to_datetime(commit.created_us):%Y-%m-%d %H:%M:%S} UTC by {_cell(commit.author)}{f': {_cell(commit.message)}' if commit.message else ''} |",
        f"| State | {commit.state} |",
        *(
            f"| {name.capitalize()} | {_cell(said[name].value)} |"
            for name in ("license", "creators", "citation", "url")
            if name in said
        ),
        "",
    ]
    for name, question in QUESTIONS.items():
        if name in said and name not in (
            "description",
            "license",
            "creators",
            "citation",
            "url",
            "keywords",
            "published",
        ):
            lines += [
                f"## {name.capitalize()}",
                "",
                f"*{question}*",
                "",
                said[name].value,
                "",
                f"(said by {said[name].author})",
                "",
            ]
    lines += ["## Composition", "", *_composition(one), ""]
    if commit.checks:
        lines += ["## Checks at the commit", "", "| check | severity | rows that fail |", "|---|---|---|"]
        lines += [f"| `{_cell(check.name)}` | {check.severity} | {check.failing:,} |" for check in commit.checks]
        lines.append("")
    for title, nodes in (("Made from", one.made_from), ("Used by", one.used_by)):
        lines += [f"## {title}", "", *([f"- `{node}`" for node in nodes] or ["Nothing that the graph knows of."]), ""]
    if one.missing:
        lines += ["## Not said yet", "", *(f"- **{name}**: {QUESTIONS[name]}" for name in one.missing), ""]
        lines.append(f'Say it with `trine data describe {commit.dataset} {one.missing[0]}="…"`.')
    return lines


def _composition(one: DataCard) -> list[str]:
    if one.columns:
        lines = ["| column | type | missing | distinct | least | mean | greatest |", "|---|---|---|---|---|---|---|"]
        for column in one.columns:
            least, mean, most = (shown(value, column.dtype) for value in (column.min, column.mean, column.max))
            cells = (column.name, column.dtype, f"{column.nulls:,}", f"{column.distinct:,}", least, mean, most)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        return lines
    lines = ["| files | count | bytes |", "|---|---|---|"]
    return lines + [f"| {_cell(kind.ending)} | {kind.files:,} | {kind.size_bytes:,} |" for kind in one.kinds]


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
