"""Files that people brought: shown as text or picture, never run."""

from __future__ import annotations

import io
import mimetypes
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from trine.errors import TooLarge
from trine.server.ui.drawings import bars
from trine.server.ui.pages import Asked

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})
SOUNDS = frozenset({"audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg", "audio/flac"})
FILMS = frozenset({"video/mp4", "video/webm"})
SHOWN = PICTURES | SOUNDS | FILMS
"""Kinds that a browser shows and that run nothing."""

HISTOGRAM = ".histogram.json"
MOST_ROWS = 50
MOST_SHOWN = 200_000
MOST_SENT = 256 << 20


def preview(asked: Asked, name: str, hash_: str, size: int, back: list[tuple[str, str]], raw_address: str) -> Response:
    """A file on a page: a picture, the beginning of a text, or how large it is."""
    kind = kind_of(name)
    body = asked.ws.store.get(hash_) if kind not in SHOWN and size <= MOST_SENT else b""
    table = _rows(body) if name.endswith(".parquet") and body else None
    drawn = _histogram(body) if name.endswith(HISTOGRAM) else None
    return asked.show(
        "file.html",
        name=name,
        hash=hash_,
        size=size,
        back=back,
        raw=quote(raw_address, safe="/:@"),
        kind="picture" if kind in PICTURES else "sound" if kind in SOUNDS else "film" if kind in FILMS else "",
        table=table,
        drawn=drawn,
        text=None if table or kind in SHOWN else _text(body),
        cut=size > MOST_SHOWN,
    )


def kind_of(name: str) -> str:
    """A file's media type by its name, or nothing."""
    return mimetypes.guess_type(name)[0] or ""


def _rows(body: bytes) -> tuple[list[str], list[Any]] | None:
    """The first rows of a Parquet file; None for what is none."""
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(body), n_rows=MOST_ROWS)
    except (pl.exceptions.PolarsError, OSError):
        return None
    return frame.columns, list(frame.rows())


class _Histogram(msgspec.Struct):
    edges: list[float]
    counts: list[int]


def _histogram(body: bytes) -> Markup | None:
    try:
        found = msgspec.json.decode(body, type=_Histogram)
    except msgspec.DecodeError:
        return None
    total = sum(found.counts) or 1
    labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(found.edges)]
    return bars([one / total for one in found.counts], labels=labels, width=640, height=160, title="histogram")


def _text(body: bytes) -> str | None:
    part = body[:MOST_SHOWN]
    if b"\0" in part:
        return None
    try:
        return part.decode("utf-8", "strict" if len(body) <= MOST_SHOWN else "replace")
    except UnicodeDecodeError:
        return None


def raw(asked: Asked, name: str, hash_: str, size: int) -> Response:
    """A file's bytes: pictures, sounds and films to be shown in a page, everything else to be kept; in a sandbox in any case."""
    if size > MOST_SENT:
        raise TooLarge(f"{name} has {size:,} bytes: too many for a browser. Use: trine runs artifacts")
    kind = kind_of(name)
    file = name.rpartition("/")[2]
    how = "inline" if kind in SHOWN else "attachment"
    headers = {
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "content-disposition": f"{how}; filename*=UTF-8''{quote(file, safe='')}",
        "cache-control": "private, max-age=3600",
    }
    media = kind if kind in SHOWN else "application/octet-stream"
    return Response(asked.ws.store.get(hash_), media_type=media, headers=headers)
