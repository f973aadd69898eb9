"""The object store over HTTP: bytes in, bytes out, by hash. An object belongs to no project: its hash is the key to it."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
from anyio import to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trine.errors import InvalidInput
from trine.remote import MSGPACK
from trine.server import guard
from trine.server.answers import decoded, json_answer
from trine.storage import ObjectStore
from trine.storage.places import CHUNK, no_space
from trine.workspace import Workspace

LARGEST_ANSWER = 8 << 20
"""Bytes of several objects in one answer; a single one may have more."""

Allowed = Callable[[Request, str], Awaitable[Workspace]]


class Objects:
    """The handlers; `allowed` says who is asking and whether they may."""

    def __init__(self, store: ObjectStore, spool: Path, allowed: Allowed) -> None:
        self.store = store
        self.spool = spool
        self.allowed = allowed

    async def put_many(self, request: Request) -> Response:
        """A MessagePack list of byte strings; answers with their hashes."""
        await self.allowed(request, "store.write")
        raw = await guard.read_body(request)
        try:
            items = msgspec.msgpack.decode(raw, type=list[bytes])
        except msgspec.DecodeError as error:
            raise InvalidInput(f"POST /objects takes a MessagePack list of byte strings: {error}.") from None
        return json_answer(await to_thread.run_sync(self.store.put_many, items))

    async def put_one(self, request: Request) -> Response:
        """One object of any size; answers with its hash."""
        await self.allowed(request, "store.write")
        try:
            self.spool.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.spool, prefix="upload-") as file:
                async for part in request.stream():
                    await to_thread.run_sync(file.write, part)
                file.flush()
                return json_answer(await to_thread.run_sync(self.store.put_file, Path(file.name)))
        except OSError as error:
            raise no_space(str(self.spool), error) from error

    async def has(self, request: Request) -> Response:
        """A JSON list of hashes; answers with those that are here."""
        await self.allowed(request, "store.read")
        hashes = decoded(await guard.read_body(request), list[str])
        return json_answer(sorted(await to_thread.run_sync(self.store.has, hashes)))

    async def get_many(self, request: Request) -> Response:
        """A JSON list of hashes; answers with a MessagePack list of the bytes of the first ones, as many as fit into an answer."""
        await self.allowed(request, "store.read")
        hashes = decoded(await guard.read_body(request), list[str])
        return Response(await to_thread.run_sync(self._first, hashes), media_type=MSGPACK)

    def _first(self, hashes: list[str]) -> bytes:
        names: list[str] = []
        total = 0
        for name in hashes:
            total += self.store.size(name)
            if names and total > LARGEST_ANSWER:
                break
            names.append(name)
        return msgspec.msgpack.encode(self.store.get_many(names))

    async def get(self, request: Request) -> Response:
        """An object's bytes; a damaged one's answer breaks off before its end."""
        await self.allowed(request, "store.read")
        name = request.path_params["hash"]
        size = await to_thread.run_sync(self.store.size, name)
        headers = {
            "content-length": str(size),
            "x-content-type-options": "nosniff",
            "content-disposition": "attachment",
        }
        kind = "application/octet-stream"
        if request.method == "HEAD":
            return Response(media_type=kind, headers=headers)
        if size <= CHUNK:
            return Response(await to_thread.run_sync(self.store.get, name), media_type=kind, headers=headers)
        return StreamingResponse(iterate_in_threadpool(held_back(self.store.chunks(name))), 200, headers, kind)


def held_back(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same parts, each one late: the last is given only when the whole was found to be right."""
    last = b""
    for part in parts:
        if last:
            yield last
        last = part
    yield last
