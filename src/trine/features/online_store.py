"""Features at this moment: filling the online store from a view's definition, and reading it."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from trine.errors import Damaged, InvalidInput
from trine.features import operations
from trine.features.definitions import FeatureService, FeatureView, Selection
from trine.features.operations import OnlineAnswer, Publication
from trine.features.registry import apply, service_of, view_of
from trine.features.snapshots import OnlineRow, encode_key, read_snapshot, take_snapshot
from trine.features.sources import open_source
from trine.ids import now_us, to_datetime, to_us
from trine.storage import Store
from trine.workspace import Workspace, current_workspace

_CHUNK_ROWS = 5_000
_ASKED_BYTES = 8_000
"""Keys of one read: they travel in a URL."""


def materialize(
    view: FeatureView | str, until: dt.datetime | None = None, *, ws: Workspace | None = None
) -> Publication:
    """Fill the online store with a view as known at `until` (default: now), from the newest commit of its dataset.

    Online reads answer from it when this returns. A later `until` than this one is never replaced by an earlier.
    """
    ws = ws or current_workspace()
    found = view_of(view, ws)
    registered = next(each for each in apply(found, ws=ws) if each.kind == "view")
    source = open_source(found.source, ws)
    snapshot = take_snapshot(found, source.frame, to_us(until) if until else now_us())
    chunks = ws.store.put_many(_chunks(snapshot.rows))
    publication = operations.publish_snapshot(
        ws,
        name=found.name,
        version=registered.version,
        snapshot=ws.store.put(msgspec.msgpack.encode(chunks)),
        header=snapshot.header,
        source=source.node,
        rows=len(snapshot.rows),
        newest_us=snapshot.newest_us,
        until_us=snapshot.until_us,
    )
    operations.read_online(
        ws, views=[f"{found.name}:{found.hash}"]
    )  # fills the online file before anybody waits for it
    return publication


def named_in(store: Store, snapshot: str, opened: set[str]) -> Iterator[str]:
    """The objects that hold a snapshot's rows (see `trine.upkeep`)."""
    try:
        yield from msgspec.msgpack.decode(store.get(snapshot), type=list[str])
    except msgspec.DecodeError as error:
        raise Damaged(f"Object {snapshot} is no snapshot of features: {error}.", hash=snapshot) from error


def _chunks(rows: Sequence[OnlineRow]) -> Iterator[bytes]:
    for start in range(0, len(rows), _CHUNK_ROWS):
        yield msgspec.msgpack.encode(rows[start : start + _CHUNK_ROWS])


def online(
    service: FeatureService | FeatureView | str,
    keys: Sequence[dict[str, Any]],
    as_of: dt.datetime | None = None,
    *,
    ws: Workspace | None = None,
) -> list[dict[str, Any]]:
    """The service's features for each row of keys, in the service's order: what the training join gives at `as_of`.

    The store knows what was known when its views were materialised; time to live and windows are judged at `as_of`
    (default: now), which must not lie before that. An unknown key has null features (and counts and sums of 0).
    """
    ws = ws or current_workspace()
    found = service_of(service, ws)
    rows: list[dict[str, Any]] = []
    at_us = to_us(as_of) if as_of else None
    most = max(1, _ASKED_BYTES // (64 * len(found.selections)))
    for start in range(0, len(keys), most):
        rows += _read(found, keys[start : start + most], at_us, start, ws)
    return rows


def _read(
    service: FeatureService, keys: Sequence[dict[str, Any]], at_us: int | None, first: int, ws: Workspace
) -> list[dict[str, Any]]:
    for row, key in enumerate(keys):
        if not isinstance(key, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInput(
                f"Row {first + row} of the keys is {key!r}; give a dict of key columns.", row=first + row
            )
    places = [f"{selection.view.name}:{selection.view.hash}" for selection in service.selections]
    kinds = operations.read_online(ws, views=places) if any(_is_loose(each) for each in service.selections) else None
    encoded = [
        [
            encode_key(
                selection,
                kinds[at].header.kinds if kinds else list(selection.view.entity.keys.values()),
                key,
                first + row,
            )
            for row, key in enumerate(keys)
        ]
        for at, selection in enumerate(service.selections)
    ]
    asked = [base64.urlsafe_b64encode(key or b"").decode() for each in encoded for key in each]
    answers = operations.read_online(ws, views=places, keys=asked)
    columns: dict[str, list[Any]] = {}
    for selection, answer, wanted in zip(service.selections, answers, encoded, strict=True):
        columns |= read_snapshot(selection, answer.header, wanted, dict(answer.rows), _moment(selection, answer, at_us))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_loose(selection: Selection) -> bool:
    """Whether the entity leaves a key's type to the data, so that only the store knows it."""
    return "" in selection.view.entity.keys.values()


def _moment(selection: Selection, answer: OnlineAnswer, at_us: int | None) -> int:
    if at_us is None:
        return max(now_us(), answer.until_us)
    if selection.view.time is not None and at_us < answer.until_us:
        raise InvalidInput(
            f'Feature view "{selection.view.name}" is materialised as known at {to_datetime(answer.until_us)}, so it '
            f"cannot be read online as of {to_datetime(at_us)}. Use join_features for the past."
        )
    return at_us
