"""Templates to answers: escaped, compressed, and with the headers that keep a page from running what is not ours."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import jinja2
from starlette.requests import Request
from starlette.responses import Response

from trine import __version__
from trine.server.ui import drawings, links, wording
from trine.server.ui.assets import Assets
from trine.server.ui.pages import PAGES, TOLD
from trine.server.ui.sessions import FORM_KEY, Sessions, Viewer

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
NAVIGATION = (
    ("The loop", "/"),
    ("Runs", "/runs"),
    ("Data", "/data"),
    ("Features", "/features"),
    ("Models", "/models"),
    ("Pipelines", "/pipelines"),
    ("Endpoints", "/endpoints"),
    ("Monitors", "/monitors"),
    ("Lineage", "/lineage"),
    ("Approvals", "/approvals"),
    ("Events", "/events"),
    ("Cards", "/cards"),
    ("Access", "/access"),
    ("Metrics", "/metrics"),
)


class Rendering:
    """The templates, with what all of them may use."""

    def __init__(self, assets: Assets, sessions: Sessions) -> None:
        self.assets = assets
        self.sessions = sessions
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = cast(dict[str, Any], self.templates.filters)
        for name in ("ago", "when", "span", "number", "cell", "signed", "share", "size", "plural"):
            filters[name] = getattr(wording, name)
        filters.update(node=links.link, href=links.href, spark=drawings.sparkline, differ=differ)
        cast(dict[str, Any], self.templates.globals).update(
            path=links.path,
            with_query=links.with_query,
            bars=drawings.bars,
            interval=drawings.interval,
            asset=assets.address,
            has_islands=assets.has_islands,
            navigation=[one for one in NAVIGATION if ("GET", one[1]) in PAGES],
            trine_version=__version__,
            FORM_KEY=FORM_KEY,
        )

    def page(
        self, request: Request, viewer: Viewer | None, template: str, values: dict[str, Any], status: int = 200
    ) -> Response:
        """A page for a browser."""
        told = request.cookies.get(TOLD, "")
        html = self.templates.get_template(template).render(
            request=request,
            viewer=viewer,
            may=viewer.may if viewer else (lambda _: False),
            here=request.url.path,
            address=str(request.url).removeprefix(str(request.base_url).rstrip("/")),
            told=unquote(told),
            form_key=self.sessions.form_key(request),
            **values,
        )
        answer = compressed(request, html.encode(), "text/html", status)
        if told:
            answer.delete_cookie(TOLD, httponly=True, samesite="strict")
        return answer


def differ(values: Sequence[Any]) -> bool:
    """Whether not all of them are the same."""
    return any(one != values[0] for one in values)


def compressed(request: Request, body: bytes, kind: str, status: int = 200) -> Response:
    """A body that is small on the way."""
    headers = dict(SECURITY)
    if len(body) > 1_000 and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = gzip.compress(body, 5), "gzip"
    return Response(body, status, media_type=kind, headers=headers | {"vary": "accept-encoding"})
