"""Monitors, verdicts and alerts through the door: embedded, on PostgreSQL, and through a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from trine import data, monitoring
from trine.access.audit import list_events
from trine.access.graph import lineage
from trine.errors import Conflict, InvalidInput, NotFound, TrineError
from trine.monitoring import (
    AlertRule,
    BaselineMetric,
    Thresholds,
    acknowledge_alert,
    create_monitor,
    delete_monitor,
    get_monitor,
    get_verdict,
    list_alerts,
    list_monitors,
    list_transitions,
    list_verdicts,
    mute_alert,
)
from trine.workspace import Workspace

DAY = 86_400_000_000
SHIFTED = {3, 4, 7}
"""The days on which "x" is not as spread out as it was."""


@pytest.fixture
def committed(ws: Workspace) -> Workspace:
    """The reference "calm" of 3,000 rows, then ten days of 600 rows on the main branch."""
    rng = np.random.default_rng(8)

    def day(number: int, rows: int = 600) -> pl.DataFrame:
        at = np.sort(rng.integers(number * DAY, (number + 1) * DAY, rows))
        x = rng.normal(0, 0.4 if number in SHIFTED else 1, rows)
        return pl.DataFrame({"at": at, "x": x, "kind": rng.choice(["a", "b", "c"], rows)})

    data.commit(day(0, 3000), name="rides", tag="calm", ws=ws)
    data.commit(pl.concat(map(day, range(10))), name="rides", mode="replace", ws=ws)
    return ws


def make(ws: Workspace, **options: Any) -> None:
    given = {"name": "rides", "subject": "dataset:rides", "reference": "dataset:rides@calm", "time_column": "at"}
    create_monitor(ws, **(given | options))


def check_day(ws: Workspace, day: int, name: str = "rides") -> monitoring.Verdict:
    return monitoring.check(name, day * DAY, (day + 1) * DAY, ws=ws)


def test_a_monitor_is_defined_once_and_replaced_only_when_asked(committed: Workspace) -> None:
    made = create_monitor(committed, name="m", subject="dataset:rides", reference="dataset:rides@calm")
    assert create_monitor(committed, name="m", subject="dataset:rides", reference="dataset:rides@calm") == made
    with pytest.raises(Conflict, match="replace=True"):
        create_monitor(committed, name="m", subject="dataset:rides@main", reference="dataset:rides@calm")
    again = create_monitor(
        committed,
        name="m",
        subject="endpoint:rides",
        reference="model:rides@production",
        thresholds=Thresholds(distance=0.1),
        baseline={"brier": BaselineMetric(0.1, 0.01)},
        ranges={"x": [None, 9.0]},
        replace=True,
    )
    assert again.created_us == made.created_us and get_monitor(committed, name="m") == again
    make(committed)
    assert [one.name for one in list_monitors(committed).items] == ["m", "rides"]
    assert [one.name for one in list_monitors(committed, subject="endpoint:rides").items] == ["m"]
    first = list_monitors(committed, limit=1)
    assert [one.name for one in list_monitors(committed, limit=1, page=first.next).items] == ["rides"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": "rides"}, "write endpoint:NAME or dataset:NAME"),
        ({"subject": "model:rides"}, "no subject of a monitor"),
        ({"reference": "endpoint:rides"}, "no reference of a monitor"),
        ({"thresholds": {"false_alarm_rate": 0}}, "between 0 and 1"),
        ({"thresholds": {"distance": 0}}, "Threshold distance is 0"),
        ({"thresholds": {"least_rows": 1}}, "at least 2"),
        ({"rule": {"for_windows": 0}}, "for_windows ≥ 1"),
        ({"window_s": 0}, "at least one second"),
        ({"ranges": {"x": [3, 1]}}, 'range of column "x"'),
        ({"ranges": {"x": [1]}}, 'range of column "x"'),
        ({"ranges": {"x": [None, float("inf")]}}, 'range of column "x"'),
        ({"tolerances": {"brier": -1}}, "tolerance of brier"),
        ({"baseline": {"brier": {"value": 0.1, "error": -1}}}, "standard error"),
        ({"tolerances": {"auc": 0.1}}, '"auc" is no metric of a monitor'),
        ({"baseline": {"roc_acu": {"value": 1}}}, 'Did you mean "roc_auc"'),
        ({"channels": ["lgo"]}, 'Did you mean "log"'),
        ({"channels": ["webhook:ftp://x"]}, "no address of a webhook"),
        ({"thresholds": {"correction": "bonferroni"}}, "correction"),
    ],
)
def test_a_monitor_that_cannot_be_asked_is_refused(ws: Workspace, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        make(ws, **options)
    assert message in refused.value.message
    assert list_monitors(ws).items == []


def test_a_window_is_judged_kept_and_found_in_the_graph_and_the_events(committed: Workspace) -> None:
    make(committed)
    calm, moved = check_day(committed, 1), check_day(committed, 3)
    assert (calm.outcome, calm.rows, calm.moved) == ("ok", 600, ())
    assert (moved.outcome, moved.moved) == ("drift", ("x",))
    assert "x moved: Kolmogorov-Smirnov distance" in moved.text()
    reference, subject = (data.resolve(ref, ws=committed).node for ref in ("rides@calm", "rides"))
    assert moved.reference == reference
    assert get_verdict(committed, verdict_id=moved.id) == moved
    assert get_verdict(committed, verdict_id=moved.id[:-1]) == moved
    assert [one.id for one in list_verdicts(committed).items] == [moved.id, calm.id]
    above = lineage(committed, node=moved.node, direction="up", depth=1)
    assert set(above.nodes) == {moved.node, "monitor:rides", reference, subject}
    (event,) = list_events(committed, object=moved.node).items
    assert event.operation == "monitoring.record_verdict"
    facts = event.body
    assert (facts["monitor"], facts["outcome"], facts["moved"]) == ("rides", "drift", ["x"])
    assert [(one["rule"], one["column"], one["after"]) for one in facts["alerts"]] == [("drift", "x", "firing")]


def test_a_window_begins_and_ends_to_the_microsecond(ws: Workspace) -> None:
    frame = pl.DataFrame({"at": [9, 10, 11, 19, 20, 21], "x": [0.0] * 6})
    for name, column in (
        ("whole", pl.col("at")),
        ("naive", pl.from_epoch("at", time_unit="us")),
        ("zoned", pl.from_epoch("at", time_unit="us").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")),
        ("fine", pl.from_epoch("at", time_unit="us").cast(pl.Datetime("ns"))),
    ):
        data.commit(frame.with_columns(column), name=name, ws=ws)
        make(ws, name=name, subject=f"dataset:{name}", reference=f"dataset:{name}")
        assert [monitoring.check(name, *at, ws=ws).rows for at in ((10, 20), (11, 21), (10, 11), (12, 19))] == [
            3,
            3,
            1,
            0,
        ]


def test_an_empty_window_is_no_data_and_never_no_drift(committed: Workspace) -> None:
    make(committed)
    verdict = check_day(committed, 99)
    assert (verdict.outcome, verdict.columns) == ("no_data", ()) and "No rows" in verdict.text()
    assert [(one.rule, one.state) for one in list_alerts(committed).items] == [("no_data", "firing")]


def test_a_window_in_which_nothing_can_be_judged_is_not_called_ok(committed: Workspace) -> None:
    ids = [f"id{i}" for i in range(400)]
    data.commit(pl.DataFrame({"at": range(400), "id": ids}), name="ids", ws=committed)
    make(committed, subject="dataset:ids", reference="dataset:ids", columns=["id"])
    verdict = monitoring.check("rides", 200, 400, ws=committed)
    assert verdict.outcome == "no_data" and "nothing in the window" in verdict.text()
    make(committed, columns=["x"], replace=True)
    small = monitoring.check("rides", DAY, DAY + DAY // 300, ws=committed)
    assert small.outcome == "too_small" and "independent rows" in small.reason


def test_a_dataset_without_a_time_column_is_judged_whole(committed: Workspace) -> None:
    make(committed, time_column="", columns=["x"])
    verdict = monitoring.check("rides", ws=committed)
    assert verdict.rows == 6000 and [one.column for one in verdict.columns] == ["x"]
    assert verdict.window_end_us - verdict.window_start_us == DAY


def test_a_column_that_went_and_one_out_of_its_range_are_quality_findings(committed: Workspace) -> None:
    now = pl.DataFrame({"at": range(500), "x": np.random.default_rng(1).normal(size=500), "extra": [1.5] * 500})
    data.commit(now, name="other", ws=committed)
    make(committed, subject="dataset:other", time_column="", ranges={"x": [-9, 0.5], "extra": [None, 1.0]})
    verdict = monitoring.check("rides", ws=committed)
    assert verdict.outcome == "quality"
    told = [(one.kind, one.column, one.serious) for one in verdict.findings]
    assert told == [
        ("column_missing", "kind", True),
        ("out_of_range", "x", True),
        ("out_of_range", "extra", True),
        ("column_added", "extra", False),
    ]
    assert 'Column "kind" is missing' in verdict.text()
    rules = {(one.rule, one.column) for one in list_alerts(committed).items}
    assert rules == {("schema", "kind"), ("range", "x"), ("range", "extra")}


def test_alerts_fire_and_clear_with_hysteresis_and_each_window_counts_once(committed: Workspace) -> None:
    make(committed, rule=AlertRule(for_windows=2, clear_after=2))
    states: list[str] = []
    for day in (1, 3, 3, 4, 5, 4, 6, 7, 8):
        check_day(committed, day)
        states += [one.state for one in list_alerts(committed).items] or [""]
    assert states == ["", "pending", "pending", "firing", "firing", "firing", "resolved", "pending", "ok"]
    steps = list_transitions(committed, alert_key="rides:drift:x").items
    assert [(one.before, one.after, one.notify) for one in reversed(steps)] == [
        ("ok", "pending", False),
        ("pending", "firing", True),
        ("firing", "resolved", True),
        ("resolved", "pending", False),
        ("pending", "ok", False),
    ]


def test_somebody_can_take_an_alert_or_silence_it(committed: Workspace) -> None:
    make(committed)
    check_day(committed, 3)
    (alert,) = list_alerts(committed, state="firing").items
    taken = acknowledge_alert(committed, alert_key=alert.id[:6], note="looking")
    assert taken.acknowledged_by and taken.note == "looking" and taken.state == "firing"
    muted = mute_alert(committed, alert_key="rides:drift:x", seconds=3600)
    assert muted.muted_until_us and mute_alert(committed, alert_key=alert.id, seconds=0).muted_until_us is None
    check_day(committed, 5)
    check_day(committed, 6)
    for key, error, message in (
        (alert.id, Conflict, "only a firing alert"),
        ("rides:drift:y", NotFound, "trine alerts ls"),
        ("zz", NotFound, "No alert"),
    ):
        with pytest.raises(error, match=message):
            acknowledge_alert(committed, alert_key=key)
    with pytest.raises(InvalidInput, match="366 days"):
        mute_alert(committed, alert_key=alert.id, seconds=-1)


def test_channels_are_told_once_when_an_alert_fires(committed: Workspace, tmp_path: Path) -> None:
    told = tmp_path / "alerts.jsonl"
    make(committed, channels=[f"file:{told}", "webhook:http://127.0.0.1:1/"])
    for day in (2, 3, 4):
        check_day(committed, day)
    (notice,) = map(json.loads, told.read_text().splitlines())
    assert notice["outcome"] == "drift" and notice["text"].startswith("FIRING drift of x")


def test_a_deleted_monitor_leaves_its_verdicts(committed: Workspace) -> None:
    make(committed)
    verdict = check_day(committed, 3)
    delete_monitor(committed, name="rides")
    assert get_verdict(committed, verdict_id=verdict.id) == verdict and list_alerts(committed).items == []
    with pytest.raises(NotFound):
        get_monitor(committed, name="rides")


def test_verdicts_and_alerts_come_in_pages(committed: Workspace) -> None:
    make(committed, ranges={name: [0, 0] for name in ("x", "at")})
    days = [check_day(committed, day).id for day in range(1, 6)]
    first = list_verdicts(committed, limit=2)
    second = list_verdicts(committed, limit=2, page=first.next)
    last = list_verdicts(committed, limit=2, page=second.next)
    assert [one.id for page in (first, second, last) for one in page.items] == days[::-1] and not last.next
    assert [one.id for one in list_verdicts(committed, until_us=3 * DAY).items] == days[:1]
    assert {one.outcome for one in list_verdicts(committed, outcome="drift").items} == {"drift"}
    one = list_alerts(committed, limit=1)
    two = list_alerts(committed, limit=9, page=one.next)
    assert len(one.items) == 1 and {alert.id for alert in two.items}.isdisjoint(alert.id for alert in one.items)
    assert len(one.items) + len(two.items) == len(list_alerts(committed).items) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ws: monitoring.check("ride", ws=ws), NotFound, 'Did you mean "rides"'),
        (lambda ws: monitoring.check("rides", 5, 5, ws=ws), InvalidInput, "since < until"),
        (lambda ws: monitoring.check("gone", ws=ws), NotFound, 'No dataset "nothing"'),
        (lambda ws: monitoring.check("timeless", 0, 5, ws=ws), InvalidInput, 'no column "when"'),
        (lambda ws: monitoring.check("untimely", 0, 5, ws=ws), InvalidInput, "is String: times are"),
        (lambda ws: monitoring.compare("rides", "rides", columns=["y"], ws=ws), InvalidInput, 'Column "y"'),
        (lambda ws: monitoring.compare("rides", {"z": [1]}, ws=ws), InvalidInput, "no column in common"),
        (lambda ws: get_verdict(ws, verdict_id="x"), NotFound, "trine monitor verdicts"),
        (lambda ws: list_verdicts(ws, page="%"), InvalidInput, "page token"),
        (
            lambda ws: monitoring.record_verdict(ws, name="rides", body=ws.store.put(b"{}")),
            InvalidInput,
            "holds no verdict",
        ),
    ],
)
def test_a_wrong_question_is_answered_with_what_to_mend(
    committed: Workspace, call: Any, error: type[TrineError], message: str
) -> None:
    make(committed)
    make(committed, name="gone", reference="dataset:nothing")
    make(committed, name="timeless", time_column="when")
    make(committed, name="untimely", time_column="kind")
    with pytest.raises(error) as raised:
        call(committed)
    assert message in raised.value.message


def test_two_versions_can_be_compared_without_a_monitor(committed: Workspace) -> None:
    by_day = data.load("rides", ws=committed).collect()
    third = by_day.filter(pl.col("at").is_between(3 * DAY, 4 * DAY))
    by_ref, by_frame = (monitoring.compare(one, third, ws=committed) for one in ("rides@calm", by_day.head(600)))
    assert [one.column for one in by_ref if one.moved] == [one.column for one in by_frame if one.moved] == ["x"]
    assert not any(one.moved for one in monitoring.compare("rides@calm", "rides@calm", columns=["x"], ws=committed))


def test_the_command_line_watches_checks_tells_and_forgets(local_ws: Workspace) -> None:
    from trine.cli import main

    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"at": np.arange(2000), "x": rng.normal(size=2000), "y": rng.normal(size=2000)})
    moved = frame.with_columns(pl.col("x") + 1, pl.col("at") + 2000)
    data.commit(frame, name="rides", tag="calm", ws=local_ws)
    data.commit(moved, name="rides", tag="later", mode="replace", ws=local_ws)
    data.commit(pl.concat([frame, moved]), name="rides", mode="replace", ws=local_ws)
    place = ["--workspace", str(local_ws.location)]

    def say(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(main, [*words, *place])
        assert answer.exit_code == code, answer.output
        return answer.output

    assert "No monitors yet" in say("monitor", "ls") and "No alerts" in say("alerts", "ls")
    about = ("--subject", "dataset:rides", "--reference", "dataset:rides@calm")
    make_one = ("monitor", "create", "rides", *about, "--time-column", "at")
    assert "rides watches dataset:rides" in say(*make_one, "--range", "y=..9", "--channel", "log", "--window", "6h")
    assert "--replace" in say(*make_one, code=5)
    assert "rides: ok · 2,000 rows" in say("monitor", "check", "rides", "--until", "1970-01-01T00:00:00.002")
    window = ("--since", "1970-01-01T00:00:00.002", "--until", "1970-01-01T00:00:01")
    assert "x moved" in say("monitor", "check", "rides", *window, "--strict", code=5)
    kept = json.loads(say("monitor", "verdicts", "rides", "--outcome", "drift", "--json"))["items"]
    assert "Kolmogorov" in say("monitor", "verdict", kept[0]["id"])
    assert "firing" in say("monitor", "show", "rides") and "dataset:rides@calm" in say("monitor", "ls")
    assert "1 of 2 columns moved: x" in say("monitor", "compare", "rides@calm", "rides@later", "--columns", "x,y")
    assert "drift" in say("alerts", "ls", "--state", "firing")
    assert "is yours" in say("alerts", "ack", "rides:drift:x", "-m", "on it")
    assert "muted until" in say("alerts", "mute", "rides:drift:x", "2h") and "heard" in say(
        "alerts", "mute", "rides:drift:x", "--off"
    )
    assert "firing" in say("alerts", "show", "rides:drift:x")
    assert "no range" in say("monitor", "create", "m", *about, "--range", "x", code=2)
    assert "forgotten" in say("monitor", "rm", "rides")
    assert "No monitor" in say("monitor", "check", "rides", code=3)
