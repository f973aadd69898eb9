"""A model card: what is known of a model version, each value with how it is known; the same bytes for the same facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from trine.ids import to_datetime

Status = Literal["evidenced", "declared", "missing"]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value: evidenced (a node of the graph shows it), declared (somebody said so), or missing (`hint`: how to fill it)."""

    name: str
    status: Status
    value: str = ""
    evidence: str = ""
    hint: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Evidenced rows that belong together; `evidence` shows them all, else each row ends with what shows it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    evidence: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a card."""

    title: str
    values: tuple[Value, ...] = ()
    tables: tuple[Table, ...] = ()


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The card of one model version."""

    model: str
    version: int
    sections: tuple[Section, ...]

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.version}"

    def count(self, status: Status) -> int:
        """How many values are known that way; a table's rows are evidenced."""
        values = sum(one.status == status for section in self.sections for one in section.values)
        rows = sum(len(table.rows) for section in self.sections for table in section.tables)
        return values + (rows if status == "evidenced" else 0)

    @property
    def summary(self) -> str:
        told = {status: self.count(status) for status in ("evidenced", "declared", "missing")}
        return f"{told['evidenced']} values evidenced, {told['declared']} declared, {told['missing']} missing"

    @property
    def missing(self) -> list[Value]:
        return [one for section in self.sections for one in section.values if one.status == "missing"]

    @property
    def json(self) -> str:
        """The card as JSON, with a newline at the end."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2).decode() + "\n"

    @property
    def markdown(self) -> str:
        """The card as Markdown, with a newline at the end."""
        lines = [f"# Model card: {self.ref}", "", f"{self.summary}.", ""]
        for section in self.sections:
            lines += [f"## {section.title}", ""]
            if section.values:
                lines += _markdown_table(("what", "value", "how it is known"), [_row(one) for one in section.values])
            for table in section.tables:
                rows = [tuple(map(_cell, row)) for row in table.rows]
                shown = [f"Evidenced by `{table.evidence}`.", ""] if table.evidence else []
                header = tuple(map(_cell, table.header))
                lines += [f"### {_cell(table.title)}", "", *shown, *_markdown_table(header, rows)]
        return "\n".join(lines).rstrip("\n") + "\n"


def evidenced(name: str, value: object, node: str) -> Value:
    """A value that a node of the graph shows."""
    return Value(name=name, status="evidenced", value=str(value), evidence=node)


def declared(name: str, value: str, hint: str) -> Value:
    """A value that somebody has said; missing, with a hint, when nobody has."""
    return Value(name=name, status="declared", value=value) if value else missing(name, hint)


def missing(name: str, hint: str) -> Value:
    """A value that nobody knows; Trine never fills it in by itself."""
    return Value(name=name, status="missing", hint=hint)


def tables_of(
    title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], evidence: str = ""
) -> tuple[Table, ...]:
    """A table, if there is anything to put in it."""
    return (Table(title=title, header=header, rows=tuple(rows), evidence=evidence),) if rows else ()


def moment(time_us: int) -> str:
    """A time for a card: UTC, to the second."""
    return f"{to_datetime(time_us):%Y-%m-%d %H:%M:%S} UTC"


def _row(one: Value) -> tuple[str, str, str]:
    known = {"evidenced": f"evidenced by `{one.evidence}`", "declared": "declared", "missing": f"missing: {one.hint}"}
    return _cell(one.name), _cell(one.value) or "–", known[one.status]


def _markdown_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [*map(_line, (header, ("---",) * len(header), *rows)), ""]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text inside a table: one line, and nothing in it that means something to Markdown or HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`|*_\[\]])", r"\\\1", plain)
