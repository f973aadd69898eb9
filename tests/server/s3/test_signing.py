"""Signatures and bodies, down to the bytes: what a client may not send, and what comes in chunks."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.access import operations as access
from trine.data import operations as door
from trine.data.staging import Change, stage
from trine.data.trees import encode_tree
from trine.server.s3.signing import ALGORITHM, Chain, chunk_signature, trailer_signature
from trine.workspace import Workspace


@pytest.fixture(scope="module")
def pair(shared_ws: Workspace, shared_server: tuple[str, str]) -> tuple[str, str]:
    access.create_principal(shared_ws, name="user:ana")
    access.grant_role(shared_ws, principal_name="user:ana", role="admin", everywhere=True)
    made = access.create_token(shared_ws, principal_name="user:ana", signs=True, everywhere=True)
    tree, objects = encode_tree([])
    shared_ws.store.put_many(objects)
    for name in ("images", "health"):
        door.commit_dataset(shared_ws, name=name, kind="files", tree=tree)
        stage(shared_ws, name=name, changes=[Change("x", shared_ws.store.put(b"0123456789"), 10)])
    return made.id, made.secret_key


@pytest.fixture(scope="module")
def http(shared_server: tuple[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_server[0]) as client:
        yield client


class _Signer(S3SigV4Auth):
    """botocore's own, with the hash of the payload given."""

    def __init__(self, pair: tuple[str, str], payload: str) -> None:
        super().__init__(Credentials(*pair), "s3", "us-east-1")
        self._payload = payload

    def payload(self, request: Any) -> str:
        return self._payload


