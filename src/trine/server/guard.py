"""What stands before every request: host allow-list, origin check, size limit, and who is asking."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from starlette.requests import Request

from trine.access.principals import Principal, by_token
from trine.errors import Refused, TooLarge, Unauthenticated
from trine.ids import now_us
from trine.workspace import Workspace

LARGEST_BODY = 16 << 20
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def check_host(request: Request, allowed: frozenset[str]) -> None:
    """Refuse a request for a host that is not ours (DNS rebinding), and a change asked for by another site's page."""
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if "*" not in allowed and name.lower() not in allowed:
        raise Refused(f'This server does not answer for host "{name}". Allow it with: trine server --allow-host {name}')
    origin = request.headers.get("origin")
    if origin and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc.lower() != host.lower():
        raise Refused(f'A page of "{origin}" may not change anything here.')


def check_size(request: Request) -> None:
    """Refuse a body that says it is too large; the reader counts as well."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LARGEST_BODY:
        raise TooLarge(f"The body has {length} bytes; at most {LARGEST_BODY} are taken here.")


async def read_body(request: Request) -> bytes:
    """The whole body, up to the limit."""
    check_size(request)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise TooLarge(f"The body is larger than {LARGEST_BODY} bytes.")
        parts.append(part)
    return b"".join(parts)


def credentials(request: Request) -> str:
    """The token of a request: a bearer token, or the password of basic authentication (for clients that know only that)."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def identify(ws: Workspace, request: Request) -> Principal:
    """Who is asking. Raises Unauthenticated when there is no valid token."""
    token = credentials(request)
    if not token:
        raise Unauthenticated("This server needs a token: send the header Authorization: Bearer trn_…")
    with ws.ledger.transaction(write=False) as connection:
        return by_token(connection, token, now_us())
