"""The order of a search, and where a page begins in it.

Every key is made of columns without nulls (is it missing? its value), so that a page can start after the last row of the
one before, whatever came in between. What a run does not have, and NaN, comes last in both directions; ties are broken by
the start of the run, newest first, then by id.

The runs that have the first key and those that lack it are two parts, read one after the other: the first part follows
the index of that key and stops when the page is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, case, func, or_, select

from trine.errors import InvalidInput
from trine.tracking.expression import ATTRIBUTES, Order
from trine.tracking.query import ATTRIBUTE_COLUMNS, NULLABLE, TABLES, Setting, metric_column
from trine.tracking.tables import run


class Sorting:
    """The sort keys of a search."""

    def __init__(self, order: list[Order], setting: Setting) -> None:
        self.setting = setting
        self.keys: list[tuple[ColumnElement[Any], bool]] = []
        self._joins: list[tuple[FromClause, ColumnElement[bool]]] = []
        self._first: tuple[ColumnElement[Any], bool] | None = None
        for index, one in enumerate(order):
            for column, empty in self._columns(one, index):
                if one.field.kind == "attribute" and one.field.key not in NULLABLE:
                    self.keys.append((column, one.descending))
                    continue
                if not self.keys:
                    self._first = column, one.descending
                self.keys.append((case((column.is_(None), 1), else_=0), False))
                self.keys.append((func.coalesce(column, empty), one.descending))
        self.keys += [(run.c.started_us, True), (run.c.id, True)]

    @property
    def follows_an_index(self) -> bool:
        """Whether the first key is of a metric, param or tag, whose index gives the order."""
        return bool(self._joins) and self._first is not None

    def _columns(self, one: Order, index: int) -> list[tuple[ColumnElement[Any], Any]]:
        field = one.field
        if field.kind == "attribute":
            return [(ATTRIBUTE_COLUMNS[field.key], "" if ATTRIBUTES[field.key] == "text" else 0)]
        table = TABLES[field.kind].alias(f"sort_{index}")
        self._joins.append((table, and_(table.c.run == run.c.id, table.c.key == field.key)))
        if field.kind == "metric":
            return [(metric_column(table, field, self.setting), 0)]
        return [(table.c.number, 0), (table.c.value, "")]

    def parts(self, where: list[ColumnElement[bool]], after: list[Any] | None, walks: bool) -> Iterator[Select[Any]]:
        """The queries that give a page one after the other: id and the values of the keys. `walks`: along an index."""
        if after is not None and len(after) != len(self.keys):
            raise InvalidInput("That page token belongs to another order. Start again without a page token.")
        if not walks or self._first is None:
            yield self._page(where, after, self.keys, outer=True)
            return
        column, descending = self._first
        if after is None or not after[0]:
            has = [*where, column.is_not(None)]
            if after is not None:  # what the index can start at
                has.append(column <= after[1] if descending else column >= after[1])
            yield self._page(has, after, [(column, descending), *self.keys[2:]], outer=False)
        yield self._page([*where, column.is_(None)], after, self.keys[2:], outer=True)

    def _page(
        self,
        where: list[ColumnElement[bool]],
        after: list[Any] | None,
        order: list[tuple[ColumnElement[Any], bool]],
        *,
        outer: bool,
    ) -> Select[Any]:
        source: Any = run
        for index, (table, on) in enumerate(self._joins):
            source = table.join(source, on) if not index and not outer else source.outerjoin(table, on)
        made = select(run.c.id.label("run"), *(key.label(f"key_{i}") for i, (key, _) in enumerate(self.keys)))
        made = made.select_from(source).where(*where)
        if after is not None:
            made = made.where(self._after(after))
        return made.order_by(*(key.desc() if descending else key.asc() for key, descending in order))

    def _after(self, values: list[Any]) -> ColumnElement[bool]:
        found: list[ColumnElement[bool]] = []
        equal: list[ColumnElement[bool]] = []
        for (key, descending), value in zip(self.keys, values, strict=True):
            found.append(and_(*equal, key < value if descending else key > value))
            equal.append(key == value)
        return or_(*found)
