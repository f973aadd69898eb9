"""Weights & Biases: the `.wandb` files that its client writes, offline or not, read without the service and without wandb.

A file is a log of protocol-buffer records (`wandb_internal.proto`) in the form of LevelDB's logs: blocks of 32 KiB, the
first of which begins with 7 bytes of head, and in them fragments with CRC-32, length and kind.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import NotFound
from trine.tracking.importers import wire
from trine.tracking.importers.source import (
    NUMBERS,
    Lines,
    Source,
    SourceFile,
    SourceModel,
    SourceRun,
    files_of,
    flat,
    run_id,
    text_of,
)
from trine.tracking.runs import CodeVersion, Context

HEAD = b":W&B\xe1\xbe"
BLOCK = 32_768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_FRAGMENT = struct.Struct("<IHB")

HISTORY, SUMMARY, CONFIG, STATS, ARTIFACT, OUTPUT, RUN, EXIT, ENVIRONMENT = 2, 3, 5, 7, 8, 13, 17, 18, 26
"""The kinds of records that are read, by their fields in Record."""

VALUE = 16
"""The field of an item that holds its value as JSON."""


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """The runs below a folder, or of one file."""
    path = Path(where).expanduser()
    if not path.exists():
        raise NotFound(f"{where} is not there: give the folder wandb, or one run's folder in it.")
    files = [path] if path.is_file() else sorted(path.rglob("*.wandb"))
    if not files:
        raise NotFound(f"There is no .wandb file below {path}: give the folder wandb, or one run's folder in it.")
    return Wandb(path, files)


class Wandb:
    """Runs of `.wandb` files; the files of a run that was resumed are one run."""

    kind = "wandb"

    def __init__(self, place: Path, files: list[Path]) -> None:
        self.location, self.files = str(place), files

    def runs(self) -> Iterator[SourceRun]:
        """Runs by their first file."""
        groups: dict[tuple[str, str, str], list[Path]] = {}
        for path in self.files:
            if (name := _name(path)) is not None:
                groups.setdefault(name, []).append(path)
        for (entity, project, id), files in groups.items():
            reading = _Reading()
            for path in files:
                reading.read(path)
            yield reading.made(entity, project, id, files)

    def models(self) -> Iterator[SourceModel]:
        """Nothing: the registry is with the service."""
        return iter(())


def _name(path: Path) -> tuple[str, str, str] | None:
    """Entity, project and id of a file's run; None for a file that ends before it says so."""
    for record in records(path, []):
        for number, value in wire.fields(record):
            if number == RUN:
                run = wire.by_number(value)
                return wire.text(run, 2), wire.text(run, 3), wire.text(run, 1)
    return None


def records(path: Path, problems: list[str]) -> Iterator[bytes]:
    """The records of a file. A torn tail (its writer was killed) is left out; damage is stepped over and told."""
    data = path.read_bytes()
    if data[:6] != HEAD:
        if data:
            problems.append(f"{path} is no .wandb file.")
        return
    at, whole, lost = 7, bytearray(), 0
    while at + _FRAGMENT.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < _FRAGMENT.size:
            at += left
            continue
        sum_, size, kind = _FRAGMENT.unpack_from(data, at)
        part = data[at + _FRAGMENT.size : at + _FRAGMENT.size + size]
        if not FULL <= kind <= LAST or zlib.crc32(part, zlib.crc32(bytes((kind,)))) != sum_:
            if at + _FRAGMENT.size + size < len(data):
                lost += 1
            at += left
            whole.clear()
            continue
        at += _FRAGMENT.size + size
        if kind == FULL:
            yield part
        elif kind == FIRST:
            whole[:] = part
        elif whole:
            whole += part
            if kind == LAST:
                yield bytes(whole)
                whole.clear()
    if lost:
        problems.append(f"{path} is damaged in {lost} of its blocks; what is in them is left out.")


