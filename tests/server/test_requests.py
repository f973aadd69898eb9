"""Requests as they come: malformed, huge, for the wrong host, with tricks in the path. Right answers, never a 500."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import Failure, InvalidInput, NotFound, TooLarge, Unavailable
from trine.operations import REGISTRY, Limit, Name, Operation, operation
from trine.remote import Remote
from trine.server.guard import LARGEST_BODY
from trine.server.routing import split, tree_of
from trine.workspace import Workspace, connect

Text = Annotated[str, msgspec.Meta(min_length=1)]


@operation("GET /test-echo/{part}/of/{other}", allows="server.read")
def echo(
    ws: Workspace,
    *,
    part: str,
    other: str,
    text: str = "",
    maybe: str | None = None,
    texts: list[str] = [],  # noqa: B006
    number: int = 0,
    numbers: list[int] = [],  # noqa: B006
    real: float = 0.0,
    flag: bool = False,
    choice: Literal["a", "b"] = "a",
    when: dt.datetime | None = None,
    limit: Limit = 10,
) -> dict[str, Any]:
    """Say what arrived."""
    return {name: value for name, value in locals().items() if name != "ws"}


@operation("DELETE /test-echo/{part}", allows="server.delete")
def remove(ws: Workspace, *, part: str, hard: bool = False) -> list[Any]:
    """Say what would be removed."""
    return [part, hard]


@operation("POST /test-echo/{part}", allows="server.write")
def take(ws: Workspace, *, part: Name, value: Any = None) -> Any:
    """Say what was sent."""
    return value


@operation("POST /test-broken", allows="server.write")
def broken(ws: Workspace) -> str:
    """Have a bug."""
    raise RuntimeError("secret detail")


@pytest.fixture(scope="module")
def server(shared_server: tuple[str, str]) -> Iterator[httpx.Client]:
    url, token = shared_server
    limits = httpx.Limits(max_keepalive_connections=0)  # an idle connection may be closed just when it is used again
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def remote(shared_server: tuple[str, str]) -> Iterator[Workspace]:
    url, token = shared_server
    with connect(url, token=token) as ws:
        yield ws


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
whole = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=150)
@given(
    part=st.one_of(texts, st.sampled_from([".", "..", "a/b", "%2F", "a?b#c", "", " ", "\n", "null", "true", "1"])),
    other=texts,
    values=st.fixed_dictionaries(
        {},
        optional={
            "text": texts,
            "maybe": st.one_of(texts, st.sampled_from(["null", "None", ""])),
            "texts": st.lists(texts, min_size=1, max_size=4),
            "number": whole,
            "numbers": st.lists(whole, min_size=1, max_size=4),
            "real": st.floats(allow_nan=False),
            "flag": st.booleans(),
            "choice": st.sampled_from(["a", "b"]),
            "when": st.datetimes(dt.datetime(1970, 1, 1), timezones=st.just(dt.UTC)),
            "limit": st.integers(1, 1000),
        },
    ),
)
def test_what_is_sent_in_path_and_query_arrives(
    shared_ws: Workspace, remote: Workspace, part: str, other: str, values: dict[str, Any]
) -> None:
    expected = echo(shared_ws, part=part, other=other, **values)
    assert echo(remote, part=part, other=other, **values) == expected
    assert remove(remote, part=part, hard=True) == [part, True]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | whole
        | st.floats(allow_nan=False)
        | texts
        | st.binary(max_size=9)
        | st.datetimes(timezones=st.just(dt.UTC)),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    )
)
def test_what_is_sent_in_a_body_arrives(remote: Workspace, value: Any) -> None:
    assert take(remote, part="a", value=value) == value


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("number=x", "number"),
        ("number=9223372036854775808", "number"),
        ("flag=maybe", "flag"),
        ("choice=c", "choice"),
        ("when=yesterday", "when"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("numbers=1&numbers=x", "numbers"),
        ("real=", "real"),
        ("texts=%00", "texts"),
        ("nothing=1", 'no argument "nothing"'),
        ("nmuber=1", 'Did you mean "number"'),
    ],
)
def test_wrong_queries_are_named(server: httpx.Client, query: str, words: str) -> None:
    answer = server.get(f"/api/v1/test-echo/a/of/b?{query}")
    assert told(answer) == (422, "invalid_input")
    assert words in answer.json()["error"]["message"]


BODIES = {
    "nothing": (b"", "application/json", 200),
    "a list": (b"[1]", "application/json", 422),
    "a number": (b"1", "application/json", 422),
    "half": (b'{"value": [', "application/json", 422),
    "not utf-8": (b'{"value": "\xff"}', "application/json", 422),
    "half a character": (b'{"value": "\\ud800"}', "application/json", 422),
    "a nul": (b'{"value": "\\u0000"}', "application/json", 422),
    "deep": (b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json", 422),
    "deep objects": (b'{"value":' * 50_000 + b"1" + b"}" * 50_000, "application/json", 422),
    "too deep for an event": (b'{"value": ' + b"[" * 80 + b"]" * 80 + b"}", "application/json", 422),
    "a large number": (b'{"value": 1' + b"0" * 400 + b"}", "application/json", 422),
    "beyond 64 bits": (b'{"value": 18446744073709551615}', "application/json", 422),
    "a large real": (b'{"value": 1e400}', "application/json", 422),
    "NaN": (b'{"value": NaN}', "application/json", 422),
    "twice": (b'{"value": 1, "value": 2}', "application/json", 200),
    "unknown": (b'{"valeu": 1}', "application/json", 422),
    "the path again": (b'{"part": "b", "value": 1}', "application/json", 200),
    "msgpack cut short": (b"\x81\xa5value\xdd\xff\xff\xff\xff", "application/msgpack", 422),
    "msgpack key": (b"\x81\x01\x02", "application/msgpack", 422),
    "msgpack deep": (b"\x81\xa5value" + b"\x91" * 100_000 + b"\xc0", "application/msgpack", 422),
    "msgpack extension": (b"\x81\xa5value\xd4\x05\x00", "application/msgpack", 422),
    "msgpack as json": (b"\x81\xa5value\x01", "application/json", 422),
    "a form": (b"value=1", "application/x-www-form-urlencoded", 422),
    "text": (b'{"value": 1}', "text/plain", 422),
    "json with charset": (b'{"value": 1}', "application/json; charset=utf-8", 200),
    "no type": (b'{"value": 1}', "", 200),
}


@pytest.mark.parametrize("what", BODIES)
def test_wrong_bodies_are_refused(server: httpx.Client, what: str) -> None:
    body, kind, status = BODIES[what]
    answer = server.post("/api/v1/test-echo/a", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["code"] == "invalid_input"


def test_huge_bodies_are_refused_before_they_are_kept(server: httpx.Client) -> None:
    def endless(chunks: int) -> Iterator[bytes]:
        for _ in range(chunks):
            yield b" " * (1 << 20)

    address = (server.base_url.host, server.base_url.port)
    with socket.create_connection(address) as raw:  # says it is large, and sends nothing
        head = f"POST /api/v1/test-echo/a HTTP/1.1\r\nhost: localhost\r\n{auth(server)}content-length: {LARGEST_BODY + 1}\r\n\r\n"
        raw.sendall(head.encode())
        assert b" 413 " in raw.recv(4096)
    with contextlib.suppress(httpx.TransportError):  # the server may hang up while it is still being sent to
        assert told(server.post("/api/v1/test-echo/a", content=endless(20))) == (413, "too_large")
    fits = json.dumps({"value": "x" * (8 << 20)}).encode()
    assert (
        server.post("/api/v1/test-echo/a", content=fits, headers={"content-type": "application/json"}).status_code
        == 200
    )


def auth(server: httpx.Client) -> str:
    return f"authorization: {server.headers['authorization']}\r\n"


PATHS = [
    "/api/v1/../../etc/passwd",
    "/api/v1/test-echo/%2e%2e/of/..%2f..%2fetc",
    "/api/v1/test-echo/..%5c..%5c/of/x",
    "/api/v1//test-echo//of//",
    "/api/v1/test-echo/a/of/b/",
    "/api/v1/%ff/%fe",
    "/api/v1/test-echo/%00/of/b",
    "/api/v1/" + "a/" * 3000,
    "/api/v1/objects/..%2F..%2Fledger.db",
    "/api/v1/objects/" + "0" * 64,
    "/api/v1/objects/" + "A" * 64,
    "/api/v1/objects/%00",
    "/api/v1",
    "/api/v1/",
    "/api",
    "/",
    "/%00",
    "/health/",
    "//evil.example/",
    "/api/v1/events/stream?after=-1",
    "/api/v1/events/stream?after=999999999999999999999",
    "/api/v1/events/stream?after=%D9%A3",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_tricks_in_paths_get_a_4xx(server: httpx.Client, method: str, path: str) -> None:
    address = (server.base_url.host, server.base_url.port)
    with socket.create_connection(address, timeout=20) as raw:
        raw.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{auth(server)}content-length: 0\r\n\r\n".encode()
        )
        answer = b""
        while part := raw.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    served = path.startswith("/api/v1/test-echo/") or (method, path) == ("GET", "/")  # the pages begin there
    assert 400 <= status < 500 or (status == 200 and served), head
    if status not in (200, 400) and body:
        assert json.loads(body)["error"]["message"]


def test_a_method_that_is_not_taken_is_told(server: httpx.Client) -> None:
    answer = server.put("/api/v1/test-echo/a")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, POST"
    assert "DELETE, POST" in answer.json()["error"]["message"]
    assert server.head("/api/v1/test-echo/a/of/b").status_code == 200
    assert server.post("/health").status_code == 405
    assert server.get("/health").json()["status"] == "ok"


def test_a_fault_of_the_server_says_nothing_of_its_inside(
    server: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = server.post("/api/v1/test-broken")
    assert told(answer) == (500, "failure")
    assert "secret detail" not in answer.text
    incident = answer.json()["error"]["details"]["incident"]
    assert incident in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("path", ["/api/v1/test-echo/a/of/b", "/api/v1/me", "/api/v1/objects/has"])
def test_only_known_hosts_and_own_pages_may_call(server: httpx.Client, path: str) -> None:
    own = f"{server.base_url.host}:{server.base_url.port}"
    method = "POST" if path.endswith("has") else "GET"
    for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "localhost.", "[::2]"):
        assert told(server.request(method, path, headers={"host": host}, content=b"[]")) == (403, "refused"), host
    for host in (own, "localhost", "LOCALHOST:1", "[::1]", "[::1]:9"):
        assert server.request(method, path, headers={"host": host}, content=b"[]").status_code == 200, host


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_sites_page_may_not_change_anything(server: httpx.Client, method: str) -> None:
    own = f"{server.base_url.host}:{server.base_url.port}"
    for origin in (
        "http://evil.example",
        "null",
        "",
        f"http://{own}.evil.example",
        "http://[",
        "file://",
        "http://127.0.0.1",
    ):
        answer = server.request(method, "/api/v1/test-echo/a", headers={"origin": origin})
        assert told(answer) == (403, "refused"), origin
    assert server.get("/api/v1/test-echo/a/of/b", headers={"origin": "http://evil.example"}).status_code == 200
    assert server.post("/api/v1/test-echo/a", headers={"origin": f"http://{own}"}).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic !!", "Basic YTpi", "Digest x", "Bearer trn_\xff_x"]
)
def test_without_a_valid_token_nothing_is_answered(server: httpx.Client, header: str) -> None:
    calls = [("GET", "/api/v1/me"), ("POST", "/api/v1/test-echo/a"), ("GET", "/api/v1/events/stream"),
             ("POST", "/api/v1/objects"), ("PUT", "/api/v1/objects"), ("POST", "/api/v1/objects/has"),
             ("POST", "/api/v1/objects/get"),
             ("GET", "/api/v1/objects/" + "0" * 64)]  # fmt: skip
    for method, path in calls:
        answer = server.request(method, path, headers={"authorization": header.encode("latin-1")})
        assert told(answer) == (401, "unauthenticated"), path
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_is_taken_as_the_password_of_basic_authentication(server: httpx.Client) -> None:
    token = server.headers["authorization"].removeprefix("Bearer ")
    answer = httpx.get(f"{server.base_url}/api/v1/me", auth=("anybody", token))
    assert answer.json()["name"] == "user:tester"


def test_headers_that_name_things_are_checked(server: httpx.Client) -> None:
    for name in ("*", "a b", "../x", "x" * 201):
        assert told(server.get("/api/v1/me", headers={"trine-project": name})) == (422, "invalid_input")
    for key in ("a b", "x" * 201):
        assert told(server.post("/api/v1/test-echo/a", headers={"idempotency-key": key})) == (422, "invalid_input")


def test_an_idempotency_key_works_over_http(server: httpx.Client) -> None:
    for _ in range(2):
        answer = server.post("/api/v1/test-echo/a", json={"value": 1}, headers={"idempotency-key": "k-1"})
        assert answer.json() == 1
    again = server.post("/api/v1/test-echo/a", json={"value": 2}, headers={"idempotency-key": "k-1"})
    assert told(again) == (409, "conflict")


def test_the_tree_finds_what_a_walk_over_all_routes_finds() -> None:
    routes = ["/a", "/a/{x}", "/a/b", "/a/{x}/c", "/a/b/d", "/{y}/b/{z}", "/a/{x}/{z}/e"]

    class Route:
        method = "GET"

        def __init__(self, path: str) -> None:
            self.path = self.name = path

    tree = tree_of(Route(path) for path in routes)  # type: ignore[misc]
    expected = {
        "/a": ("/a", []), "/a/b": ("/a/b", []), "/a/x": ("/a/{x}", ["x"]), "/a/b/c": ("/a/{x}/c", ["b"]),
        "/a/b/d": ("/a/b/d", []), "/q/b/d": ("/{y}/b/{z}", ["q", "d"]), "/a/b/f": ("/{y}/b/{z}", ["a", "f"]),
        "/a/b/x/e": ("/a/{x}/{z}/e", ["b", "x"]), "/b": None, "/a/b/d/e/f": None, "/a/": ("/a/{x}", [""]), "/": None,
    }  # fmt: skip
    for path, wanted in expected.items():
        found = tree.find(split(path.encode()[1:]))
        assert (found and (found[0].operations["GET"].path, found[1])) == wanted, path
    with pytest.raises(Failure, match="same route"):
        tree_of([REGISTRY["server.echo"], Operation(echo, "GET /test-echo/{a}/of/{b}", "server.read", None, True)])


def test_the_client_says_what_is_at_an_address_that_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.remote.PAUSE_S", 0.0)
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        Remote("http://127.0.0.1:9", token="", project="default").send("GET", "/me")
    with pytest.raises(InvalidInput, match="no address"):
        connect("http://host:port")

    def other(request: httpx.Request) -> httpx.Response:
        return httpx.Response(int(request.headers["x-status"]), text="<html>hello</html>")

    client = httpx.Client(base_url="http://x", transport=httpx.MockTransport(other))
    remote = Remote("http://x", token="", project="default", client=client)
    for status, kind in {"502": Failure, "404": Failure, "413": TooLarge}.items():
        with pytest.raises(kind, match=f"{status} to GET"):
            remote.send("GET", "/me", headers={"x-status": status})
    with pytest.raises(Failure, match="no answer to it"):
        Remote("http://x", token="", project="default", client=_answering(200, b"hello")).call(
            REGISTRY["access.whoami"], REGISTRY["access.whoami"].bind({})
        )
    assert NotFound is not None


def _answering(status: int, body: bytes) -> httpx.Client:
    return httpx.Client(
        base_url="http://x", transport=httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    )


def test_a_call_is_tried_again_when_the_connection_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trine.remote.PAUSE_S", 0.0)
    keys: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            raise httpx.ReadError("gone")
        return httpx.Response(200, content=msgspec.msgpack.encode(7))

    client = httpx.Client(base_url="http://x", transport=httpx.MockTransport(flaky))
    one = REGISTRY["server.take"]
    assert Remote("http://x", token="", project="default", client=client).call(one, one.bind({"part": "a"})) == 7
    assert len(keys) == 3 and len(set(keys)) == 1
