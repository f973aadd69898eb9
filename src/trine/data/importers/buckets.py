"""Moving in what is below a prefix of a bucket: its objects as they are now, copied, become a version."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trine.data import operations as door
from trine.data.importers.intake import Intake, Source
from trine.data.importers.writer import Imported
from trine.data.references import head_of
from trine.data.trees import Entry, check_path, encode_tree
from trine.errors import Conflict, InvalidInput, NotFound
from trine.storage.places import Bucket
from trine.types import Name
from trine.workspace import Workspace, active_producer, current_workspace


class _Listed:
    """The objects of a bucket as one listing saw them; one that changed since is an error, never other bytes."""

    is_far = True

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self._bucket = Bucket(url)
        self.objects = {key: (size, tag) for key, size, tag in self._bucket.listed() if not key.endswith("/")}

    def size(self, key: str) -> int | None:
        return self.objects[key][0]

    def read(self, key: str) -> bytes | None:
        return b"".join(self.chunks(key))

    def chunks(self, key: str) -> Iterator[bytes]:
        size, tag = self.objects[key]
        came = 0
        for part in self._bucket.unchanged(key, tag):
            came += len(part)
            yield part
        if came != size:
            raise Conflict(f"{self.location}/{key} changed while it was read. Wait, and try again.", path=key)


def import_bucket(
    url: str, *, name: str, message: str = "", branch: str = "main", ws: Workspace | None = None
) -> Imported:
    """What is below `s3://bucket/prefix` (or gs://, az://) now becomes the next version of a dataset of files.

    Objects are copied; again, only those whose ETag is new. Raises Conflict naming an object that changes meanwhile.
    """
    ws = ws or current_workspace()
    msgspec.convert(name, Name)
    if "://" not in url:
        raise InvalidInput(f"{url} is no bucket: write s3://bucket/prefix. A folder is added: trine data add PATH")
    listed = _Listed(url)
    if not listed.objects:
        raise NotFound(f"There are no objects in {url}.")
    intake = Intake(ws, "buckets")
    asked = {f"{listed.location}/{key} {size} {tag}": key for key, (size, tag) in listed.objects.items()}
    taken = intake.take({one: Source(listed, key, "") for one, key in asked.items()})
    intake.save()
    entries = [Entry(check_path(key), *taken[one]) for one, key in asked.items()]
    tree, objects = encode_tree(entries)
    head = head_of(ws, name, branch)
    size = sum(entry.size for entry in entries)
    if head and head.tree == tree:
        return Imported(name, 1, 0, len(entries), size, head.id)
    ws.store.put_many(objects)
    made = door.commit_dataset(
        ws,
        name=name,
        kind="files",
        tree=tree,
        expect=head.id if head else "",
        branch=branch,
        files=len(entries),
        size_bytes=size,
        message=message or f"imported from {listed.location}",
        producer=active_producer(),
    )
    return Imported(name, 1, 1, made.files, made.size_bytes, made.id)
