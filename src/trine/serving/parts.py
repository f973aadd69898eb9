"""What the ledger knows about the prediction log and the labels: Parquet objects, and what each holds."""

from __future__ import annotations

import msgspec


class LogPart(msgspec.Struct, frozen=True, kw_only=True):
    """A stored part of an endpoint's prediction log, made from one segment. Small parts share an object."""

    endpoint: str
    segment: str
    object: str
    rows: int
    size_bytes: int
    first_id: str
    last_id: str
    first_us: int
    last_us: int
    lost_bytes: int


class LabelPart(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that came together; `unknown` of them name predictions that were not in the log then."""

    endpoint: str
    number: int
    object: str
    rows: int
    unknown: int
    author: str
    created_us: int
