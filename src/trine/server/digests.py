"""The stores of unchanged DVC and git-lfs clients: files by MD5 and by SHA-256, each checked when it comes in.

    /dvc/PROJECT/files/md5/ab/cdef…     DVC's HTTP remote (`ab/cdef…` too): HEAD, GET, PUT and POST
    /lfs/PROJECT/objects/batch          git-lfs' batch API with its basic transfer; files at /lfs/PROJECT/objects/OID

A file belongs to a project. Who asks is known by a token: as bearer, or as the password of basic authentication.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trine.access.principals import authorise
from trine.data.aliases import Algorithm, Alias, find_aliases, keep_aliases
from trine.errors import InvalidInput, NotFound, TrineError
from trine.server import guard
from trine.server.answers import decoded
from trine.server.objects import held_back
from trine.settings import check_project
from trine.storage import ObjectStore
from trine.storage.places import CHUNK, no_space
from trine.workspace import Workspace

LFS = "application/vnd.git-lfs+json"
MOST = 1_000
"""Files in one question of git-lfs (it asks for a hundred)."""

_DVC = re.compile(r"(?:files/md5/)?([0-9a-f]{2})/([0-9a-f]{30})(?:\.dir)?")


class _Wanted(msgspec.Struct):
    oid: str
    size: int


class _Batch(msgspec.Struct):
    operation: str
    objects: list[_Wanted]
    transfers: list[str] = []


class Digests:
    """The handlers."""

    def __init__(self, ws: Workspace) -> None:
        assert isinstance(ws.store, ObjectStore)
        self.ws = ws
        self.store = ws.store

    async def dvc(self, request: Request) -> Response:
        """One file of DVC's remote."""
        found = _DVC.fullmatch(request.path_params["path"])
        if found is None:
            raise NotFound(f"{request.url.path} is no file of a DVC remote: files/md5/ and the MD5.")
        return await self._one(request, "md5", "".join(found.groups()))

    async def lfs_object(self, request: Request) -> Response:
        """One file of git-lfs."""
        try:
            return await self._one(request, "sha256", request.path_params["oid"])
        except TrineError as error:
            return _lfs_problem(error)

    async def lfs_batch(self, request: Request) -> Response:
        """Where git-lfs gets or puts each of the files it names."""
        try:
            asked = decoded(await guard.read_body(request), _Batch)
            if asked.operation not in ("download", "upload") or len(asked.objects) > MOST:
                raise InvalidInput(f"A batch is a download or an upload of at most {MOST} files.")
            ws = await self._allowed(request, "data.write" if asked.operation == "upload" else "data.read")
            digests = [one.oid for one in asked.objects]
            found = await to_thread.run_sync(lambda: find_aliases(ws, algorithm="sha256", digests=digests))
        except TrineError as error:
            return _lfs_problem(error)
        here = {one.digest for one in found}
        base = str(request.url).rpartition("/batch")[0]
        credentials = request.headers.get("authorization", "")
        answers = [_lfs_answer(one, one.oid in here, asked.operation, base, credentials) for one in asked.objects]
        return _lfs({"transfer": "basic", "objects": answers, "hash_algo": "sha256"})

    async def _one(self, request: Request, algorithm: Algorithm, digest: str) -> Response:
        if request.method in ("PUT", "POST"):
            return await self._take(request, algorithm, digest)
        ws = await self._allowed(request, "data.read")
        found = await to_thread.run_sync(lambda: find_aliases(ws, algorithm=algorithm, digests=[digest]))
        if not found:
            raise NotFound(f"There is no file with {algorithm} {digest} in project {ws.project}.")
        headers = {"content-length": str(found[0].size_bytes), "x-content-type-options": "nosniff"}
        kind, name = "application/octet-stream", found[0].object
        if request.method == "HEAD":
            return Response(media_type=kind, headers=headers)
        if found[0].size_bytes <= CHUNK:
            return Response(await to_thread.run_sync(self.store.get, name), media_type=kind, headers=headers)
        return StreamingResponse(iterate_in_threadpool(held_back(self.store.chunks(name))), 200, headers, kind)

    async def _take(self, request: Request, algorithm: Algorithm, digest: str) -> Response:
        ws = await self._allowed(request, "data.write")
        hasher = hashlib.new(algorithm, usedforsecurity=False)
        try:
            ws.spool.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=ws.spool, prefix="upload-") as file:
                async for part in request.stream():
                    hasher.update(part)
                    await to_thread.run_sync(file.write, part)
                file.flush()
                if hasher.hexdigest() != digest:
                    raise InvalidInput(f"What came has {algorithm} {hasher.hexdigest()}, not {digest}: send it again.")
                [(name, size)] = await to_thread.run_sync(self.store.put_files, [Path(file.name)])
        except OSError as error:
            raise no_space(str(ws.spool), error) from error
        kept = [Alias(digest, name, size)]
        await to_thread.run_sync(lambda: keep_aliases(ws, algorithm=algorithm, aliases=kept))
        return Response(status_code=200)

    async def _allowed(self, request: Request, permission: str) -> Workspace:
        def check() -> Workspace:
            ws = self.ws.for_project(check_project(request.path_params["project"]))
            ws = ws.acting_as(guard.identify(self.ws, request))
            with ws.ledger.transaction(write=False) as connection:
                authorise(connection, ws.principal, ws.project, permission)
            return ws

        return await to_thread.run_sync(check)


def _lfs_answer(one: _Wanted, is_here: bool, operation: str, base: str, credentials: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"oid": one.oid, "size": one.size, "authenticated": True}
    if operation == "download" and not is_here:
        return {**answer, "error": {"code": 404, "message": "The file is not here."}}
    if operation == "upload" and is_here:
        return answer  # nothing to do
    action = {"href": f"{base}/{one.oid}", "header": {"Authorization": credentials} if credentials else {}}
    return {**answer, "actions": {operation: action}}


def _lfs(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, media_type=LFS, headers=headers)


def _lfs_problem(error: TrineError) -> Response:
    headers = {"lfs-authenticate": 'Basic realm="trine"'} if error.status == 401 else None
    return _lfs({"message": error.message}, error.status, headers)
