"""Labels: the truth about a prediction, which arrives later and is joined by prediction id."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput
from trine.ids import now_us
from trine.operations import every
from trine.serving import operations
from trine.serving.parts import list_label_parts, register_labels
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of labels that were logged. `unknown` of them name predictions that are not in the log (yet): they are kept."""

    endpoint: str
    rows: int
    unknown: int


def log_labels(endpoint: str, frame: Any, *, ws: Workspace | None = None) -> LabelReport:
    """Keep labels for predictions of an endpoint: columns `prediction_id`, `label` and, if known, `time_us`.

    Any frame, or a list of dicts. The last label of an id wins; a null label takes one back. Raises InvalidInput naming the
    row for an id that is none. In the store and registered when it returns.
    """
    from trine.serving.reading import known_ids
    from trine.serving.shipping import parquet_of

    ws = ws or current_workspace()
    rows = _checked(frame)
    if not rows.height:
        operations.get_endpoint(ws, name=endpoint)
        return LabelReport(endpoint=endpoint, rows=0, unknown=0)
    ids = rows["prediction_id"].unique().to_list()
    unknown = len(ids) - len(known_ids(endpoint, ids, ws=ws))
    object_ = ws.store.put(parquet_of(rows))
    register_labels(ws, endpoint=endpoint, object=object_, rows=rows.height, unknown=unknown)
    return LabelReport(endpoint=endpoint, rows=rows.height, unknown=unknown)


def _checked(frame: Any) -> pl.DataFrame:
    import polars as pl

    from trine.models.frames import as_frame

    rows = as_frame(frame)
    for name in ("prediction_id", "label"):
        if name not in rows.columns:
            raise InvalidInput(f'Labels need the columns prediction_id and label; "{name}" is missing.', column=name)
    ids = rows["prediction_id"]
    if rows.height and ids.dtype != pl.String:
        raise InvalidInput(f"Column prediction_id is {ids.dtype}: ids are text of 32 hexadecimal digits.")
    bad = ~ids.cast(pl.String).str.contains(r"^[0-9a-f]{32}$").fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InvalidInput(f"Row {row}: {ids[row]!r} is no prediction's id: 32 hexadecimal digits.", row=row)
    label = rows["label"]
    if label.dtype.is_nested() or label.dtype == pl.Object:
        raise InvalidInput(f"Column label is {label.dtype}: a label is a number, true or false, or text.")
    if label.dtype == pl.Null:
        label = label.cast(pl.Float64)
    elif not (label.dtype.is_numeric() or label.dtype == pl.Boolean):
        label = label.cast(pl.String)
    now = pl.Series("time_us", [now_us()] * rows.height, dtype=pl.Int64)
    time = _times(rows["time_us"]).fill_null(now) if "time_us" in rows.columns else now
    return pl.DataFrame([ids.cast(pl.String), label.alias("label"), time])


def _times(times: pl.Series) -> pl.Series:
    import polars as pl

    if isinstance(times.dtype, pl.Datetime):
        return times.dt.epoch("us").alias("time_us")
    if times.dtype.is_integer() or times.dtype == pl.Null:
        return times.cast(pl.Int64)
    raise InvalidInput(f"Column time_us is {times.dtype}: times are datetimes or whole microseconds since the epoch.")


def labels(endpoint: str, *, ws: Workspace | None = None) -> pl.DataFrame:
    """The label of each prediction that has one: prediction_id, label, time_us. Where several came, the last one."""
    import polars as pl

    ws = ws or current_workspace()
    listed = every(list_label_parts, ws, endpoint=endpoint)
    parts = [pl.read_parquet(io.BytesIO(ws.store.get(part.object))) for part in listed]
    if not parts:
        return pl.DataFrame(schema={"prediction_id": pl.String, "label": pl.Float64, "time_us": pl.Int64})
    together = pl.concat(parts, how="vertical_relaxed")
    return together.unique("prediction_id", keep="last", maintain_order=True).filter(pl.col("label").is_not_null())