class _Reading:
    """What the records of one run say, in order."""

    def __init__(self) -> None:
        self.run: dict[int, list[Any]] = {}
        self.environment: dict[int, list[Any]] = {}
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.lines, self.system = Lines(), Lines()
        self.other: list[bytes] = []
        self.artifacts: list[dict[int, list[Any]]] = []
        self.output: list[str] = []
        self.exit: int | None = None
        self.last_us = self.stats = 0
        self.problems: list[str] = []
        self.keys: dict[bytes, str] = {}
        self.kinds: dict[int, Callable[[bytes], None]] = {
            HISTORY: self._history,
            SUMMARY: lambda data: _update(self.summary, data),
            CONFIG: lambda data: _update(self.config, data),
            STATS: self._stats,
            ARTIFACT: lambda data: self.artifacts.append(wire.by_number(data)),
            OUTPUT: lambda data: self.output.append(wire.text(wire.by_number(data), 3)),
            RUN: self._run,
            EXIT: self._exit,
            ENVIRONMENT: lambda data: self.environment.update(wire.by_number(data)),
        }

    def read(self, path: Path) -> None:
        self.exit = None  # a run that went on in another file has not ended with the one before
        for record in records(path, self.problems):
            try:
                for number, value in wire.fields(record):
                    if number in self.kinds:
                        self.kinds[number](value)
            except ValueError as error:
                self.problems.append(f"{path}: a record cannot be read: {error}.")

    def _run(self, data: bytes) -> None:
        found = wire.by_number(data)
        first = self.run.get(17)
        self.run.update(found)
        if first:
            self.run[17] = first
        for config in found.get(4, ()):
            _update(self.config, config)
        for summary in found.get(5, ()):
            _update(self.summary, summary)

    def _exit(self, data: bytes) -> None:
        self.exit = wire.signed(wire.by_number(data).get(1, [0])[-1])

    def _history(self, data: bytes) -> None:
        """One call of `log`: numbers are points at its step; all else is kept as it is."""
        step = time_us = 0
        numbers: list[tuple[str, float]] = []
        rest: dict[str, Any] = {}
        for number, item in wire.fields(data):
            if number == 2:
                step = wire.signed(wire.by_number(item).get(1, [0])[-1])
            elif number == 1:
                key, value = self._item(item)
                if not isinstance(value, float):
                    rest[key] = value
                elif key == "_timestamp":
                    time_us = round(value * 1e6)
                elif key == "_step":
                    step = int(value)
                elif key != "_runtime":
                    numbers.append((key, value))
        if rest:
            media = [key.removesuffix("_type") for key in rest if key.endswith("._type")]
            rest |= {key: value for key, value in numbers if key.startswith(tuple(media))}
            numbers = [one for one in numbers if one[0] not in rest]
            self.other.append(msgspec.json.encode({"step": step, "time_us": time_us, "values": rest}))
        for key, value in numbers:
            self.lines.add(key, step, time_us, value)
        self.last_us = max(self.last_us, time_us)

    def _item(self, item: bytes) -> tuple[str, Any]:
        """Key and value of an item; the common form (a short key, a short number) is read at once."""
        size = item[1] if len(item) > 1 else 128
        if size < 128 and item[2 + size : 4 + size] == b"\x82\x01" and len(item) == 5 + size + item[4 + size]:
            head = item[: 2 + size]
            key = self.keys.get(head)
            if key is None:
                key = self.keys[head] = head[2:].decode(errors="replace")
            try:
                return key, float(item[5 + size :])
            except ValueError:
                pass
        return _item(item)

    def _stats(self, data: bytes) -> None:
        """What the machine did, sampled."""
        found = wire.by_number(data)
        time_us = round(wire.seconds(found[2][-1]) * 1e6) if 2 in found else 0
        for item in found.get(3, ()):
            key, value = _item(item)
            if isinstance(value, float):
                self.system.add(f"system/{key}", self.stats, time_us, value)
        self.stats += 1

    # -- in one form ----------------------------------------------------------------------------------------------------

    def made(self, entity: str, project: str, id: str, files: list[Path]) -> SourceRun:
        run, environment = self.run, self.environment
        started_us = round(wire.seconds(run[17][-1]) * 1e6) if 17 in run else 0
        ended_us = max(self.last_us, started_us)
        last = self.lines.last_step()
        for key, value in flat_items(self.summary):
            if isinstance(value, float) and key not in self.lines and not key.startswith("_"):
                self.lines.add(key, last, ended_us, value)
        tags = {
            "wandb.id": id,
            "wandb.entity": entity,
            "wandb.project": project,
            "wandb.group": wire.text(run, 6),
            "wandb.job_type": wire.text(run, 7),
            "wandb.notes": wire.text(run, 9),
            "wandb.sweep": wire.text(run, 12),
        }
        tags |= {tag.decode(errors="replace"): "" for tag in run.get(10, ())}
        state = "killed" if self.exit is None else "finished" if self.exit == 0 else "failed"
        config = {key: value for key, value in self.config.items() if key != "_wandb"}
        program = [wire.text(environment, 6), *(one.decode(errors="replace") for one in environment.get(5, ()))]
        return SourceRun(
            id=run_id("wandb", entity, project, id),
            experiment=project or "uncategorized",
            name=wire.text(run, 8) or id,
            state=state,
            reason="" if self.exit == 0 else f"exit code {self.exit}" if self.exit else "it did not say how it ended",
            started_us=started_us,
            ended_us=ended_us,
            author=wire.text(environment, 10) or wire.text(environment, 13),
            params=dict(pair for key, value in config.items() for pair in flat(value, key)),
            tags={key: value for key, value in tags.items() if value or not key.startswith("wandb.")},
            points=self.lines.points() | self.system.points(),
            files=self._files(files),
            code=self._code(),
            context=Context(
                arguments=[one for one in program if one],
                host=wire.text(run, 13) or wire.text(environment, 12),
                user=wire.text(environment, 13),
                python=wire.text(environment, 2).removeprefix("CPython "),
            ),
            problems=self.problems,
        )

    def _files(self, files: list[Path]) -> list[SourceFile]:
        # `wandb.save` puts links there
        found = {one.path: one for path in files for one in files_of(path.parent / "files", follow=True)}
        for artifact in self.artifacts:
            for one in self._artifact(artifact):
                found[one.path] = one
        kept = {
            "imported/history.jsonl": b"\n".join(self.other),
            "imported/output.log": "".join(self.output).encode(errors="replace"),
            "imported/summary.json": msgspec.json.format(msgspec.json.encode(self.summary)) if self.summary else b"",
        }
        return [*found.values(), *(SourceFile(path, data=data) for path, data in kept.items() if data)]

    def _artifact(self, artifact: dict[int, list[Any]]) -> Iterator[SourceFile]:
        """The files of a logged artifact, from where its client put them aside."""
        name = wire.text(artifact, 5).replace("/", "-")
        for manifest in artifact.get(12, ()):
            for content in wire.by_number(manifest).get(4, ()):
                entry = wire.by_number(content)
                path, local = wire.text(entry, 1), Path(wire.text(entry, 6) or "-")
                if local.is_file():
                    yield SourceFile(f"artifacts/{name}/{path}", local=local)
                elif not wire.text(entry, 3):  # one that is only a reference has no file
                    self.problems.append(f"File {path} of artifact {name} is not on this machine.")

    def _code(self) -> CodeVersion | None:
        for found in (*self.environment.get(9, ()), *self.run.get(21, ())):
            git = wire.by_number(found)
            if re.fullmatch(r"[0-9a-f]{40}", commit := wire.text(git, 2)):
                return CodeVersion(node=f"code:{commit}", commit=commit, remote=wire.text(git, 1))
        return None


