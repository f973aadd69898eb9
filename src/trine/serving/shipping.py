"""From closed segments to stored Parquet: each segment becomes one registered part of the log, exactly once.

Order: Parquet object durable → part registered under the segment's id → segment file removed. A crash before the
registration repeats the work, one after it finds the part registered and only removes the file.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trine.errors import NotFound, TrineError
from trine.serving.columns import series_of
from trine.serving.log import Entry, PredictionLog, Schema, abandoned, decode
from trine.serving.parts import register_log_part
from trine.storage import SegmentRead, read_segment

if TYPE_CHECKING:
    import polars as pl

    from trine.workspace import Workspace

log = logging.getLogger("trine.serving")

LOG_COLUMNS = (
    "prediction_id", "time_us", "route", "variant", "model_version", "status", "latency_us", "key",
    "role", "request_id", "shadow_of", "error",
)  # fmt: skip


class Shipped(NamedTuple):
    """How many segments became parts, and how many stay for the next time (the server is away, the disk is full)."""

    done: int
    kept: int


def ship(ws: Workspace, prediction_log: PredictionLog | None = None) -> Shipped:
    """Store and register all closed segments of this process, and those of processes that are gone."""
    outcomes = [_ship(ws, path) for path in prediction_log.closed_segments()] if prediction_log is not None else []
    for folder in abandoned(ws):
        outcomes += [_ship(ws, path) for path in sorted(folder.rglob("*.seg"))]
        if not any(folder.rglob("*.seg")):
            _remove(folder)
    return Shipped(sum(outcomes), len(outcomes) - sum(outcomes))


def _ship(ws: Workspace, path: Path) -> bool:
    try:
        ship_segment(ws, path)
    except TrineError as error:
        log.warning("segment %s stays where it is for now: %s", path, error.message)
        return False
    except Exception:  # one that cannot be read must not hold up the others
        log.exception("segment %s stays where it is", path)
        return False
    return True


def ship_segment(ws: Workspace, path: Path) -> None:
    """Make one closed segment a registered part of the log. Damaged frames are left out, and the file is kept aside."""
    read = read_segment(path, skip_damage=True)
    frame = frame_of(read)
    if frame.height:
        data = parquet_of(frame.sort("prediction_id"))
        ids, times = frame["prediction_id"], frame["time_us"]
        register_log_part(
            ws.for_project(read.meta["project"]),
            endpoint=read.meta["endpoint"],
            segment=path.stem,
            object=ws.store.put(data),
            rows=frame.height,
            size_bytes=len(data),
            first_id=str(ids.min()),
            last_id=str(ids.max()),
            first_us=int(times.min()),  # type: ignore[arg-type]
            last_us=int(times.max()),  # type: ignore[arg-type]
            lost_bytes=read.skipped,
        )
    if read.skipped:
        aside = ws.spool / "damaged" / path.name
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        log.error("segment %s is damaged: %d bytes were left out; the file is kept as %s", path, read.skipped, aside)
    else:
        path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    for inside in sorted(folder.rglob("*"), reverse=True):
        inside.rmdir() if inside.is_dir() else inside.unlink(missing_ok=True)
    folder.rmdir()


def parquet_of(frame: pl.DataFrame) -> bytes:
    """A frame as Parquet, in row groups small enough to find one id quickly."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=20_000)
    return buffer.getvalue()


def read_open_segment(path: Path) -> tuple[SegmentRead, pl.DataFrame] | None:
    """The rows of a segment that may still be written to; None when it was shipped meanwhile."""
    try:
        read = read_segment(path)
    except (NotFound, FileNotFoundError):
        return None
    return read, frame_of(read)


def frame_of(read: SegmentRead) -> pl.DataFrame:
    """A segment's rows: what the log says about each, then the inputs by name, then the outputs."""
    schemas: list[Schema] = []
    rows: dict[int, _Rows] = {}
    for _, payload in read.frames:
        found = decode(payload)
        if isinstance(found, Schema):
            schemas.append(found)
            continue
        if found.schema not in rows:
            rows[found.schema] = _Rows(schemas[found.schema])
        rows[found.schema].add(found)
    return together([one.frame() for one in rows.values()])


def together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of frames with different columns: inputs of other versions are null, types are widened."""
    import polars as pl

    filled = [frame for frame in frames if frame.height]
    if not filled:
        return pl.DataFrame(schema=empty_schema())
    if len(filled) == 1:
        return filled[0]
    found = pl.concat(filled, how="diagonal_relaxed")
    return found.select(*LOG_COLUMNS, *(name for name in found.columns if name not in LOG_COLUMNS))


def empty_schema() -> dict[str, Any]:
    import polars as pl

    whole = {"time_us", "route", "latency_us"}
    return {name: pl.Int64 if name in whole else pl.String for name in LOG_COLUMNS}


class _Rows:
    """The rows of one schema, gathered by column."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.told: dict[str, list[Any]] = {name: [] for name in LOG_COLUMNS}
        self.inputs: list[list[Any]] = [[] for _ in schema.inputs]
        self.outputs: list[list[Any]] = [[] for _ in schema.outputs]

    def add(self, one: Entry) -> None:
        count = len(one.ids)
        told = self.told
        told["prediction_id"] += one.ids
        told["key"] += one.keys or [None] * count
        told["shadow_of"] += one.shadow_of or [None] * count
        for name, value in (
            ("time_us", one.time_us),
            ("route", one.route),
            ("variant", one.variant),
            ("model_version", self.schema.model),
            ("status", one.status),
            ("latency_us", one.latency_us),
            ("role", "shadow" if one.shadow else "live"),
            ("request_id", one.request),
            ("error", one.error or None),
        ):
            told[name] += [value] * count
        for kept, given in ((self.inputs, one.inputs), (self.outputs, one.outputs)):
            for column, values in zip(kept, given or [[None] * count] * len(kept), strict=True):
                column += values

    def frame(self) -> pl.DataFrame:
        import polars as pl

        taken = {*LOG_COLUMNS, *(name for name, _ in self.schema.outputs)}
        columns = [pl.Series(name, self.told[name], dtype=kind) for name, kind in empty_schema().items()]
        for (name, dtype), values in zip(self.schema.inputs, self.inputs, strict=True):
            # an input may have the name of a column of the log or of an output: it is told apart
            columns.append(series_of(f"input_{name}" if name in taken else name, dtype, values))
        for (name, dtype), values in zip(self.schema.outputs, self.outputs, strict=True):
            columns.append(series_of(name, dtype, values))
        return pl.DataFrame(columns)
