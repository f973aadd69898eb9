"""How a page is written: a function of what was asked that answers with a template and its values.

    @page("/models/{name}")
    def model(asked: Asked) -> Response:
        return asked.show("model.html", model=operations.get_model(asked.ws, name=asked.path["name"]))

It runs in a thread, with the workspace as whoever looks sees it; what it reads goes through the operations, so it shows
nothing that the API would refuse. An `action` answers a form, whose key was checked, and leads back to a page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from trine.errors import InvalidInput
from trine.server.ui.sessions import Viewer
from trine.workspace import Workspace

if TYPE_CHECKING:
    from trine.server.ui.rendering import Rendering

TOLD = "trine_told"
"""The cookie with the one line that the next page shows."""


class Asked(msgspec.Struct, frozen=True):
    """One request for a page."""

    request: Request
    ws: Workspace
    viewer: Viewer
    form: dict[str, str]
    rendering: Rendering

    @property
    def path(self) -> dict[str, str]:
        return self.request.path_params

    def text(self, name: str, default: str = "") -> str:
        """A query value."""
        return self.request.query_params.get(name, default)

    def texts(self, name: str) -> list[str]:
        return self.request.query_params.getlist(name)

    def whole(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, between 1 and `most`; the default for what is none."""
        text = self.text(name)
        return min(most, max(1, int(text))) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """The page."""
        return self.rendering.page(self.request, self.viewer, template, values, status)

    def back(self, address: str, told: str = "") -> Response:
        """Lead to a page after a change, with a line that says what was done."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not address.startswith("/") or address.startswith(("//", "/\\")):
            raise InvalidInput("A form leads back to a page of this server only.")
        answer = RedirectResponse(address, 303)
        if told:
            answer.set_cookie(TOLD, quote(told[:600]), max_age=30, httponly=True, samesite="strict")
        return answer


Handler = Callable[[Asked], Response]
PAGES: dict[tuple[str, str], Handler] = {}
"""Every page and action by method and path, filled as the files of pages are imported."""


def page(path: str) -> Callable[[Handler], Handler]:
    """What is shown at a path."""
    return _keep("GET", path)


def action(path: str) -> Callable[[Handler], Handler]:
    """What a form sent to a path does."""
    return _keep("POST", path)


def _keep(method: str, path: str) -> Callable[[Handler], Handler]:
    def keep(handler: Handler) -> Handler:
        PAGES[method, path] = handler
        return handler

    return keep
