"""Value types that every room shares."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec

T = TypeVar("T")

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$(?!\n)",  # `$` alone lets a last line break through
        max_length=200,
        description="letters, digits, '_', '.' and '-'; at most 200 characters",
    ),
]
"""A name of something in a workspace: safe in paths, URLs and references."""

Micros = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999, description="microseconds since the epoch, UTC")]
"""A time up to the end of the year 9999."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="at most that many items")]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing; `next` is the token of the following page, empty on the last."""

    items: list[T]
    next: str = ""


class Done(msgspec.Struct, frozen=True):
    """The answer of an operation that has nothing else to say."""

    object: str = ""
    changed: bool = True


Secret = Annotated[str, msgspec.Meta(extra_json_schema={"format": "password"}, extra={"secret": True})]
"""An argument that is never written to events, approvals or error messages."""


LARGEST_DEPTH = 64


def plain(value: Any, depth: int = 0) -> Any:
    """A value as what every store and wire can carry: built-in types, times and bytes. Raises ValueError saying what cannot."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text cannot hold a NUL character")
        if not value.isascii():
            _encode(value)
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise ValueError("a whole number has at most 64 bits")
        return value
    if value is None or isinstance(value, (bool, float, bytes, dt.datetime)):
        return value
    if depth >= LARGEST_DEPTH:
        raise ValueError(f"values are nested at most {LARGEST_DEPTH} deep")
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one, depth + 1) for one in cast(list[Any], value)]
    if isinstance(value, dict):
        return {plain(name): plain(one, depth + 1) for name, one in cast(dict[Any, Any], value).items()}
    try:
        fields = msgspec.to_builtins(value, builtin_types=(bytes, dt.datetime))
    except TypeError:
        raise ValueError(f"{type(value).__name__} is no value that can be kept") from None
    if isinstance(fields, type(value)):
        raise ValueError(f"{type(value).__name__} is no value that can be kept")
    return plain(fields, depth + 1)


def _encode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text has to be valid Unicode") from None


def is_secret(kind: object) -> bool:
    """Whether an annotation is `Secret`."""
    return any((getattr(note, "extra", None) or {}).get("secret") for note in getattr(kind, "__metadata__", ()))
