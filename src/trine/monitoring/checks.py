"""Asking a monitor: read the window and the reference, judge, store the verdict, tell people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trine.errors import InvalidInput
from trine.ids import canonical_json, now_us
from trine.monitoring import operations
from trine.monitoring.channels import Notice, deliver
from trine.monitoring.judgement import judge
from trine.monitoring.monitors import Monitor
from trine.monitoring.reference import ReferenceColumn, of_profile
from trine.monitoring.verdicts import Verdict
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

LOG_COLUMNS = (
    "prediction_id", "time_us", "route", "variant", "model_version", "status", "latency_us", "key",
)  # fmt: skip
"""What the prediction log says about a prediction beside its inputs and outputs."""


class Known(NamedTuple):
    """A reference that was found: its columns, the node it is, and which columns a window must have."""

    columns: dict[str, ReferenceColumn]
    node: str
    expected: tuple[str, ...]


def check(
    monitor: str | Monitor,
    since_us: int | None = None,
    until_us: int | None = None,
    ws: Workspace | None = None,
) -> Verdict:
    """Judge the window [since_us, until_us) and store the verdict; alerts move in the same transaction.

    Without times the window is the monitor's last `window_s` seconds. Channels of the monitor are told afterwards;
    one that fails is logged and does not undo the verdict.
    """
    ws = ws or current_workspace()
    one = operations.get_monitor(ws, name=monitor if isinstance(monitor, str) else monitor.name)
    end = now_us() if until_us is None else until_us
    start = end - one.window_s * 1_000_000 if since_us is None else since_us
    if start >= end:
        raise InvalidInput("The window ends before it starts: give since < until.")
    known = reference_of(one, ws)
    window, used = read_window(one, start, end, ws)
    labels = _labels(one, ws)
    given = judge(
        one,
        known.columns,
        window,
        window_start_us=start,
        window_end_us=end,
        labels=labels,
        expected=_expected(one, known, window),
        reference_node=known.node,
    )
    body = ws.store.put(canonical_json(given))
    recorded = operations.record_verdict(ws, name=one.name, body=body, used=[*used, known.node])
    if recorded.notices:
        deliver(one.channels, Notice.of(recorded.verdict, recorded.notices))
    return recorded.verdict


def _expected(one: Monitor, known: Known, window: pl.DataFrame) -> list[str]:
    if one.columns:
        return list(one.columns)
    if known.expected:
        return list(known.expected)
    if one.subject_kind == "endpoint":  # a log holds the model's inputs, not everything that the training data had
        return [name for name in known.columns if name in window.columns and name not in LOG_COLUMNS]
    return [name for name, column in known.columns.items() if column.kind != "time"]


def reference_of(one: Monitor, ws: Workspace) -> Known:
    """The profile that the monitor compares with, looked up now."""
    from trine import data

    kind, _, name = one.reference.partition(":")
    expected: tuple[str, ...] = ()
    ref = name
    if kind == "model":
        ref, expected = _training_data(name, ws)
    commit = data.resolve(ref, ws=ws)
    return Known(of_profile(commit.profile), commit.node, expected)


def _training_data(name: str, ws: Workspace) -> tuple[str, tuple[str, ...]]:
    """The dataset commit a model version was trained on, and the columns that it takes."""
    from trine import models

    loaded = models.load_model(name, ws=ws)
    source = loaded.version.data
    if not source:
        raise InvalidInput(
            f"Model {name} does not say which data it was trained on; name it with reference=dataset:NAME@REF."
        )
    return source.removeprefix("dataset:"), tuple(field.name for field in loaded.signature.inputs)


def read_window(one: Monitor, since_us: int, until_us: int, ws: Workspace) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the window in time order, and the nodes they come from."""
    if one.subject_kind == "endpoint":
        from trine import serving

        frame = serving.predictions(one.subject_name, since_us=since_us, until_us=until_us, ws=ws)
        return frame.sort("time_us", maintain_order=True), [one.subject]
    from trine import data

    commit = data.resolve(one.subject_name, ws=ws)
    return _between(data.load(f"{commit.dataset}@{commit.id}", ws=ws), one, since_us, until_us), [commit.node]


def _between(frame: pl.LazyFrame, one: Monitor, since_us: int, until_us: int) -> pl.DataFrame:
    import polars as pl

    if not one.time_column:
        return frame.collect()
    schema = frame.collect_schema()
    if one.time_column not in schema:
        raise InvalidInput(
            f'The dataset has no column "{one.time_column}", which monitor "{one.name}" takes time from.'
        )
    dtype = schema[one.time_column]
    time = pl.col(one.time_column)
    if isinstance(dtype, (pl.Datetime, pl.Date)):
        instant = time.cast(pl.Datetime("us")) if dtype == pl.Date else time
        stamp = instant.dt.epoch("us")
    elif dtype.is_integer():
        stamp = time
    else:
        raise InvalidInput(
            f'Column "{one.time_column}" is {dtype}: times are dates, datetimes or integer microseconds.'
        )
    return frame.filter(stamp >= since_us, stamp < until_us).sort(one.time_column, maintain_order=True).collect()


def _labels(one: Monitor, ws: Workspace) -> pl.DataFrame | None:
    if one.subject_kind != "endpoint" or not (one.score or one.predicted):
        return None
    from trine import serving

    return serving.labels(one.subject_name, ws=ws)
