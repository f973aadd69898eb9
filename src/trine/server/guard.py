"""What stands before every request: host allow-list, origin check, size limit, and who is asking."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request

from trine.access.principals import Principal, by_token
from trine.errors import InvalidInput, Refused, TooLarge, Unauthenticated
from trine.ids import now_us
from trine.workspace import Workspace

LARGEST_BODY = 16 << 20
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_KEY = re.compile(r"[!-~]{0,200}")


def hosts_of(allowed: Iterable[str]) -> frozenset[str]:
    """The names this server answers for: those of this machine, and the allowed ones."""
    return LOCAL_HOSTS | {f"[{name}]" if ":" in name and name[0] != "[" else name for name in map(str.lower, allowed)}


def check_host(request: Request, allowed: frozenset[str]) -> None:
    """Refuse a request for a host that is not ours (DNS rebinding), and a change asked for by another site's page."""
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if "*" not in allowed and name.lower() not in allowed:
        raise Refused(f'This server does not answer for host "{name}". Allow it with: trine server --allow-host {name}')
    origin = request.headers.get("origin")
    if origin is not None and request.method not in ("GET", "HEAD") and _place_of(origin) != host.lower():
        raise Refused(f'A page of "{origin}" may not change anything here.')


def _place_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def check_size(request: Request) -> None:
    """Refuse a body that says it is too large; the reader counts as well."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > LARGEST_BODY):
        raise TooLarge(f"The body has {length[:40]} bytes; at most {LARGEST_BODY} are taken here.")


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


def key_of(request: Request, name: str) -> str:
    """A key the caller chose (of idempotency, of the request), or nothing. Raises InvalidInput."""
    value = request.headers.get(name, "")
    if not _KEY.fullmatch(value):
        raise InvalidInput(f"The header {name} has at most 200 printable ASCII characters without spaces.")
    return value


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
