"""Files over the wire: up, down, listed, deleted; large ones up in parts that are sent side by side."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from trine.access.principals import authorise
from trine.ids import new_id
from trine.server import guard
from trine.server.mlflow import limits
from trine.server.mlflow.calls import Call, Json, decoded, route
from trine.server.mlflow.errors import WireError, invalid, missing, wrong_type
from trine.server.mlflow.places import Place, file_at, keep, listing, place_of, remove
from trine.server.mlflow.runs import info_of, run_of
from trine.server.objects import held_back
from trine.storage import ObjectStore
from trine.storage.places import CHUNK, no_space
from trine.tracking.artifact_files import check_path
from trine.workspace import Workspace

ROOTS = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")
SMALL = 1 << 20
MOST_PARTS = 10_000
FORGOTTEN_S = 86_400
"""How long the parts of an upload wait for the rest."""


@route("GET artifacts/list")
def list_of_run(call: Call) -> Json:
    """What is in a folder of a run."""
    run = run_of(call)
    path = call.text("path", "")
    experiment = info_of(run, "0")["artifact_uri"]
    place = Place("run", run.id, check_path(path) if path else "")
    start = f"{path}/" if path else ""
    files = [{**one, "path": start + one["path"]} for one in listing(call.ws, place)]
    return {"root_uri": experiment} | ({"files": files} if files else {})


def place_in_run(call: Call) -> Place:
    """The file of a run that a call names, in the way of old clients and of MLflow's pages. Raises WireError."""
    return Place("run", run_of(call).id, check_path(call.text("path")))


