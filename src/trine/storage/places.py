"""Where objects can be: a folder, or a bucket on S3, GCS or Azure. Both are flat maps from keys to bytes."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

from trine.errors import Conflict, Failure, InvalidInput, NoSpace, Unavailable
from trine.ids import digest
from trine.storage.links import clone

RETRIES = 5

CHUNK = 4 << 20
"""Bytes of one piece when something large is read or written."""


class Place(Protocol):
    """A durable map from keys to bytes; what is written is there whole or not at all, also after a power cut."""

    location: str
    is_far: bool
    """Whether every look-up is a request over a network."""

    def read(self, key: str) -> bytes | None:
        """All bytes of a key, or None."""
        ...

    def read_range(self, key: str, offset: int, length: int) -> bytes | None: ...

    def opened(self, key: str) -> contextlib.AbstractContextManager[Callable[[int, int], bytes] | None]:
        """What reads bytes of a key by offset and length, as long as the block lasts; None when it is not there."""
        ...

    def chunks(self, key: str) -> Iterator[bytes] | None:
        """The bytes of a key piece by piece, or None."""
        ...

    def size(self, key: str) -> int | None: ...

    def holds(self, key: str) -> bool:
        """Whether a key is there; a far place may remember a yes for ten minutes."""
        ...

    def write(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Write a key. Without `replace` one that is there may stay: keys are named by content."""
        ...

    def swap(self, key: str, data: bytes, expect: bytes | None) -> bool:
        """Write a key if it holds what is expected (None: nothing); of several writers one wins. False: it does not."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Draft]:
        """A draft to write into piece by piece, named when it is finished."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Keys below a prefix, with size and time of change (seconds since the epoch)."""
        ...

    def mark(self, prefixes: Sequence[str]) -> str:
        """What stays the same as long as what is directly below the prefixes does; nothing where that costs requests."""
        ...

    def move(self, key: str, to: str) -> bool:
        """Give a key another name; False when it is not there."""
        ...

    def delete(self, key: str) -> None: ...


class Draft(Protocol):
    """Bytes on their way to a key."""

    def write(self, data: bytes) -> None: ...

    def take(self, descriptor: int) -> IO[bytes] | None:
        """Share the content of an open file, and give it to read from the draft; None where that cannot be."""
        ...

    def finish(self, key: str) -> None: ...