def _item(item: bytes) -> tuple[str, Any]:
    """Key and value of an item of history, summary, configuration or statistics; numbers and truths are floats."""
    nested: list[str] = []
    value: Any = None
    for number, field in wire.fields(item):
        if number == 1 and field:
            nested = [field.decode(errors="replace")]
        elif number == 2:
            nested.append(field.decode(errors="replace"))
        elif number in (4, 5, 6):
            value = float(wire.zigzag(field) if number == 5 else field)
        elif number == 7:
            value = field.decode(errors="replace")
        elif number in (8, VALUE):
            value = _plain(field)
    return ".".join(nested), value


def _plain(text: bytes) -> Any:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text.decode(errors="replace")
    if isinstance(found, bool):
        return float(found)
    return NUMBERS.get(found, found) if isinstance(found, str) else found


def _update(values: dict[str, Any], data: bytes) -> None:
    """Take in changes of configuration or summary; nested keys reach into dictionaries."""
    for number, item in wire.fields(data):
        if number not in (1, 2):
            continue
        found = wire.by_number(item)
        path = [one.decode(errors="replace") for one in (*found.get(1, ()), *found.get(2, ())) if one]
        place = values
        for name in path[:-1]:
            below = place.get(name)
            if not isinstance(below, dict):
                below = place[name] = {}
            place = below
        if path and number == 1:
            place[path[-1]] = _json(found[VALUE][-1]) if VALUE in found else _item(item)[1]
        elif path:
            place.pop(path[-1], None)


def _json(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text.decode(errors="replace")


def flat_items(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Leaves of a summary under their keys in the history; those of media are not looked at."""
    for key, value in values.items():
        if isinstance(value, dict):
            if "_type" not in value:
                yield from ((f"{key}.{name}", one) for name, one in flat_items(value))
        else:
            yield key, _plain(text_of(value).encode())
