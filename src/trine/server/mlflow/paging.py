"""Pages of what is at hand whole: the token says how many came before."""

from __future__ import annotations

import base64
from typing import TypeVar

from trine.server.mlflow.errors import invalid

T = TypeVar("T")


def page_of(items: list[T], limit: int, token: str) -> tuple[list[T], str]:
    """One page, and the token of the next (empty on the last)."""
    start = offset_of(token)
    stop = start + limit
    return items[start:stop], token_of(stop) if stop < len(items) else ""


def offset_of(token: str) -> int:
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token.encode()).decode())
    except ValueError:
        raise invalid("Invalid page token, could not base64-decode") from None


def token_of(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()
