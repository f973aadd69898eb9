"""The files that pages are made with: the style sheet, and the bundle that the build made of the islands, when there is one."""

from __future__ import annotations

import gzip
import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from trine.errors import NotFound
from trine.ids import digest

PLACE = Path(__file__).parent
mimetypes.add_type("text/javascript", ".js")


class Assets:
    """Everything in memory, compressed once; addresses carry the content's digest, so browsers keep them for good."""

    def __init__(self) -> None:
        bundle = PLACE / "static"
        files = {"style.css": PLACE / "style.css", "mark.svg": PLACE / "mark.svg"}
        files |= {one.name: one for one in bundle.glob("*.js")}
        self._raw = {name: one.read_bytes() for name, one in files.items()}
        self._packed = {name: gzip.compress(raw, 9) for name, raw in self._raw.items()}

    @property
    def has_islands(self) -> bool:
        return "app.js" in self._raw

    def address(self, name: str) -> str:
        return f"/static/{name}?{digest(self._raw[name])[:10]}"

    def answer(self, request: Request, name: str) -> Response:
        """A file for a browser. Raises NotFound."""
        if name not in self._raw:
            raise NotFound(f"There is no file {name[:80]} here.")
        headers = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
        body = self._raw[name]
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["content-encoding"] = self._packed[name], "gzip"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(body, media_type=kind, headers=headers | {"vary": "accept-encoding"})
