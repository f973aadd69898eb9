"""XML as S3 writes and reads it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from starlette.responses import Response

from trine.ids import to_datetime
from trine.server.s3.errors import S3Error

SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
Element = tuple[str, Any]
"""A name, and its text or the elements in it."""

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def answer(name: str, elements: Iterable[Element], status: int = 200) -> Response:
    """A document as S3 sends it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{SPACE}">{_rendered(elements)}</{name}>'
    return Response(body.encode("utf-8", "replace"), status, media_type="application/xml")


def problem(error: S3Error, resource: str, request_id: str) -> bytes:
    """The body of an answer that is no success."""
    told = _rendered(
        [("Code", error.code), ("Message", error.message), ("Resource", resource), ("RequestId", request_id)]
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{told}</Error>'.encode("utf-8", "replace")


def _rendered(elements: Iterable[Element]) -> str:
    parts: list[str] = []
    for name, value in elements:
        if value is None:
            continue
        inside = _rendered(value) if isinstance(value, (list, tuple)) else _escaped(value)  # pyright: ignore[reportUnknownArgumentType]
        parts.append(f"<{name}>{inside}</{name}>")
    return "".join(parts)


def _escaped(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _UNSAFE.sub("\ufffd", str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("\r", "&#13;")


def when(us: int) -> str:
    """A time in a listing."""
    return to_datetime(us).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{us // 1_000 % 1_000:03d}Z"


def keyed(text: str, encoding: str) -> str:
    """A key as the client asked for it: with encoding-type url, percent-encoded."""
    return quote(text, safe="/-_.~") if encoding else text


def parse(body: bytes, root: str) -> ElementTree.Element:
    """A document whose root has that name; namespaces are left out. Raises S3Error."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise S3Error("MalformedXML", "The document declares entities; none are taken.")
    try:
        found = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError) as error:
        raise S3Error("MalformedXML", f"The body is not well-formed XML: {error}.") from None
    for element in found.iter():
        element.tag = element.tag.rpartition("}")[2]
    if found.tag != root:
        raise S3Error("MalformedXML", f"The body is a {found.tag}; a {root} is expected.")
    return found


def texts(element: ElementTree.Element, *names: str) -> Sequence[str]:
    """The texts of elements inside, each empty where it is not there."""
    return [element.findtext(name, "") for name in names]
