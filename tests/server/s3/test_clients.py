"""Unchanged clients of S3 on a Trine server: boto3 and Polars."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import boto3
import polars as pl
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from trine import data, upkeep
from trine.access import operations as access
from trine.data import operations as door
from trine.data.staging import commit_staged, list_staged
from trine.workspace import Workspace

Client = Any


def keys(ws: Workspace, name: str, role: Any = "admin", **options: Any) -> tuple[str, str]:
    access.create_principal(ws, name=name)
    access.grant_role(ws, principal_name=name, role=role, everywhere=True)
    made = access.create_token(ws, principal_name=name, signs=True, **options)
    return made.id, made.secret_key


def client_of(url: str, pair: tuple[str, str], **options: Any) -> Client:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options)
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=pair[0],
        aws_secret_access_key=pair[1],
        region_name="eu-central-1",
        config=config,
    )


@pytest.fixture(scope="module")
def pair(shared_ws: Workspace, shared_server: tuple[str, str]) -> tuple[str, str]:
    return keys(shared_ws, "service:s3", everywhere=True)


@pytest.fixture(scope="module")
def s3(shared_server: tuple[str, str], pair: tuple[str, str]) -> Iterator[Client]:
    client = client_of(shared_server[0], pair)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Client) -> str:
    name = f"b{os.urandom(6).hex()}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


def code(call: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_what_is_put_is_staged_and_read_at_once_and_committed_by_its_own_call(
    s3: Client, bucket: str, shared_ws: Workspace
) -> None:
    s3.put_object(Bucket=bucket, Key="main/a/ä b+c.txt", Body=b"one", ContentType="text/x", Metadata={"by": "ana"})
    found = s3.get_object(Bucket=bucket, Key="main/a/ä b+c.txt")
    assert found["Body"].read() == b"one"
    assert (found["ContentType"], found["Metadata"]) == ("text/x", {"by": "ana"})
    assert data.resolve(bucket, ws=shared_ws).files == 0
    made = commit_staged(bucket, message="first", ws=shared_ws)
    assert (made.files, made.size_bytes, made.message) == (1, 3, "first")
    assert data.read(bucket, "a/ä b+c.txt", ws=shared_ws) == b"one"
    assert list_staged(shared_ws, name=bucket).items == []
    after = s3.head_object(Bucket=bucket, Key=f"{made.id[:10]}/a/ä b+c.txt")
    assert (after["ETag"], after["ContentType"], after["Metadata"]) == (found["ETag"], "text/x", {"by": "ana"})
    s3.delete_object(Bucket=bucket, Key="main/a/ä b+c.txt")
    assert code(lambda: s3.get_object(Bucket=bucket, Key="main/a/ä b+c.txt")) == ("NoSuchKey", 404)
    assert data.read(bucket, "a/ä b+c.txt", ws=shared_ws) == b"one"
    upkeep.collect(shared_ws, grace_s=0)
    assert commit_staged(bucket, ws=shared_ws).files == 0


def test_buckets_are_the_datasets_of_the_keys_project(
    s3: Client, bucket: str, shared_server: Any, shared_ws: Any
) -> None:
    assert bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert code(lambda: s3.head_bucket(Bucket="none")) == ("404", 404)
    assert code(lambda: s3.create_bucket(Bucket=bucket)) == ("BucketAlreadyOwnedByYou", 409)
    other = shared_ws.for_project("other")
    pair = keys(other, "service:other")
    there = client_of(shared_server[0], pair)
    assert there.list_buckets()["Buckets"] == []
    there.create_bucket(Bucket="mine")
    assert door.list_datasets(other).items[0].name == "mine"
    named = client_of(f"{shared_server[0]}/s3/other", pair)
    assert [one["Name"] for one in named.list_buckets()["Buckets"]] == ["mine"]
    assert code(lambda: client_of(f"{shared_server[0]}/s3/default", pair).list_buckets()) == ("AccessDenied", 403)


def test_keys_are_listed_in_order_with_folders_and_in_pages(s3: Client, bucket: str, shared_ws: Workspace) -> None:
    paths = ["a.txt", "a/1", "a/2", "a/b/3", "b/1", "c", "z&<>", "ü"]
    for path in paths[::2]:
        s3.put_object(Bucket=bucket, Key=f"main/{path}", Body=path.encode())
    commit_staged(bucket, ws=shared_ws)
    data.dataset(bucket, ws=shared_ws).branch("dev")
    data.dataset(bucket, ws=shared_ws).tag("v1")
    for path in paths[1::2]:
        s3.put_object(Bucket=bucket, Key=f"main/{path}", Body=path.encode())
    keyed = [f"main/{path}" for path in paths]

    def pages(operation: str, size: int, **options: Any) -> tuple[list[str], list[str]]:
        found: list[str] = []
        folders: list[str] = []
        for page in s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size}, **options):
            found += [one["Key"] for one in page.get("Contents", [])]
            folders += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        return found, folders

    for operation in ("list_objects_v2", "list_objects"):
        for size in (1, 3, 1000):
            assert pages(operation, size, Prefix="main/") == (keyed, [])
            assert pages(operation, size, Prefix="main/a/") == (["main/a/1", "main/a/2", "main/a/b/3"], [])
            top = ["main/a.txt", "main/c", "main/z&<>", "main/ü"]
            assert pages(operation, size, Prefix="main/", Delimiter="/") == (top, ["main/a/", "main/b/"])
            assert pages(operation, size, Delimiter="/") == ([], ["dev/", "main/", "v1/"])
            old = [f"dev/{path}" for path in sorted(paths[::2])]
            tagged = [f"v1/{path}" for path in sorted(paths[::2])]
            assert pages(operation, size) == ([*old, *sorted(keyed), *tagged], [])
    after = s3.list_objects_v2(Bucket=bucket, Prefix="main/", StartAfter="main/b/1")
    assert [one["Key"] for one in after["Contents"]] == sorted(keyed)[sorted(keyed).index("main/b/1") + 1 :]
    assert s3.list_objects_v2(Bucket=bucket, Prefix="nothing/here")["KeyCount"] == 0
    assert code(lambda: s3.list_objects_v2(Bucket=bucket, ContinuationToken="x")) == ("InvalidArgument", 400)


@pytest.mark.parametrize("body", [b"0123456789", bytes(range(256)) * (5 << 12)], ids=["small", "large"])
def test_ranges_and_conditions(s3: Client, bucket: str, body: bytes) -> None:
    key = "main/x"
    etag = s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]

    def get(key: str = key, **options: Any) -> bytes:
        return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()

    assert get() == body
    assert get(Range="bytes=2-5") == body[2:6]
    assert get(Range="bytes=5-") == body[5:]
    assert get(Range="bytes=-3") == body[-3:]
    part = s3.get_object(Bucket=bucket, Key=key, Range="bytes=8-99999999")
    assert (part["ContentRange"], part["Body"].read()) == (f"bytes 8-{len(body) - 1}/{len(body)}", body[8:])
    assert code(lambda: get(Range=f"bytes={len(body)}-")) == ("InvalidRange", 416)
    assert get(IfMatch=etag) == body
    assert code(lambda: get(IfMatch='"other"')) == ("PreconditionFailed", 412)
    assert code(lambda: get(IfNoneMatch=etag)) == ("304", 304)
    changed = s3.head_object(Bucket=bucket, Key=key)["LastModified"]
    assert code(lambda: get(IfModifiedSince=changed)) == ("304", 304)
    assert get(IfUnmodifiedSince=changed) == body


def test_of_writers_that_expect_something_one_wins(s3: Client, bucket: str) -> None:
    put = s3.put_object
    first = put(Bucket=bucket, Key="main/lock", Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(lambda: put(Bucket=bucket, Key="main/lock", Body=b"2", IfNoneMatch="*")) == ("PreconditionFailed", 412)
    put(Bucket=bucket, Key="main/lock", Body=b"2", IfMatch=first)
    assert code(lambda: put(Bucket=bucket, Key="main/lock", Body=b"3", IfMatch=first)) == ("PreconditionFailed", 412)
    assert code(lambda: put(Bucket=bucket, Key="main/no", Body=b"3", IfMatch=first)) == ("NoSuchKey", 404)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_are_checked(s3: Client, bucket: str, algorithm: str) -> None:
    answer = s3.put_object(Bucket=bucket, Key="main/c", Body=b"checked", ChecksumAlgorithm=algorithm)
    assert answer[f"Checksum{algorithm}"]
    wrong = {f"Checksum{algorithm}": "AAAAAA=="}
    assert code(lambda: s3.put_object(Bucket=bucket, Key="main/d", Body=b"other", **wrong)) == ("BadDigest", 400)
    assert code(lambda: s3.head_object(Bucket=bucket, Key="main/d")) == ("404", 404)


def test_large_files_are_uploaded_in_parts_and_downloaded(s3: Client, bucket: str) -> None:
    body = os.urandom((11 << 20) + 7)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=2)
    s3.upload_fileobj(io.BytesIO(body), bucket, "main/big", Config=config, ExtraArgs={"Metadata": {"k": "v"}})
    there = io.BytesIO()
    s3.download_fileobj(bucket, "main/big", there, Config=config)
    assert there.getvalue() == body
    assert s3.head_object(Bucket=bucket, Key="main/big")["Metadata"] == {"k": "v"}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_an_upload_in_parts_step_by_step(s3: Client, bucket: str) -> None:
    key = {"Bucket": bucket, "Key": "main/parts"}
    upload = {**key, "UploadId": s3.create_multipart_upload(**key)["UploadId"]}
    one = s3.upload_part(**upload, PartNumber=1, Body=b"a" * 100)["ETag"]
    s3.upload_part(**upload, PartNumber=2, Body=b"wrong")
    two = s3.upload_part(**upload, PartNumber=2, Body=b"b" * 50)["ETag"]
    s3.put_object(Bucket=bucket, Key="main/source", Body=b"0123456789")
    source = {"Bucket": bucket, "Key": "main/source"}
    copied = s3.upload_part_copy(**upload, PartNumber=3, CopySource=source, CopySourceRange="bytes=2-4")
    assert [(part["PartNumber"], part["Size"]) for part in s3.list_parts(**upload)["Parts"]] == [
        (1, 100),
        (2, 50),
        (3, 3),
    ]
    assert [part["PartNumber"] for part in s3.list_parts(**upload, MaxParts=1)["Parts"]] == [1]
    assert [each["Key"] for each in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["main/parts"]

    def complete(*parts: tuple[int, str]) -> Any:
        told = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": told})

    three = copied["CopyPartResult"]["ETag"]
    assert code(lambda: complete((1, one), (2, '"no"'))) == ("InvalidPart", 400)
    assert code(lambda: complete((2, two), (1, one))) == ("InvalidPartOrder", 400)
    etag = complete((1, one), (2, two), (3, three))["ETag"]
    found = s3.get_object(**key)
    assert (found["Body"].read(), found["ETag"]) == (b"a" * 100 + b"b" * 50 + b"234", etag)
    assert code(lambda: s3.upload_part(**upload, PartNumber=1, Body=b"late")) == ("NoSuchUpload", 404)
    other = {**key, "UploadId": s3.create_multipart_upload(**key)["UploadId"]}
    s3.abort_multipart_upload(**other)
    assert code(lambda: s3.list_parts(**other)) == ("NoSuchUpload", 404)


def test_files_are_copied_without_their_bytes_and_deleted_together(
    s3: Client, bucket: str, shared_ws: Workspace
) -> None:
    s3.put_object(Bucket=bucket, Key="main/a", Body=b"x", Metadata={"a": "1"})
    commit_staged(bucket, ws=shared_ws)
    data.dataset(bucket, ws=shared_ws).branch("dev")
    s3.copy_object(Bucket=bucket, Key="dev/b/c", CopySource={"Bucket": bucket, "Key": "main/a"})
    assert s3.head_object(Bucket=bucket, Key="dev/b/c")["Metadata"] == {"a": "1"}
    new = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}}
    s3.copy_object(Bucket=bucket, Key="dev/a", CopySource={"Bucket": bucket, "Key": "main/a"}, **new)
    assert s3.head_object(Bucket=bucket, Key="dev/a")["Metadata"] == {"b": "2"}
    missing = {"Bucket": bucket, "Key": "main/none"}
    assert code(lambda: s3.copy_object(Bucket=bucket, Key="dev/d", CopySource=missing)) == ("NoSuchKey", 404)
    gone = [{"Key": key} for key in ("dev/a", "dev/b/c", "dev/never", "v9/x")]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": gone})
    assert [one["Key"] for one in answer["Deleted"]] == ["dev/a", "dev/b/c", "dev/never"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("v9/x", "NoSuchKey")]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="dev/")


def test_only_branches_of_files_can_be_written(s3: Client, bucket: str, shared_ws: Workspace) -> None:
    commit = data.dataset(bucket, ws=shared_ws).tag("v1")
    for ref in ("v1", commit.id):
        expected = ("MethodNotAllowed", 405) if ref == "v1" else ("NoSuchKey", 404)
        assert code(lambda ref=ref: s3.put_object(Bucket=bucket, Key=f"{ref}/x", Body=b"")) == expected  # type: ignore[misc]
    assert code(lambda: s3.put_object(Bucket=bucket, Key="main", Body=b"")) == ("InvalidRequest", 400)
    assert code(lambda: s3.put_object(Bucket=bucket, Key="main/../x", Body=b""))[1] in (400, 404)
    assert code(lambda: s3.put_object(Bucket=bucket, Key="main/a//x", Body=b"")) == ("InvalidRequest", 400)
    assert code(lambda: s3.put_object(Bucket="none", Key="main/x", Body=b"")) == ("NoSuchBucket", 404)
    assert code(lambda: s3.put_bucket_acl(Bucket=bucket, ACL="private")) == ("NotImplemented", 501)
    assert code(lambda: s3.delete_bucket(Bucket=bucket)) == ("NotImplemented", 501)
    s3.put_object(Bucket=bucket, Key="main/folder/", Body=b"")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="main/x", Body=b"")
    s3.put_object(Bucket=bucket, Key="main/x/y", Body=b"")
    with pytest.raises(Exception, match="file and a folder"):
        commit_staged(bucket, ws=shared_ws)


def test_a_viewer_reads_and_cannot_write(s3: Client, bucket: str, shared_server: Any, shared_ws: Workspace) -> None:
    s3.put_object(Bucket=bucket, Key="main/x", Body=b"x")
    reader = client_of(shared_server[0], keys(shared_ws, "user:s3reader", "viewer", everywhere=True))
    assert reader.get_object(Bucket=bucket, Key="main/x")["Body"].read() == b"x"
    assert code(lambda: reader.put_object(Bucket=bucket, Key="main/y", Body=b"")) == ("AccessDenied", 403)
    assert code(lambda: reader.delete_object(Bucket=bucket, Key="main/x")) == ("AccessDenied", 403)


def test_polars_scans_a_version(shared_server: tuple[str, str], pair: tuple[str, str], s3: Client, bucket: str) -> None:
    options = {
        "aws_endpoint_url": shared_server[0],
        "aws_access_key_id": pair[0],
        "aws_secret_access_key": pair[1],
        "aws_region": "eu-central-1",
        "aws_allow_http": "true",
    }
    frame = pl.DataFrame({"id": range(500_000), "x": [0.5] * 500_000})
    for half in (0, 1):
        buffer = io.BytesIO()
        frame[half * 250_000 : (half + 1) * 250_000].write_parquet(buffer, compression="uncompressed")
        s3.put_object(Bucket=bucket, Key=f"main/rows/{half}.parquet", Body=buffer.getvalue())
    scanned = pl.scan_parquet(f"s3://{bucket}/main/rows/*.parquet", storage_options=options)
    assert scanned.select(pl.len()).collect().item() == 500_000
    assert scanned.filter(pl.col("id") == 400_000).collect().rows() == [(400_000, 0.5)]
    frame.head(3).write_parquet(f"s3://{bucket}/main/back.parquet", storage_options=options)
    assert pl.read_parquet(f"s3://{bucket}/main/back.parquet", storage_options=options).height == 3