class Artifacts:
    """The proxy: `artifacts/{path}`, `artifacts?path=`, `mpu/…/{path}`, `presigned/{path}`."""

    def __init__(self, ws: Workspace) -> None:
        assert isinstance(ws.store, ObjectStore)
        self.store = ws.store
        self.spool = ws.spool
        self.uploads = ws.spool / "uploads"

    async def answer(self, ws: Workspace, request: Request, path: str) -> Response:
        """A call below `mlflow-artifacts/`."""
        what, _, rest = path.partition("/")
        if what == "artifacts":
            return await self._artifact(ws, request, rest)
        if what == "mpu":
            step, _, rest = rest.partition("/")
            return await self._multipart(ws, request, step, rest)
        if what == "presigned":
            raise WireError(
                "NOT_IMPLEMENTED", "Files are read through this server: it signs no addresses of its store."
            )
        raise WireError("ENDPOINT_NOT_FOUND", f"There is nothing at {request.method} mlflow-artifacts/{path}.")

    async def _artifact(self, ws: Workspace, request: Request, path: str) -> Response:
        if request.method == "PUT":
            place = _writable(place_of(path))
            await to_thread.run_sync(_authorise, ws)
            hash, size = await self._store(request)
            await to_thread.run_sync(keep, ws, place, hash, size)
            return _json({})
        if request.method == "DELETE":
            await to_thread.run_sync(remove, ws, place_of(path))
            return _json({})
        if not path:
            place = place_of(request.query_params.get("path", ""))
            files = await to_thread.run_sync(listing, ws, place)
            return _json({"files": files} if files else {})
        return await self.send(ws, place_of(path))

    async def send(self, ws: Workspace, place: Place) -> Response:
        """The bytes of a file."""
        one = await to_thread.run_sync(file_at, ws, place)
        name = one.path.rpartition("/")[2].encode("ascii", "replace").decode().replace('"', "'")
        headers = {
            "content-length": str(one.size_bytes),
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
        }
        kind = "application/octet-stream"
        if one.size_bytes <= CHUNK:
            return Response(await to_thread.run_sync(self.store.get, one.hash), headers=headers, media_type=kind)
        return StreamingResponse(iterate_in_threadpool(held_back(self.store.chunks(one.hash))), 200, headers, kind)

    async def _store(self, request: Request) -> tuple[str, int]:
        """Keep the body of a request; gives its hash and size."""
        length = request.headers.get("content-length", "")
        if re.fullmatch(r"[0-9]{1,9}", length) and int(length) <= SMALL:
            data = await guard.read_body(request)
            return await to_thread.run_sync(self.store.put, data), len(data)
        try:
            self.spool.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.spool, prefix="upload-") as file:
                await _write(request, file)
                return await to_thread.run_sync(self.store.put_file, Path(file.name)), file.tell()
        except OSError as error:
            raise no_space(str(self.spool), error) from error

    # -- in parts -------------------------------------------------------------------------------------------------------

    async def _multipart(self, ws: Workspace, request: Request, step: str, path: str) -> Response:
        if step == "part" and request.method == "PUT":
            return await self._part(request, path)
        if request.method != "POST" or step not in ("create", "complete", "abort"):
            raise WireError("ENDPOINT_NOT_FOUND", f"There is nothing at {request.method} mlflow-artifacts/mpu/{step}.")
        await to_thread.run_sync(_authorise, ws)
        body = decoded(await guard.read_body(request))
        call = Call(ws, body)
        name = call.text("path")
        place = place_of(f"{path.rstrip('/')}/{name.rpartition('/')[2]}")
        if step == "create":
            return _json(await to_thread.run_sync(self._create, _writable(place), body, str(request.base_url)))
        folder = self._folder(call.text("upload_id", ""))
        if step == "complete":
            numbers = [_number(one) for one in call.list("parts")]
            await to_thread.run_sync(self._complete, ws, place, folder, numbers)
        await to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
        return _json({})

    def _create(self, place: Place, body: Json, base: str) -> Json:
        count = body.get("num_parts") or 1
        if not isinstance(count, int) or not 1 <= count <= MOST_PARTS:
            raise invalid(f"num_parts is from 1 to {MOST_PARTS}.")
        self.uploads.mkdir(parents=True, exist_ok=True)
        for old in self.uploads.iterdir():
            if time.time() - old.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(old, ignore_errors=True)
        upload = new_id() + new_id()  # who knows it may send parts
        (self.uploads / upload).mkdir()
        at = f"{base.rstrip('/')}{ROOTS[0]}mpu/part/{upload}"
        return {
            "upload_id": upload,
            "credentials": [{"url": f"{at}/{n}", "part_number": n, "headers": {}} for n in range(1, count + 1)],
        }

    async def _part(self, request: Request, path: str) -> Response:
        upload, _, number = path.partition("/")
        folder = self._folder(upload)
        if not (re.fullmatch(r"[0-9]{1,5}", number) and 1 <= int(number) <= MOST_PARTS):
            raise invalid(f"Parts have numbers from 1 to {MOST_PARTS}.")
        draft = folder / f"{new_id()}.new"
        try:
            with draft.open("wb") as file:
                await _write(request, file)
            draft.rename(folder / number)
        except OSError as error:
            raise no_space(str(folder), error) from error
        return Response(headers={"etag": f'"{number}"'})

    def _folder(self, upload: str) -> Path:
        folder = self.uploads / upload
        if len(upload) != 64 or not upload.isalnum() or not folder.is_dir():
            raise missing("No such upload: it is complete, aborted or too old.")
        return folder

    def _complete(self, ws: Workspace, place: Place, folder: Path, numbers: list[int]) -> None:
        whole = folder / "whole"
        try:
            with whole.open("wb") as file:
                for number in sorted(numbers):
                    with (folder / str(number)).open("rb") as part:
                        shutil.copyfileobj(part, file, 1 << 20)
        except FileNotFoundError:
            raise invalid("A part is missing: send it before the upload is completed.") from None
        except OSError as error:
            raise no_space(str(folder), error) from error
        keep(ws, _writable(place), self.store.put_file(whole), whole.stat().st_size)


def _number(part: Any) -> int:
    if not isinstance(part, dict):
        raise wrong_type("parts", part)
    return limits.check_whole(part.get("part_number"), "part_number")  # pyright: ignore[reportUnknownMemberType]


async def _write(request: Request, file: Any) -> None:
    async for part in request.stream():
        await to_thread.run_sync(file.write, part)
    file.flush()


def _writable(place: Place) -> Place:
    if not place.path:
        raise invalid("A file needs a path.")
    return place


def _authorise(ws: Workspace) -> None:
    """Before bytes are taken; the operation that names them asks again."""
    with ws.ledger.transaction(write=False) as connection:
        authorise(connection, ws.principal, ws.project, "tracking.write")


def _json(value: Json) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
