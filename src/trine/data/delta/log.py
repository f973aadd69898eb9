"""The log of a Delta table, as its protocol gives it: one JSON file for each commit of the table's history.

What is in it follows from the commits alone, so the same history always has the same log, and a longer one begins with it.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from trine.data.commits import Commit

ENGINE = "Trine"
_RFC_1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85 = bytes.maketrans(_RFC_1924, _Z85)


class Vector(NamedTuple):
    """A deletion vector: the hash of its file, the bytes of its blob, the rows it marks."""

    hash: str
    size: int
    rows: int

    @property
    def _id(self) -> uuid.UUID:
        return uuid.UUID(self.hash[:32])

    @property
    def path(self) -> str:
        return f"deletion_vector_{self._id}.bin"

    @property
    def told(self) -> dict[str, Any]:
        name = base64.b85encode(self._id.bytes).translate(_TO_Z85).decode()
        return {
            "storageType": "u",
            "pathOrInlineDv": name,
            "offset": 1,
            "sizeInBytes": self.size,
            "cardinality": self.rows,
        }


class File(NamedTuple):
    """A part: its path in the folder, its size in bytes, all its rows, and its vector."""

    path: str
    size: int
    rows: int
    vector: Vector | None = None


class Version(NamedTuple):
    """A commit with its columns in Delta's words and its files."""

    commit: Commit
    schema: Mapping[str, Any]
    files: list[File]


def write_log(versions: Iterable[Version], table: str) -> Iterator[bytes]:
    """The files of a log, in order; `table` names the table for good."""
    before: Version | None = None
    features: set[str] = set()
    for version in versions:
        old = before.files if before else []
        actions: list[dict[str, Any]] = [{"commitInfo": _about(version, old)}]
        needed = features | _features(version)
        if needed != features or before is None:
            features = needed
            actions.append({"protocol": _protocol(features)})
        if before is None or version.schema != before.schema:
            actions.append({"metaData": _metadata(version, table, has_vectors="deletionVectors" in features)})
        actions += _changes(version, old)
        yield b"".join(msgspec.json.encode(action) + b"\n" for action in actions)
        before = version


def _features(version: Version) -> set[str]:
    found = {"deletionVectors"} if any(file.vector for file in version.files) else set[str]()
    return found | ({"timestampNtz"} if '"timestamp_ntz"' in msgspec.json.encode(version.schema).decode() else set())


def _protocol(features: set[str]) -> dict[str, Any]:
    if not features:
        return {"minReaderVersion": 1, "minWriterVersion": 2}
    names = sorted(features)
    return {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": names, "writerFeatures": names}


def _metadata(version: Version, table: str, *, has_vectors: bool) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, table)),
        "name": version.commit.dataset,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": msgspec.json.encode(version.schema).decode(),
        "partitionColumns": [],
        "configuration": {},
        "createdTime": version.commit.created_us // 1_000,
    }


def _about(version: Version, before: list[File]) -> dict[str, Any]:
    commit = version.commit
    old, new = set(before), set(version.files)
    if old <= new:
        operation, parameters = "WRITE", {"mode": "Append"}
    elif not {file.path for file in old} & {file.path for file in new}:
        operation, parameters = "WRITE", {"mode": "Overwrite"}
    else:
        operation, parameters = "MERGE", {}
    return {
        "timestamp": commit.created_us // 1_000,
        "operation": operation,
        "operationParameters": parameters,
        "userName": commit.author,
        "userMetadata": commit.message,
        "engineInfo": ENGINE,
        "trineCommit": commit.id,
    }


def _changes(version: Version, before: list[File]) -> Iterator[dict[str, Any]]:
    old, new = dict.fromkeys(before), dict.fromkeys(version.files)
    for file in old:
        if file not in new:
            yield {
                "remove": {
                    **_file(file),
                    "deletionTimestamp": version.commit.created_us // 1_000,
                    "extendedFileMetadata": True,
                }
            }
    for file in new:
        if file not in old:
            stats = msgspec.json.encode({"numRecords": file.rows}).decode()
            yield {"add": {**_file(file), "modificationTime": version.commit.created_us // 1_000, "stats": stats}}


def _file(file: File) -> dict[str, Any]:
    told = {"path": file.path, "partitionValues": {}, "size": file.size, "dataChange": True}
    return told if file.vector is None else {**told, "deletionVector": file.vector.told}
