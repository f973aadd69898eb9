from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.models import Field, Signature, infer_signature

MOMENT = dt.datetime(2026, 5, 1, 12, 30, tzinfo=dt.UTC)
FRAME = pl.DataFrame(
    {
        "f": [1.5, 2.5, 3.5],
        "i": [1, 2, 3],
        "s": ["a", "b", "c"],
        "b": [True, False, True],
        "d": [dt.date(2026, 1, 1)] * 3,
        "t": [MOMENT] * 3,
        "o": [1.0, None, float("nan")],
    }
)
WANTED = infer_signature(FRAME)


def test_a_signature_is_what_the_example_shows() -> None:
    assert [(one.name, one.dtype, one.required) for one in WANTED.inputs] == [
        ("f", "float64", True),
        ("i", "int64", True),
        ("s", "string", True),
        ("b", "boolean", True),
        ("d", "date", True),
        ("t", "datetime", True),
        ("o", "float64", False),
    ]
    narrow = pl.DataFrame({"x": [1.0], "y": [2]}, schema={"x": pl.Float32, "y": pl.UInt8})
    assert infer_signature(narrow, {"prediction": [1.0]}) == Signature(
        (Field("x", "float32"), Field("y", "uint8")), (Field("prediction", "float64"),)
    )
    assert infer_signature(np.zeros((2, 2)), names=["a", "b"]).names == ["a", "b"]
    assert infer_signature(np.zeros((2, 2))).names == ["x0", "x1"]


