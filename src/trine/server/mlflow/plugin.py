"""`MLFLOW_TRACKING_URI=trine://FOLDER`: MLflow's client on a workspace in a folder, without a server.

MLflow finds these classes by entry points. They are its own REST stores, whose calls go to the wire's handlers instead of a
socket, so there is nothing here that the server does not do.
"""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUntypedBaseClass=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import functools
import math
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import msgspec
from mlflow.entities import FileInfo
from mlflow.exceptions import RestException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.model_registry.rest_store import RestStore as RestRegistry
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds

from trine.errors import TrineError
from trine.server.mlflow import limits
from trine.server.mlflow.application import ROOTS
from trine.server.mlflow.calls import Call, Json, find
from trine.server.mlflow.errors import WireError, from_trine
from trine.server.mlflow.logging import READERS, Batch, Logger, Point
from trine.server.mlflow.places import SCHEME, files_at, keep_all, listing, place_of, remove
from trine.tracking.artifact_files import files_below
from trine.tracking.spool import collect
from trine.workspace import Workspace, connect

PREFIX, OWN = "trine://", "trine:/"
_PLACES = frozenset(("artifact_uri", "artifact_location", "root_uri", "source", "mlflow.artifactLocation"))


class Wire:
    """The wire's handlers on one workspace."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.logger = Logger()

    def ask(self, method: str, path: str, values: Json) -> Any:
        """The answer to a call, as an object. Raises RestException, as MLflow's client does for a server's errors."""
        name = next((path[len(root) :] for root in ROOTS if path.startswith(root)), path)
        try:
            if method == "POST" and (reader := READERS.get(name)):
                self.logger.keep_now(self.ws, reader(Call(self.ws, values)))
                return {}
            handler, in_path = find(method, name)
            call = Call(self.ws, {**_moved(values, OWN, SCHEME), **in_path}, deliver=self.deliver)
            found = handler(call)
            self.logger.follow(name, values)
        except WireError as error:
            raise _told(error) from None
        except TrineError as error:
            raise _told(from_trine(error)) from error
        return _moved(msgspec.json.decode(msgspec.json.encode(found)), SCHEME, OWN)

    def deliver(self, run: str) -> None:
        """Bring into the ledger what this and other processes of the machine logged."""
        collect(self.ws, run)

    def log(self, what: Batch) -> None:
        try:
            self.logger.keep_now(self.ws, what)
        except WireError as error:
            raise _told(error) from None


@functools.cache
def wire_of(uri: str) -> Wire:
    """The wire of `trine://FOLDER`; without a folder, of the workspace that the settings name."""
    return Wire(connect(uri.removeprefix(PREFIX).partition("?")[0] or None))


def _told(error: WireError) -> RestException:
    return RestException({"error_code": error.code, "message": error.message})


def _moved(value: Any, before: str, after: str) -> Any:
    """The same with places of files under another scheme: there is no proxy here that MLflow could ask."""
    if isinstance(value, Mapping):
        return {
            key: after + one[len(before) :]
            if key in _PLACES and isinstance(one, str) and one.startswith(before)
            else _moved(one, before, after)
            for key, one in value.items()
        }
    return [_moved(one, before, after) for one in value] if isinstance(value, list) else value


def _body(json_body: str | None) -> Json:
    return msgspec.json.decode(json_body) if json_body else {}


class TrackingStore(RestStore):
    """Runs and experiments of a workspace in a folder."""

    def __init__(self, store_uri: str = PREFIX, artifact_uri: str | None = None) -> None:
        super().__init__(lambda: MlflowHostCreds(store_uri))
        self.wire = wire_of(store_uri)

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        *_: Any,
        response_proto: Any = None,
        **__: Any,
    ) -> Any:
        ways = self._V3_METHOD_TO_INFO if api in getattr(self, "_V3_APIS", ()) else _ways()
        where, method = ways[api]
        response = response_proto or api.Response()
        parse_dict(self.wire.ask(method, endpoint or where, _body(json_body)), response)
        return response

    def _validate_workspace_support_if_specified(self) -> None:
        pass

    def log_metric(self, run_id: str, metric: Any) -> None:
        if getattr(metric, "model_id", None):
            super().log_metric(run_id, metric)
            return
        self.wire.log(Batch(run_id, [_point(metric)], {}, {}, {}))

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        if params or tags or any(getattr(one, "model_id", None) for one in metrics):
            super().log_batch(run_id, metrics, params, tags)
            return
        self.wire.log(Batch(run_id, [_point(one) for one in metrics], {}, {}, {}))


def _ways() -> Any:
    found = getattr(RestStore, "_METHOD_TO_INFO", None)
    if found is None:  # before 3.0 it is beside the class
        from mlflow.store.tracking import rest_store

        found = rest_store._METHOD_TO_INFO
    return found


def _point(metric: Any) -> Point:
    """A metric of MLflow's, checked as a server would; most are plain, and quickly seen to be."""
    key, value, when, step = metric.key, metric.value, metric.timestamp, metric.step
    try:
        limits.check_key(key, "name")
        if len(key) > limits.LONGEST_KEY:
            raise limits.too_long("Metric name", limits.LONGEST_KEY)
        if type(value) is not float or type(when) is not int or when < 0 or type(step) is not int:
            values = {"value": value, "timestamp": when}
            value = (
                float("nan")
                if isinstance(value, float) and math.isnan(value)
                else limits.check_number(values, "value", "value")
            )
            when, step = limits.check_whole(when, "timestamp"), limits.check_whole(step, "step")
            if when < 0:
                raise limits.negative_time("timestamp", when, key, value)
    except WireError as error:
        raise _told(error) from None
    return key, step, when * 1_000, value


