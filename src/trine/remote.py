"""A workspace behind a Trine server: operations and objects over HTTP, with the same results and the same errors."""

from __future__ import annotations

import datetime as dt
import io
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import msgspec
from blake3 import blake3

from trine import errors
from trine.errors import Damaged, Failure, InvalidInput, NotFound, TooLarge, Unavailable
from trine.ids import check_hash, new_id

if TYPE_CHECKING:
    from trine.operations import Operation

API = "/api/v1"
MSGPACK = "application/msgpack"
ATTEMPTS = 3
"""Tries of a call when the server cannot be reached: every changing call carries an idempotency key, so a repeat is harmless."""

LONGEST_WORK_S = 3_600.0
"""For how long an operation that works something out first is waited for."""

PAUSE_S = 0.25

_LOST = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""The connection was not made or was lost: worth another try. A server that takes too long is not asked again."""


class Remote:
    """The connection to a server. MessagePack on the wire, so that floats, bytes and times arrive as they were."""

    def __init__(self, url: str, *, token: str, project: str, client: httpx.Client | None = None) -> None:
        self.url = url
        self.token = token
        self.project = project
        self._client = client or _new_client(url)
        self._pid = os.getpid()

    def for_project(self, project: str) -> Remote:
        return Remote(self.url, token=self.token, project=project, client=self._client)

    @property
    def client(self) -> httpx.Client:
        if self._pid != os.getpid():  # a forked child must not share its parent's sockets
            self._client = _new_client(self.url)
            self._pid = os.getpid()
        if self._client.is_closed:
            raise Unavailable(f"The connection to {self.url} was closed. Open it again: trine.connect(…)")
        return self._client

    def call(self, one: Operation, arguments: msgspec.Struct, *, idempotency_key: str = "") -> Any:
        """Perform an operation on the server."""
        values: dict[str, Any] = msgspec.to_builtins(arguments, builtin_types=(bytes, dt.datetime))
        path = one.path
        for name in one.path_parameters:
            path = path.replace(f"{{{name}}}", _quoted(_text(values.pop(name))))
        headers = {"accept": MSGPACK}
        if one.changes:
            headers["idempotency-key"] = idempotency_key or new_id()
        if one.method in ("GET", "DELETE"):
            answer = self.send(one.method, path, params=_query(values), headers=headers)
        else:
            headers["content-type"] = MSGPACK
            patience: dict[str, Any] = {"timeout": LONGEST_WORK_S} if one.prepares else {}
            body = msgspec.msgpack.encode(values)
            answer = self.send(one.method, path, content=body, headers=headers, **patience)
        try:
            return msgspec.msgpack.decode(answer.content, type=one.result)
        except msgspec.DecodeError as error:
            raise Failure(
                f"The server {self.url} answered {one.name} with what is no answer to it: {error}."
            ) from error

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        """One request; the server's errors are raised as the errors they were."""
        with self.open(method, path, headers=headers, **request) as answer:
            answer.read()
            return answer

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Callable[[], IO[bytes]] | None = None,
        **request: Any,
    ) -> Generator[httpx.Response]:
        """Like `send`, with the answer's bytes still to come; `body` opens what is sent, for each try anew."""
        headers = {"trine-project": self.project, **(headers or {})}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        answer, source = self._reach(method, path, body, headers=headers, **request)
        try:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            yield answer
        except httpx.TransportError as error:
            raise self._away(error) from error
        finally:
            answer.close()
            if source:
                source.close()

    def _reach(
        self, method: str, path: str, body: Callable[[], IO[bytes]] | None, **request: Any
    ) -> tuple[httpx.Response, IO[bytes] | None]:
        tries = 0
        while True:
            source = body() if body else None
            try:
                if source:
                    request["content"] = source
                made = self.client.build_request(method, API + path, **request)
                return self.client.send(made, stream=True), source
            except httpx.TransportError as error:
                if source:
                    source.close()
                tries += 1
                if tries >= ATTEMPTS or not isinstance(error, _LOST):
                    raise self._away(error) from error
                time.sleep(PAUSE_S * tries)

    def _away(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"The server {self.url} does not answer: {str(error) or type(error).__name__}.")

    def close(self) -> None:
        self._client.close()


def _new_client(url: str) -> httpx.Client:
    try:
        return httpx.Client(base_url=url, timeout=httpx.Timeout(120, connect=10))
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(f"{url} is no address of a server: {error}.") from None


def _quoted(text: str) -> str:
    """One part of a path. `.` and `..` are quoted too, so that nobody on the way takes them for folders."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if text in (".", "..") else quoted


def _query(values: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        given = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
        pairs += [(name, _text(one)) for one in given]
    return pairs


def _text(value: Any) -> str:
    """A value as a path or a query holds it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _error(answer: httpx.Response) -> errors.TrineError:
    try:
        told = msgspec.json.decode(answer.content)["error"]
        return errors.by_code(told["code"])(told["message"], **told.get("details", {}))
    except (msgspec.DecodeError, KeyError, TypeError):
        request = answer.request
        told = f"{answer.status_code} to {request.method} {request.url}"
        if answer.status_code == 413:
            return TooLarge(f"What stands before the server takes no body of that size: it answered {told}.")
        return Failure(f"The server answered {told}. Is there a Trine server at that address?")


