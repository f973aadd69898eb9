"""Values of steps as documents: JSON that gives back exactly what went in, with the bytes of large things beside it.

Plain JSON stands for itself. Everything else is an object with the key "$": {"$": "tuple", "v": [1, 2]},
{"$": "object", "codec": "polars", "hash": …}. A document's BLAKE3 is the value's content id: equal values have equal
ids, however and whenever they were made, and that is what cache keys are made of.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import os
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from trine.errors import Failure, InvalidInput, NotFound
from trine.ids import digest, new_id
from trine.pipelines import places
from trine.pipelines.codecs import CODECS, Codec, Packed, Pickled, codec_of
from trine.storage import Store

INLINE = 2_048
"""Bytes of a document that are kept in the ledger; a longer one is an object in the store."""

SMALL = 512
"""Bytes of a library object that are kept in the document."""


class Value(msgspec.Struct, frozen=True):
    """A stored value: its content id, its document (empty: the object of that id), the objects it needs."""

    id: str
    document: str = ""
    objects: list[str] = []
    size_bytes: int = 0
    summary: str = ""


class Encoder:
    """Makes documents. With a store, the bytes of what is encoded go there when `save` is called; without, only hashes are taken."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        pickle: bool = False,
        reference: Callable[[Any], dict[str, Any] | None] = lambda _: None,
    ) -> None:
        self._store = store
        self._pickle = pickle
        self._reference = reference
        self._blobs: dict[str, bytes] = {}
        self.objects: list[str] = []
        self.size_bytes = 0

    def value(self, value: Any) -> Value:
        """A value ready to be kept in the ledger; its bytes are durable after `save`."""
        first, size = len(self.objects), self.size_bytes
        text = msgspec.json.encode(self.document(value))
        objects = self.objects[first:]
        identity = digest(text)
        size = len(text) + self.size_bytes - size
        if len(text) <= INLINE:
            return Value(identity, text.decode(), objects, size, summary(value))
        self._blobs[identity] = text
        return Value(identity, "", [*objects, identity], size, summary(value))

    def save(self) -> None:
        """Put the bytes of all that was encoded into the store; on disk when it returns."""
        if self._store is not None and self._blobs:
            self._store.put_many(self._blobs.values())
        self._blobs = {}

    def document(self, value: Any) -> Any:
        """JSON-able. Raises InvalidInput naming a type that cannot be stored."""
        try:
            return self._encode(value)
        except RecursionError:
            raise InvalidInput("A value that contains itself cannot be stored.") from None

    def _encode(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return value if _is_text(value) else _tag("str", value.encode("utf-8", "surrogatepass").hex())
        if kind is int:
            return value if -(2**63) <= value < 2**63 else _tag("int", str(value))
        if kind is float:
            return value if value - value == 0 else _tag("float", repr(value))
        if kind is list:
            return [self._encode(one) for one in value]
        if kind is dict:
            if "$" not in value and all(type(key) is str and _is_text(key) for key in value):
                return {key: self._encode(one) for key, one in value.items()}
            return _tag("dict", [[self._encode(key), self._encode(one)] for key, one in value.items()])
        if (reference := self._reference(value)) is not None:
            return reference
        if kind is tuple:
            return _tag("tuple", [self._encode(one) for one in value])
        if kind in (set, frozenset):
            members = sorted((self._encode(one) for one in value), key=msgspec.json.encode)
            return _tag(kind.__name__, members)
        if kind in _PLAIN:
            return _tag(kind.__name__, _PLAIN[kind][0](value))
        if isinstance(value, enum.Enum):
            return _tag("enum", value.name, type=places.name_of(kind))
        if isinstance(value, msgspec.Struct):
            return self._fields("struct", value, kind.__struct_fields__)
        if dataclasses.is_dataclass(kind):
            return self._fields("dataclass", value, [field.name for field in dataclasses.fields(kind)])
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self._fields("namedtuple", value, cast(Any, kind)._fields)
        if isinstance(value, Path):
            return self._path(value)
        if kind in (bytes, bytearray):
            return self._packed(Packed(kind.__name__, bytes(value)))
        codec: Codec | None = codec_of(value) or (Pickled(True) if self._pickle else None)
        if codec is None:
            raise InvalidInput(f"a {kind.__module__}.{kind.__qualname__} cannot be stored. {_WAYS}")
        try:
            return self._packed(codec.pack(value))
        except InvalidInput:
            if not self._pickle:
                raise
            return self._packed(Pickled(True).pack(value))

    def _fields(self, tag: str, value: Any, names: Any) -> dict[str, Any]:
        if "<locals>" in type(value).__qualname__:
            raise InvalidInput(
                f"type {type(value).__qualname__} is defined inside a function, so it cannot be found again. "
                "Move it to the top of its file"
            )
        fields = {name: self._encode(getattr(value, name)) for name in names}
        return _tag(tag, fields, type=places.name_of(type(value)))

    def _path(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            raise InvalidInput(
                f"Path {path} is no file: a Path stands for the content of a file. "
                "Give a place to write to as a str, and commit a folder as a dataset"
            )
        if self._store is None:
            return _tag("path", path.name, hash=_file_digest(path))
        hash_, size = self._store.put_files([path])[0]
        self.objects.append(hash_)
        self.size_bytes += size
        return _tag("path", path.name, hash=hash_)

    def _packed(self, packed: Packed) -> dict[str, Any]:
        facts = {"facts": self._encode(packed.facts)} if packed.facts else {}
        if len(packed.data) <= SMALL:
            return _tag("object", base64.b64encode(packed.data).decode(), codec=packed.codec, **facts)
        hash_ = digest(packed.data)
        if self._store is not None:
            self._blobs[hash_] = packed.data
        self.objects.append(hash_)
        self.size_bytes += len(packed.data)
        return _tag("object", "", codec=packed.codec, hash=hash_, **facts)


_WAYS = (
    "Steps pass on plain values, frames, arrays, dataclasses, msgspec structs, files (Path) and scikit-learn estimators; "
    "@step(pickle=True) allows the outputs of that step to be anything that pickles"
)

_PLAIN: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    dt.date: (dt.date.isoformat, dt.date.fromisoformat),
    dt.timedelta: (
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
    dt.datetime: (
        lambda value: [value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)],
        lambda parts: dt.datetime.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=_from_zone(parts[2])),
    ),
    dt.time: (
        lambda value: [value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)],
        lambda parts: dt.time.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=_from_zone(parts[2])),
    ),
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
    range: (lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    complex: (
        lambda value: [repr(value.real), repr(value.imag)],
        lambda parts: complex(float(parts[0]), float(parts[1])),
    ),
}


