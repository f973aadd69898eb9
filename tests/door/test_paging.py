from __future__ import annotations

from typing import Any

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
