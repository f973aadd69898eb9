"""Value types that every room shares."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$",
        max_length=200,
        description="letters, digits, '_', '.' and '-'; at most 200 characters",
    ),
]
"""A name of something in a workspace: safe in paths, URLs and references."""

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


def is_secret(kind: object) -> bool:
    """Whether an annotation is `Secret`."""
    return any((getattr(note, "extra", None) or {}).get("secret") for note in getattr(kind, "__metadata__", ()))