def _tag(tag: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"$": tag, "v": content, **more}


def _is_text(text: str) -> bool:
    """Whether a text is one that every store can carry as it is."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def readable(text: str) -> str:
    """A text for people with what no store can carry replaced."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode()


def _zone(value: Any) -> Any:
    zone = value.tzinfo
    if zone is None:
        return None
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return zone.key
    if isinstance(zone, dt.timezone):
        return zone.utcoffset(None).total_seconds()
    raise InvalidInput(f"time zone {zone!r} cannot be stored. Use zoneinfo.ZoneInfo")


def _from_zone(zone: Any) -> Any:
    if zone is None or isinstance(zone, str):
        return zoneinfo.ZoneInfo(zone) if zone else None
    return dt.timezone(dt.timedelta(seconds=zone)) if zone else dt.UTC


def _file_digest(path: Path) -> str:
    from blake3 import blake3

    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


class Decoder:
    """Reads values back. `folder` is where files of Path values are put; `outputs` gives the outputs that a document refers to."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        pickle: bool = False,
        outputs: Callable[[str, int | None], Any] | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._pickle = pickle
        self._outputs = outputs

    def value(self, value: Value) -> Any:
        """Raises Damaged or NotFound when the bytes are not what they were, or gone."""
        text = value.document.encode() if value.document else self._store.get(value.id)
        return self.decode(msgspec.json.decode(text))

    def decode(self, document: Any) -> Any:
        """What a document stands for."""
        if isinstance(document, list):
            return [self.decode(one) for one in cast(list[Any], document)]
        if not isinstance(document, dict):
            return document
        found = cast(dict[str, Any], document)
        if "$" not in found:
            return {key: self.decode(one) for key, one in found.items()}
        return self._tagged(found["$"], found["v"], found)

    def _tagged(self, tag: str, content: Any, found: dict[str, Any]) -> Any:
        match tag:
            case "output":
                assert self._outputs is not None
                return self._outputs(content, found.get("item"))
            case "str":
                return bytes.fromhex(content).decode("utf-8", "surrogatepass")
            case "int":
                return int(content)
            case "float":
                return float(content)
            case "tuple":
                return tuple(self.decode(one) for one in content)
            case "set":
                return {self.decode(one) for one in content}
            case "frozenset":
                return frozenset(self.decode(one) for one in content)
            case "dict":
                return {self.decode(key): self.decode(one) for key, one in content}
            case "path":
                return self._file(found["hash"], content)
            case "object":
                return self._unpacked(found["codec"], content, found)
            case "enum":
                return _type(found["type"], enum.Enum)[content]
            case "struct":
                return _type(found["type"], msgspec.Struct)(**self._contents(content))
            case "namedtuple":
                return _type(found["type"], tuple)(**self._contents(content))
            case "dataclass":
                return self._dataclass(_type(found["type"], object), self._contents(content))
            case _:
                return _read_plain(tag, content)

    def _contents(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: self.decode(one) for name, one in fields.items()}

    def _dataclass(self, kind: Any, fields: dict[str, Any]) -> Any:
        if not dataclasses.is_dataclass(kind):
            raise Failure(f"{kind.__qualname__} is no dataclass any more; a stored value needs it.")
        made: Any = object.__new__(cast(type, kind))  # as it was, without running __init__ again
        for name, one in fields.items():
            object.__setattr__(made, name, one)
        return made

    def _unpacked(self, codec: str, content: str, found: dict[str, Any]) -> Any:
        data = base64.b64decode(content) if content or "hash" not in found else self._store.get(found["hash"])
        if codec in ("bytes", "bytearray"):
            return data if codec == "bytes" else bytearray(data)
        if codec == "pickle":
            return Pickled(self._pickle).unpack(data, {})
        return CODECS[codec].unpack(data, self.decode(found.get("facts", {})))

    def _file(self, hash_: str, name: str) -> Path:
        path = self._folder / hash_[:2] / hash_ / Path(name).name
        if not path.is_file() or _file_digest(path) != hash_:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{new_id()}")
            self._store.get_file(hash_, temporary)
            os.replace(temporary, path)
        return path


def _read_plain(tag: str, content: Any) -> Any:
    for kind, (_, read) in _PLAIN.items():
        if kind.__name__ == tag:
            return read(content)
    raise Failure(
        f'A stored value has the form "{tag}", which this version does not know. Upgrade: pip install -U trine.'
    )


def _type(name: str, family: type) -> Any:
    try:
        found = places.named(name)
    except (ImportError, AttributeError) as error:
        raise NotFound(f'A stored value is of type "{name}", which is not there any more: {error}.') from error
    if not (isinstance(found, type) and issubclass(found, family)):
        raise Failure(f'A stored value is of type "{name}", which has become something else.')
    return found


def summary(value: Any) -> str:
    """A value in a few words, for people."""
    kind = type(value)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and codec_of(value) is not None:
        return f"{kind.__name__} {' × '.join(f'{size:,}' for size in cast(tuple[int, ...], shape))}"
    if isinstance(value, Path):
        return f"file {value.name}"
    if isinstance(value, (list, tuple, set, frozenset, dict)) and len(cast(Any, value)) > 4:
        return f"{kind.__name__} of {len(cast(Any, value))}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    try:
        text = readable(" ".join((value if isinstance(value, str) and kind is str else repr(value)).split()))
    except Exception:  # a broken __repr__ is no reason to lose a result
        return kind.__name__
    return text if len(text) <= 80 else kind.__name__ if codec_of(value) else text[:79] + "…"
