"""Moving in: what a source gives, into a workspace, through bulk operations; then counted and checked against it."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import CheckFailed, InvalidInput
from trine.ids import digest
from trine.operations import every
from trine.tracking import importing as door
from trine.tracking import series
from trine.tracking.artifact_files import check_path
from trine.tracking.experiment import all_experiments
from trine.tracking.importers.source import Source, SourceExperiment, SourceFile, SourceModelFiles, SourceRun
from trine.tracking.importing import ForeignExperiment, ForeignModel, ForeignRun, Import, Part
from trine.tracking.runs import Artifact
from trine.tracking.series import Points
from trine.workspace import Workspace, current_workspace

POINTS = 200_000
"""Points that go in one call."""

RUNS, BYTES = 100, 4 << 20
"""Runs, and bytes of their texts, that go in one call."""

KEPT = "imported"
"""The folder among a run's files for what its params and tags cannot hold."""

Tell = Callable[["Report"], None]


class Report(msgspec.Struct, kw_only=True):
    """What moved in. `runs` and what is counted below them are what the source has; of them `added`, `updated` (their state at
    the source is another than before) and `unchanged`. Two kinds were left as they are here: `kept` are runs of those ids that
    were not imported, `changed` were changed here since their import. `source_checksum` is over all other runs as the source
    has them, `checksum` over the same runs as the workspace has them now."""

    source: str
    location: str
    runs: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    kept: list[str] = []
    changed: list[str] = []
    experiments: int = 0
    nested: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    points_moved: int = 0
    models: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    cut: int = 0
    source_checksum: str = ""
    checksum: str = ""
    seconds: float = 0.0
    points_per_s: int = 0
    problems: list[str] = []


def move_in(source: Source, *, tell: Tell | None = None, ws: Workspace | None = None) -> Report:
    """Bring all runs of a source into the workspace, and check that they are there.

    A run that is there already, in the same state, is not written again; whoever was interrupted calls it again and goes on.
    Raises CheckFailed naming the runs that are not as they are at the source.
    """
    return _Mover(source, ws or current_workspace(), tell).move()