def signed(
    http: httpx.Client,
    pair: tuple[str, str],
    method: str,
    path: str,
    body: bytes = b"",
    payload: str = "UNSIGNED-PAYLOAD",
    headers: dict[str, str] | None = None,
) -> dict[str, str]:
    request = AWSRequest(method=method, url=f"{http.base_url}{path}", data=body, headers=headers or {})
    request.headers["host"] = http.base_url.netloc.decode()
    request.headers["x-amz-content-sha256"] = payload
    _Signer(pair, payload).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def put(http: httpx.Client, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    return http.put(path, content=body, headers=headers)


def code(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


def test_what_is_signed_with_another_secret_is_refused(http: httpx.Client, pair: tuple[str, str]) -> None:
    path = "/images/main/x"
    good = signed(http, pair, "GET", path)
    assert http.get(path, headers=good).content == b"0123456789"
    assert code(http.get("/images/main/y", headers=good)) == "SignatureDoesNotMatch"
    assert code(http.get(path, headers={**good, "x-amz-content-sha256": "0" * 64})) == "SignatureDoesNotMatch"
    assert code(http.get(path, headers=signed(http, (pair[0], "no"), "GET", path))) == "SignatureDoesNotMatch"
    assert code(http.get(path, headers=signed(http, ("0" * 16, pair[1]), "GET", path))) == "InvalidAccessKeyId"
    assert code(http.get(path, headers={**good, "authorization": ALGORITHM})) == "AuthorizationHeaderMalformed"
    old = dict(good)
    old["authorization"] = old["authorization"].replace(old["x-amz-date"][:8], "20200101")
    old["x-amz-date"] = "20200101T000000Z"
    assert code(http.get(path, headers=old)) == "RequestTimeTooSkewed"
    assert code(http.get(f"/s3/default{path}")) == "AccessDenied"


def test_a_token_signs_only_when_it_was_made_for_it(
    http: httpx.Client, pair: tuple[str, str], shared_ws: Workspace
) -> None:
    path = "/images/main/x"
    plain = access.create_token(shared_ws, principal_name="user:ana", everywhere=True)
    assert (plain.secret_key, plain.signs) == ("", False)
    assert code(http.get(path, headers=signed(http, (plain.id, "x"), "GET", path))) == "InvalidAccessKeyId"
    made = access.create_token(shared_ws, principal_name="user:ana", everywhere=True, signs=True)
    listed = {one.id: one for one in access.list_tokens(shared_ws).items}
    assert (listed[made.id].signs, listed[made.id].secret_key) == (True, "")
    headers = signed(http, (made.id, made.secret_key), "GET", path)
    assert http.get(path, headers=headers).status_code == 200
    assert http.get(f"/s3/default{path}", headers={"authorization": f"Bearer {made.text}"}).status_code == 200
    access.revoke_token(shared_ws, id=made.id)
    assert code(http.get(path, headers=headers)) == "InvalidAccessKeyId"


def test_addresses_are_signed_for_a_while(http: httpx.Client, pair: tuple[str, str]) -> None:
    client: Any = boto3.client(
        "s3",
        endpoint_url=str(http.base_url),
        aws_access_key_id=pair[0],
        aws_secret_access_key=pair[1],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    where = {"Bucket": "images", "Key": "main/präsigniert +"}
    assert httpx.put(client.generate_presigned_url("put_object", Params=where), content=b"there").status_code == 200
    address = client.generate_presigned_url("get_object", Params={**where, "ResponseContentType": "text/x"})
    answer = httpx.get(address)
    assert (answer.content, answer.headers["content-type"]) == (b"there", "text/x")
    assert code(httpx.get(address.replace("text%2Fx", "text%2Fy"))) == "SignatureDoesNotMatch"
    assert code(httpx.put(address, content=b"x")) == "SignatureDoesNotMatch"
    day = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).strftime("%Y%m%d")
    parts = dict(part.split("=") for part in urlsplit(address).query.split("&"))
    late = address.replace(parts["X-Amz-Date"], f"{day}T000000Z").replace(parts["X-Amz-Date"][:8], day)
    assert code(httpx.get(late)) == "AccessDenied"


def test_the_dataset_may_stand_in_the_host_name(http: httpx.Client, pair: tuple[str, str]) -> None:
    host = f"images.localhost:{http.base_url.port}"
    request = AWSRequest(method="GET", url=f"http://{host}/main/x", headers={"host": host})
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    _Signer(pair, "UNSIGNED-PAYLOAD").add_auth(request)
    answer = http.get("/main/x", headers=dict(request.headers.items()))
    assert answer.content == b"0123456789"
    assert code(http.get("/s3/default/images/main/x", headers={"host": "evil.example"})) == "AccessDenied"


def test_a_dataset_may_have_the_name_of_a_page(http: httpx.Client, pair: tuple[str, str]) -> None:
    answer = http.get("/health/main/x", headers=signed(http, pair, "GET", "/health/main/x"))
    assert answer.content == b"0123456789"
    assert http.get("/health").json()["status"] == "ok"


def test_a_body_with_another_hash_is_refused(http: httpx.Client, pair: tuple[str, str]) -> None:
    path, body = "/images/main/body", b"body"
    digest = hashlib.sha256(body).hexdigest()
    headers = signed(http, pair, "PUT", path, payload=digest)
    assert put(http, path, headers, body).status_code == 200
    assert code(put(http, path, headers, b"ydob")) == "XAmzContentSHA256Mismatch"
    headers = signed(
        http, pair, "PUT", path, headers={"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    )
    assert put(http, path, headers, body).status_code == 200
    assert code(put(http, path, headers, b"ydob")) == "BadDigest"
    headers = signed(http, pair, "PUT", path, headers={"content-md5": "?"})
    assert code(put(http, path, headers, body)) == "InvalidDigest"


def test_chunks_with_a_trailing_checksum_as_botocore_sends_them(http: httpx.Client, pair: tuple[str, str]) -> None:
    path, body = "/images/main/chunked", os.urandom(200_000)
    told = {
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": str(len(body)),
        "content-encoding": "aws-chunked",
    }
    headers = signed(http, pair, "PUT", path, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER", headers=told)

    def chunked(content: bytes) -> bytes:
        wrapper = AwsChunkedWrapper(
            io.BytesIO(content), checksum_cls=Crc32Checksum, checksum_name="x-amz-checksum-crc32", chunk_size=64 << 10
        )
        return wrapper.read()

    answer = put(http, path, headers, chunked(body))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-amz-checksum-crc32"] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert http.get(path, headers=signed(http, pair, "GET", path)).content == body
    raw = chunked(body)
    assert code(put(http, path, headers, chunked(body[:-1]))) == "IncompleteBody"
    assert code(put(http, path, headers, raw.replace(body[:100], body[1:101]))) == "BadDigest"
    assert code(put(http, path, headers, raw.partition(b"x-amz-checksum")[0])) == "IncompleteBody"
    for cut in (0, 3, 100, len(raw) - 120):
        assert code(put(http, path, headers, raw[:cut])) == "IncompleteBody"
    assert code(put(http, path, headers, b"zz\r\n" + raw)) == "IncompleteBody"
    assert code(put(http, path, headers, b"a" * 100_000)) == "IncompleteBody"


def test_the_signatures_of_chunks_follow_the_published_example() -> None:
    """The example of "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks"."""
    key = b"AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    for part in ("20130524", "us-east-1", "s3", "aws4_request"):
        import hmac

        key = hmac.digest(key, part.encode(), "sha256")
    chain = Chain(
        key,
        "20130524T000000Z",
        "20130524/us-east-1/s3/aws4_request",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    )
    for content, signature in (
        (b"a" * 65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (b"a" * 1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ):
        assert chunk_signature(chain, hashlib.sha256(content).hexdigest()) == signature
        chain = chain._replace(previous=signature)


def test_signed_chunks_are_checked_one_by_one(http: httpx.Client, pair: tuple[str, str]) -> None:
    import hmac

    path, parts = "/images/main/signed", [b"a" * 70_000, b"b" * 10, b""]
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    told = {"x-amz-trailer": "x-amz-checksum-sha256", "content-encoding": "aws-chunked"}
    told["x-amz-decoded-content-length"] = str(sum(map(len, parts)))
    headers = signed(http, pair, "PUT", path, payload=payload, headers=told)
    key = f"AWS4{pair[1]}".encode()
    scope = headers["authorization"].partition(f"{pair[0]}/")[2].partition(",")[0]
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    chain = Chain(key, headers["x-amz-date"], scope, headers["authorization"].rpartition("=")[2])
    body = b""
    for part in parts:
        chain = chain._replace(previous=chunk_signature(chain, hashlib.sha256(part).hexdigest()))
        body += b"%x;chunk-signature=%s\r\n" % (len(part), chain.previous.encode()) + part + (b"\r\n" if part else b"")
    trailer = f"x-amz-checksum-sha256:{base64.b64encode(hashlib.sha256(b''.join(parts)).digest()).decode()}\n"
    body += trailer.encode() + b"x-amz-trailer-signature:" + trailer_signature(chain, trailer).encode() + b"\r\n\r\n"
    assert put(http, path, headers, body).status_code == 200
    assert http.get(path, headers=signed(http, pair, "GET", path)).content == b"".join(parts)
    assert code(put(http, path, headers, body.replace(b"b" * 10, b"c" * 10))) == "SignatureDoesNotMatch"
    assert code(put(http, path, headers, body.replace(b"signature=", b"signature=0", 1))) == "SignatureDoesNotMatch"
    wrong = body.replace(b"trailer-signature:", b"trailer-signature:0")
    assert code(put(http, path, headers, wrong)) == "SignatureDoesNotMatch"


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=30)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]),
    parts=st.lists(st.one_of(st.sampled_from(["images", "main", "x", "..", "", "v1", "%00", "%ff"]), TEXT), max_size=4),
    query=st.dictionaries(
        st.sampled_from(
            ["list-type", "prefix", "delimiter", "max-keys", "uploadId", "uploads", "partNumber", "delete", "tagging"]
        ),
        TEXT,
        max_size=3,
    ),
    headers=st.dictionaries(
        st.sampled_from(
            ["range", "if-match", "if-none-match", "if-modified-since", "x-amz-copy-source", "content-md5"]
        ),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
        max_size=2,
    ),
    body=st.one_of(
        st.just(b""), st.sampled_from([b"<Delete/>", b"<!DOCTYPE x><Delete/>", b"<x"]), st.binary(max_size=40)
    ),
)
def test_no_request_is_a_fault_of_the_server(
    http: httpx.Client,
    shared_server: tuple[str, str],
    pair: tuple[str, str],
    method: str,
    parts: list[str],
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    path = "/".join(["/s3/default", *(part if part.startswith("%") else quote(part, safe="") for part in parts)])
    url = f"{path}?{urlencode(query)}"
    answer = http.request(method, url, headers={**headers, "authorization": f"Bearer {shared_server[1]}"}, content=body)
    assert (
        answer.status_code < 500 or code(answer) == "NotImplemented" or (method == "HEAD" and answer.status_code == 501)
    ), answer.text