def test_frames_of_every_kind_show_the_same() -> None:
    plain = FRAME.drop("o", "t", "d")
    for same in (
        plain.lazy(),
        plain.to_dict(as_series=False),
        plain.to_dicts(),
        pd.DataFrame(plain.to_dict(as_series=False)),
    ):
        assert infer_signature(same) == infer_signature(plain)
    times = pd.DataFrame(
        {"t": pd.to_datetime(["2026-05-01 12:30"]).tz_localize("UTC"), "s": pd.Series([None], dtype="str")}
    )
    found = Signature((Field("t", "datetime"), Field("s", "string", required=False))).conform(times)
    assert found["t"][0] == MOMENT.replace(tzinfo=None) and found["s"][0] is None
    category = pd.DataFrame({"s": pd.Categorical(["x", "y", None])})
    assert infer_signature(category).inputs == (Field("s", "string", required=False),)


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (pl.DataFrame({"x": [None, None]}), "no value in the example"),
        (pl.DataFrame({"x": [[1], [2]]}), "no model here can take"),
        (pl.DataFrame(), "no columns"),
        (pl.DataFrame({"x": []}), "no rows"),
        (np.zeros(3), "two dimensions, this one 1"),
        (np.zeros((2, 2, 2)), "two dimensions, this one 3"),
        ([1, 2], "is no table of rows"),
        ("text", "is no table of rows"),
        (None, "is no table of rows"),
        ({"a": [1], "b": [1, 2]}, "make no table"),
        ([{"a": 1}, {"a": "x"}], "Row 1, column \"a\": 'x' does not go with 1 in row 0"),
        ({"a": [None, "x", "y", 2]}, "Row 3, column \"a\": 2 does not go with 'x' in row 1"),
    ],
)
def test_an_example_that_shows_nothing_is_refused(example: Any, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        infer_signature(example)


def test_rows_come_in_the_models_order_and_types() -> None:
    found = WANTED.conform(FRAME.select(FRAME.columns[::-1]))
    assert found.columns == WANTED.names
    assert found["t"].dtype == pl.Datetime("us")
    assert found.drop("t").equals(FRAME.drop("t"), null_equal=True) or found.height == 3
    whole = WANTED.conform(FRAME.with_columns(f=pl.Series([1, 2, 3])))  # integers stand for floats
    assert whole["f"].dtype == pl.Float64
    paris = FRAME.with_columns(t=pl.col("t").dt.convert_time_zone("Europe/Paris"))
    assert WANTED.conform(paris)["t"].to_list() == [MOMENT.replace(tzinfo=None)] * 3
    small = WANTED.conform(FRAME.with_columns(pl.col("i").cast(pl.Int8)))
    assert small["i"].dtype == pl.Int64
    assert WANTED.conform(FRAME.drop("o"))["o"].null_count() == 3


@pytest.mark.parametrize(
    ("change", "told", "where"),
    [
        ({"f": [1.0, None, 3.0]}, 'Row 1, column "f": a value is missing', (1, "f")),
        ({"f": [1.0, 2.0, float("nan")]}, 'Row 2, column "f": a value is missing', (2, "f")),
        ({"f": [1.0, float("inf"), 3.0]}, 'Row 1, column "f": inf is no finite number', (1, "f")),
        ({"o": [1.0, float("-inf"), None]}, 'Row 1, column "o": -inf is no finite number', (1, "o")),
        ({"f": ["x", "y", "z"]}, "Column \"f\" is string, the model takes float64: row 0 has 'x'", (0, "f")),
        ({"i": [1.0, 2.0, 3.0]}, 'Column "i" is float64, the model takes int64', (0, "i")),
        ({"b": [0, 1, 0]}, 'Column "b" is int64, the model takes boolean', (0, "b")),
        ({"i": [True, False, True]}, 'Column "i" is boolean, the model takes int64', (0, "i")),
        ({"s": [None, "b", None]}, r'Row 0, column "s": a value is missing.*\(2 rows\)', (0, "s")),
        ({"s": [None, None, None]}, 'Row 0, column "s": a value is missing', (0, "s")),
        ({"d": [MOMENT] * 3}, 'Column "d" is datetime, the model takes date', (0, "d")),
    ],
)
def test_a_row_that_does_not_fit_is_named_with_its_column(change: Any, told: str, where: tuple[int, str]) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        WANTED.conform(FRAME.with_columns(**{name: pl.Series(values) for name, values in change.items()}))
    assert (caught.value.details["row"], caught.value.details["column"]) == where


def test_columns_that_are_missing_or_unknown_are_named_with_the_nearest() -> None:
    long = Signature((Field("distance", "float64"), Field("hour", "int64")))
    with pytest.raises(InvalidInput, match=r'"distance" \(float64\) is missing\. Did you mean "distanse"'):
        long.conform({"distanse": [1.0], "hour": [1]}, extra="ignore")
    with pytest.raises(InvalidInput, match=r'no input "distanse"\. Did you mean "distance"'):
        long.conform({"distanse": [1.0], "hour": [1]})
    assert long.conform({"distance": [1.0], "hour": [1], "late": [True]}, extra="ignore").columns == long.names
    with pytest.raises(InvalidInput, match="has 3 columns, not 2"):
        long.conform(np.zeros((1, 3)))


def test_a_number_that_its_type_cannot_hold_is_named() -> None:
    small = Signature((Field("i", "int8"), Field("f", "float32"), Field("u", "uint16")))
    good = {"i": [1, 2], "f": [1.0, 2.0], "u": [1, 2]}
    assert small.conform(good).schema == {"i": pl.Int8(), "f": pl.Float32(), "u": pl.UInt16()}
    for column, value, told in (("i", 300, "300"), ("f", 1e39, "1e"), ("u", -1, "-1")):
        with pytest.raises(InvalidInput, match=rf'Row 1, column "{column}": {told}.* out of range'):
            small.conform({**good, column: [good[column][0], value]})


VALUES = {
    "float64": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "string": st.text(max_size=5),
    "boolean": st.booleans(),
}


@given(st.data())
def test_what_conforms_is_what_was_given(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5))
    height = data.draw(st.integers(1, 5))
    columns = {
        f"c{index}": data.draw(st.lists(VALUES[kind], min_size=height, max_size=height))
        for index, kind in enumerate(kinds)
    }
    wanted = Signature(tuple(Field(f"c{index}", kind) for index, kind in enumerate(kinds)))  # type: ignore[arg-type]
    frame = pl.DataFrame({name: pl.Series(values, strict=False) for name, values in columns.items()})
    found = wanted.conform(frame)
    assert found.to_dict(as_series=False) == columns
    assert [str(kind) for kind in found.dtypes] == [
        {"float64": "Float64", "int64": "Int64", "string": "String", "boolean": "Boolean"}[k] for k in kinds
    ]
