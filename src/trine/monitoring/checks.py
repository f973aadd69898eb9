"""Asking a monitor: read the window and the reference, judge, store the verdict, tell people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trine.errors import InvalidInput
from trine.ids import canonical_json, now_us
from trine.monitoring import drift, operations
from trine.monitoring.baseline import accepted_metrics
from trine.monitoring.channels import Notice, deliver
from trine.monitoring.judgement import judge
from trine.monitoring.monitors import Monitor, Thresholds
from trine.monitoring.performance import measure
from trine.monitoring.reference import Reference, of_frame, of_profile
from trine.monitoring.verdicts import ColumnVerdict, Performance, Verdict
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

    from trine.models import ModelVersion


LOG_COLUMNS = frozenset(
    {"prediction_id", "time_us", "route", "variant", "model_version", "status", "latency_us", "key"}
)
"""What the prediction log says about a prediction beside its inputs and outputs."""


class Known(NamedTuple):
    """A reference that was found: its columns, the dataset commit they are of, and the model version it was asked of."""

    columns: Reference
    commit: str
    version: ModelVersion | None = None


def check(
    monitor: str | Monitor,
    since_us: int | None = None,
    until_us: int | None = None,
    *,
    ws: Workspace | None = None,
) -> Verdict:
    """Judge the window [since_us, until_us) and store the verdict; alerts move in the same transaction.

    Without times the window is the monitor's last `window_s` seconds; a dataset without a time column is judged whole.
    Channels of the monitor are told afterwards; one that fails is logged and does not undo the verdict.
    """
    ws = ws or current_workspace()
    one = operations.get_monitor(ws, name=monitor if isinstance(monitor, str) else monitor.name)
    end = now_us() if until_us is None else until_us
    start = end - one.window_s * 1_000_000 if since_us is None else since_us
    if start >= end:
        raise InvalidInput("The window ends before it starts: give since < until.")
    known = _reference(one, ws)
    performance = None
    if one.subject_kind == "endpoint":
        window = _predictions(one, start, end, ws)
        performance = _performance(one, known.version, window, ws)
        nodes = [one.subject]
    else:
        window, nodes = _rows(one, start, end, ws)
    given = judge(
        one,
        known.columns,
        window,
        window_start_us=start,
        window_end_us=end,
        expected=_expected(one, known, window),
        performance=performance,
        reference_node=known.commit,
    )
    nodes += [known.commit, *([known.version.node] if known.version else [])]
    recorded = operations.record_verdict(ws, name=one.name, body=ws.store.put(canonical_json(given)), used=nodes)
    if recorded.notices:
        deliver(one.channels, Notice.of(recorded.verdict, recorded.notices))
    return recorded.verdict


def _expected(one: Monitor, known: Known, window: pl.DataFrame) -> list[str]:
    """The model's inputs; else all columns of the reference, of which a prediction log need not have more than it has."""
    if known.version:
        return [field.name for field in known.version.signature.inputs]
    if one.subject_kind == "dataset":
        return list(known.columns)
    return [name for name in known.columns if name in window.columns and name not in LOG_COLUMNS]


def compare(
    reference: Any,
    window: Any,
    *,
    columns: Sequence[str] = (),
    thresholds: Thresholds | None = None,
    ws: Workspace | None = None,
) -> tuple[ColumnVerdict, ...]:
    """Judge the drift between two tables, each a dataset reference (`flights@2013-01`) or a frame; nothing is stored.

    Farthest moved columns come first. Rows are taken to be in time order.
    """
    from trine import data

    ws = ws or current_workspace()
    known = (
        of_profile(data.profile(reference, ws=ws))
        if isinstance(reference, str)
        else of_frame(data.as_polars(reference))
    )
    now = data.load(window, ws=ws).collect() if isinstance(window, str) else data.as_polars(window)
    for name in columns:
        if name not in known or name not in now.columns:
            raise InvalidInput(f'Column "{name}" is not in both tables, so it cannot be compared.')
    if not set(known) & set(now.columns):
        raise InvalidInput("The two tables have no column in common, so there is nothing to compare.")
    return drift.compare(known, now, columns=columns, thresholds=thresholds)


def _reference(one: Monitor, ws: Workspace) -> Known:
    """The profile that the monitor compares with, looked up now."""
    from trine import data

    kind, _, name = one.reference.partition(":")
    version = None
    if kind == "model":
        from trine import models

        version = models.resolve(name, ws=ws)
        if not version.data:
            raise InvalidInput(
                f"Model {version.ref} does not say which data it was trained on; name it with reference=dataset:NAME@REF."
            )
        name = version.data.removeprefix("dataset:")
    commit = data.resolve(name, ws=ws)
    return Known(of_profile(data.profile_of(ws, commit)), commit.node, version)


def _predictions(one: Monitor, since_us: int, until_us: int, ws: Workspace) -> pl.DataFrame:
    """The endpoint's predictions of the window in time order."""
    from trine import serving

    log = serving.predictions(one.subject_name, since_us=since_us, until_us=until_us, ws=ws)
    return log.sort("time_us", maintain_order=True)


def _performance(one: Monitor, version: ModelVersion | None, log: pl.DataFrame, ws: Workspace) -> Performance:
    """How good the answers were, as far as labels have come; compared with the accepted model's metrics."""
    import polars as pl

    from trine import serving

    positive = one.positive
    if version and len(version.classes) == 2:
        positive = positive or str(version.classes[1])
    return measure(
        log.filter(pl.col("status") == "ok"),
        serving.labels(one.subject_name, ws=ws),
        score=one.score,
        predicted=one.predicted,
        positive=positive,
        baseline=one.baseline or (accepted_metrics(version, ws) if version else {}),
        tolerances=one.tolerances,
        false_alarm_rate=one.thresholds.false_alarm_rate,
    )


def _rows(one: Monitor, since_us: int, until_us: int, ws: Workspace) -> tuple[pl.DataFrame, list[str]]:
    """The dataset's rows of the window in time order, and the commit they are of."""
    import polars as pl

    from trine import data

    commit = data.resolve(one.subject_name, ws=ws)
    frame = data.load(f"{commit.dataset}@{commit.id}", ws=ws)
    if not one.time_column:
        return frame.collect(), [commit.node]
    schema = frame.collect_schema()
    if one.time_column not in schema:
        raise InvalidInput(
            f'{commit.ref} has no column "{one.time_column}", which monitor "{one.name}" takes time from.'
        )
    dtype, time = schema[one.time_column], pl.col(one.time_column)
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        stamp = time.dt.epoch("us")
    elif dtype.is_integer():
        stamp = time
    else:
        raise InvalidInput(
            f'Column "{one.time_column}" of {commit.ref} is {dtype}: times are dates, datetimes or integer microseconds.'
        )
    kept = frame.filter(stamp >= since_us, stamp < until_us).sort(one.time_column, maintain_order=True)
    return kept.collect(), [commit.node]
