"""The Open Inference Protocol v2 (KServe, Triton): its tensors as columns of values, answers and metadata as tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trine.errors import InvalidInput
from trine.models.signature import Dtype, Field
from trine.serving.columns import FLOAT_LIMITS, INTEGER_LIMITS, Column, Columns, Values
from trine.serving.predictor import Done
from trine.serving.requests import Asked, check_names, decode, listed, with_keys


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


_decoder = msgspec.json.Decoder(_Inference)


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
    asked = decode(_decoder, body, "Open Inference Protocol request")
    if not asked.inputs:
        raise InvalidInput(f"The request has no inputs: send a tensor for each of {listed(known.names)}.")
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
    return with_keys(found, texts, key)


def _matrix(tensor: _Tensor, known: Columns) -> Asked:
    rows, width = tensor.shape
    if width != len(known.names):
        raise InvalidInput(
            f'Tensor "{tensor.name}" has {width} columns, the endpoint takes {len(known.names)}: {listed(known.names)}.'
        )
    flat = _flat(tensor)
    columns: dict[str, Values] = {}
    for at, column in enumerate(known.all):
        columns[column.name] = _typed(tensor, column, flat[at::width])
    return Asked(columns, rows)


def _tensors(tensors: Sequence[_Tensor], known: Columns, key: str) -> Asked:
    check_names([one.name for one in tensors], known, key)
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


def write_inference(asked: Asked, done: Done, name: str, route: int) -> bytes:
    """The answer: a tensor for each output that was asked for, and who gave it under `parameters`."""
    names = done.names if asked.outputs is None else [one for one in asked.outputs if one in done.names]
    versions = dict.fromkeys(model.rpartition("@")[2] for model in done.models)
    return msgspec.json.encode(
        {
            "model_name": name,
            "model_version": ",".join(versions),
            "id": asked.id or (done.ids[0] if done.ids else ""),
            "parameters": {
                "prediction_ids": done.ids,
                "model_versions": done.models,
                "variants": done.variants,
                "route": route,
            },
            "outputs": [
                {
                    "name": one,
                    "datatype": datatype_of(done.dtypes.get(one, "")),
                    "shape": [len(done.columns[one])],
                    "data": done.columns[one],
                }
                for one in names
            ],
        }
    )


def describe_tensors(fields: Iterable[Field]) -> list[dict[str, Any]]:
    """Inputs or outputs as the protocol's metadata names them."""
    return [{"name": one.name, "datatype": datatype_of(one.dtype), "shape": [-1]} for one in fields]
