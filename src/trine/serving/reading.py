"""Reading the prediction log: stored parts through the workspace, and the open segments of serving processes on this machine."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trine.errors import InvalidInput, NotFound
from trine.operations import every
from trine.serving.log import KIND
from trine.serving.parts import LogPart, list_log_parts
from trine.serving.shipping import LOG_COLUMNS, read_open_segment, together
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the prediction log."""

    id: str
    endpoint: str
    time_us: int
    route: int
    variant: str
    model_version: str
    status: Literal["ok", "error", "rejected"]
    role: Literal["live", "shadow"]
    latency_us: int
    key: str | None
    request: str
    shadow_of: str | None
    error: str | None
    inputs: dict[str, Any]
    outputs: dict[str, Any]

    @property
    def node(self) -> str:
        """Its place in the lineage graph: `trace` starts there."""
        return f"prediction:{self.id}"


def predictions(
    endpoint: str,
    since_us: int | None = None,
    until_us: int | None = None,
    *,
    shadow: bool = False,
    rejected: bool = False,
    ws: Workspace | None = None,
) -> pl.DataFrame:
    """Predictions of an endpoint in [since_us, until_us), oldest first.

    Columns: prediction_id, time_us, route (its number), variant, model_version (`name@3`), status (`ok`, or `error` when
    the model failed), latency_us, key, then role, request_id, shadow_of, error, then the inputs by name, then prediction
    and, for classifiers, probability. With `shadow` also the answers of shadows, with `rejected` also requests
    that did not fit the signature (their inputs are null). O(parts that touch the time asked for).
    """
    import polars as pl

    ws = ws or current_workspace()
    opened = _open_frames(ws, endpoint)  # before the ledger is asked: a segment is registered before its file goes
    parts = list(_parts(ws, endpoint=endpoint, since_us=since_us or 0, until_us=until_us))
    stored = {part.segment for part in parts}
    frames = [_read(ws, object) for object in _objects(parts)]
    frames += [frame for segment, frame in opened.items() if segment not in stored]
    found = together(frames)
    if since_us is not None:
        found = found.filter(pl.col("time_us") >= since_us)
    if until_us is not None:
        found = found.filter(pl.col("time_us") < until_us)
    if not shadow:
        found = found.filter(pl.col("role") == "live")
    if not rejected:
        found = found.filter(pl.col("status") != "rejected")
    return found.sort("prediction_id")


def find_prediction(id: str, *, ws: Workspace | None = None) -> Prediction:
    """One prediction by its id. Ids grow with time, so only the parts and segments of that moment are looked into."""
    ws = ws or current_workspace()
    if not re.fullmatch(r"[0-9a-f]{32}", id):
        raise InvalidInput(
            f"{id[:80]!r} is no prediction's id: 32 hexadecimal digits, as an answer of the server has it."
        )
    for path in _segment_files(ws):
        if id.encode() in _bytes(path) and (opened := read_open_segment(path)):
            read, frame = opened
            if row := _row(frame, id):
                return _prediction(read.meta["endpoint"], row)
    for part in _parts(ws, prediction=id):
        if row := _row(_read(ws, part.object, id), id):
            return _prediction(part.endpoint, row)
    raise NotFound(
        f'No prediction {id} in the log of project "{ws.project}". Predictions of a server on another machine are seen '
        "here when it has stored them, about a minute later."
    )


def known_ids(endpoint: str, ids: list[str], *, ws: Workspace) -> set[str]:
    """Those of the ids that are in an endpoint's log."""
    import polars as pl

    found: set[str] = set()
    if not ids:
        return found
    wanted = pl.DataFrame({"prediction_id": ids}, schema={"prediction_id": pl.String})
    first, last = min(ids), max(ids)
    for frame in _open_frames(ws, endpoint).values():
        found |= set(wanted.join(frame, on="prediction_id", how="semi")["prediction_id"])
    near = (part for part in _parts(ws, endpoint=endpoint) if part.last_id >= first and part.first_id <= last)
    for object in _objects(near):
        if len(found) < len(ids):
            data = io.BytesIO(ws.store.get(object))
            there = pl.read_parquet(data, columns=["prediction_id"])
            found |= set(wanted.join(there, on="prediction_id", how="semi")["prediction_id"])
    return found


def _parts(ws: Workspace, **asked: Any) -> Iterator[LogPart]:
    return every(list_log_parts, ws, **asked)


def _objects(parts: Iterable[LogPart]) -> list[str]:
    """Each object once: small parts share one."""
    return list(dict.fromkeys(part.object for part in parts))


def _read(ws: Workspace, object: str, id: str = "") -> pl.DataFrame:
    import polars as pl

    frame = pl.scan_parquet(io.BytesIO(ws.store.get(object)))
    return (frame.filter(pl.col("prediction_id") == id) if id else frame).collect()


def _segment_files(ws: Workspace, endpoint: str = "*") -> list[Path]:
    return sorted((ws.spool / KIND).glob(f"*/{ws.project}/{endpoint}/*.seg"))


def _open_frames(ws: Workspace, endpoint: str) -> dict[str, pl.DataFrame]:
    """The rows of segments on this machine by segment id."""
    found = {path.stem: read_open_segment(path) for path in _segment_files(ws, endpoint)}
    return {name: opened[1] for name, opened in found.items() if opened is not None}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _row(frame: pl.DataFrame, id: str) -> dict[str, Any] | None:
    import polars as pl

    rows = frame.filter(pl.col("prediction_id") == id).to_dicts()
    return rows[0] if rows else None


OUTPUTS = ("prediction", "probability")


def _prediction(endpoint: str, row: dict[str, Any]) -> Prediction:
    rest = {name: value for name, value in row.items() if name not in LOG_COLUMNS}
    outputs = {name: value for name, value in rest.items() if name in OUTPUTS or name.startswith("probability_")}
    return Prediction(
        id=row["prediction_id"],
        endpoint=endpoint,
        time_us=row["time_us"],
        route=row["route"],
        variant=row["variant"],
        model_version=row["model_version"],
        status=row["status"],
        role=row["role"],
        latency_us=row["latency_us"],
        key=row["key"],
        request=row["request_id"],
        shadow_of=row["shadow_of"],
        error=row["error"],
        inputs={name: value for name, value in rest.items() if name not in outputs},
        outputs=outputs,
    )