BATCH_BYTES = 8 << 20
BATCH_HASHES = 100_000
GET_HASHES = 2_000


class RemoteStore:
    """The object store of a server: same methods as a local one; what is read is verified here too."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def put(self, data: bytes) -> str:
        return self.put_many([data])[0]

    def put_many(self, items: Iterable[bytes]) -> list[str]:
        hashes: list[str] = []
        batch: list[bytes] = []
        size = 0

        def flush() -> None:
            nonlocal size
            if batch:
                content, headers = msgspec.msgpack.encode(batch), {"content-type": MSGPACK}
                answer = self._remote.send("POST", "/objects", content=content, headers=headers)
                hashes.extend(msgspec.json.decode(answer.content, type=list[str]))
            batch.clear()
            size = 0

        for item in items:
            if len(item) >= BATCH_BYTES:
                flush()
                hashes.append(self._put_stream(lambda item=item: io.BytesIO(item), len(item)))
                continue
            batch.append(item)
            size += len(item)
            if size >= BATCH_BYTES:
                flush()
        flush()
        return hashes

    def _put_stream(self, body: Callable[[], IO[bytes]], size: int) -> str:
        try:
            with self._remote.open("PUT", "/objects", body=body, headers={"content-length": str(size)}) as answer:
                return msgspec.json.decode(answer.read(), type=str)
        except Unavailable:
            # a server that refuses hangs up before it has read so much: asking with nothing in hand tells why
            self._remote.send("POST", "/objects", content=msgspec.msgpack.encode([]), headers={"content-type": MSGPACK})
            raise

    def put_file(self, path: Path | str) -> str:
        return self.put_files([path])[0][0]

    def put_files(self, paths: Sequence[Path | str], like: Sequence[str] = ()) -> list[tuple[str, int]]:
        """Hash and size of each file, in order; what they are `like` is not used here."""
        results: list[tuple[str, int]] = []
        small: list[bytes] = []

        def flush() -> None:
            results.extend(zip(self.put_many(small), map(len, small), strict=True))
            small.clear()

        size = 0
        for path in map(Path, paths):
            try:
                length = path.stat().st_size
                if length >= BATCH_BYTES:
                    flush()
                    results.append((self._put_stream(lambda path=path: path.open("rb"), length), length))
                    continue
                small.append(path.read_bytes())
            except FileNotFoundError:
                raise NotFound(f"{path} is not there.", path=str(path)) from None
            except (PermissionError, IsADirectoryError) as error:
                raise InvalidInput(f"{path} cannot be read: {error.strerror}.", path=str(path)) from error
            size += length
            if size >= BATCH_BYTES:
                flush()
                size = 0
        flush()
        return results

    def get(self, hash: str) -> bytes:
        return b"".join(self.chunks(hash))

    def chunks(self, hash: str) -> Iterator[bytes]:
        """An object's bytes piece by piece. Raises Damaged after the last piece when they were wrong: use none before it ends."""
        hasher = blake3()
        try:
            with self._remote.open("GET", f"/objects/{check_hash(hash)}") as answer:
                for part in answer.iter_bytes(1 << 20):
                    hasher.update(part)
                    yield part
        except Unavailable:
            self.size(hash)  # a server that breaks off in the middle found damage there: asked again, it says so
            raise
        if hasher.hexdigest() != hash:
            raise Damaged(f"Object {hash} arrived damaged from {self._remote.url}.", hash=hash)

    def get_many(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of objects, checked; a thousand small ones come in one answer."""
        found: list[bytes] = []
        while rest := names[len(found) : len(found) + GET_HASHES]:
            headers = {"content-type": "application/json"}
            answer = self._remote.send("POST", "/objects/get", content=msgspec.json.encode(rest), headers=headers)
            for name, data in zip(rest, msgspec.msgpack.decode(answer.content, type=list[bytes]), strict=False):
                if blake3(data).hexdigest() != name:
                    raise Damaged(f"Object {name} arrived damaged from {self._remote.url}.", hash=name)
                found.append(data)
        return found

    def get_file(self, hash: str, dest: Path | str) -> Path:
        from trine.storage.places import no_space

        check_hash(hash)
        dest = Path(dest)
        try:
            dest.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=dest.parent, prefix=".trine-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.writelines(self.chunks(hash))
                os.chmod(temporary, 0o644)
                os.replace(temporary, dest)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise no_space(str(dest.parent), error) from error
        return dest

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self.get(hash)
        return data[offset:] if length is None else data[offset : offset + length]

    def has(self, hashes: Iterable[str]) -> set[str]:
        names = [check_hash(one) for one in hashes]
        found: set[str] = set()
        for start in range(0, len(names), BATCH_HASHES):
            content = msgspec.json.encode(names[start : start + BATCH_HASHES])
            headers = {"content-type": "application/json"}
            answer = self._remote.send("POST", "/objects/has", content=content, headers=headers)
            found |= msgspec.json.decode(answer.content, type=set[str])
        return found

    def size(self, hash: str) -> int:
        with self._remote.open("GET", f"/objects/{check_hash(hash)}") as answer:  # its bytes are not waited for
            return int(answer.headers["content-length"])
