"""Uploads in parts: each part is durable when it is answered; put together they are staged as one file."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from anyio import to_thread
from starlette.responses import Response

from trine.data import uploads as door
from trine.data.aliases import Alias, keep_aliases
from trine.data.uploads import Part, Upload
from trine.errors import InvalidInput, NotFound
from trine.operations import every
from trine.server import guard
from trine.server.s3.bodies import Body
from trine.server.s3.calls import Call
from trine.server.s3.errors import S3Error
from trine.server.s3.objects import Stored, expectation, header_of, precondition, source_of, store
from trine.server.s3.xml import Element, answer, keyed, parse, texts, when
from trine.storage.places import no_space
from trine.workspace import Workspace


def begin(call: Call) -> Response:
    """CreateMultipartUpload."""
    branch, path = call.target()
    header = header_of(call)
    made = door.begin_upload(
        call.ws, name=call.bucket, branch=branch, path=path, content_type=header.content_type, metadata=header.metadata
    )
    told: list[Element] = [("Bucket", call.bucket), ("Key", call.key), ("UploadId", made.id)]
    return answer("InitiateMultipartUploadResult", told)


async def put_part(call: Call) -> Response:
    """UploadPart and UploadPartCopy."""
    number = _number(call)
    upload = await to_thread.run_sync(_upload, call)
    if "x-amz-copy-source" in call.headers:
        stored = await to_thread.run_sync(_copied, call)
    else:
        stored = await store(call.ws, Body(call.request, call.chain))
    await to_thread.run_sync(
        lambda: door.keep_part(
            call.ws, id=upload.id, number=number, object=stored.object, size_bytes=stored.size_bytes, md5=stored.md5
        )
    )
    if "x-amz-copy-source" in call.headers:
        return answer("CopyPartResult", [("LastModified", when(upload.created_us)), ("ETag", f'"{stored.md5}"')])
    return Response(headers={"etag": f'"{stored.md5}"', **stored.checksums})


def _copied(call: Call) -> Stored:
    _, file = source_of(call)
    start, stop = 0, file.size_bytes
    if asked := call.headers.get("x-amz-copy-source-range"):
        first, _, last = asked.removeprefix("bytes=").partition("-")
        if not (asked.startswith("bytes=") and first.isdecimal() and last.isdecimal() and int(last) < file.size_bytes):
            raise S3Error("InvalidArgument", "x-amz-copy-source-range has to be bytes=FIRST-LAST inside the source.")
        start, stop = int(first), int(last) + 1
    data = call.ws.store.read(file.object, start, max(0, stop - start))
    return Stored(call.ws.store.put(data), len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), {})


async def complete(call: Call) -> Response:
    """CompleteMultipartUpload."""
    body = await guard.read_body(call.request)
    return await to_thread.run_sync(_complete, call, body)


def _complete(call: Call, body: bytes) -> Response:
    upload = _upload(call)
    wanted = [tuple(texts(one, "PartNumber", "ETag")) for one in parse(body, "CompleteMultipartUpload").iter("Part")]
    here = {part.number: part for part in _parts(call.ws, upload.id)}
    chosen: list[Part] = []
    for number, etag in wanted:
        part = here.get(int(number)) if number.isascii() and number.isdecimal() and len(number) < 6 else None
        if part is None or part.md5 != etag.strip().strip('"'):
            raise S3Error("InvalidPart", f"There is no part {number[:20]} with ETag {etag[:80]}.")
        if chosen and part.number <= chosen[-1].number:
            raise S3Error("InvalidPartOrder", "The parts have to be in the order of their numbers.")
        chosen.append(part)
    if not chosen:
        raise S3Error("MalformedXML", "An upload is made of at least one part.")
    expect = expectation(call, upload.path)
    stored = _together(call.ws, chosen)
    keep_aliases(call.ws, algorithm="md5", aliases=[Alias(stored.md5, stored.object, stored.size_bytes)], keep=False)
    with precondition():
        door.end_upload(call.ws, id=upload.id, object=stored.object, size_bytes=stored.size_bytes, expect=expect)
    told: list[Element] = [("Bucket", call.bucket), ("Key", call.key), ("ETag", f'"{stored.md5}"')]
    return answer("CompleteMultipartUploadResult", [("Location", f"/{call.bucket}/{call.key}"), *told])


def _together(ws: Workspace, parts: list[Part]) -> Stored:
    """One object of several, read one after the other."""
    if len(parts) == 1:
        return Stored(parts[0].object, parts[0].size_bytes, parts[0].md5, {})
    md5 = hashlib.md5(usedforsecurity=False)
    try:
        ws.spool.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=ws.spool, prefix="upload-") as file:
            for part in parts:
                for piece in ws.store.chunks(part.object):  # type: ignore[attr-defined]
                    md5.update(piece)
                    file.write(piece)
            file.flush()
            [(name, size)] = ws.store.put_files([Path(file.name)])
    except OSError as error:
        raise no_space(str(ws.spool), error) from error
    return Stored(name, size, md5.hexdigest(), {})


def give_up(call: Call) -> Response:
    """AbortMultipartUpload."""
    door.give_up_upload(call.ws, id=_upload(call).id)
    return Response(status_code=204)


def list_parts(call: Call) -> Response:
    """ListParts."""
    upload = _upload(call)
    after, most = _count(call, "part-number-marker", 0), min(_count(call, "max-parts", 1_000), 1_000)
    found = door.list_parts(call.ws, id=upload.id, after=after, limit=1_000)
    shown = found[:most]
    told: list[Element] = [
        ("Bucket", call.bucket),
        ("Key", call.key),
        ("UploadId", upload.id),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", shown[-1].number if shown else 0),
        ("MaxParts", most),
        ("IsTruncated", len(shown) < len(found) or len(found) == 1_000),
    ]
    parts: list[Element] = [
        (
            "Part",
            [
                ("PartNumber", part.number),
                ("LastModified", when(part.changed_us)),
                ("ETag", f'"{part.md5}"'),
                ("Size", part.size_bytes),
            ],
        )
        for part in shown
    ]
    return answer("ListPartsResult", [*told, *parts])


def list_uploads(call: Call) -> Response:
    """ListMultipartUploads."""
    call.dataset()
    prefix, encoding = call.query.get("prefix", ""), call.query.get("encoding-type", "")
    found = [
        (f"{one.branch}/{one.path}", one)
        for one in every(door.list_uploads, call.ws, name=call.bucket)
        if f"{one.branch}/{one.path}".startswith(prefix)
    ]
    told: list[Element] = [("Bucket", call.bucket), ("Prefix", keyed(prefix, encoding)), ("IsTruncated", False)]
    uploads: list[Element] = [
        ("Upload", [("Key", keyed(key, encoding)), ("UploadId", one.id), ("Initiated", when(one.created_us))])
        for key, one in sorted(found, key=lambda each: (each[0], each[1].id))
    ]
    return answer("ListMultipartUploadsResult", [*told, *uploads])


def _upload(call: Call) -> Upload:
    branch, path = call.target()
    try:
        found = door.get_upload(call.ws, id=call.query.get("uploadId", ""))
    except (NotFound, InvalidInput) as error:
        raise S3Error("NoSuchUpload", error.message) from None
    if (found.dataset, found.branch, found.path) != (call.bucket, branch, path):
        raise S3Error("NoSuchUpload", f"Upload {found.id} is of another key.")
    return found


def _parts(ws: Workspace, id: str) -> list[Part]:
    found: list[Part] = []
    while some := door.list_parts(ws, id=id, after=found[-1].number if found else 0):
        found += some
    return found


def _number(call: Call) -> int:
    number = _count(call, "partNumber", 0)
    if not 1 <= number <= 10_000:
        raise S3Error("InvalidArgument", "partNumber has to be between 1 and 10000.")
    return number


def _count(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise S3Error("InvalidArgument", f"{name} has to be a whole number, not negative.")
    return int(text)
