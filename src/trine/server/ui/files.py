"""Files that people brought: shown as text or picture, never run."""

from __future__ import annotations

import mimetypes
from urllib.parse import quote

from starlette.responses import Response

from trine.errors import TooLarge
from trine.server.ui.pages import Asked

PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})
MOST_SHOWN = 200_000
MOST_SENT = 256 << 20


def preview(asked: Asked, name: str, hash_: str, size: int, back: list[tuple[str, str]], raw_address: str) -> Response:
    """A file on a page: a picture, the beginning of a text, or how large it is."""
    kind = mimetypes.guess_type(name)[0] or ""
    text = None
    if kind not in PICTURES and size <= MOST_SENT:
        text = _text(asked.ws.store.get(hash_))
    return asked.show(
        "file.html",
        name=name,
        hash=hash_,
        size=size,
        back=back,
        raw=quote(raw_address, safe="/:@"),
        picture=kind in PICTURES,
        text=text,
        cut=size > MOST_SHOWN,
    )


def _text(body: bytes) -> str | None:
    part = body[:MOST_SHOWN]
    if b"\0" in part:
        return None
    try:
        return part.decode("utf-8", "strict" if len(body) <= MOST_SHOWN else "replace")
    except UnicodeDecodeError:
        return None


def raw(asked: Asked, name: str, hash_: str, size: int) -> Response:
    """A file's bytes: pictures to be seen in a page, everything else to be kept; in a sandbox in any case."""
    if size > MOST_SENT:
        raise TooLarge(f"{name} has {size:,} bytes: too many for a browser. Use: trine runs artifacts")
    kind = mimetypes.guess_type(name)[0] or ""
    file = name.rpartition("/")[2]
    how = "inline" if kind in PICTURES else "attachment"
    headers = {
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "content-disposition": f"{how}; filename*=UTF-8''{quote(file, safe='')}",
        "cache-control": "private, max-age=3600",
    }
    media = kind if kind in PICTURES else "application/octet-stream"
    return Response(asked.ws.store.get(hash_), media_type=media, headers=headers)
