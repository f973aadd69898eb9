"""What the files of a model may look like. Each form says what is wrong with some bytes, or nothing."""

from __future__ import annotations

import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

MAGIC: tuple[tuple[str, bytes], ...] = (
    ("a gzip file", b"\x1f\x8b"), ("a bzip2 file", b"BZh"), ("an xz file", b"\xfd7zXZ\0"), ("a Zstandard file", b"\x28\xb5\x2f\xfd"),
    ("an LZ4 file", b"\x04\x22\x4d\x18"), ("a 7z archive", b"7z\xbc\xaf\x27\x1c"), ("a RAR archive", b"Rar!\x1a\x07"),
    ("a zip archive", b"PK\x03\x04"), ("a zip archive", b"PK\x05\x06"), ("an ELF binary", b"\x7fELF"), ("a Windows binary", b"MZ"),
    ("a Mach-O binary", b"\xcf\xfa\xed\xfe"), ("a Java class", b"\xca\xfe\xba\xbe"), ("a script", b"#!"), ("an HDF5 file", b"\x89HDF\r\n\x1a\n"),
    ("a zlib stream", b"\x78\x9c"), ("a zlib stream", b"\x78\xda"), ("a NumPy array", b"\x93NUMPY"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n\w+\n|\((?:lp\d|dp\d|i[\w.]+\n)")
_BOMB = 200
"""Times its size that an archive may unpack to; arrays of zeros alone shrink more, and those are small."""
_FREE = 64 << 20

Form = Callable[[bytes], str]


def looks_like(data: bytes) -> str:
    """What other form some bytes have: an archive, a program, a pickle; nothing for what is none of them."""
    for name, magic in MAGIC:
        if data.startswith(magic):
            return name
    if data[257:262] == b"ustar":
        return "a tar archive"
    return "a pickle" if _PICKLE.match(data) and data.rstrip(b"\n").endswith(b".") else ""


def text_form(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return looks_like(data) or "no text"
    return looks_like(data) or ("text with a NUL character" if b"\0" in data else "")


def json_form(data: bytes) -> str:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return looks_like(data) or "no JSON"
    return ""


def any_form(data: bytes) -> str:
    """What the flavor itself looks into."""
    return looks_like(data)


def pickle_form(data: bytes) -> str:
    found = looks_like(data)
    return "" if found == "a pickle" else found or "no pickle"


def arrow_form(data: bytes) -> str:
    return "" if data.startswith(b"ARROW1") and data.endswith(b"ARROW1") else looks_like(data) or "no Arrow file"


_TENSORS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def safetensors_form(data: bytes) -> str:
    """A header of tensors that lie one after the other, and nothing else."""
    if len(data) < 10 or (length := struct.unpack("<Q", data[:8])[0]) > len(data) - 8:
        return looks_like(data) or "no safetensors file"
    try:
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        tensors = sorted(header.values(), key=lambda one: one["data_offsets"])
        place = 0
        for one in tensors:
            count = 1
            for side in one["shape"]:
                count *= side
            start, end = one["data_offsets"]
            if start != place or end - start != count * _TENSORS[one["dtype"]] or count < 0:
                return "a safetensors file whose tensors overlap, or are not where it says"
            place = end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "no safetensors file"
    return "" if 8 + length + place == len(data) else "a safetensors file with something behind its tensors"


def array_form(data: bytes) -> str:
    """A NumPy array of plain numbers or texts: arrays of objects are pickles."""
    import numpy as np

    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, TypeError):
        return looks_like(data) or "no NumPy array"
    if dtype.hasobject:
        return "a NumPy array of objects, which is a pickle"
    count = 1
    for side in shape:
        count *= side
    return "" if len(data) - stream.tell() == count * dtype.itemsize else "a NumPy array of another length than it says"


def skops_form(data: bytes) -> str:
    """A zip archive as skops writes them: one schema and arrays, each stored once under its one name."""
    problem = archive_problem(
        data, {"schema.json": json_form, ".npy": array_form, ".npz": _sparse_form, ".bin": any_form}
    )
    if problem:
        return problem
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        if "schema.json" not in names:
            return "a skops file without a schema"
        schema = json.loads(archive.read("schema.json"))
    used = {one["file"] for one in _nodes(schema) if isinstance(one.get("file"), str)}
    if strange := sorted((names - {"schema.json"}) ^ used):
        return f'a skops file whose schema does not go with "{strange[0]}"'
    return next((f'a skops file that names "{name}"' for name in _types(schema) if not _is_plain(name)), "")


def _sparse_form(data: bytes) -> str:
    return archive_problem(data, {".npy": array_form})


def archive_problem(data: bytes, inside: dict[str, Form]) -> str:
    """What is wrong with a zip archive whose members have these names or endings and forms."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = sorted(archive.infolist(), key=lambda one: one.header_offset)
            problem = _layout(data, members, archive)
            return problem or next(_contents(archive, members, inside), "")
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        struct.error,
    ) as error:
        return looks_like(data).replace("a zip archive", "") or f"no zip archive that can be read ({error})"


def _layout(data: bytes, members: list[zipfile.ZipInfo], archive: zipfile.ZipFile) -> str:
    names = [one.filename for one in members]
    if len(set(names)) != len(names):
        return "a zip archive with two members of one name"
    if sum(one.file_size for one in members) > max(_FREE, _BOMB * len(data)):
        return "a zip archive that unpacks to far more than it is"
    place = 0
    for one in members:
        if one.header_offset != place:
            return "a zip archive with something between its members"
        header = data[place : place + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            return "a zip archive whose members are not where it says"
        flags, method = struct.unpack("<HH", header[6:10])
        length, extra = struct.unpack("<HH", header[26:30])
        if data[place + 30 : place + 30 + length] != one.orig_filename.encode("utf-8" if flags & 0x800 else "cp437"):
            return f'a zip archive whose member "{one.filename}" has another name inside'
        if flags & 0x09 or one.flag_bits & 0x09 or method != one.compress_type:
            return f'a zip archive whose member "{one.filename}" is encrypted, or differs from its entry'
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f'a zip archive whose member "{one.filename}" is packed in an unusual way'
        mode = one.external_attr >> 16
        if one.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
            return f'a zip archive whose member "{one.filename}" is no plain file'
        place += 30 + length + extra + one.compress_size
    end = data.rfind(b"PK\x05\x06")
    if archive.start_dir != place or end + 22 != len(data) or archive.comment:
        return "a zip archive with something before, between or behind its members"
    return ""


def _contents(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], inside: dict[str, Form]) -> Iterator[str]:
    for one in members:
        form = inside.get(one.filename) or inside.get(f".{one.filename.rpartition('.')[2]}")
        if form is None or not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", one.filename):
            yield f'a zip archive with "{one.filename}" in it'
        elif problem := form(archive.read(one)):
            yield f'a zip archive whose member "{one.filename}" is {problem}'


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one  # pyright: ignore[reportUnknownArgumentType]
            waiting.extend(one.values())  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(one, list):
            waiting.extend(one)  # pyright: ignore[reportUnknownArgumentType]


def _types(schema: Any) -> Iterator[str]:
    for one in _nodes(schema):
        for module, name in (("__module__", "__class__"), ("module_path", "function")):
            if module in one:
                yield f"{one[module]}.{one.get(name, '')}"


_PLAIN = (
    "builtins.dict", "builtins.list", "builtins.tuple", "builtins.set", "builtins.frozenset", "builtins.slice", "builtins.bytes",
    "builtins.bytearray", "builtins.str", "builtins.int", "builtins.float", "builtins.bool", "builtins.NoneType", "builtins.complex",
    "builtins.type", "builtins.object", "collections.defaultdict", "collections.OrderedDict", "functools.partial", "json",
)  # fmt: skip


def _is_plain(name: str) -> bool:
    """Whether a type is Python's own plain one, or a library's that is judged by name when the model is loaded."""
    return name.rstrip(".") in _PLAIN or name.startswith(
        ("sklearn.", "numpy.", "scipy.sparse.", "scipy.special.", "scipy.stats.")
    )


FORMS: dict[str, Form] = {
    "any": any_form,
    "arrow": arrow_form,
    "json": json_form,
    "pickle": pickle_form,
    "safetensors": safetensors_form,
    "skops": skops_form,
    "text": text_form,
}
"""The forms by name."""