class _Mover:
    def __init__(self, source: Source, ws: Workspace, tell: Tell | None) -> None:
        self.source, self.ws, self.tell = source, ws, tell
        self.report = Report(source=source.kind, location=source.location)
        self.known: dict[str, Import] = {}
        self.digests: dict[str, str] = {}
        self.experiments: set[str] = set()
        self.whole: set[str] = set()
        self.batch: list[Part] = []
        self.size = self.weight = 0

    def move(self) -> Report:
        start = time.perf_counter()
        self.known = {one.run: one for one in every(door.list_imports, self.ws, source=self.source.kind)}
        self._experiments()
        for found in self.source.runs():
            self._take(found)
        self._send()
        report = self.report
        report.experiments = len(self.experiments)
        here = self._here()
        for id in (*report.kept, *report.changed):
            self.digests.pop(id, None)
            here.pop(id, None)
        report.source_checksum = digest(sorted(self.digests.items()))
        report.checksum = digest(sorted(here.items()))
        report.seconds = round(time.perf_counter() - start, 3)
        report.points_per_s = round(report.points / report.seconds) if report.seconds else 0
        if wrong := sorted(id for id, one in self.digests.items() if here.get(id) != one):
            raise CheckFailed(
                f"{len(wrong)} of {report.runs} runs are not here as they are at {report.location}, {wrong[0]} first: they changed "
                "while they were moved. Import again.",
                runs=wrong[:100],
            )
        return report

    def _experiments(self) -> None:
        """Make the experiments that are not here yet, so that they have their tags and times."""
        given: Callable[[], Iterable[SourceExperiment]] = getattr(self.source, "experiments", tuple)
        found = list(given())
        if found:
            known = {one.name for one in all_experiments(self.ws)}
            fresh = [
                ForeignExperiment(
                    name=_line(one.name, 500) or "default",
                    tags=self._texts(one.tags, "tags", 8_000, {}),
                    created_us=max(0, one.created_us),
                    hidden=one.hidden,
                )
                for one in found
                if (_line(one.name, 500) or "default") not in known
            ]
            if fresh:
                door.import_experiments(self.ws, source=self.source.kind, experiments=fresh)

    def _here(self) -> dict[str, str]:
        """The checksums of the runs as the workspace has them."""
        found: dict[str, str] = {}
        ids = sorted(self.digests)
        for first in range(0, len(ids), 100):
            found |= door.import_checksums(self.ws, runs=ids[first : first + 100])
        for id in self.whole:
            if found.get(id) != self.digests[id]:
                self.report.changed.append(id)
        return found

    def _take(self, found: SourceRun) -> None:
        report = self.report
        one, points = self._fit(found)
        metrics = {key: series.pack(key, points[key]) for key in sorted(points)}
        sum_ = door.checksum(one, {key: door.points_digest(points[key]) for key in metrics})
        count = sum(len(line.values) for line in points.values())
        if one.id in self.digests:
            raise InvalidInput(f"{report.location} gives two runs of one id, {one.id}.")
        self.digests[one.id] = sum_
        self.experiments.add(one.experiment)
        report.runs += 1
        report.nested += one.parent is not None
        report.params += len(one.params)
        report.tags += len(one.tags)
        report.metrics += len(points)
        report.points += count
        stored = [*one.artifacts, *(file for made in one.models for file in made.files)]
        report.artifacts += len(stored)
        report.artifact_bytes += sum(file.size_bytes for file in stored)
        report.models += len(one.models)
        report.problems += [one for one in dict.fromkeys(found.problems) if one not in report.problems]
        known = self.known.get(one.id)
        if known and known.digest == sum_ and known.taken == count:
            report.unchanged += 1
            self.whole.add(one.id)
        else:
            at = known.taken if known and known.digest == sum_ else 0
            weight = len(msgspec.msgpack.encode(one))
            for part in _parts(one, sum_, points, at):
                self._add(part, weight)
        if self.tell:
            self.tell(report)

    def _add(self, part: Part, weight: int) -> None:
        size = sum(len(one.steps) // 8 for one in part.series)
        full = self.size + size > POINTS or self.weight + weight > BYTES or len(self.batch) >= RUNS
        if self.batch and full:
            self._send()
        self.batch.append(part)
        self.size += size
        self.weight += weight

    def _send(self) -> None:
        if not self.batch:
            return
        report = self.report
        answers = door.import_runs(self.ws, source=self.source.kind, parts=self.batch)
        for part, taken in zip(self.batch, answers, strict=True):
            id, known = part.run.id, self.known.get(part.run.id)
            if taken.outcome in ("kept", "changed"):
                left = report.kept if taken.outcome == "kept" else report.changed
                left += [id] if id not in left else []
                continue
            size = sum(len(one.steps) // 8 for one in part.series)
            report.points_moved += size if taken.points == part.start + size else 0
            if part.start == 0 or (known and part.start == known.taken):
                report.added += taken.outcome in ("added", "continued")
                report.updated += taken.outcome == "updated"
                report.unchanged += taken.outcome == "unchanged"
        self.batch, self.size, self.weight = [], 0, 0

    # -- in Trine's form ----------------------------------------------------------------------------------------------

    def _fit(self, found: SourceRun) -> tuple[ForeignRun, dict[str, Points]]:
        """The run as Trine keeps it: what is too long or has another form is kept whole in a file."""
        whole: dict[str, dict[str, str]] = {}
        params = self._texts(found.params, "params", 6_000, whole)
        tags = self._texts(found.tags, "tags", 8_000, whole)
        points: dict[str, Points] = {}
        for key, line in found.points.items():
            if len(line.values):
                fitting = _key(key)
                if fitting != key:
                    whole.setdefault("metrics", {})[fitting] = key
                points[fitting] = line
        self.report.cut += sum(map(len, whole.values()))
        files = list(found.files)
        for what, texts in whole.items():
            body = msgspec.json.format(msgspec.json.encode({key: _valid(text) for key, text in texts.items()}))
            files.append(SourceFile(f"{KEPT}/{what}.json", data=body))
        one = ForeignRun(
            id=found.id,
            experiment=_line(found.experiment, 500) or "default",
            name=_line(found.name, 250) or found.id[:12],
            state=found.state,
            reason=_valid(found.reason)[:4_000],
            parent=found.parent,
            author=_line(found.author, 250),
            started_us=max(0, found.started_us),
            ended_us=None if found.ended_us is None else max(0, found.ended_us),
            hidden=found.hidden,
            params=params,
            tags=tags,
            artifacts=self._store(found, files),
            inputs=[msgspec.structs.replace(put, name=_line(put.name, 500) or "data") for put in found.inputs],
            models=[self._model(found, made) for made in found.models],
            code=found.code,
            context=found.context,
        )
        return one, points

    def _model(self, found: SourceRun, made: SourceModelFiles) -> ForeignModel:
        facts = {
            name: getattr(made, name) for name in ("id", "kind", "state", "step", "metrics", "created_us", "updated_us")
        }
        return ForeignModel(
            name=_line(made.name, 250) or made.id,
            params=self._texts(made.params, "params", 6_000, {}),
            tags=self._texts(made.tags, "tags", 8_000, {}),
            files=self._store(found, made.files),
            **facts,
        )

    def _texts(
        self, texts: dict[str, str], what: str, longest: int, whole: dict[str, dict[str, str]]
    ) -> dict[str, str]:
        fitting: dict[str, str] = {}
        for key, text in texts.items():
            name, value = _key(key), _valid(text)
            if len(value) > longest:
                value = value[: longest - 1] + "…"
            if name != key or value != text:
                whole.setdefault(what, {})[key] = text
            fitting[name] = value
        return fitting

    def _store(self, found: SourceRun, files: list[SourceFile]) -> list[Artifact]:
        sound: list[SourceFile] = []
        for file in files:
            try:
                check_path(file.path)
                sound.append(file)
            except InvalidInput as error:
                found.problems.append(f"run {found.id}: {error.message}")
        return store_files(self.ws, sound)


def _parts(one: ForeignRun, sum_: str, points: dict[str, Points], at: int) -> Iterator[Part]:
    """The points from the `at`-th on, in parts that one call takes. Only the first part of a run needs its facts."""
    total = sum(len(line.values) for line in points.values())
    start, begins = at, 0
    made: list[Any] = []
    size = 0
    for key in sorted(points):
        line = points[key]
        length = len(line.values)
        offset = max(0, at - begins)
        begins += length
        while offset < length:
            piece = line.take(slice(offset, offset + POINTS - size))
            made.append(series.pack(key, piece))
            size += len(piece.values)
            offset += len(piece.values)
            if size == POINTS:
                yield Part(run=one, digest=sum_, points=total, start=start, series=made)
                start, made, size = start + size, [], 0
    if made or total == at:
        yield Part(run=one, digest=sum_, points=total, start=start, series=made)


def store_files(ws: Workspace, files: list[SourceFile]) -> list[Artifact]:
    """Files of a source in the store of the workspace; those that are there are not sent again."""
    if not files:
        return []
    with contextlib.ExitStack() as stack:
        local: list[Path] = [file.local for file in files if file.local is not None]
        if len(local) < len(files):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trine-import-")))
            local = [_here(file, folder / str(number)) for number, file in enumerate(files)]
        hashes = [_hash(path) for path in local]
        missing = set(hashes).difference(ws.store.has(hashes))
        ws.store.put_files([path for path, hash_ in zip(local, hashes, strict=True) if hash_ in missing])
        return [
            Artifact(file.path, hash_, path.stat().st_size)
            for file, path, hash_ in zip(files, local, hashes, strict=True)
        ]


def _here(file: SourceFile, target: Path) -> Path:
    """A file of a source as one on this disk."""
    if file.local is not None:
        return file.local
    if file.data is not None:
        target.write_bytes(file.data)
    elif file.fetch is not None:
        file.fetch(target)
    return target


def _hash(path: Path) -> str:
    from blake3 import blake3

    hasher = blake3(max_threads=blake3.AUTO)
    with path.open("rb", buffering=0) as file:
        while part := file.read(1 << 20):
            hasher.update(part)
    return hasher.hexdigest()


def _valid(text: str) -> str:
    """The text as every database takes it: no NUL, valid Unicode."""
    return text.encode(errors="replace").decode().replace("\0", "�")


def _line(text: str, longest: int) -> str:
    """The text as a title: one line, not too long."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", _valid(text)).strip()[:longest]


def _key(key: str) -> str:
    """The key as Trine takes it; one that is longer or has other characters is told apart by its digest."""
    fitting = re.sub(r"[\x00-\x1f\x7f]", " ", _valid(key))
    if fitting == key and 0 < len(key) <= 250:
        return key
    return f"{fitting[:237]}~{digest(key.encode(errors='replace'))[:12]}"
