"""What is wrong with a window before any statistics: columns that came, went or changed type, and values that cannot be.

Everything here is a finding, never an exception: a monitor must answer for whatever production sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trine.monitoring.reference import Reference, kind_of
from trine.monitoring.verdicts import ColumnVerdict, Finding, Test
from trine.monitoring.window import numbers_of

if TYPE_CHECKING:
    import polars as pl

Range = tuple[float | None, float | None]


def schema_findings(reference: Reference, window: pl.DataFrame, columns: Sequence[str] = ()) -> list[Finding]:
    """Columns missing, added or of another family of types. With `columns`, only these are asked about."""
    found: list[Finding] = []
    for name in columns or reference:
        if name not in window.columns:
            text = f'Column "{name}" is missing from the window.'
            found.append(Finding(kind="column_missing", column=name, message=text, serious=True))
    for name, dtype in window.schema.items():
        if columns and name not in columns:
            continue
        if name not in reference:
            text = f'Column "{name}" ({dtype}) is not in the reference, so it cannot be compared.'
            found.append(Finding(kind="column_added", column=name, message=text, serious=bool(columns)))
        elif kind_of(str(dtype)) != kind_of(reference[name].dtype) and window.get_column(name).null_count() < len(
            window
        ):
            text = f'Column "{name}" was {reference[name].dtype} in the reference and is {dtype} now.'
            found.append(Finding(kind="column_retyped", column=name, message=text, serious=True))
    return found


def value_findings(window: pl.DataFrame, columns: Sequence[str], ranges: Mapping[str, Range]) -> list[Finding]:
    """Columns that are empty, constant or infinite, and values outside the ranges that were declared."""
    found: list[Finding] = []
    for name in columns:
        series = window.get_column(name)
        if series.dtype.is_float():
            series = series.fill_nan(None)
        present = series.drop_nulls()
        if not len(present):
            text = f'Every value of column "{name}" is missing.'
            found.append(Finding(kind="all_missing", column=name, message=text, count=len(series), share=1.0))
            continue
        if present.dtype.is_float() and (infinite := int(present.is_infinite().sum())):
            text = f'Column "{name}" has {infinite:,} infinite values.'
            share = infinite / len(series)
            found.append(Finding(kind="infinite", column=name, message=text, count=infinite, share=share, serious=True))
        if name in ranges and kind_of(str(present.dtype)) in ("number", "time"):
            found += _declared(name, numbers_of(present), ranges[name])
    return found


def _declared(name: str, values: np.ndarray[tuple[int], np.dtype[np.float64]], limits: Range) -> list[Finding]:
    low, high = limits
    outside = np.zeros(len(values), dtype=np.bool_)
    if low is not None:
        outside |= values < low
    if high is not None:
        outside |= values > high
    count = int(outside.sum())
    if not count:
        return []
    worst = values[outside]
    shown = worst[np.argmax(np.abs(worst))]
    text = (
        f'{count:,} values of column "{name}" lie outside the declared range '
        f"[{'…' if low is None else f'{low:g}'}, {'…' if high is None else f'{high:g}'}], for instance {shown:g}."
    )
    share = count / len(values)
    return [Finding(kind="out_of_range", column=name, message=text, count=count, share=share, serious=True)]


def test_findings(columns: Sequence[ColumnVerdict]) -> list[Finding]:
    """The failed tests of missing, unseen and out-of-range values, said as findings."""
    return [
        _told(column, test)
        for column in columns
        for test in column.tests
        if test.name in ("unseen", "range") or (test.name == "missing" and test.failed)
    ]


def _told(column: ColumnVerdict, test: Test) -> Finding:
    present = round(column.rows * (1 - column.null_share))
    if test.name == "missing":
        text = (
            f'Column "{column.column}": missing {column.reference_null_share:.1%} before, {column.null_share:.1%} now.'
        )
        count = round(column.rows * column.null_share)
        return Finding(
            kind="missing_share",
            column=column.column,
            message=text,
            count=count,
            share=column.null_share,
            serious=test.failed,
        )
    count = round(test.effect * present)
    if test.name == "unseen":
        text = f'Column "{column.column}": {count:,} values ({test.effect:.2%}) were never seen in the reference.'
        kind = "unseen_values"
    else:
        text = f'Column "{column.column}": {count:,} values ({test.effect:.2%}) lie outside the range of the reference.'
        kind = "out_of_range"
    return Finding(kind=kind, column=column.column, message=text, count=count, share=test.effect, serious=test.failed)


test_findings.__test__ = False  # type: ignore[attr-defined]  # not a pytest function
