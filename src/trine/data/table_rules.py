"""Rules about a table as a whole: most are answered by its profile, which is made in the same scan."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from trine.data.distances import distance, stability_index
from trine.data.expectations import Expectation, Limit
from trine.data.profiles import ColumnProfile, Profile, Scalar
from trine.data.row_rules import check_shape, moment_of, need, values_of, where_of
from trine.errors import InvalidInput
from trine.ids import to_datetime, to_us

_BY_PROFILE = frozenset(
    [
        "row_count",
        "null_share",
        "mean_between",
        "std_between",
        "median_between",
        "quantile_between",
        "minimum_between",
        "maximum_between",
        "fresh",
    ]
)
EDGES = ("minimum_between", "maximum_between")
_NUMERIC = frozenset(["mean_between", "std_between", "median_between", "quantile_between", "sum_between"])


def value_of(rule: Expectation, schema: pl.Schema, frame: pl.LazyFrame) -> pl.Expr | None:
    """What a rule about the table is judged by; None where the profile tells it. Raises InvalidInput."""
    check_shape(rule, schema)
    if rule.mostly != 1:
        raise InvalidInput(f"{rule.name} is about the table as a whole: mostly is for rules about rows.")
    kind = schema[rule.columns[0]] if rule.columns and rule.columns[0] in schema else pl.Null()
    _check(rule, kind)
    chosen = where_of(rule, frame)
    if rule.kind in ("dtype", "has_schema", "row_growth", "drift"):
        if chosen is not None:
            raise InvalidInput(f"{rule.name} is about all rows: it takes no where.")
        return None
    if chosen is None and rule.kind in _BY_PROFILE:
        return None
    if rule.kind == "row_count":
        return pl.len() if chosen is None else chosen.sum()
    column = pl.col(rule.columns[0])
    column = column if chosen is None else column.filter(chosen)
    return _value(rule, kind, column)


def _value(rule: Expectation, kind: pl.DataType, column: pl.Expr) -> pl.Expr:
    finite = column.filter(column.is_finite()) if kind.is_float() else column
    match rule.kind:
        case "null_share":
            return column.is_null().mean()
        case "distinct_count":
            return column.drop_nulls().n_unique()
        case "distinct_share":
            return column.drop_nulls().n_unique() / column.count()
        case "includes":
            values, common = values_of(rule, kind)
            return column.cast(common).filter(column.cast(common).is_in(values.implode())).unique().sort().implode()
        case "mean_between":
            return finite.mean()
        case "std_between":
            return finite.std()
        case "median_between":
            return finite.median()
        case "quantile_between":
            return finite.quantile(float(rule.values[0]), "linear")
        case "sum_between":
            return (finite.cast(pl.Int128) if kind.is_integer() else finite).sum()
        case "minimum_between":
            return _as_number(finite, kind).min()
        case _:
            return _as_number(finite, kind).max()


def _as_number(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Times as a profile has them."""
    if isinstance(kind, pl.Time):
        return column.cast(pl.Int64) // 1_000
    return column.dt.epoch("us") if kind.is_temporal() else column


def judge(
    rule: Expectation, found: Any, profile: Profile, parent: Profile | None, now_us: int
) -> tuple[int, bool | int | float | str | None]:
    """How often a rule fails, and what was found; `found` is what `value_of` asked for, `parent` the profile before."""
    column = profile.column(rule.columns[0]) if rule.columns else None
    kind = column.dtype if column else ""
    match rule.kind:
        case "dtype":
            kind = column.dtype if column else "nothing"
            return int(kind != rule.text and not kind.startswith(rule.text + "(")), kind
        case "has_schema":
            wrong = _wrong_columns(rule, profile)
            return int(bool(wrong)), "; ".join(wrong) or "these columns"
        case "row_growth":
            if parent is None or not parent.rows:
                return 0, None
            return _judged(rule, profile.rows / parent.rows - 1)
        case "drift":
            before = parent.column(rule.columns[0]) if parent else None
            if before is None or column is None or before.dtype != column.dtype:
                return 0, None
            return _judged(rule, (stability_index if rule.text else distance)(before, column))
        case "includes":
            missing = [str(one) for one in rule.values if one not in list(found)]
            return int(bool(missing)), f"no {', '.join(missing[:5])}" if missing else "all"
        case _:
            pass
    if found is None:
        found = _told(rule, profile, column)
    match rule.kind:
        case "null_share":
            share = found or 0.0
            nulls = column.nulls if column and not rule.where else 1
            return (nulls if share > float(rule.high or 0) else 0), share
        case "fresh":
            if found is None:
                return 1, "no time"
            age = now_us - int(found)
            return int(age > float(rule.high or 0) * 1e6), to_datetime(int(found)).isoformat(" ", "seconds")
        case _:
            failing, value = _judged(rule, found, column.dtype if column else "")
            is_time = column is not None and column.dtype.startswith("Date") and isinstance(value, int)
            return failing, to_datetime(value).isoformat(" ") if is_time and rule.kind in EDGES else value


