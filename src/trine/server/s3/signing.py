"""AWS Signature Version 4, checked: headers or presigned, and the signatures of chunks.

As described in "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference. Any region is taken.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from starlette.requests import Request

from trine.server.s3.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW = dt.timedelta(minutes=15)
LONGEST_S = 7 * 86_400
EMPTY = hashlib.sha256().hexdigest()


class Signed(NamedTuple):
    """What a request says of its signature."""

    key_id: str
    date: str
    scope: str
    headers: tuple[str, ...]
    signature: str
    payload: str
    presigned: bool


class Chain(NamedTuple):
    """What the signature of a body's next chunk is made with."""

    key: bytes
    date: str
    scope: str
    previous: str


def is_signed(request: Request) -> bool:
    """Whether a request claims to be signed."""
    return request.headers.get("authorization", "").startswith(ALGORITHM) or "X-Amz-Signature" in request.query_params


def read(request: Request, now: dt.datetime) -> Signed:
    """What a signed request says. Raises S3Error when it is not in form or not of now."""
    found = _presigned(request) if "X-Amz-Signature" in request.query_params else _in_headers(request)
    try:
        made = dt.datetime.strptime(found.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        raise S3Error("AccessDenied", "X-Amz-Date has to be a time like 20260102T030405Z.") from None
    parts = found.scope.split("/")
    if len(parts) != 4 or parts[2:] != ["s3", "aws4_request"] or parts[0] != found.date[:8]:
        raise S3Error(
            "AuthorizationHeaderMalformed", f'The scope "{found.scope[:100]}" is not DATE/REGION/s3/aws4_request.'
        )
    if "host" not in found.headers:
        raise S3Error("AccessDenied", "The header Host has to be signed.")
    if found.presigned:
        lasts = request.query_params.get("X-Amz-Expires", "")
        if not lasts.isdecimal() or not 1 <= int(lasts[:9]) <= LONGEST_S:
            raise S3Error("AccessDenied", f"X-Amz-Expires has to be 1 to {LONGEST_S} seconds.")
        if now > made + dt.timedelta(seconds=int(lasts)):
            raise S3Error("AccessDenied", "Request has expired.")
        if made > now + SKEW:
            raise S3Error("RequestTimeTooSkewed", "The request is signed for a time to come: look at the clocks.")
    elif abs(now - made) > SKEW:
        raise S3Error(
            "RequestTimeTooSkewed", f"The request was signed at {found.date}, and it is {now:%Y%m%dT%H%M%SZ} here."
        )
    return found


def check(request: Request, signed: Signed, secret: str) -> Chain:
    """Raise S3Error unless the request was signed with the secret. Gives what chunks of the body are signed with."""
    key = _key(secret, signed.scope)
    to_sign = "\n".join((ALGORITHM, signed.date, signed.scope, _sha256(_canonical(request, signed))))
    made = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    if not hmac.compare_digest(made.encode(), signed.signature.encode("utf-8", "replace")):
        raise S3Error(
            "SignatureDoesNotMatch",
            "The signature is not that of this request with the secret access key: look at the key, and whether something "
            "on the way changes the path or the Host header.",
        )
    return Chain(key, signed.date, signed.scope, signed.signature)


def chunk_signature(chain: Chain, digest: str) -> str:
    """The signature of a chunk whose SHA-256 is `digest`."""
    to_sign = "\n".join((f"{ALGORITHM}-PAYLOAD", chain.date, chain.scope, chain.previous, EMPTY, digest))
    return hmac.new(chain.key, to_sign.encode(), "sha256").hexdigest()


def trailer_signature(chain: Chain, trailers: str) -> str:
    """The signature of the trailing headers, each written `name:value` and a line's end."""
    to_sign = "\n".join((f"{ALGORITHM}-TRAILER", chain.date, chain.scope, chain.previous, _sha256(trailers)))
    return hmac.new(chain.key, to_sign.encode(), "sha256").hexdigest()


def _in_headers(request: Request) -> Signed:
    text = request.headers["authorization"].removeprefix(ALGORITHM)
    fields = {name: value for name, _, value in (part.strip().partition("=") for part in text.split(","))}
    date = request.headers.get("x-amz-date") or _from_http(request.headers.get("date", ""))
    payload = request.headers.get("x-amz-content-sha256", "")
    if not payload:
        raise S3Error("InvalidRequest", "The header x-amz-content-sha256 is missing.")
    return _of_fields(fields, date, payload, presigned=False)


def _presigned(request: Request) -> Signed:
    query = request.query_params
    if query.get("X-Amz-Algorithm") != ALGORITHM:
        raise S3Error("AccessDenied", f"X-Amz-Algorithm has to be {ALGORITHM}.")
    fields = {name: query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
    payload = query.get("X-Amz-Content-Sha256") or request.headers.get("x-amz-content-sha256") or UNSIGNED
    return _of_fields(fields, query.get("X-Amz-Date", ""), payload, presigned=True)


def _of_fields(fields: Mapping[str, str], date: str, payload: str, *, presigned: bool) -> Signed:
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    if missing:
        raise S3Error("AuthorizationHeaderMalformed", f"The signature of the request has no {missing[0]}.")
    key_id, _, scope = fields["Credential"].partition("/")
    headers = tuple(fields["SignedHeaders"].split(";"))
    return Signed(key_id, date, scope, headers, fields["Signature"], payload, presigned)


def _from_http(text: str) -> str:
    try:
        return dt.datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").strftime("%Y%m%dT%H%M%SZ")
    except ValueError:
        return ""


def _canonical(request: Request, signed: Signed) -> str:
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    path = quote(unquote_to_bytes(raw.partition(b"?")[0]), safe="/-_.~")
    headers = "".join(f"{name}:{_header(request, name)}\n" for name in signed.headers)
    return "\n".join(
        (request.method, path, _canonical_query(request), headers, ";".join(signed.headers), signed.payload)
    )


def _header(request: Request, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in request.headers.getlist(name))


def _canonical_query(request: Request) -> str:
    pairs: list[tuple[str, str]] = []
    for part in request.scope["query_string"].decode("latin-1").split("&"):
        name, _, value = part.partition("=")
        if part and name != "X-Amz-Signature":
            pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape").encode("utf-8", "surrogateescape"), safe="-_.~")


def _key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
