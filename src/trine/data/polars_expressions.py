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
        "Sql",
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


_BY_ROW: dict[str, frozenset[str] | None] = {
    "Boolean": frozenset(
        [
            "IsNull",
            "IsNotNull",
            "IsNan",
            "IsNotNan",
            "IsFinite",
            "IsInfinite",
            "IsIn",
            "IsBetween",
            "Not",
            "AllHorizontal",
        ]
    ),
    "StringExpr": None,
    "TemporalExpr": None,
    "Trigonometry": None,
    "Pow": None,
    "Round": None,
    "RoundSF": None,
    "Clip": None,
    "Log": None,
    "Sql": None,
}
"""Families of functions that give each row its own answer, or those of a family that do."""

_BY_ROW_ALONE = frozenset(
    ["Abs", "Negate", "Sign", "Floor", "Ceil", "Coalesce", "FillNull", "Exp", "MinHorizontal", "MaxHorizontal"]
)


def is_by_row(expression: pl.Expr) -> bool:
    """Whether each row is judged by its own values alone; False in doubt."""
    return bool(expression.meta.root_names()) and _by_row(json.loads(expression.meta.serialize(format="json")))


def _by_row(node: Any) -> bool:
    match node:
        case {"Column": _} | {"Literal": _}:
            return True
        case {"Alias": [inner, *_]} | {"Cast": {"expr": inner}}:
            return _by_row(inner)
        case {"BinaryExpr": {"left": left, "right": right}}:
            return _by_row(left) and _by_row(right)
        case {"Ternary": {"predicate": asked, "truthy": yes, "falsy": no}}:
            return _by_row(asked) and _by_row(yes) and _by_row(no)
        case {"Function": {"input": list(inputs), "function": function}}:
            return _gives_by_row(function) and all(map(_by_row, inputs))
        case _:
            return False


def _gives_by_row(function: Any) -> bool:
    if not isinstance(function, dict):
        return function in _BY_ROW_ALONE
    family, which = next(iter(function.items()))
    if family not in _BY_ROW:
        return False
    name = which if isinstance(which, str) else next(iter(which), "") if isinstance(which, dict) else ""
    allowed = _BY_ROW[family]
    return "Vertical" not in name if allowed is None else name in allowed


def is_scalar(expression: pl.Expr, schema: pl.Schema) -> bool:
    """Whether an expression has one value for all rows."""
    if expression.meta.is_literal():
        return True
    there = {name: schema[name] for name in expression.meta.root_names()}
    return pl.DataFrame(schema=there or {"": pl.Null}).clear(2).select(expression).height == 1


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
