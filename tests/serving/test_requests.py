"""Whatever bytes arrive: they are rows that fit the signature, or the caller is told what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.models import Field
from trine.models.signature import polars_type
from trine.serving.columns import Column, Columns, series_of
from trine.serving.inference import DATATYPES, read_inference
from trine.serving.invocations import read_invocation

FIELDS = [
    Field("f", "float64"),
    Field("g", "float32", required=False),
    Field("i", "int8", required=False),
    Field("u", "uint64", required=False),
    Field("b", "boolean", required=False),
    Field("s", "string", required=False),
    Field("d", "date", required=False),
    Field("t", "datetime", required=False),
]
KNOWN = Columns(FIELDS)

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([127, 128, -128, -129, 2**64 - 1, 2**64, 3.0, 1e38, 3.5e38, 2.0**53]),
)
texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["2026-01-02", "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-23:00", "1"])
)
values = st.one_of(st.none(), st.booleans(), numbers, texts, st.lists(st.integers(), max_size=2), st.just({}))
names = st.sampled_from([*(field.name for field in FIELDS), "key", "other"])
rows = st.lists(st.dictionaries(names, values, max_size=5), max_size=4)
anything = st.recursive(
    values, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4))
)
tensors = st.fixed_dictionaries(
    {
        "name": names,
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "datatype": st.sampled_from([*DATATYPES, "FP8"]),
        "data": st.lists(st.one_of(values, st.lists(values, max_size=3)), max_size=4),
    }
)
bodies = st.one_of(
    anything,
    st.fixed_dictionaries({"dataframe_records": rows}, optional={"keys": st.lists(texts, max_size=4)}),
    st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": st.lists(names, max_size=4), "data": st.lists(st.lists(values, max_size=4), max_size=4)})}),
    st.fixed_dictionaries({"instances": st.one_of(rows, anything)}),
    st.fixed_dictionaries({"inputs": st.one_of(st.dictionaries(names, st.lists(values, max_size=3)), anything)}),
)  # fmt: skip


def check(asked: Any) -> None:
    """What was read are columns of one length, and what passes the check makes the columns a model and a reader get."""
    assert all(len(column) == asked.count for column in asked.columns.values())
    assert asked.keys is None or len(asked.keys) == asked.count
    if not asked.count:
        return
    checked = KNOWN.check(asked.columns, asked.count)
    for field, column in zip(FIELDS, checked, strict=True):
        series = series_of(field.name, field.dtype, column)
        assert series.dtype == polars_type(field.dtype)
        assert series.null_count() == sum(value is None for value in column)  # nothing that was sent is lost
        if series.dtype.is_float():
            assert series.drop_nulls().is_finite().all()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(checked)) == [list(column) for column in checked]


@given(bodies)
def test_any_mlflow_body_is_rows_or_refused(body: Any) -> None:
    with suppress(InvalidInput):
        check(read_invocation(json.dumps(body).encode(), "application/json", KNOWN, "key"))


@given(
    st.one_of(
        bodies, st.fixed_dictionaries({"inputs": st.lists(tensors, max_size=4)}, optional={"parameters": anything})
    )
)
def test_any_inference_body_is_rows_or_refused(body: Any) -> None:
    with suppress(InvalidInput):
        check(read_inference(json.dumps(body).encode(), KNOWN, "key"))


@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)),
    st.sampled_from(["", "text/csv", "application/json"]),
)
def test_any_bytes_are_rows_or_refused(body: bytes, kind: str) -> None:
    for read in (lambda: read_invocation(body, kind, KNOWN, "key"), lambda: read_inference(body, KNOWN, "key")):
        with suppress(InvalidInput):
            check(read())


@given(
    st.lists(
        st.dictionaries(st.sampled_from([field.name for field in FIELDS]), st.one_of(numbers, texts), min_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_a_csv_says_what_json_says(lines: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame({name: [str(line[name]) for line in lines] for name in lines[0]})
    try:
        asked = read_invocation(frame.write_csv().encode(), "text/csv", KNOWN, "")
        check(asked)
    except InvalidInput:
        return
    again = read_invocation(
        json.dumps({"inputs": {k: list(v) for k, v in asked.columns.items()}}).encode(), "", KNOWN, ""
    )
    assert KNOWN.check(again.columns, again.count) == KNOWN.check(asked.columns, asked.count)


@given(st.lists(st.one_of(st.none(), st.booleans(), numbers, texts), min_size=1, max_size=6))
def test_the_quick_look_at_one_row_agrees_with_the_slow_one(row: list[Any]) -> None:
    dtypes = ["float64", "int8", "boolean", "string", "float32", "uint64"][: len(row)]
    fields = [Field(f"c{at}", dtype) for at, dtype in enumerate(dtypes)]  # type: ignore[arg-type]
    columns = Columns(fields)
    given_ = {f"c{at}": [value] for at, value in enumerate(row)}

    def slowly() -> list[Any]:
        return [Column(field).check(given_[field.name], None) for field in fields]

    def outcome(look: Callable[[], list[Any]]) -> Any:
        try:
            return look()
        except InvalidInput as error:
            return error.message

    assert outcome(lambda: columns.check(given_, 1)) == outcome(slowly)
