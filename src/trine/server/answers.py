"""Bodies of requests and answers: JSON for everybody, MessagePack for Trine's own client, errors in one form."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from trine.errors import InvalidInput, TrineError
from trine.remote import MSGPACK

T = TypeVar("T")


def decoded(raw: bytes, kind: type[T]) -> T:
    """A JSON body as a value of that type. Raises InvalidInput."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body is not what is expected here: {error}.") from None


def json_answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def answer(request: Request, value: Any) -> Response:
    """A result in the form the request accepts."""
    if MSGPACK in request.headers.get("accept", ""):
        return Response(msgspec.msgpack.encode(value), media_type=MSGPACK)
    return json_answer(value)


def problem(error: TrineError, status: int = 0) -> Response:
    """An error's answer: its code is stable, its message says what, where and how to mend it."""
    body = {"error": {"code": error.code, "message": error.message, "details": error.details}}
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else {}
    raw = msgspec.json.encode(body, enc_hook=str)
    return Response(raw, status or error.status, media_type="application/json", headers=headers)
