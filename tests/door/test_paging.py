from __future__ import annotations

import base64
from typing import Any

import pytest

from trine.errors import InvalidInput
from trine.operations import Page, every, page_of, page_start


def test_every_item_of_a_listing_comes_once() -> None:
    limits: list[int] = []

    def listing(_: Any, *, kind: str, limit: int, page: str = "") -> Page[int]:
        limits.append(limit)
        start = page_start(page, fields=int) or 0
        assert kind == "number"
        return page_of(list(range(start + 1, min(start + 1 + 4, 12))), 3, lambda one: one)

    assert list(every(listing, None, kind="number")) == list(range(1, 12))  # type: ignore[arg-type]
    assert set(limits) == {1000}


@pytest.mark.parametrize("made_up", [b"nonsense", b"[1]", b"[99999999999999999999, 'x']", b'[1, "a\\u0000b"]'])
def test_a_made_up_page_token_is_refused(made_up: bytes) -> None:
    with pytest.raises(InvalidInput, match="page token"):
        page_start(base64.urlsafe_b64encode(made_up.replace(b"'", b'"')).decode(), fields=tuple[int, str])
