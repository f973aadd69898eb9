"""MLflow's scoring protocol, `/invocations`: its bodies as columns of values, answers as it gives them."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from trine.errors import InvalidInput
from trine.serving.columns import Columns
from trine.serving.predictor import Done
from trine.serving.requests import Asked, check_names, decode, listed, with_keys


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


_decoder = msgspec.json.Decoder(_Invocation)
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_invocation(body: bytes, content_type: str, known: Columns, key: str) -> Asked:
    """The rows of an MLflow request. `known` are the columns of the endpoint, `key` its key column."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return with_keys(_read_csv(body, known, key), None, key)
    if kind not in ("", "application/json"):
        raise InvalidInput(f"Content type {kind[:60]!r} is not taken here: send application/json or text/csv.")
    asked = decode(_decoder, body, "MLflow request")
    given = [form for form in FORMS if getattr(asked, form) is not None]
    if len(given) != 1:
        raise InvalidInput(f"The body needs exactly one of {', '.join(FORMS)}; it has {' and '.join(given) or 'none'}.")
    if asked.params:
        raise InvalidInput("The models of this endpoint take no params.")
    keys = [str(one) for one in asked.keys] if asked.keys is not None else None
    if asked.dataframe_split is not None:
        split = asked.dataframe_split
        names = list(map(str, split.columns)) if split.columns is not None else list(known.names)
        return with_keys(_by_position(split.data, names, known, key), keys, key)
    if asked.dataframe_records is not None:
        return with_keys(_by_name(asked.dataframe_records, known, key), keys, key)
    if isinstance(asked.inputs, dict):
        return with_keys(_by_column(asked.inputs, known, key), keys, key)
    return with_keys(_tensor_rows(asked.inputs if asked.instances is None else asked.instances, known, key), keys, key)


def _tensor_rows(rows: list[Any], known: Columns, key: str) -> Asked:
    kinds = set(map(type, rows))
    if kinds <= {dict}:
        return _by_name(rows, known, key)
    if kinds == {list}:
        return _by_position(rows, list(known.names), known, key)
    if kinds & {dict, list}:
        raise InvalidInput("Rows are objects, arrays or single values, not a mixture of them.")
    if len(known.names) != 1:
        raise InvalidInput(f"A row is one value, but there are {len(known.names)} columns: {listed(known.names)}.")
    return Asked({known.names[0]: rows}, len(rows))


def _by_position(rows: list[list[Any]], names: list[str], known: Columns, key: str) -> Asked:
    check_names(names, known, key)
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
    check_names(list(names), known, key)
    for at, row in enumerate(rows):
        if row.keys() != names:
            check_names(list(row), known, key, row=at)
            names = dict.fromkeys([*names, *row]).keys()
    return Asked({name: [row.get(name) for row in rows] for name in names}, len(rows))


def _by_column(columns: dict[str, Any], known: Columns, key: str) -> Asked:
    check_names(list(columns), known, key)
    counts: dict[str, int] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise InvalidInput(f'Column "{name}" of inputs must be an array with a value for each row.', column=name)
        counts[name] = len(values)  # pyright: ignore[reportUnknownArgumentType]
    if len(set(counts.values())) > 1:
        raise InvalidInput(
            f"The columns of inputs have different lengths: {listed(f'{n} {c}' for n, c in counts.items())}."
        )
    return Asked(columns, next(iter(counts.values()), 0))


def _read_csv(body: bytes, known: Columns, key: str) -> Asked:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"The body is no valid CSV in UTF-8: {error}.") from None
    rows = [row for row in rows if row]
    if not rows:
        raise InvalidInput(f"The CSV is empty: its first line names the columns {listed(known.names)}.")
    asked = _by_position(rows[1:], rows[0], known, key)
    texts = {one.name: one for one in known.all}
    for name, values in asked.columns.items():
        if name in texts:
            asked.columns[name] = texts[name].from_text(values)
    return asked


def write_invocation(done: Done, route: int) -> bytes:
    """The answer: `predictions` as MLflow's clients read it (values, or objects where there are several outputs), and
    beside it what they leave alone."""
    if len(done.names) == 1:
        predictions: list[Any] = done.columns[done.names[0]]
    else:
        rows = zip(*(done.columns[name] for name in done.names), strict=True)
        predictions = [dict(zip(done.names, row, strict=True)) for row in rows]
    return msgspec.json.encode(
        {
            "predictions": predictions,
            "prediction_ids": done.ids,
            "model_versions": done.models,
            "variants": done.variants,
            "route": route,
        }
    )
