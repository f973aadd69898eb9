"""Expectations that a profile suggests: a first draft of what a table must hold, to be read by a person."""

from __future__ import annotations

import math

import msgspec

from trine.data import rules
from trine.data.commits import Commit
from trine.data.expectations import Expectation
from trine.data.profiles import ColumnProfile, Profile
from trine.data.reading import profile_of, scan_commit
from trine.data.references import resolve
from trine.workspace import Workspace, current_workspace

FEW = 20
"""Different values up to which a column is taken for a set of them."""

KEPT = 1_024
"""Different values up to which a profile has counted them."""

ENOUGH = 100
"""Rows below which nothing is said of distributions."""


def suggest(ref: str, *, ws: Workspace | None = None) -> list[Expectation]:
    """Expectations that a version holds and that others like it should: schema, nulls, keys, sets, ranges, drift.

    What is certain is of severity error; ranges (widened by a tenth), growth and drift are of severity warn.
    """
    ws = ws or current_workspace()
    commit = resolve(ref, ws=ws)
    return suggestions(_counted(ws, commit, profile_of(ws, commit)))


def _counted(ws: Workspace, commit: Commit, told: Profile) -> Profile:
    """A profile whose estimates do not decide what is a key: different values of what may be one are counted."""
    import polars as pl

    names = [
        one.name
        for one in told.columns
        if one.distinct > KEPT and one.distinct >= 0.9 * (one.count - one.nulls) and not one.dtype.startswith("Float")
    ]
    if not names:
        return told
    counted = scan_commit(ws, commit).select(pl.col(names).drop_nulls().n_unique()).collect(engine="streaming")
    found: dict[str, int] = counted.row(0, named=True)
    columns = (msgspec.structs.replace(one, distinct=found.get(one.name, one.distinct)) for one in told.columns)
    return msgspec.structs.replace(told, columns=tuple(columns))


def suggestions(told: Profile) -> list[Expectation]:
    """The same, of a profile at hand."""
    found = [
        rules.has_schema({column.name: column.dtype for column in told.columns}),
        rules.row_count(low=1),
        rules.row_growth(low=-0.5, severity="warn"),
    ]
    if complete := [column.name for column in told.columns if column.count and not column.nulls]:
        found.append(rules.not_null(*complete))
    for column in told.columns:
        found += _of_column(column)
    return found


def _of_column(column: ColumnProfile) -> list[Expectation]:
    found: list[Expectation] = []
    values = column.count - column.nulls
    numeric = column.dtype.startswith(("Int", "UInt", "Float", "Decimal"))
    if column.nulls and values:
        share = column.nulls / column.count
        found.append(rules.null_share(column.name, min(1.0, math.ceil(150 * share + 1) / 100), severity="warn"))
    if values >= ENOUGH and column.distinct == column.count and not column.dtype.startswith("Float"):
        found.append(rules.unique(column.name))
    elif column.dtype in ("String", "Enum", "Categorical") and _is_set(column, values):
        found.append(rules.one_of(column.name, sorted(str(value) for value, _ in column.top)))
    if numeric and isinstance(column.min, (int, float)) and isinstance(column.max, (int, float)):
        found.append(_range(column, column.min, column.max))
    if values >= ENOUGH and column.distinct < column.count and (column.quantiles or column.top):
        found.append(rules.drift(column.name, 0.2, severity="warn"))
    return found


def _is_set(column: ColumnProfile, values: int) -> bool:
    return 0 < column.distinct <= FEW and values >= 5 * column.distinct and len(column.top) == column.distinct


def _range(column: ColumnProfile, least: float, most: float) -> Expectation:
    """The range with a tenth more at both ends; numbers that are never negative stay so."""
    more = (most - least) / 10 or abs(most) / 10 or 1.0
    low, high = least - more, most + more
    if column.dtype.startswith(("Int", "UInt")):
        low, high = math.floor(low), math.ceil(high)
    elif math.isfinite(low) and math.isfinite(high):
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
    return rules.between(column.name, 0 if least >= 0 else low, high, severity="warn")
