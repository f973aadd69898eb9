"""TensorBoard: event files, read without TensorBoard; each folder that holds some is a run.

A file is a row of records (length, its CRC, an Event message, its CRC). The CRCs are CRC-32C, for which Python has no fast
function; a record that is cut short or is no message ends the file.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import NotFound
from trine.tracking.importers import wire
from trine.tracking.importers.source import Lines, Source, SourceFile, SourceModel, SourceRun, run_id

_LENGTH = struct.Struct("<Q")
_NUMPY = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2", 22: "<u4", 23: "<u8"}
"""The types of tensors as arrays."""

_IN_FIELD = {5: "<f4", 6: "<f8"}
"""The fields in which a tensor's floats are packed; integers are numbers of varying length there."""

_STRING = 7


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """The runs below a log folder, as TensorBoard shows them; the option `experiment` names their experiment."""
    path = Path(where).expanduser()
    folders = sorted({one.parent for one in path.rglob("*tfevents*") if one.is_file()}) if path.is_dir() else []
    if not folders:
        raise NotFound(f"There is no event file below {where}: give the folder that `tensorboard --logdir` shows.")
    return TensorBoard(path, folders, options.get("experiment", ""))


class TensorBoard:
    """Runs of a log folder; a folder within a run's folder is its child."""

    kind = "tensorboard"

    def __init__(self, root: Path, folders: list[Path], experiment: str) -> None:
        self.root, self.folders, self.location = root, folders, str(root)
        self.experiment = experiment or root.resolve().name or "tensorboard"

    def runs(self) -> Iterator[SourceRun]:
        """Runs by folder, so a run comes before those in it."""
        ids: dict[Path, str] = {}
        for folder in self.folders:
            reading = _Reading()
            for path in sorted(folder.glob("*tfevents*")):
                reading.read(path)
            name = folder.relative_to(self.root).as_posix()
            ids[folder] = run_id("tensorboard", self.experiment, name, repr(reading.started))
            above = next((ids[one] for one in folder.parents if one in ids), None)
            name = self.experiment if name == "." else name
            yield reading.made(ids[folder], self.experiment, name, above)

    def models(self) -> Iterator[SourceModel]:
        """Nothing: TensorBoard has no registry."""
        return iter(())


def events(path: Path, problems: list[str]) -> Iterator[bytes]:
    """The Event messages of a file; a tail that was not written to its end is left out."""
    data = path.read_bytes()
    at = 0
    while at + 12 <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        if at + 16 + size > len(data):
            if size > 1 << 30:
                problems.append(f"{path} is damaged after {at} bytes; the rest is left out.")
            return
        yield data[at + 12 : at + 12 + size]
        at += 16 + size