class RegistryStore(RestRegistry):
    """The registry of a workspace in a folder."""

    def __init__(self, store_uri: str = PREFIX, tracking_uri: str | None = None) -> None:
        try:
            super().__init__(lambda: MlflowHostCreds(store_uri), tracking_uri)
        except TypeError:
            super().__init__(lambda: MlflowHostCreds(store_uri))
        self.wire = wire_of(store_uri)

    def _call_endpoint(
        self, api: Any, json_body: str | None, call_all_endpoints: bool = False, *_: Any, **__: Any
    ) -> Any:
        response = self._get_response_from_method(api)
        if call_all_endpoints:
            endpoint, method = self._get_all_endpoints_from_method(api)[0]
        else:
            endpoint, method = self._get_endpoint_from_method(api)
        parse_dict(self.wire.ask(method, endpoint, _body(json_body)), response)
        return response


class Artifacts(ArtifactRepository):
    """Files of runs, logged models and versions of a workspace in a folder."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, *_: Any, **__: Any) -> None:
        super().__init__(artifact_uri)
        uri = tracking_uri or mlflow.get_tracking_uri()
        self.wire = wire_of(uri if uri.startswith(PREFIX) else PREFIX)
        self.root = artifact_uri.removeprefix(OWN).strip("/")

    def _at(self, path: str | None) -> str:
        return posixpath.join(self.root, path).rstrip("/") if path else self.root

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        self._keep({posixpath.join(artifact_path or "", Path(local_file).name): Path(local_file)})

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        root = Path(local_dir)
        self._keep(
            {posixpath.join(artifact_path or "", path.relative_to(root).as_posix()): path for path in files_below(root)}
        )

    def _keep(self, files: dict[str, Path]) -> None:
        ws = self.wire.ws
        stored = ws.store.put_files(list(files.values()))
        try:
            keep_all(ws, place_of(self.root), dict(zip(files, stored, strict=True)))
        except (WireError, TrineError) as error:
            raise _told(error if isinstance(error, WireError) else from_trine(error)) from None

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        found = listing(self.wire.ws, place_of(self._at(path)))
        start = f"{path.rstrip('/')}/" if path else ""
        return [FileInfo(start + one["path"], one["is_dir"], one.get("file_size")) for one in found]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        place = place_of(self._at(remote_file_path))
        for one in files_at(self.wire.ws, place):
            if one.path == place.path:
                self.wire.ws.store.get_file(one.hash, local_path)
                return
        raise RestException(
            {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"No such artifact: '{remote_file_path}'"}
        )

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        remove(self.wire.ws, place_of(self._at(artifact_path)))
