"""Polars expressions as text, and back; never with Python code in them, which would run wherever a table is checked."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl

from trine.errors import InvalidInput

_NODES = frozenset(
    [
        "Agg",
        "Alias",
        "BinaryExpr",
        "Cast",
        "Column",
        "Count",
        "Element",
        "Explode",
        "Filter",
        "First",
        "Function",
        "Gather",
        "Implode",
        "KeepName",
        "Last",
        "Len",
        "Literal",
        "Max",
        "Mean",
        "Median",
        "Min",
        "NUnique",
        "Over",
        "Quantile",
        "Slice",
        "Sort",
        "SortBy",
        "Std",
        "Sum",
        "Ternary",
        "Var",
    ]
)
"""What an expression that is kept may be made of: what calls Python, or a plugin, is not among it."""

_LEAVES = frozenset(
    [
        "ArrayExpr",
        "Bitwise",
        "Boolean",
        "Categorical",
        "ListExpr",
        "Literal",
        "Pow",
        "Range",
        "RollingExpr",
        "StringExpr",
        "StructExpr",
        "TemporalExpr",
        "Trigonometry",
        "dtype",
        "options",
        "Abs",
        "Clip",
        "Coalesce",
        "DropNans",
        "Diff",
        "FillNull",
        "FillNullWithStrategy",
        "Floor",
        "Ceil",
        "Hash",
        "MinHorizontal",
        "MaxHorizontal",
        "SumHorizontal",
        "MeanHorizontal",
        "NullCount",
        "Rank",
        "Round",
        "RoundSF",
        "Shift",
        "ShiftAndFill",
        "Negate",
        "Not",
        "Sign",
        "Log",
        "Exp",
        "Cut",
        "Interpolate",
        "CumSum",
        "CumMax",
        "CumMin",
        "CumCount",
        "PctChange",
        "Reverse",
        "Unique",
        "Mode",
        "ForwardFill",
        "BackwardFill",
        "EwmMean",
        "ConcatExpr",
    ]
)
"""Functions that have nothing but options in them."""


def as_text(expression: pl.Expr) -> str:
    """A Polars expression as JSON. Raises InvalidInput for what is none, or holds Python functions."""
    if not isinstance(expression, pl.Expr):  # pyright: ignore[reportUnnecessaryIsInstance] (users are not type-checked)
        raise InvalidInput(f"A {type(expression).__name__} is no expression: give SQL, or one of Polars.")
    try:
        text = expression.meta.serialize(format="json")
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InvalidInput(f"This Polars expression cannot be kept: {error}") from error
    _look_through(json.loads(text))
    return text


def expression_of(text: str) -> pl.Expr:
    """The expression that was kept as JSON, or stands there in SQL. Raises PolarsError or InvalidInput."""
    if not text.startswith("{"):
        return pl.sql_expr(text)
    try:
        _look_through(json.loads(text))
    except json.JSONDecodeError:
        return pl.sql_expr(text)
    return pl.Expr.deserialize(io.StringIO(text), format="json")


def _look_through(value: Any) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            if key in _LEAVES:
                continue
            if key[:1].isupper() and key not in _NODES:
                raise InvalidInput(
                    f"This Polars expression has {key} in it, which cannot be kept: no Python functions and no plugins. "
                    "Write it with Polars' own expressions, or in SQL."
                )
            _look_through(one)
    elif isinstance(value, list):
        for one in value:
            _look_through(one)
