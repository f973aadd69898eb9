"""One request to the gateway: whose it is, which bucket and key it is about, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from trine.data import operations as door
from trine.data.browsing import File, View
from trine.data.commits import DatasetInfo
from trine.data.staging import head_of_files
from trine.data.trees import check_path
from trine.errors import Conflict, InvalidInput, NotFound
from trine.server.s3.errors import S3Error
from trine.server.s3.signing import Chain
from trine.workspace import Workspace

LONGEST_KEY = 1_024


class Call(msgspec.Struct, frozen=True):
    """A request by somebody who is known. `chain` signs the chunks of its body."""

    ws: Workspace
    request: Request
    bucket: str
    key: str
    chain: Chain | None = None

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    def dataset(self) -> DatasetInfo:
        """The dataset that the bucket is."""
        return dataset_of(self.ws, self.bucket)

    def view(self) -> tuple[View, str]:
        """The version that the key begins with, and the path in it."""
        return view_of(self.ws, self.bucket, self.key)

    def find(self) -> tuple[View, File]:
        """The file that the key names."""
        return find(self.ws, self.bucket, self.key)

    def target(self) -> tuple[str, str]:
        """Branch and path of the key, when it can be written. Raises S3Error."""
        branch, _, path = self.key.partition("/")
        if len(self.key.encode()) > LONGEST_KEY:
            raise S3Error("KeyTooLongError", f"A key has at most {LONGEST_KEY} bytes.")
        if not path:
            raise S3Error("InvalidRequest", "A key is BRANCH/path: what is written goes to a branch.")
        self.dataset()
        try:
            head_of_files(self.ws, self.bucket, branch)
        except NotFound as error:
            raise S3Error("NoSuchKey", error.message) from None
        except (Conflict, InvalidInput) as error:
            raise S3Error("MethodNotAllowed", error.message) from None
        if not path.endswith("/"):
            check_path(path)
        return branch, path


def dataset_of(ws: Workspace, bucket: str) -> DatasetInfo:
    """The dataset that a bucket is. Raises S3Error."""
    try:
        return door.get_dataset(ws, name=bucket)
    except NotFound as error:
        raise S3Error("NoSuchBucket", error.message) from None


def view_of(ws: Workspace, bucket: str, key: str) -> tuple[View, str]:
    """The version that a key begins with, and the path in it. Raises S3Error."""
    ref, _, path = key.partition("/")
    info = dataset_of(ws, bucket)
    try:
        return View(ws, info, ref), path
    except (NotFound, InvalidInput) as error:
        raise S3Error("NoSuchKey", error.message) from None


def find(ws: Workspace, bucket: str, key: str) -> tuple[View, File]:
    """The file that a key names. Raises S3Error."""
    view, path = view_of(ws, bucket, key)
    found = view.find(path) if path else None
    if found is None:
        raise S3Error("NoSuchKey", f'{bucket}@{view.ref} has no file "{path}".')
    return view, found
