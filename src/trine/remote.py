"""A workspace behind a Trine server: operations and objects over HTTP, with the same results and the same errors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import msgspec

from trine import errors
from trine.errors import Damaged, Failure, Unavailable
from trine.ids import new_id

if TYPE_CHECKING:
    from trine.operations import Operation

API = "/api/v1"
MSGPACK = "application/msgpack"
ATTEMPTS = 3
"""Tries of a call when the server cannot be reached: every changing call carries an idempotency key, so a repeat is harmless."""


class Remote:
    """The connection to a server. MessagePack on the wire, so that floats, bytes and times arrive as they were."""

    def __init__(self, url: str, *, token: str, project: str, client: httpx.Client | None = None) -> None:
        self.url = url
        self.token = token
        self.project = project
        self._client = client or httpx.Client(base_url=url, timeout=httpx.Timeout(120, connect=10))
        self._pid = os.getpid()

    def for_project(self, project: str) -> Remote:
        return Remote(self.url, token=self.token, project=project, client=self._client)

    @property
    def client(self) -> httpx.Client:
        if self._pid != os.getpid():  # a forked child must not share its parent's sockets
            self._client = httpx.Client(base_url=self.url, timeout=self._client.timeout)
            self._pid = os.getpid()
        return self._client

    def call(self, one: Operation, arguments: msgspec.Struct, *, idempotency_key: str = "") -> Any:
        """Perform an operation on the server."""
        values: dict[str, Any] = msgspec.to_builtins(arguments, builtin_types=(bytes,))
        path = one.path
        for name in one.path_parameters:
            path = path.replace(f"{{{name}}}", quote(str(values.pop(name)), safe=""))
        headers = {"accept": MSGPACK}
        if one.changes:
            headers["idempotency-key"] = idempotency_key or new_id()
        if one.method in ("GET", "DELETE"):
            answer = self.send(one.method, path, params=_query(values), headers=headers)
        else:
            headers["content-type"] = MSGPACK
            answer = self.send(one.method, path, content=msgspec.msgpack.encode(values), headers=headers)
        return msgspec.msgpack.decode(answer.content, type=one.result)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        """One request; the server's errors are raised as the errors they were."""
        headers = {"trine-project": self.project, **(headers or {})}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        answer = self._request(method, path, headers=headers, **request)
        if answer.is_error:
            raise _error(answer)
        return answer

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        trouble: httpx.TransportError | None = None
        for _ in range(ATTEMPTS):
            try:
                return self.client.request(method, API + path, **request)
            except httpx.TransportError as error:
                trouble = error
        raise Unavailable(f"The server {self.url} does not answer: {trouble or type(trouble).__name__}.") from trouble

    def close(self) -> None:
        self._client.close()


def _query(values: dict[str, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        given = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
        pairs += [(name, str(one).lower() if isinstance(one, bool) else one) for one in given]
    return pairs


def _error(answer: httpx.Response) -> errors.TrineError:
    try:
        told = msgspec.json.decode(answer.content)["error"]
        return errors.by_code(told["code"])(told["message"], **told.get("details", {}))
    except (msgspec.DecodeError, KeyError, TypeError):
        return Failure(f"The server answered {answer.status_code} to {answer.request.method} {answer.request.url}.")


BATCH_BYTES = 8 << 20


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
        for item in items:
            batch.append(item)
            size += len(item)
            if size >= BATCH_BYTES:
                hashes += self._send_batch(batch)
                batch, size = [], 0
        if batch:
            hashes += self._send_batch(batch)
        return hashes

    def _send_batch(self, batch: list[bytes]) -> list[str]:
        answer = self._remote.send(
            "POST", "/objects", content=msgspec.msgpack.encode(batch), headers={"content-type": MSGPACK}
        )
        return msgspec.json.decode(answer.content, type=list[str])

    def put_file(self, path: Path | str) -> str:
        return self.put_files([path])[0][0]

    def put_files(self, paths: Sequence[Path | str]) -> list[tuple[str, int]]:
        results: list[tuple[str, int]] = []
        small: list[bytes] = []

        def flush() -> None:
            for hash_, data in zip(self.put_many(small), small, strict=True):
                results.append((hash_, len(data)))
            small.clear()

        for path in map(Path, paths):
            size = path.stat().st_size
            if size < BATCH_BYTES:
                small.append(path.read_bytes())
                if sum(map(len, small)) >= BATCH_BYTES:
                    flush()
                continue
            flush()
            with path.open("rb") as file:
                answer = self._remote.send("PUT", "/objects", content=file, headers={"content-length": str(size)})
            results.append((msgspec.json.decode(answer.content, type=str), size))
        flush()
        return results

    def get(self, hash: str) -> bytes:
        from trine.ids import digest

        data = self._remote.send("GET", f"/objects/{quote(hash, safe='')}").content
        if digest(data) != hash:
            raise Damaged(f"Object {hash} arrived damaged from {self._remote.url}.", hash=hash)
        return data

    def get_file(self, hash: str, dest: Path | str) -> Path:
        dest = Path(dest)
        dest.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=dest.parent, prefix=".trine-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.get(hash))
            os.replace(temporary, dest)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return dest

    def read(self, hash: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self.get(hash)
        return data[offset:] if length is None else data[offset : offset + length]

    def has(self, hashes: Iterable[str]) -> set[str]:
        answer = self._remote.send(
            "POST",
            "/objects/has",
            content=msgspec.json.encode(list(hashes)),
            headers={"content-type": "application/json"},
        )
        return msgspec.json.decode(answer.content, type=set[str])

    def size(self, hash: str) -> int:
        answer = self._remote.send("HEAD", f"/objects/{quote(hash, safe='')}")
        return int(answer.headers["trine-size"])
