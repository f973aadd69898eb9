"""Single files: GetObject, HeadObject, PutObject, CopyObject, DeleteObject and DeleteObjects."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import unquote

from anyio import to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from trine.data.aliases import Alias, keep_aliases
from trine.data.browsing import File, View
from trine.data.reading import local_file
from trine.data.staging import Change, Header, get_header, stage
from trine.errors import Conflict, TrineError
from trine.server import guard
from trine.server.objects import held_back
from trine.server.s3.bodies import Body
from trine.server.s3.calls import Call, find
from trine.server.s3.errors import S3Error, from_trine
from trine.server.s3.etags import check_read, etags, expected
from trine.server.s3.xml import Element, answer, parse, texts, when
from trine.storage.places import CHUNK, no_space
from trine.workspace import Workspace

META = "x-amz-meta-"
MOST_META = 2 << 10
LARGE = 4 << 20
"""From so many bytes on, a range is read from a checked file on this disk; below, from memory."""
OCTETS = "binary/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_REFUSED = (
    "x-amz-server-side-encryption",
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "x-amz-website-redirect-location",
)


class Stored(NamedTuple):
    """What came with a request: its object, size and MD5, and the checksums that were found to be right."""

    object: str
    size_bytes: int
    md5: str
    checksums: dict[str, str]


def describe(call: Call) -> tuple[File, dict[str, str], bool]:
    """A file, the headers that tell of it, and whether it has to be sent."""
    view, file = call.find()
    etag = etags(call.ws, [file.object])[file.object]
    header = get_header(call.ws, name=view.name, path=file.path, object=file.object)
    told = {
        "etag": etag,
        "last-modified": _http_date(file.changed_us),
        "content-type": header.content_type or mimetypes.guess_type(file.path)[0] or OCTETS,
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
        "x-amz-version-id": view.commit.id if not file.staged else "null",
        **{META + name: value for name, value in header.metadata.items()},
    }
    for name in (
        "content-type",
        "content-disposition",
        "content-encoding",
        "cache-control",
        "content-language",
        "expires",
    ):
        if value := call.query.get(f"response-{name}"):
            told[name] = value.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "")
    return file, told, check_read(call.headers, file, etag)


async def get_object(call: Call) -> Response:
    """A file, or a range of it, or (HEAD) what is told of it."""
    file, told, is_wanted = await to_thread.run_sync(describe, call)
    if not is_wanted:
        return Response(status_code=304, headers={name: told[name] for name in ("etag", "last-modified")})
    start, stop, is_part = 0, file.size_bytes, False
    if (asked := call.headers.get("range")) and call.headers.get("if-range", told["etag"]) == told["etag"]:
        start, stop, is_part = _span(asked, file.size_bytes)
    if is_part:
        told["content-range"] = f"bytes {start}-{stop - 1}/{file.size_bytes}"
    told["content-length"] = str(stop - start)
    status = 206 if is_part else 200
    if call.request.method == "HEAD":
        return Response(status_code=status, headers=told)
    if file.size_bytes < LARGE:
        data = await to_thread.run_sync(call.ws.store.get, file.object)
        return Response(data[start:stop], status, told)
    if is_part:
        source = await to_thread.run_sync(lambda: local_file(call.ws, file.object).open("rb"))
        return StreamingResponse(iterate_in_threadpool(_part(source, start, stop)), status, told)
    chunks = held_back(call.ws.store.chunks(file.object))  # type: ignore[attr-defined]
    return StreamingResponse(iterate_in_threadpool(chunks), status, told)


def _part(source: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with source:
        source.seek(start)
        while start < stop and (part := source.read(min(CHUNK, stop - start))):
            start += len(part)
            yield part


def _span(asked: str, size: int) -> tuple[int, int, bool]:
    """Where a range begins and ends, and whether it is one: more than one range, or another unit, means all of it."""
    found = _RANGE.fullmatch(asked.strip())
    if not found or not any(found.groups()):
        return 0, size, False
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
        if not int(last):
            start = size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return 0, size, False
    if start >= size:
        raise S3Error("InvalidRange", f"The range begins at {start}, and the file has {size} bytes.")
    return start, stop, True


async def put_object(call: Call) -> Response:
    """Stage a file on a branch; on disk when it is answered."""
    for name in _REFUSED:
        if name in call.headers:
            raise S3Error("NotImplemented", f"The header {name} is not taken here.")
    branch, path = await to_thread.run_sync(call.target)
    header = header_of(call)
    if path.endswith("/"):  # a folder: it is there as long as files are in it
        md5 = await _nothing(call)
        return Response(headers={"etag": f'"{md5}"'})
    expect = await to_thread.run_sync(expectation, call, path)
    stored = await store(call.ws, Body(call.request, call.chain))
    change = Change(path, stored.object, stored.size_bytes, False, header.content_type, header.metadata)
    await to_thread.run_sync(keep, call.ws, call.bucket, branch, change, stored.md5, expect)
    return Response(headers={"etag": f'"{stored.md5}"', **stored.checksums})


def keep(ws: Workspace, name: str, branch: str, change: Change, md5: str, expect: dict[str, str]) -> None:
    """Stage a file whose MD5 is known. Raises S3Error when another one is there than expected."""
    keep_aliases(ws, algorithm="md5", aliases=[Alias(md5, change.object, change.size_bytes)], keep=False)
    with precondition():
        stage(ws, name=name, branch=branch, changes=[change], expect=expect)


class precondition:
    """What was expected and is not any more is a precondition that failed."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Conflict) and "path" in error.details:
            raise S3Error("PreconditionFailed", error.message) from None