def no_space(location: str, error: OSError) -> Failure:
    """The error of a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(f"There is no space left in {location}; nothing was stored. Free some and try again.")
    return Failure(f"{location} cannot be written: {error.strerror or error}.")


class Folder:
    """Objects in a local folder: temporary file, fsync, rename, fsync of the folder."""

    is_far = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._known: set[Path] = set()

    def _path(self, key: str) -> str:
        return f"{self.location}/{key}"

    @contextlib.contextmanager
    def _reading(self, key: str) -> Generator[None]:
        """A missing file is no error here; one that cannot be read is, with its name."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Failure(f"{self._path(key)} cannot be read: {error.strerror or error}.") from error

    def read(self, key: str) -> bytes | None:
        with self._reading(key), open(self._path(key), "rb") as file:
            return file.read()
        return None

    def read_range(self, key: str, offset: int, length: int) -> bytes | None:
        with self._reading(key), open(self._path(key), "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)
        return None

    @contextlib.contextmanager
    def opened(self, key: str) -> Generator[Callable[[int, int], bytes] | None]:
        try:
            file = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            yield lambda offset, length: os.pread(file, length, offset)
        finally:
            os.close(file)

    def chunks(self, key: str) -> Iterator[bytes] | None:
        with self._reading(key):
            return self._pieces(key, open(self._path(key), "rb", buffering=0))
        return None

    def _pieces(self, key: str, file: IO[bytes]) -> Iterator[bytes]:
        with self._reading(key), file:
            while part := file.read(CHUNK):
                yield part

    def size(self, key: str) -> int | None:
        try:
            return os.stat(self._path(key)).st_size
        except FileNotFoundError:
            return None

    def holds(self, key: str) -> bool:
        return os.path.exists(self._path(key))

    def write(self, key: str, data: bytes, *, replace: bool = False) -> None:
        with self.writing() as draft:
            draft.write(data)
            draft.finish(key)

    def swap(self, key: str, data: bytes, expect: bytes | None) -> bool:
        import fcntl

        self._make(self.root)
        with open(self.root / "swap.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read(key) != expect:
                return False
            self.write(key, data, replace=True)
            return True

    @contextlib.contextmanager
    def writing(self) -> Generator[_FolderDraft]:
        folder = self.root / "tmp"
        self._make(folder)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with open(path, "xb", buffering=0) as file:
                yield _FolderDraft(self, path, file)
        except OSError as error:
            raise no_space(self.location, error) from error
        finally:
            path.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Make a folder and the names of all that were missing durable."""
        if folder in self._known:
            return
        missing = [one for one in (folder, *folder.parents) if not one.is_dir()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for one in missing:
                sync_folder(one.parent)
        except OSError as error:
            raise no_space(self.location, error) from error
        self._known.add(folder)

    def adopt(self, temporary: Path, key: str) -> None:
        """Give a finished, synced file its name."""
        target = self.root / key
        self._make(target.parent)
        os.chmod(temporary, 0o444)
        os.replace(temporary, target)
        sync_folder(target.parent)

    def list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        try:
            found = sorted(os.scandir(self._path(prefix)), key=lambda one: one.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for one in found:
            key = f"{prefix}/{one.name}"
            if one.is_dir(follow_symlinks=False):
                yield from self.list(key)
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = one.stat()
                yield key, stat.st_size, stat.st_mtime

    def mark(self, prefixes: Sequence[str]) -> str:
        found: list[str] = []
        for prefix in prefixes:
            with contextlib.suppress(FileNotFoundError), os.scandir(self._path(prefix)) as entries:
                for entry in entries:
                    seen = entry.stat()
                    found.append(f"{prefix}/{entry.name} {seen.st_size} {seen.st_mtime_ns}")
        return digest("\n".join(sorted(found)).encode())

    def move(self, key: str, to: str) -> bool:
        target = self.root / to
        self._make(target.parent)
        try:
            os.replace(self._path(key), target)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise no_space(self.location, error) from error
        return True

    def delete(self, key: str) -> None:
        Path(self._path(key)).unlink(missing_ok=True)


class _FolderDraft:
    def __init__(self, folder: Folder, path: Path, file: IO[bytes]) -> None:
        self._folder = folder
        self._path = path
        self._file = file

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:  # an unbuffered file may take less than all, on a disk that is getting full
            left = left[self._file.write(left) :]

    def take(self, descriptor: int) -> IO[bytes] | None:
        return open(self._path, "rb", buffering=0) if clone(descriptor, self._file.fileno()) else None

    def finish(self, key: str) -> None:
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

    is_far = True
    REMEMBERED_S = 600

    def __init__(self, url: str) -> None:
        import obstore.store

        self.location = url
        options: dict[str, Any] = {"retry_config": {"max_retries": RETRIES}}
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        if endpoint.startswith("http://"):
            options["client_options"] = {"allow_http": True}
        if url.startswith("s3://") and endpoint:
            options["endpoint"] = endpoint
        try:
            self._store = obstore.store.from_url(url, **options)
        except Exception as error:
            raise InvalidInput(f"{url} cannot be opened as an object store: {error}") from error
        self._seen: dict[str, float] = {}

    @contextlib.contextmanager
    def _told(self, what: str) -> Generator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise Unavailable(f"{self.location} did not {what}: there is no such bucket. Make it first.") from None
            raise
        except BaseError as error:
            reason = str(error).strip().splitlines()[0]
            raise Unavailable(f"{self.location} did not {what}: {reason}") from error

    def read(self, key: str) -> bytes | None:
        import obstore

        with contextlib.suppress(FileNotFoundError), self._told(f"read {key}"):
            return bytes(obstore.get(self._store, key).bytes())
        return None

    def read_range(self, key: str, offset: int, length: int) -> bytes | None:
        import obstore

        size = self.size(key)
        if size is None:
            return None
        stop = min(offset + length, size)  # a range beyond the end is a panic in the library
        if stop <= offset:
            return b""
        with contextlib.suppress(FileNotFoundError), self._told(f"read {key}"):
            return bytes(obstore.get_range(self._store, key, start=offset, end=stop))
        return None

    def chunks(self, key: str) -> Iterator[bytes] | None:
        import obstore

        with contextlib.suppress(FileNotFoundError), self._told(f"read {key}"):
            return self._stream(key, obstore.get(self._store, key).stream(min_chunk_size=CHUNK))
        return None

    def listed(self) -> Iterator[tuple[str, int, str]]:
        """Key, size and ETag of all that is here now."""
        import obstore

        with self._told("list"):
            for batch in obstore.list(self._store):
                yield from ((one["path"], one["size"], one["e_tag"] or "") for one in batch)

    def unchanged(self, key: str, e_tag: str) -> Iterator[bytes]:
        """The bytes of a key piece by piece. Raises Conflict naming it when it is not what had this ETag any more."""
        import obstore
        from obstore.exceptions import PreconditionError

        try:
            with self._told(f"read {key}"):
                found = obstore.get(self._store, key, options={"if_match": e_tag} if e_tag else None)
        except (FileNotFoundError, PreconditionError, Unavailable) as error:
            cause = error.__cause__ if isinstance(error, Unavailable) else error
            if not isinstance(cause, (FileNotFoundError, PreconditionError)):
                raise
            raise Conflict(f"{self.location}/{key} changed while it was read. Wait, and try again.", path=key) from None
        yield from self._stream(key, found.stream(min_chunk_size=CHUNK))

    def _stream(self, key: str, parts: Any) -> Iterator[bytes]:
        with self._told(f"read {key}"):
            for part in parts:
                yield bytes(part)

    def size(self, key: str) -> int | None:
        import obstore

        with contextlib.suppress(FileNotFoundError), self._told(f"look up {key}"):
            return obstore.head(self._store, key)["size"]
        return None

    def holds(self, key: str) -> bool:
        now = time.monotonic()
        if now - self._seen.get(key, -self.REMEMBERED_S) < self.REMEMBERED_S:
            return True
        there = self.size(key) is not None
        if there:
            self._seen[key] = now
        return there

    def write(self, key: str, data: bytes, *, replace: bool = False) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._told(f"write {key}"), contextlib.suppress(AlreadyExistsError):
            obstore.put(self._store, key, data, mode="overwrite" if replace else "create")

    def swap(self, key: str, data: bytes, expect: bytes | None) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        with self._told(f"write {key}"):
            with contextlib.suppress(FileNotFoundError):
                found = obstore.get(self._store, key)
                if bytes(found.bytes()) != expect:
                    return False
                mode = {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name]}
            if mode == "create" and expect is not None:
                return False
            with contextlib.suppress(AlreadyExistsError, PreconditionError):
                obstore.put(self._store, key, data, mode=mode)
                return True
        return False

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

    @contextlib.contextmanager
    def opened(self, key: str) -> Generator[Callable[[int, int], bytes] | None]:
        yield lambda offset, length: self.read_range(key, offset, length) or b""

    def mark(self, prefixes: Sequence[str]) -> str:
        return ""

    def move(self, key: str, to: str) -> bool:
        import obstore

        self._seen.pop(key, None)
        with contextlib.suppress(FileNotFoundError), self._told(f"move {key}"):
            obstore.copy(self._store, key, to)
            obstore.delete(self._store, key)
            return True
        return False

    def delete(self, key: str) -> None:
        import obstore

        self._seen.pop(key, None)
        with contextlib.suppress(FileNotFoundError), self._told(f"delete {key}"):
            obstore.delete(self._store, key)


class _BucketDraft:
    def __init__(self, bucket: Bucket, file: IO[bytes]) -> None:
        self._bucket = bucket
        self._file = file

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise no_space("the folder for temporary files", error) from error

    def take(self, descriptor: int) -> IO[bytes] | None:
        return None

    def finish(self, key: str) -> None:
        self._file.seek(0)
        self._bucket.upload(key, self._file)


def open_place(location: str) -> Place:
    """The place a location names: a folder's path, or a URL such as s3://bucket/prefix."""
    if "://" in location and not location.startswith("file://"):
        return Bucket(location)
    return Folder(Path(location.removeprefix("file://")))
