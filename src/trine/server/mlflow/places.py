"""Where files are that MLflow names by path: of a run, of a logged model, of a registered version, of a trace.

mlflow-artifacts:/<experiment>/<run>/artifacts/…
mlflow-artifacts:/<experiment>/models/<m-…>/artifacts/…
mlflow-artifacts:/<experiment>/traces/tr-<trace>/artifacts/…    `traces.json` is its spans
mlflow-artifacts:/versions/<name>/<number>/artifacts/…      read only: what the registry holds (`~…`: a name in base64)
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from trine.errors import NotFound
from trine.models import operations as models
from trine.server.mlflow import model_folders, trace_files
from trine.server.mlflow.calls import Json
from trine.server.mlflow.errors import WireError, invalid, missing
from trine.tracking import logged_models as logged
from trine.tracking import operations as runs
from trine.tracking.artifact_files import check_path
from trine.tracking.removing import remove_files
from trine.tracking.runs import Artifact
from trine.workspace import Workspace

SCHEME = "mlflow-artifacts:/"
_FORMS = (
    ("run", re.compile(r"[^/]+/(?P<id>[0-9a-f]{32})/artifacts(?:/(?P<path>.*))?")),
    ("model", re.compile(r"[^/]+/models/(?P<id>m-[0-9a-f]{32})/artifacts(?:/(?P<path>.*))?")),
    ("trace", re.compile(r"[^/]+/traces/tr-(?P<id>[0-9a-f]{32})/artifacts(?:/(?P<path>.*))?")),
    ("version", re.compile(r"versions/(?P<id>[^/]+/\d+)/artifacts(?:/(?P<path>.*))?")),
)


class Place(NamedTuple):
    """A file or folder of something that has files."""

    kind: str
    id: str
    path: str


def place_of(path: str) -> Place:
    """What a path below `mlflow-artifacts:/` stands for. Raises WireError."""
    path = path.strip("/")
    for kind, form in _FORMS:
        if found := form.fullmatch(path):
            inside = (found["path"] or "").strip("/")
            if inside:
                check_path(inside)
            return Place(kind, _named(found["id"]) if kind == "version" else found["id"], inside)
    if ".." in path.split("/"):
        raise invalid("Invalid path")
    raise missing(f"Nothing of Trine's has files at mlflow-artifacts:/{path}")


def part_of(name: str) -> str:
    """A model's name as a part of an address, which every client takes apart as it was put together."""
    if re.fullmatch(r"[\w.\-]+", name, re.ASCII):
        return name
    return "~" + base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _named(id: str) -> str:
    """A version by the name that a part of an address stands for."""
    part, _, number = id.partition("/")
    if not part.startswith("~"):
        return id
    try:
        return f"{base64.urlsafe_b64decode(part[1:] + '=' * (-len(part[1:]) % 4)).decode()}/{number}"
    except ValueError:
        raise missing(f"Nothing of Trine's has files at {SCHEME}versions/{id}") from None


def files_at(ws: Workspace, place: Place) -> list[Artifact]:
    """The file at a place, or those below it, by path. Raises WireError when what should have them is not there."""
    try:
        if place.kind == "run":
            return _files_of_run(ws, place)
        if place.kind == "model":
            found = logged.list_model_files(ws, id=place.id)
        elif place.kind == "trace":
            found = trace_files.files_of(ws, place.id)
        else:
            name, _, number = place.id.rpartition("/")
            version = models.get_version(ws, name=name, ref=number)
            found = model_folders.files_of(ws, version)
    except NotFound as error:
        raise missing(error.message) from None
    return [one for one in found if _is_at(one.path, place.path)]


def _files_of_run(ws: Workspace, place: Place) -> list[Artifact]:
    found: list[Artifact] = []
    token = ""
    while True:
        page = runs.list_artifacts(ws, id=place.id, prefix=place.path, limit=1_000, page=token)
        found += page.items
        token = page.next
        if not token:
            return found


def _is_at(path: str, above: str) -> bool:
    return not above or path == above or path.startswith(above + "/")


def file_at(ws: Workspace, place: Place) -> Artifact:
    """The file at a place. Raises WireError."""
    for one in files_at(ws, place):
        if one.path == place.path:
            return one
    raise missing(f"No such artifact: '{place.path}'")


def listing(ws: Workspace, place: Place) -> list[Json]:
    """What is directly in a folder, with paths from it; in a file there is nothing."""
    found: dict[str, Json] = {}
    start = len(place.path) + 1 if place.path else 0
    for one in files_at(ws, place):
        if one.path == place.path:
            return []
        first, slash, _ = one.path[start:].partition("/")
        found[first] = (
            {"path": first, "is_dir": True} if slash else {"path": first, "is_dir": False, "file_size": one.size_bytes}
        )
    return [found[name] for name in sorted(found)]


def keep(ws: Workspace, place: Place, hash: str, size: int) -> None:
    """Name an object that is stored as the file at a place. Raises WireError."""
    keep_all(ws, place._replace(path=""), {place.path: (hash, size)})


def keep_all(ws: Workspace, place: Place, files: dict[str, tuple[str, int]]) -> None:
    """Name objects that are stored (hash and size) as files below a place, all at once. Raises WireError."""
    start = f"{place.path}/" if place.path else ""
    found = [Artifact(check_path(start + path), hash, size) for path, (hash, size) in files.items()]
    try:
        if place.kind == "run":
            runs.record_artifacts(ws, id=place.id, artifacts=found)
        elif place.kind == "model":
            logged.record_model_files(ws, id=place.id, files=found)
        elif place.kind == "trace":
            trace_files.keep(ws, place.id, found)
        else:
            raise WireError("PERMISSION_DENIED", "The files of a registered version never change.")
    except NotFound as error:
        raise missing(error.message) from None


def remove(ws: Workspace, place: Place) -> None:
    """Take away the file at a place, or those below it."""
    if place.kind == "version":
        raise WireError("PERMISSION_DENIED", "The files of a registered version never change.")
    if place.kind == "trace":
        raise WireError("PERMISSION_DENIED", "The files of a trace go with it.")
    remove_files(ws, id=place.id, path=place.path)
