"""Bodies of uploads: plain or in aws-chunks, with the checks that their sender asked for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from starlette.requests import Request

from trine.errors import InvalidInput
from trine.extras import need
from trine.server.s3.errors import S3Error
from trine.server.s3.signing import UNSIGNED, Chain, chunk_signature, trailer_signature

STREAMING = "STREAMING-"
TRAILER = "-TRAILER"
CHECKSUM = "x-amz-checksum-"
LONGEST_LINE = 16 << 10


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> Any: ...
    def digest(self) -> bytes: ...


class _Crc:
    """A cyclic redundancy check that a function carries on with."""

    def __init__(self, function: Callable[[bytes, int], int], width: int) -> None:
        self._function = function
        self._width = width
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


def _fast(name: str) -> Callable[[bytes, int], int]:
    checksums = need("awscrt.checksums", extra="s3", purpose=f"Checking {name.upper()}")
    return getattr(checksums, name)


_CHECKS: dict[str, Callable[[], _Hasher]] = {
    "crc32": lambda: _Crc(zlib.crc32, 4),
    "crc32c": lambda: _Crc(_fast("crc32c"), 4),
    "crc64nvme": lambda: _Crc(_fast("crc64nvme"), 8),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


class Body:
    """The content that a request carries: iterate over it, and `md5` is its MD5; at its end it was checked, or S3Error raised."""

    def __init__(self, request: Request, chain: Chain | None) -> None:
        self._request = request
        self._chain = chain
        self._payload = request.headers.get("x-amz-content-sha256", UNSIGNED)
        self._is_signed = chain is not None and (
            len(self._payload) == 64 or self._payload.startswith(f"{STREAMING}AWS4")
        )
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._checks: dict[str, _Hasher] = {}
        self._expected: dict[str, bytes] = {}
        self._announced: set[str] = set()
        self.size = 0
        self._expect()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    @property
    def checksums(self) -> dict[str, str]:
        """The headers that tell the sender which checksums were found to be right."""
        return {
            CHECKSUM + name: base64.b64encode(hasher.digest()).decode()
            for name, hasher in self._checks.items()
            if name in _CHECKS and CHECKSUM + name in self._expected
        }

    def _expect(self) -> None:
        headers = self._request.headers
        for name in _CHECKS:
            if value := headers.get(CHECKSUM + name):
                self._want(CHECKSUM + name, value)
        for name in headers.get("x-amz-trailer", "").lower().split(","):
            if kind := name.strip().removeprefix(CHECKSUM):
                if kind not in _CHECKS:
                    raise S3Error("InvalidRequest", f'The trailer "{name.strip()[:80]}" is not known.')
                self._announced.add(name.strip())
                self._add(kind)
        if value := headers.get("content-md5"):
            self._expected["content-md5"] = _decoded("content-md5", value)

    def _want(self, header: str, value: str) -> None:
        kind = header.removeprefix(CHECKSUM)
        if self._add(kind):
            self._expected[header] = _decoded(header, value)

    def _add(self, kind: str) -> bool:
        """Compute a checksum; where the library for it is not there, a body that is signed is checked by its signature."""
        if kind not in self._checks:
            try:
                self._checks[kind] = _CHECKS[kind]()
            except InvalidInput:
                if not self._is_signed:
                    raise
                return False
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        signed = hashlib.sha256() if len(self._payload) == 64 else None
        in_chunks = self._payload.startswith(STREAMING) or "aws-chunked" in self._request.headers.get(
            "content-encoding", ""
        )
        parts = self._chunks() if in_chunks else self._request.stream()
        async for part in parts:
            if not part:
                continue
            self.size += len(part)
            self._md5.update(part)
            for hasher in self._checks.values():
                hasher.update(part)
            if signed:
                signed.update(part)
            yield part
        if signed and not in_chunks and not hmac.compare_digest(signed.hexdigest(), self._payload):
            raise S3Error("XAmzContentSHA256Mismatch", "The body has another SHA-256 than x-amz-content-sha256 says.")
        self._check()

    def _check(self) -> None:
        length = self._request.headers.get("x-amz-decoded-content-length", "")
        if length and length != str(self.size):
            raise S3Error("IncompleteBody", f"The body has {self.size} bytes, not {length[:20]}.")
        for header, wanted in self._expected.items():
            hasher = self._md5 if header == "content-md5" else self._checks[header.removeprefix(CHECKSUM)]
            if hasher.digest() != wanted:
                raise S3Error("BadDigest", f"The body has another {header} than was sent with it.")

    async def _chunks(self) -> AsyncIterator[bytes]:
        source = _Source(self._request.stream())
        is_signed = self._payload.startswith(f"{STREAMING}AWS4")
        if is_signed and self._chain is None:
            raise S3Error("AccessDenied", "The chunks are signed, and the request is not.")
        while True:
            length, _, rest = (await source.line()).partition(b";")
            try:
                left = int(length, 16)
            except ValueError:
                raise S3Error("IncompleteBody", "The body is not in aws-chunks.") from None
            hasher = hashlib.sha256()
            last = left == 0
            while left:
                part = await source.take(left)
                left -= len(part)
                if is_signed:
                    hasher.update(part)
                yield part
            if is_signed:
                self._follow(rest, hasher.hexdigest())
            if last:
                break
            if await source.line():
                raise S3Error("IncompleteBody", "A chunk is longer than it says.")
        await self._trailers(source, is_signed)

    def _follow(self, extension: bytes, digest: str) -> None:
        assert self._chain is not None
        made = chunk_signature(self._chain, digest)
        if not hmac.compare_digest(extension.removeprefix(b"chunk-signature="), made.encode()):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk is not right.")
        self._chain = self._chain._replace(previous=made)

    async def _trailers(self, source: _Source, is_signed: bool) -> None:
        told = ""
        while line := await source.line(at_end=b""):
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == "x-amz-trailer-signature":
                if is_signed and self._chain and value != trailer_signature(self._chain, told):
                    raise S3Error("SignatureDoesNotMatch", "The signature of the trailing headers is not right.")
                told = ""
                continue
            told += f"{name}:{value}\n"
            self._announced.discard(name)
            if name.startswith(CHECKSUM) and name.removeprefix(CHECKSUM) in self._checks:
                self._expected[name] = _decoded(name, value)
        if told and is_signed and self._payload.endswith(TRAILER):
            raise S3Error("SignatureDoesNotMatch", "The trailing headers are not signed.")
        if self._announced:
            raise S3Error("IncompleteBody", f"The trailer {min(self._announced)[:80]} was announced and did not come.")


class _Source:
    """Lines and bytes of a stream."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = b""

    async def _more(self) -> bool:
        async for part in self._stream:
            if part:
                self._buffer += part
                return True
        return False

    async def line(self, at_end: bytes | None = None) -> bytes:
        """The next line without its end; `at_end` where there is none any more."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LONGEST_LINE or not await self._more():
                if at_end is not None and not self._buffer:
                    return at_end
                raise S3Error("IncompleteBody", "The body ends before its last chunk.")
        found, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return found.rstrip(b"\r")

    async def take(self, most: int) -> bytes:
        """At least one byte, and at most so many."""
        if not self._buffer and not await self._more():
            raise S3Error("IncompleteBody", "The body ends inside a chunk.")
        found, self._buffer = self._buffer[:most], self._buffer[most:]
        return found


def _decoded(header: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise S3Error("InvalidDigest", f"The value of {header} is not Base64.") from None
