"""Bodies of prediction requests: MLflow's `/invocations` and the Open Inference Protocol v2, both as columns of values.

What a body says is read here; whether the values fit the signature is `columns`' part.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from trine.errors import InvalidInput, nearest
from trine.models.signature import Dtype, Field
from trine.serving.columns import FLOAT_LIMITS, INTEGER_LIMITS, Column, Columns, Values

LARGEST_BODY = 16 << 20


class Asked(msgspec.Struct):
    """A request's rows by column, with a key for each row if the caller gave any."""

    columns: dict[str, Values]
    count: int
    keys: list[str] | None = None
    id: str = ""
    outputs: list[str] | None = None


class _Split(msgspec.Struct):
    data: list[list[Any]]
    columns: list[str | int] | None = None


class _Invocation(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    keys: list[str | int] | None = None


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Inference(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] | None = None


_invocations = msgspec.json.Decoder(_Invocation)
_inferences = msgspec.json.Decoder(_Inference)


def _decode(decoder: Any, body: bytes, what: str) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The body is no {what}: {str(error)[:1].lower()}{str(error)[1:]}.") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        hint = " NaN and Infinity are no JSON: send null." if b"NaN" in body or b"Infinity" in body else ""
        raise InvalidInput(f"The body is no valid JSON: {error}.{hint}") from None


# -- MLflow ---------------------------------------------------------------------------------------------------------

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_invocation(body: bytes, content_type: str, known: Columns, key: str) -> Asked:
    """The rows of an MLflow request. `known` are the columns of the endpoint, `key` its key column."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return _with_keys(_read_csv(body, known, key), None, key)
    if kind not in ("", "application/json"):
        raise InvalidInput(f"Content type {kind[:60]!r} is not taken here: send application/json or text/csv.")
    asked = _decode(_invocations, body, "MLflow request")
    given = [form for form in FORMS if getattr(asked, form) is not None]
    if len(given) != 1:
        raise InvalidInput(f"The body needs exactly one of {', '.join(FORMS)}; it has {' and '.join(given) or 'none'}.")
    if asked.params:
        raise InvalidInput("The models of this endpoint take no params.")
    keys = [str(one) for one in asked.keys] if asked.keys is not None else None
    if asked.dataframe_split is not None:
        split = asked.dataframe_split
        names = list(map(str, split.columns)) if split.columns is not None else list(known.names)
        return _with_keys(_by_position(split.data, names, known, key), keys, key)
    if asked.dataframe_records is not None:
        return _with_keys(_by_name(asked.dataframe_records, known, key), keys, key)
    if isinstance(asked.inputs, dict):
        return _with_keys(_by_column(asked.inputs, known, key), keys, key)
    return _with_keys(_tensor_rows(asked.inputs if asked.instances is None else asked.instances, known, key), keys, key)


def _tensor_rows(rows: list[Any], known: Columns, key: str) -> Asked:
    kinds = set(map(type, rows))
    if kinds <= {dict}:
        return _by_name(rows, known, key)
    if kinds == {list}:
        return _by_position(rows, list(known.names), known, key)
    if kinds & {dict, list}:
        raise InvalidInput("Rows are objects, arrays or single values, not a mixture of them.")
    if len(known.names) != 1:
        raise InvalidInput(f"A row is one value, but there are {len(known.names)} columns: {_listed(known.names)}.")
    return Asked({known.names[0]: rows}, len(rows))


def _by_position(rows: list[list[Any]], names: list[str], known: Columns, key: str) -> Asked:
    _check_names(names, known, key)
    if not rows:
        return Asked({}, 0)
    if not set(map(len, rows)) <= {len(names)}:
        at = next(i for i, row in enumerate(rows) if len(row) != len(names))
        raise InvalidInput(f"Row {at} has {len(rows[at])} values for {len(names)} columns.", row=at)
    return Asked(dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows))


def _by_name(rows: list[dict[str, Any]], known: Columns, key: str) -> Asked:
    if not rows:
        return Asked({}, 0)
    names = rows[0].keys()
    _check_names(list(names), known, key)
    for at, row in enumerate(rows):
        if row.keys() != names:
            _check_names(list(row), known, key, row=at)
            names = dict.fromkeys([*names, *row]).keys()
    return Asked({name: [row.get(name) for row in rows] for name in names}, len(rows))


def _by_column(columns: dict[str, Any], known: Columns, key: str) -> Asked:
    _check_names(list(columns), known, key)
    counts: dict[str, int] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise InvalidInput(f'Column "{name}" of inputs must be an array with a value for each row.', column=name)
        counts[name] = len(values)  # pyright: ignore[reportUnknownArgumentType]
    if len(set(counts.values())) > 1:
        raise InvalidInput(
            f"The columns of inputs have different lengths: {_listed(f'{n} {c}' for n, c in counts.items())}."
        )
    return Asked(columns, next(iter(counts.values()), 0))


def _read_csv(body: bytes, known: Columns, key: str) -> Asked:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"The body is no valid CSV in UTF-8: {error}.") from None
    rows = [row for row in rows if row]
    if not rows:
        raise InvalidInput(f"The CSV is empty: its first line names the columns {_listed(known.names)}.")
    asked = _by_position(rows[1:], rows[0], known, key)
    texts = {one.name: one for one in known.all}
    for name, values in asked.columns.items():
        if name in texts:
            asked.columns[name] = texts[name].from_text(values)
    return asked


def _check_names(names: list[str], known: Columns, key: str, row: int | None = None) -> None:
    given = set(names)
    if len(given) == len(names) and given <= known.known:
        return
    where = f"Row {row}: " if row is not None else ""
    if len(given) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f'{where}Column "{twice}" is there twice.', column=twice)
    for name in names:
        if name not in known.known and name != key:
            near = nearest(name, known.names)
            raise InvalidInput(f'{where}Column "{name}" is none of the endpoint\'s.{near}', column=name)


def _with_keys(asked: Asked, keys: list[str] | None, key: str) -> Asked:
    """Keys that were given beside the rows, else those of the endpoint's key column."""
    if keys is not None and len(keys) != asked.count:
        raise InvalidInput(f"There are {len(keys)} keys for {asked.count} rows.")
    if keys is None and key and (values := asked.columns.get(key)) is not None:
        keys = ["" if value is None else str(value) for value in values]
    asked.keys = keys
    return asked


def _listed(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


# -- Open Inference Protocol v2 -------------------------------------------------------------------------------------

DATATYPES: dict[str, Dtype] = {
    "BOOL": "boolean", "BYTES": "string", "FP64": "float64", "FP32": "float32", "FP16": "float32",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip
"""The protocol's datatypes as dtypes of a signature."""


def datatype_of(dtype: str) -> str:
    """The protocol's datatype of a signature's dtype; dates and times travel as text."""
    return next((name for name, known in DATATYPES.items() if known == dtype), "BYTES")


def read_inference(body: bytes, known: Columns, key: str) -> Asked:
    """The rows of an Open Inference Protocol request: a tensor [n] or [n, 1] for each column, or one [n, columns]."""
    asked = _decode(_inferences, body, "Open Inference Protocol request")
    if not asked.inputs:
        raise InvalidInput(f"The request has no inputs: send a tensor for each of {_listed(known.names)}.")
    keys = asked.parameters.get("keys")
    if keys is not None and not (isinstance(keys, list) and all(isinstance(one, (str, int)) for one in keys)):  # pyright: ignore[reportUnknownVariableType]
        raise InvalidInput("parameters.keys must be an array with a key for each row.")
    first = asked.inputs[0]
    if len(asked.inputs) == 1 and len(first.shape) == 2 and (first.shape[1] > 1 or first.name not in known.names):
        found = _matrix(first, known)
    else:
        found = _tensors(asked.inputs, known, key)
    found.id = asked.id
    found.outputs = [one.name for one in asked.outputs] if asked.outputs else None
    texts = [str(one) for one in keys] if keys is not None else None  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return _with_keys(found, texts, key)


def _matrix(tensor: _Tensor, known: Columns) -> Asked:
    rows, width = tensor.shape
    if width != len(known.names):
        raise InvalidInput(
            f'Tensor "{tensor.name}" has {width} columns, the endpoint takes {len(known.names)}: {_listed(known.names)}.'
        )
    flat = _flat(tensor)
    columns: dict[str, Values] = {}
    for at, column in enumerate(known.all):
        columns[column.name] = _typed(tensor, column, flat[at::width])
    return Asked(columns, rows)


def _tensors(tensors: Sequence[_Tensor], known: Columns, key: str) -> Asked:
    _check_names([one.name for one in tensors], known, key)
    by_name = {one.name: one for one in known.all}
    columns: dict[str, Values] = {}
    count = -1
    for tensor in tensors:
        if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
            raise InvalidInput(f'Tensor "{tensor.name}" has shape {tensor.shape}: a column is [rows] or [rows, 1].')
        if count not in (-1, tensor.shape[0]):
            raise InvalidInput(f'Tensor "{tensor.name}" has {tensor.shape[0]} rows, the one before it {count}.')
        count = tensor.shape[0]
        values = _flat(tensor)
        column = by_name.get(tensor.name)
        columns[tensor.name] = values if column is None else _typed(tensor, column, values)
    return Asked(columns, count)


def _flat(tensor: _Tensor) -> list[Any]:
    """A tensor's values in row-major order, given flat or nested to its shape."""
    if tensor.parameters.get("binary_data_size") is not None or tensor.data is None:
        raise InvalidInput(
            f'Tensor "{tensor.name}" has no data: send its values as JSON, binary tensors are not taken.'
        )
    if any(size < 0 for size in tensor.shape):
        raise InvalidInput(f'Tensor "{tensor.name}" has shape {tensor.shape}: sizes are 0 or more.')
    values = tensor.data
    if any(type(value) is list for value in values):
        values = _unnest(tensor, values)
    if len(values) != math.prod(tensor.shape):
        raise InvalidInput(
            f'Tensor "{tensor.name}" has shape {tensor.shape}, so {math.prod(tensor.shape)} values, but {len(values)} came.'
        )
    return values


def _unnest(tensor: _Tensor, rows: list[Any]) -> list[Any]:
    width = math.prod(tensor.shape[1:])
    flat: list[Any] = []
    for at, row in enumerate(rows):
        if type(row) is not list or len(row) != width or len(tensor.shape) != 2:
            raise InvalidInput(
                f'Tensor "{tensor.name}", row {at}: nested data must have the shape {tensor.shape}.', row=at
            )
        flat += row
    return flat


def _typed(tensor: _Tensor, column: Column, values: Values) -> Values:
    """The values, checked against the datatype that the tensor claims, which must be one that the column takes."""
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        listed = ", ".join(DATATYPES)
        raise InvalidInput(
            f'Tensor "{tensor.name}" has the datatype {tensor.datatype[:20]!r}, which is none of {listed}.'
        )
    if not _fits(dtype, column.dtype):
        raise InvalidInput(
            f'Tensor "{tensor.name}" is {tensor.datatype}; column "{column.name}" takes {datatype_of(column.dtype)} '
            f"({column.dtype}).",
            column=column.name,
        )
    return Column(Field(column.name, dtype, required=False)).check(values, None)


def _fits(given: str, wanted: str) -> bool:
    if wanted in FLOAT_LIMITS:
        return given in FLOAT_LIMITS or given in INTEGER_LIMITS
    if wanted in INTEGER_LIMITS:
        return given in INTEGER_LIMITS
    return given == wanted or (given == "string" and wanted in ("date", "datetime"))