class _Reading:
    """What the events of one run say, in order."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.started = self.ended = 0.0
        self.params: dict[str, str] = {}
        self.plugins: dict[str, str] = {}
        self.texts: list[bytes] = []
        self.histograms: list[bytes] = []
        self.files: list[SourceFile] = []
        self.left: Counter[str] = Counter()
        self.failed = False
        self.problems: list[str] = []

    def read(self, path: Path) -> None:
        for event in events(path, self.problems):
            time, step, summary = 0.0, 0, b""
            try:
                for number, value in wire.fields(event):
                    if number == 1:
                        time = value
                    elif number == 2:
                        step = wire.signed(value)
                    elif number == 5:
                        summary = value
                self.started = self.started or time
                self.ended = max(self.ended, time)
                for number, value in wire.fields(summary):
                    if number == 1:
                        self._value(value, step, round(time * 1e6))
            except ValueError as error:
                self.problems.append(f"{path}: an event cannot be read ({error}); what follows it is left out.")
                return

    def _value(self, data: bytes, step: int, time_us: int) -> None:
        tag, value = "", None
        found: dict[int, Any] = {}
        for number, field in wire.fields(data):
            if number == 1:
                tag = field.decode(errors="replace")
            elif number == 2:
                value = field
            else:
                found[number] = field
        if 9 in found:
            self._about(tag, found[9])
        if value is not None:
            self.lines.add(tag, step, time_us, value)
        elif 8 in found:
            self._tensor(tag, self.plugins.get(tag, ""), wire.by_number(found[8]), step, time_us)
        elif 5 in found:
            self._histogram(tag, wire.by_number(found[5]), step, time_us)
        elif 4 in found:
            self._media("images", tag, step, wire.by_number(found[4]).get(4, []), "png")
        elif 6 in found:
            self._media("audio", tag, step, wire.by_number(found[6]).get(4, []), "wav")
        elif not tag.startswith("_hparams_/"):
            self.left[self.plugins.get(tag) or "others"] += 1

    def _about(self, tag: str, metadata: bytes) -> None:
        """A value's metadata names its plugin; that of the hyperparameters holds them."""
        for plugin in wire.by_number(metadata).get(1, ()):
            about = wire.by_number(plugin)
            self.plugins[tag] = wire.text(about, 1)
            if self.plugins[tag] == "hparams":
                for content in about.get(2, ()):
                    self._hyperparameters(wire.by_number(content))

    def _hyperparameters(self, content: dict[int, list[Any]]) -> None:
        for start in content.get(3, ()):
            for entry in wire.by_number(start).get(1, ()):
                pair = wire.by_number(entry)
                value = wire.by_number(pair.get(2, [b""])[-1])
                if 2 in value:
                    self.params[wire.text(pair, 1)] = repr(value[2][-1])
                else:
                    truth = {0: "False", 1: "True"}.get(value.get(4, [-1])[-1], "")
                    self.params[wire.text(pair, 1)] = wire.text(value, 3) or truth
        for end in content.get(4, ()):
            self.failed = wire.by_number(end).get(1, [0])[-1] == 2

    def _tensor(self, tag: str, plugin: str, tensor: dict[int, list[Any]], step: int, time_us: int) -> None:
        kind = tensor.get(1, [0])[-1]
        if kind == _STRING:
            parts = tensor.get(8, [])
            if plugin == "text":
                texts = [one.decode(errors="replace") for one in parts]
                self.texts.append(_line(tag, step, time_us, "text", texts))
            elif plugin in ("images", "audio"):  # the first two of an image are its width and height
                self._media(plugin, tag, step, parts[2:] if plugin == "images" else parts[:1], _ending(plugin))
            else:
                self.left[plugin or "texts"] += 1
            return
        values = _numbers(tensor, kind)
        if plugin in ("", "scalars") and len(values) == 1:
            self.lines.add(tag, step, time_us, values[0])
        elif plugin == "histograms":
            self.histograms.append(_line(tag, step, time_us, "left, right, count of each bucket", values))
        else:
            self.left[plugin or "tensors"] += 1

    def _histogram(self, tag: str, found: dict[int, list[Any]], step: int, time_us: int) -> None:
        import numpy as np

        names = {1: "min", 2: "max", 3: "num", 4: "sum", 5: "sum_squares"}
        value: dict[str, Any] = {name: found.get(number, [0.0])[-1] for number, name in names.items()}
        for number, name in ((6, "limits"), (7, "counts")):
            packed = b"".join(one for one in found.get(number, ()) if isinstance(one, bytes))
            loose = [one for one in found.get(number, ()) if isinstance(one, float)]
            value[name] = loose or np.frombuffer(packed, "<f8").tolist()
        self.histograms.append(_line(tag, step, time_us, "histogram", value))

    def _media(self, folder: str, tag: str, step: int, parts: list[bytes], ending: str) -> None:
        name = "/".join(part for part in tag.split("/") if part not in ("", ".", ".."))
        for number, data in enumerate(parts):
            more = f"-{number}" if number else ""
            self.files.append(SourceFile(f"{folder}/{name}/{step}{more}.{ending}", data=data))

    def made(self, id: str, experiment: str, name: str, above: str | None) -> SourceRun:
        kept = {"imported/texts.jsonl": self.texts, "imported/histograms.jsonl": self.histograms}
        files = [*self.files, *(SourceFile(path, data=b"\n".join(rows)) for path, rows in kept.items() if rows)]
        problems = self.problems + [f"{what} of {name} are left out." for what in sorted(self.left)]
        return SourceRun(
            id=id,
            experiment=experiment,
            name=name,
            state="failed" if self.failed else "finished",
            started_us=round(self.started * 1e6),
            ended_us=round(max(self.started, self.ended) * 1e6),
            parent=above,
            params=self.params,
            points=self.lines.points(),
            files=list({file.path: file for file in files}.values()),
            problems=problems,
        )


def _ending(plugin: str) -> str:
    return "png" if plugin == "images" else "wav"


def _line(tag: str, step: int, time_us: int, what: str, value: Any) -> bytes:
    return msgspec.json.encode({"tag": tag, "step": step, "time_us": time_us, what: value})


def _numbers(tensor: dict[int, list[Any]], kind: int) -> list[float]:
    """The numbers of a tensor, from its bytes or from the field of its type."""
    import numpy as np

    if kind not in _NUMPY:
        return []
    if content := b"".join(tensor.get(4, ())):
        return np.frombuffer(content, _NUMPY[kind]).astype(float).tolist()
    found: list[float] = []
    for number in (5, 6, 7, 10, 11, 13, 16, 17):
        for one in tensor.get(number, ()):
            if isinstance(one, float):
                found.append(one)
            elif isinstance(one, int):
                found.append(float(wire.signed(one)))
            elif number in _IN_FIELD:
                found += np.frombuffer(one, _IN_FIELD[number]).astype(float).tolist()
            else:
                at = 0
                while at < len(one):
                    value, at = wire.varint(one, at)
                    found.append(float(wire.signed(value)))
    return found