def _told(rule: Expectation, profile: Profile, column: ColumnProfile | None) -> Scalar:
    """What the profile says."""
    if rule.kind == "row_count":
        return profile.rows
    if column is None or rule.where:
        return None
    match rule.kind:
        case "null_share":
            return column.nulls / column.count if column.count else 0.0
        case "mean_between":
            return column.mean
        case "std_between":
            return column.std
        case "median_between":
            return _quantile(column, 0.5)
        case "quantile_between":
            return _quantile(column, float(rule.values[0]))
        case "minimum_between":
            return column.min
        case "maximum_between" | "fresh":
            return column.max
        case _:
            return None


def _quantile(column: ColumnProfile, share: float) -> float | None:
    import numpy as np

    return float(np.quantile(column.quantiles, share)) if column.quantiles else None


def _judged(rule: Expectation, found: Any, dtype: str = "") -> tuple[int, Any]:
    """Whether what was found lies within the limits; nothing does."""
    if found is None:
        return 0, None
    low, high = (_comparable(rule, limit, dtype) for limit in (rule.low, rule.high))
    fails = found != found or (low is not None and found < low) or (high is not None and found > high)
    return int(fails), found if not isinstance(found, str) or len(found) < 80 else f"{found[:79]}…"


def _comparable(rule: Expectation, limit: Limit, dtype: str) -> Any:
    if not isinstance(limit, str) or not dtype.startswith(("Date", "Time")):
        return limit
    if dtype == "Time":
        moment = dt.time.fromisoformat(limit)
        return ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond
    return to_us(dt.datetime.fromisoformat(limit))


def _wrong_columns(rule: Expectation, profile: Profile) -> list[str]:
    there = {column.name: column.dtype for column in profile.columns}
    wanted = dict(zip(rule.columns, map(str, rule.values), strict=False))
    wrong = [f'no "{name}"' for name in wanted if name not in there]
    wrong += [
        f'"{name}" is {there[name]}, not {kind}'
        for name, kind in wanted.items()
        if kind and name in there and there[name] != kind and not there[name].startswith(kind + "(")
    ]
    if "more" not in rule.text:
        wrong += [f'"{name}" is new' for name in there if name not in wanted]
    if "in_order" in rule.text and not wrong and [name for name in there if name in wanted] != list(wanted):
        wrong.append(f"the order is {', '.join(there)}")
    return wrong


def _check(rule: Expectation, kind: pl.DataType) -> None:
    if rule.kind in _NUMERIC:
        need(rule, "numbers", kind.is_numeric(), kind)
    limits = [limit for limit in (rule.low, rule.high) if limit is not None]
    match rule.kind:
        case "null_share":
            if not isinstance(rule.high, (int, float)) or not 0 <= rule.high <= 1:
                raise InvalidInput(f"{rule.name} needs a share from 0 to 1 as high.")
        case "quantile_between":
            share = rule.values[0] if len(rule.values) == 1 else None
            if not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise InvalidInput(f"{rule.name} needs a share from 0 to 1: the quantile.")
        case "drift":
            if not isinstance(rule.high, (int, float)) or rule.text not in ("", "psi"):
                raise InvalidInput(f'{rule.name} needs a distance as high, and "" or "psi" as text.')
        case "fresh":
            need(rule, "dates or times", isinstance(kind, (pl.Date, pl.Datetime)), kind)
            if not isinstance(rule.high, (int, float)):
                raise InvalidInput(f"{rule.name} needs the seconds that it may be old as high.")
        case "includes":
            values_of(rule, kind)
        case "minimum_between" | "maximum_between":
            _check_edges(rule, kind, limits)
        case "has_schema":
            if len(rule.values) not in (0, len(rule.columns)):
                raise InvalidInput(f"{rule.name} needs a type for each column, or none at all.")
        case "dtype":
            pass
        case _:
            if any(isinstance(limit, str) for limit in limits):
                raise InvalidInput(f"{rule.name} needs numbers as limits.")
    if rule.kind not in ("dtype", "has_schema", "includes") and not limits and rule.kind != "row_count":
        raise InvalidInput(f"{rule.name} needs low, high or both.")


def _check_edges(rule: Expectation, kind: pl.DataType, limits: list[Any]) -> None:
    if any(isinstance(limit, str) for limit in limits):
        need(rule, "times or texts", isinstance(kind, (pl.Date, pl.Datetime, pl.Time, pl.String, pl.Enum)), kind)
        if kind.is_temporal():
            for limit in limits:
                moment_of(rule, limit, kind)
    else:
        need(rule, "numbers", kind.is_numeric(), kind)
