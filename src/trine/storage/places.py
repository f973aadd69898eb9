"""Where objects can be: a folder, or a bucket on S3, GCS or Azure. Both are flat maps from keys to bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

from trine.errors import Failure, InvalidInput, NoSpace, Unavailable


class Place(Protocol):
    """A durable map from keys to bytes; what is written is there whole or not at all, also after a power cut."""

    location: str

    def read(self, key: str) -> bytes | None:
        """All bytes of a key, or None."""
        ...

    def read_range(self, key: str, offset: int, length: int) -> bytes | None: ...

    def size(self, key: str) -> int | None: ...

    def write(self, key: str, data: bytes) -> None:
        """Write a key once; writing it again with the same bytes is harmless (keys are named by content)."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Draft]:
        """A draft to write into piece by piece, named when it is finished."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Keys with size and time of change (seconds since the epoch)."""
        ...

    def move(self, key: str, to: str) -> None: ...

    def delete(self, key: str) -> None: ...


class Draft(Protocol):
    """Bytes on their way to a key."""

    def write(self, data: bytes) -> None: ...

    def finish(self, key: str) -> None: ...


def no_space(location: str, error: OSError) -> Failure:
    """The error of a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"There is no space left in {location}; nothing was stored. Free some and try again.")
    return Failure(f"{location} cannot be written: {error.strerror or error}.")


class Folder:
    """Objects in a local folder: temporary file, fsync, rename, fsync of the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._known: set[Path] = set()

    def _path(self, key: str) -> Path:
        return self.root / key

    def read(self, key: str) -> bytes | None:
        try:
            with open(self._path(key), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def read_range(self, key: str, offset: int, length: int) -> bytes | None:
        try:
            with open(self._path(key), "rb") as file:
                return os.pread(file.fileno(), length, offset)
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes) -> None:
        with self.writing() as draft:
            draft.write(data)
            draft.finish(key)

    @contextlib.contextmanager
    def writing(self) -> Generator[_FolderDraft]:
        folder = self.root / "tmp"
        self._make(folder)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with open(path, "xb") as file:
                yield _FolderDraft(self, path, file)
        except OSError as error:
            raise no_space(self.location, error) from error
        finally:
            path.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        if folder in self._known:
            return
        missing = [folder, *folder.parents]
        missing = missing[: next((i for i, one in enumerate(missing) if one.is_dir()), len(missing))]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_space(self.location, error) from error
        for one in missing:
            sync_folder(one.parent)
        self._known.add(folder)

    def adopt(self, temporary: Path, key: str) -> None:
        """Give a finished, synced file its name."""
        target = self._path(key)
        self._make(target.parent)
        os.chmod(temporary, 0o444)
        os.replace(temporary, target)
        sync_folder(target.parent)

    def list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        base = self._path(prefix)
        for path in sorted(base.rglob("*")) if base.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    found = path.stat()
                    yield path.relative_to(self.root).as_posix(), found.st_size, found.st_mtime

    def move(self, key: str, to: str) -> None:
        target = self._path(to)
        self._make(target.parent)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._path(key), target)

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)


class _FolderDraft:
    def __init__(self, folder: Folder, path: Path, file: IO[bytes]) -> None:
        self._folder = folder
        self._path = path
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self, key: str) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._folder.adopt(self._path, key)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Bucket:
    """Objects in a bucket through obstore (S3, GCS, Azure); credentials come from the usual environment variables."""

    def __init__(self, url: str) -> None:
        import obstore.store

        self.location = url
        options: dict[str, Any] = {"retry_config": {"max_retries": 5}}
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        if endpoint.startswith("http://"):
            options["client_options"] = {"allow_http": True}
        if url.startswith("s3://") and endpoint:
            options["endpoint"] = endpoint
        try:
            self._store = obstore.store.from_url(url, **options)
        except Exception as error:
            raise InvalidInput(f"{url} cannot be opened as an object store: {error}") from error
        self._local = threading.local()

    @contextlib.contextmanager
    def _told(self, what: str) -> Generator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise Unavailable(f"{self.location} did not {what}: {str(error).splitlines()[0]}") from error

    def read(self, key: str) -> bytes | None:
        import obstore

        try:
            with self._told(f"read {key}"):
                return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def read_range(self, key: str, offset: int, length: int) -> bytes | None:
        import obstore

        size = self.size(key)
        if size is None:
            return None
        stop = min(offset + length, size)  # a range beyond the end is a panic in the library
        if stop <= offset:
            return b""
        with self._told(f"read {key}"):
            return bytes(obstore.get_range(self._store, key, start=offset, end=stop))

    def size(self, key: str) -> int | None:
        import obstore

        try:
            with self._told(f"look up {key}"):
                return obstore.head(self._store, key)["size"]
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told(f"write {key}"), contextlib.suppress(AlreadyExistsError):
            obstore.put(self._store, key, data, mode="create")

    @contextlib.contextmanager
    def writing(self) -> Generator[_BucketDraft]:
        import tempfile

        with tempfile.TemporaryFile() as file:
            yield _BucketDraft(self, file)

    def upload(self, key: str, file: IO[bytes]) -> None:
        import obstore

        with self._told(f"write {key}"):
            obstore.put(self._store, key, cast(Any, file), use_multipart=True)

    def list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        import obstore

        with self._told(f"list {prefix}"):
            for batch in obstore.list(self._store, prefix):
                for one in batch:
                    yield one["path"], one["size"], one["last_modified"].timestamp()

    def move(self, key: str, to: str) -> None:
        import obstore

        with self._told(f"move {key}"), contextlib.suppress(FileNotFoundError):
            obstore.copy(self._store, key, to)
            obstore.delete(self._store, key)

    def delete(self, key: str) -> None:
        import obstore

        with self._told(f"delete {key}"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)


class _BucketDraft:
    def __init__(self, bucket: Bucket, file: IO[bytes]) -> None:
        self._bucket = bucket
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self, key: str) -> None:
        self._file.seek(0)
        self._bucket.upload(key, self._file)


def open_place(location: str) -> Place:
    """The place a location names: a folder's path, or a URL such as s3://bucket/prefix."""
    if "://" in location and not location.startswith("file://"):
        return Bucket(location)
    return Folder(Path(location.removeprefix("file://")))
