"""Buckets and what is in them: ListBuckets, HeadBucket, CreateBucket, ListObjects and ListObjectsV2."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec
from starlette.responses import Response

from trine.data import operations as door
from trine.data.browsing import LAST, File, View
from trine.data.commits import DatasetInfo
from trine.data.trees import encode_tree
from trine.errors import InvalidInput, NotFound, TrineError
from trine.operations import every
from trine.server.s3.calls import Call
from trine.server.s3.errors import S3Error
from trine.server.s3.etags import etags
from trine.server.s3.xml import Element, answer, keyed, when

MOST = 1_000
Item = tuple[str, File | None]
"""A key and its file, or a prefix that several keys have."""


def list_buckets(call: Call) -> Response:
    """The datasets of the project."""
    found = [
        ("Bucket", [("Name", one.name), ("CreationDate", when(one.created_us))])
        for one in every(door.list_datasets, call.ws)
    ]
    return answer("ListAllMyBucketsResult", [("Owner", _owner(call)), ("Buckets", found)])


def head_bucket(call: Call) -> Response:
    """Whether a dataset is there."""
    call.dataset()
    return Response(headers={"x-amz-bucket-region": "us-east-1"})


def create_bucket(call: Call) -> Response:
    """A new dataset of files, with nothing in its first commit."""
    try:
        door.get_dataset(call.ws, name=call.bucket)
    except NotFound:
        pass
    else:
        raise S3Error("BucketAlreadyOwnedByYou", f'There is a dataset "{call.bucket}" already.')
    tree, objects = encode_tree([])
    call.ws.store.put_many(objects)
    try:
        door.commit_dataset(call.ws, name=call.bucket, kind="files", tree=tree, message="made through the S3 gateway")
    except InvalidInput as error:
        raise S3Error("InvalidBucketName", error.message) from None
    return Response(headers={"location": f"/{call.bucket}"})


def bucket_location(call: Call) -> Response:
    """Every region is the same here."""
    call.dataset()
    return answer("LocationConstraint", [])


def bucket_versioning(call: Call) -> Response:
    """Not in S3's way: versions are commits."""
    call.dataset()
    return answer("VersioningConfiguration", [])


def list_objects(call: Call) -> Response:
    """One page of keys, version 1."""
    query = call.query
    encoding = _encoding(call)
    most, prefix, delimiter = _most(call), query.get("prefix", ""), query.get("delimiter", "")
    marker = query.get("marker", "")
    items, more = _page(call, prefix, delimiter, marker, most)
    told: list[Element] = [
        ("Name", call.bucket),
        ("Prefix", keyed(prefix, encoding)),
        ("Marker", keyed(marker, encoding)),
        ("NextMarker", keyed(items[-1][0], encoding) if more and delimiter else None),
        *_common(most, delimiter, encoding, more),
    ]
    return answer("ListBucketResult", [*told, *_elements(call, items, encoding, owner=True)])


def list_objects_v2(call: Call) -> Response:
    """One page of keys, version 2."""
    query = call.query
    encoding = _encoding(call)
    most, prefix, delimiter = _most(call), query.get("prefix", ""), query.get("delimiter", "")
    token, start = query.get("continuation-token", ""), query.get("start-after", "")
    items, more = _page(call, prefix, delimiter, _of_token(token) if token else start, most)
    told: list[Element] = [
        ("Name", call.bucket),
        ("Prefix", keyed(prefix, encoding)),
        ("StartAfter", keyed(start, encoding) if start else None),
        ("ContinuationToken", token or None),
        ("NextContinuationToken", _token(items[-1][0]) if more else None),
        ("KeyCount", len(items)),
        *_common(most, delimiter, encoding, more),
    ]
    owner = query.get("fetch-owner") == "true"
    return answer("ListBucketResult", [*told, *_elements(call, items, encoding, owner=owner)])


def _page(call: Call, prefix: str, delimiter: str, after: str, most: int) -> tuple[list[Item], bool]:
    """Up to `most` items after a key, and whether there are more."""
    found: list[Item] = []
    if most:
        for item in _items(call, call.dataset(), prefix, delimiter, after):
            if len(found) == most:
                return found, True
            found.append(item)
    return found, False


def _items(call: Call, info: DatasetInfo, prefix: str, delimiter: str, after: str) -> Iterator[Item]:
    """What is in a bucket in the order of keys: below each branch and tag its files."""
    ref, slash, inner = prefix.partition("/")
    if slash:
        yield from _inside(call, info, ref, inner, delimiter, after)
        return
    for one in sorted({f"{name}/" for name in [*info.branches, *info.tags]}):
        if not one.startswith(prefix) or (one <= after and not after.startswith(one)):
            continue
        if delimiter == "/":
            if one > after:
                yield one, None
        else:
            yield from _inside(call, info, one[:-1], "", delimiter, after)


def _inside(call: Call, info: DatasetInfo, ref: str, prefix: str, delimiter: str, after: str) -> Iterator[Item]:
    try:
        view = View(call.ws, info, ref)
    except (NotFound, InvalidInput):
        return  # there is nothing below it, as with any other prefix
    head = f"{ref}/"
    if after and not after.startswith(head):
        if after > head:
            return
        after = ""
    for item in view.folders(prefix, _after(after.removeprefix(head), delimiter), delimiter):
        yield (head + item, None) if isinstance(item, str) else (head + item.path, item)


def _after(path: str, delimiter: str) -> str:
    """What to go on after: of a prefix, after all that is in it."""
    return path + LAST if delimiter and path.endswith(delimiter) else path


def _common(most: int, delimiter: str, encoding: str, more: bool) -> list[Element]:
    return [
        ("MaxKeys", most),
        ("Delimiter", keyed(delimiter, encoding) if delimiter else None),
        ("EncodingType", encoding or None),
        ("IsTruncated", more),
    ]


def _elements(call: Call, items: list[Item], encoding: str, *, owner: bool) -> Iterator[Element]:
    tags = etags(call.ws, (file.object for _, file in items if file))
    for key, file in items:
        if file:
            told: list[Element] = [
                ("Key", keyed(key, encoding)),
                ("LastModified", when(file.changed_us)),
                ("ETag", tags[file.object]),
                ("Size", file.size_bytes),
                ("StorageClass", "STANDARD"),
            ]
            yield "Contents", [*told, ("Owner", _owner(call))] if owner else told
    for key, file in items:
        if not file:
            yield "CommonPrefixes", [("Prefix", keyed(key, encoding))]


def _owner(call: Call) -> list[Element]:
    return [("ID", call.ws.principal.name), ("DisplayName", call.ws.principal.name)]


def _most(call: Call) -> int:
    text = call.query.get("max-keys", str(MOST))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise S3Error("InvalidArgument", "max-keys has to be a whole number, not negative.")
    return min(int(text), MOST)


def _encoding(call: Call) -> str:
    encoding = call.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise S3Error("InvalidArgument", "encoding-type is url, or nothing.")
    return encoding


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def _of_token(token: str) -> str:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=str)
    except (ValueError, TrineError):
        raise S3Error("InvalidArgument", "The continuation token is not one that was given out here.") from None
