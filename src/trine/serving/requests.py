"""What every prediction request is, whichever protocol it came in: rows by column, and a key for each row."""

from __future__ import annotations

from typing import Any

import msgspec

from trine.errors import InvalidInput, nearest
from trine.serving.columns import Columns, Values


class Asked(msgspec.Struct):
    """A request's rows by column, with a key for each row if the caller gave any."""

    columns: dict[str, Values]
    count: int
    keys: list[str] | None = None
    id: str = ""
    outputs: list[str] | None = None


def decode(decoder: Any, body: bytes, what: str) -> Any:
    """A body as a decoder's struct. Raises InvalidInput saying where it is none."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The body is no {what}: {str(error)[:1].lower()}{str(error)[1:]}.") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        hint = " NaN and Infinity are no JSON: send null." if b"NaN" in body or b"Infinity" in body else ""
        raise InvalidInput(f"The body is no valid JSON: {error}.{hint}") from None


def check_names(names: list[str], known: Columns, key: str, row: int | None = None) -> None:
    """Raise InvalidInput for a column that is there twice, or that neither a model nor the key takes."""
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


def with_keys(asked: Asked, keys: list[str] | None, key: str) -> Asked:
    """Keys that were given beside the rows, else those of the endpoint's key column."""
    if keys is not None and len(keys) != asked.count:
        raise InvalidInput(f"There are {len(keys)} keys for {asked.count} rows.")
    if keys is None and key and (values := asked.columns.get(key)) is not None:
        keys = ["" if value is None else str(value) for value in values]
    asked.keys = keys
    return asked


def listed(names: Any) -> str:
    """The first few names."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
