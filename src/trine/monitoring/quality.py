"""What is wrong with a window before any statistics: columns that came, went or changed type, and values that cannot be.

Everything here is a finding, never an exception: a monitor must answer for whatever production sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trine.monitoring.reference import Reference, kind_of
from trine.monitoring.verdicts import ColumnVerdict, Finding, FindingKind, Test
from trine.monitoring.window import numbers_of

if TYPE_CHECKING:
    import polars as pl

Range = Sequence[float | None]


def schema_findings(
    reference: Reference, window: pl.DataFrame, expected: Sequence[str], named: Sequence[str] = ()
) -> list[Finding]:
    """Columns that are expected and missing, unknown to the reference (serious for those that were `named`), or of
    another family of types than in it."""
    found: list[Finding] = []
    for name in expected:
        if name not in window.columns:
            text = f'Column "{name}" is missing from the window.'
            found.append(Finding(kind="column_missing", column=name, message=text, serious=True))
    for name, dtype in window.schema.items():
        if name not in reference:
            text = f'Column "{name}" ({dtype}) is not in the reference, so it cannot be compared.'
            found.append(Finding(kind="column_added", column=name, message=text, serious=name in named))
        elif name in expected and kind_of(str(dtype)) != kind_of(reference[name].dtype):
            if window.get_column(name).null_count() == len(window):
                continue  # a column without values has no type to speak of: the test of missing values tells
            text = f'Column "{name}" was {reference[name].dtype} in the reference and is {dtype} now.'
            found.append(Finding(kind="column_retyped", column=name, message=text, serious=True))
    return found


def value_findings(window: pl.DataFrame, columns: Sequence[str], ranges: Mapping[str, Range]) -> list[Finding]:
    """Columns that are empty or hold infinities, and values outside the ranges that were declared."""
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


def _declared(name: str, values: NDArray[np.float64], limits: Range) -> list[Finding]:
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


def findings_of_tests(columns: Sequence[ColumnVerdict]) -> list[Finding]:
    """What the tests of missing, unseen and out-of-range values saw, said as findings; serious where a test failed."""
    return [
        _told(column, test)
        for column in columns
        for test in column.tests
        if test.name in ("unseen", "range") or (test.name == "missing" and test.failed)
    ]


def _told(column: ColumnVerdict, test: Test) -> Finding:
    kind: FindingKind
    if test.name == "missing":
        kind, share, count = "missing_share", column.null_share, round(column.rows * column.null_share)
        text = f"missing {column.reference_null_share:.1%} before, {column.null_share:.1%} now."
    else:
        share, count = test.effect, round(test.effect * column.rows * (1 - column.null_share))
        kind = "unseen_values" if test.name == "unseen" else "out_of_range"
        where = "were never seen in" if test.name == "unseen" else "lie outside the range of"
        text = f"{count:,} values ({share:.2%}) {where} the reference."
    message = f'Column "{column.column}": {text}'
    return Finding(kind=kind, column=column.column, message=message, count=count, share=share, serious=test.failed)
