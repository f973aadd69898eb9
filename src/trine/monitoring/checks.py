"""Asking a monitor: read the window and the reference, judge, store the verdict, tell people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trine.errors import InvalidInput
from trine.ids import canonical_json, now_us
from trine.monitoring import drift, operations
from trine.monitoring.channels import Notice, deliver
from trine.monitoring.judgement import judge
from trine.monitoring.monitors import HIGHER_IS_BETTER, BaselineMetric, Monitor, Thresholds
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
    """A reference that was found: its columns, the lineage nodes it is, what a window must have, and how good the
    accepted model was."""

    columns: Reference
    nodes: list[str]
    expected: list[str]
    baseline: Mapping[str, BaselineMetric]


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
    one = msgspec.structs.replace(one, baseline=one.baseline or dict(known.baseline))
    if one.subject_kind == "endpoint":
        window, performance = _of_endpoint(one, start, end, ws)
        nodes = [one.subject]
    else:
        window, nodes = _of_dataset(one, start, end, ws)
        performance = None
    given = judge(
        one,
        known.columns,
        window,
        window_start_us=start,
        window_end_us=end,
        expected=known.expected or _shared(one, known.columns, window),
        performance=performance,
        reference_node=known.nodes[0],
    )
    body = ws.store.put(canonical_json(given))
    recorded = operations.record_verdict(ws, name=one.name, body=body, used=[*nodes, *known.nodes])
    if recorded.notices:
        deliver(one.channels, Notice.of(recorded.verdict, recorded.notices))
    return recorded.verdict


def _shared(one: Monitor, reference: Reference, window: pl.DataFrame) -> list[str]:
    """All columns of the reference; from a prediction log no more than it has, which is the inputs of the model."""
    if one.subject_kind == "dataset":
        return list(reference)
    return [name for name in reference if name in window.columns and name not in LOG_COLUMNS]


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
    return drift.compare(known, now, columns=columns, thresholds=thresholds)


def _reference(one: Monitor, ws: Workspace) -> Known:
    """The profile that the monitor compares with, looked up now."""
    from trine import data

    kind, _, name = one.reference.partition(":")
    if kind == "dataset":
        commit = data.resolve(name, ws=ws)
        return Known(of_profile(data.profile_of(ws, commit)), [commit.node], [], {})
    from trine import models

    version = models.resolve(name, ws=ws)
    if not version.data:
        raise InvalidInput(
            f"Model {version.ref} does not say which data it was trained on; name it with reference=dataset:NAME@REF."
        )
    commit = data.resolve(version.data.removeprefix("dataset:"), ws=ws)
    expected = [field.name for field in version.signature.inputs]
    return Known(of_profile(data.profile_of(ws, commit)), [commit.node, version.node], expected, _accepted(version))


def _accepted(version: ModelVersion) -> dict[str, BaselineMetric]:
    """The metrics that the version was registered with."""
    return {name: BaselineMetric(value) for name, value in version.metrics.items() if name in HIGHER_IS_BETTER}


def _of_endpoint(one: Monitor, since_us: int, until_us: int, ws: Workspace) -> tuple[pl.DataFrame, Performance | None]:
    """The inputs of the window's predictions in time order, and how good they were."""
    from trine import serving

    log = serving.predictions(one.subject_name, since_us=since_us, until_us=until_us, ws=ws)
    log = log.sort("time_us", maintain_order=True)
    labels = serving.labels(one.subject_name, ws=ws)
    performance = measure(
        log,
        labels,
        score=one.score,
        predicted=one.predicted,
        positive=one.positive,
        baseline=one.baseline,
        tolerances=one.tolerances,
        false_alarm_rate=one.thresholds.false_alarm_rate,
    )
    return log, performance


def _of_dataset(one: Monitor, since_us: int, until_us: int, ws: Workspace) -> tuple[pl.DataFrame, list[str]]:
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