def expectation(call: Call, path: str) -> dict[str, str]:
    """What has to be at a path for it to be written."""
    if not ({"if-match", "if-none-match"} & set(call.headers)):
        return {}
    view, _ = call.view()
    file = view.find(path)
    return expected(call.headers, path, file, etags(call.ws, [file.object])[file.object] if file else "")


async def _nothing(call: Call) -> str:
    body = Body(call.request, call.chain)
    async for _ in body:
        raise S3Error("InvalidRequest", "A key that ends with / is a folder: it has no content of its own.")
    return body.md5


async def store(ws: Workspace, body: Body) -> Stored:
    """Have the content of a request in the store, durable and checked."""
    try:
        ws.spool.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=ws.spool, prefix="upload-") as file:
            async for parts in _gathered(body):
                await to_thread.run_sync(file.write, parts)
            file.flush()
            [(name, size)] = await to_thread.run_sync(ws.store.put_files, [Path(file.name)])
    except OSError as error:
        raise no_space(str(ws.spool), error) from error
    return Stored(name, size, body.md5, body.checksums)


async def _gathered(body: Body) -> AsyncIterator[bytes]:
    """The same bytes in pieces of a megabyte: each is handed to a thread."""
    waiting: list[bytes] = []
    size = 0
    async for part in body:
        waiting.append(part)
        size += len(part)
        if size >= 1 << 20:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def header_of(call: Call) -> Header:
    """What a request says of the file that it brings."""
    told = {name.removeprefix(META): value for name, value in call.headers.items() if name.startswith(META)}
    if sum(len(name) + len(value) for name, value in told.items()) > MOST_META:
        raise S3Error("InvalidRequest", f"The metadata of a file has at most {MOST_META} bytes.")
    kind = call.headers.get("content-type", "")
    return Header("" if kind == OCTETS else kind, told)


def source_of(call: Call) -> tuple[View, File]:
    """The file that a copy is made of. Raises S3Error."""
    text = unquote(call.headers["x-amz-copy-source"].partition("?")[0]).lstrip("/")
    bucket, _, key = text.partition("/")
    view, file = find(call.ws, bucket, key)
    etag = etags(call.ws, [file.object])[file.object]
    conditions = {
        name.removeprefix("x-amz-copy-source-"): value
        for name, value in call.headers.items()
        if name.startswith("x-amz-copy-source-if-")
    }
    if not check_read(conditions, file, etag):
        raise S3Error("PreconditionFailed", "The source of the copy is not what was asked for.")
    return view, file


def copy_object(call: Call) -> Response:
    """Stage a file that is there already under another key; its bytes are not copied."""
    branch, path = call.target()
    view, file = source_of(call)
    if call.headers.get("x-amz-metadata-directive", "COPY").upper() == "REPLACE":
        header = header_of(call)
    else:
        header = get_header(call.ws, name=view.name, path=file.path, object=file.object)
    change = Change(path, file.object, file.size_bytes, file.executable, header.content_type, header.metadata)
    expect = expectation(call, path)
    with precondition():
        stage(call.ws, name=call.bucket, branch=branch, changes=[change], expect=expect)
    etag = etags(call.ws, [file.object])[file.object]
    staged = View(call.ws, call.dataset(), branch).find(path)
    changed_us = staged.changed_us if staged else file.changed_us
    return answer("CopyObjectResult", [("LastModified", when(changed_us)), ("ETag", etag)])


def delete_object(call: Call) -> Response:
    """Stage that a file goes; one that is not there is gone already."""
    branch, path = call.target()
    if not path.endswith("/"):
        stage(call.ws, name=call.bucket, branch=branch, changes=[Change(path)])
    return Response(status_code=204)


async def delete_objects(call: Call) -> Response:
    """Stage that many files go, and say of each what became of it."""
    body = await guard.read_body(call.request)
    _check_body(call, body)
    return await to_thread.run_sync(_delete, call, body)


def _check_body(call: Call, body: bytes) -> None:
    told = call.headers.get("x-amz-content-sha256", "")
    if len(told) == 64 and hashlib.sha256(body).hexdigest() != told:
        raise S3Error("XAmzContentSHA256Mismatch", "The body has another SHA-256 than x-amz-content-sha256 says.")
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if call.headers.get("content-md5", md5) != md5:
        raise S3Error("BadDigest", "The body has another content-md5 than was sent with it.")


def _delete(call: Call, body: bytes) -> Response:
    document = parse(body, "Delete")
    keys = [texts(one, "Key")[0] for one in document.iter("Object")]
    if not 0 < len(keys) <= 1_000:
        raise S3Error("MalformedXML", "Between one and a thousand keys go at once.")
    wanted: dict[str, list[str]] = {}
    failed: list[Element] = []
    gone: list[str] = []
    for key in dict.fromkeys(keys):
        try:
            branch, path = Call(call.ws, call.request, call.bucket, key).target()
        except (S3Error, TrineError) as error:
            found = from_trine(error) if isinstance(error, TrineError) else error
            failed.append(("Error", [("Key", key), ("Code", found.code), ("Message", found.message)]))
            continue
        gone.append(key)
        if not path.endswith("/"):
            wanted.setdefault(branch, []).append(path)
    for branch, paths in wanted.items():
        stage(call.ws, name=call.bucket, branch=branch, changes=[Change(path) for path in paths])
    quiet = texts(document, "Quiet")[0] == "true"
    deleted: list[Element] = [] if quiet else [("Deleted", [("Key", key)]) for key in gone]
    return answer("DeleteResult", [*deleted, *failed])


def _http_date(us: int) -> str:
    import email.utils

    return email.utils.formatdate(us / 1_000_000, usegmt=True)
