from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl
import pytest

from trine import data, models
from trine.access import audit, graph
from trine.data import operations as datasets
from trine.data.records import move_ref
from trine.errors import CheckFailed, Conflict, InvalidInput, NotFound
from trine.ids import canonical_json, to_us
from trine.loop import OnCommit, OnVerdict, Schedule
from trine.loop import operations as door
from trine.loop.cycles import Cycle, Facts
from trine.loop.definition import Definition
from trine.monitoring import operations as monitoring
from trine.monitoring.verdicts import ColumnVerdict, Verdict
from trine.workspace import Workspace, recording_uses

ROWS = pl.DataFrame({"x": [1.0, 2.0]})
Clock = Callable[..., int]


class Constant:
    """A model that always says the same."""

    def predict(self, rows: Any) -> Any:
        return [1.0] * len(rows)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time transactions read: stands until it is moved."""
    now = [to_us(dt.datetime(2026, 3, 27, 12, tzinfo=dt.UTC))]
    monkeypatch.setattr("trine.workspace.now_us", lambda: now[0])

    def move(**by: float) -> int:
        now[0] += int(dt.timedelta(**by) / dt.timedelta(microseconds=1))
        return now[0]

    return move


def define(ws: Workspace, *triggers: OnVerdict | OnCommit | Schedule, name: str = "delays", **changes: object) -> None:
    one = Definition(name=name, model="delays", pipeline="train.py:train", triggers=triggers)
    door.put_loop(ws, name=name, definition=msgspec.structs.replace(one, **changes))


def verdict(ws: Workspace, outcome: str, *moved: str, monitor: str = "watch", reference: str = "") -> str:
    columns = tuple(ColumnVerdict(column=name, kind="number", state="moved") for name in moved)
    given = Verdict(
        monitor=monitor,
        window_start_us=1,
        window_end_us=2,
        rows=9,
        outcome=outcome,
        columns=columns,
        reference=reference,
    )  # type: ignore[arg-type]
    return monitoring.record_verdict(ws, name=monitor, body=ws.store.put(canonical_json(given))).verdict.id


def finish(ws: Workspace, cycle: Cycle, **facts: str) -> Cycle:
    return door.move_cycle(
        ws, cycle_id=cycle.id, epoch=cycle.epoch, state="done", facts=Facts(**facts), outcome="kept", reason="tested"
    )


def reasons(ws: Workspace, name: str = "delays") -> list[str]:
    return [one.reason for one in door.get_due(ws, name=name).triggers]


def test_a_loop_reacts_to_what_happens_after_it_was_defined(ws: Workspace) -> None:
    data.commit(ROWS, name="flights")
    define(ws, OnCommit("flights"))
    assert reasons(ws) == []
    data.commit(ROWS, name="other")
    datasets.create_branch(ws, name="flights", branch="trial")
    data.commit(ROWS, name="flights", branch="trial")
    assert reasons(ws) == []
    made = data.commit(ROWS, name="flights")
    assert reasons(ws) == [f"new data {made.ref}, 4 rows"]
    define(ws, OnCommit("flights"), cooldown_s=1)  # defining it anew forgets nothing
    cycle = door.start_cycle(ws, name="delays")
    assert cycle.reason == f"started: new data {made.ref}, 4 rows"
    assert {made.node, "loop:delays"} <= set(graph.lineage(ws, node=cycle.node).nodes)


def test_a_commit_that_was_made_elsewhere_fires_when_the_branch_moves_to_it(ws: Workspace) -> None:
    first = data.commit(ROWS, name="flights")
    datasets.create_branch(ws, name="flights", branch="trial")
    made = data.commit(ROWS, name="flights", branch="trial")
    define(ws, OnCommit("flights"))
    move = {"name": "flights", "commit": made.id}
    move_ref(ws, **move, ref="v1", kind="tag")
    move_ref(ws, **move, ref="trial", expect=made.id)
    assert reasons(ws) == []
    move_ref(ws, **move, ref="main", expect=first.id)
    assert reasons(ws) == [f"new data {made.ref}, {made.rows} rows"]


def test_a_rejected_commit_fires_nothing(ws: Workspace) -> None:
    define(ws, OnCommit("flights"))
    with pytest.raises(CheckFailed):
        data.commit(ROWS, name="flights", checks=[data.row_count(10, 20)])
    assert reasons(ws) == []


def test_verdicts_fire_by_monitor_and_outcome(ws: Workspace) -> None:
    data.commit(ROWS, name="flights")
    for name in ("watch", "other"):
        monitoring.create_monitor(ws, name=name, subject="dataset:flights@main", reference="dataset:flights@main")
    define(ws, OnVerdict("watch"))
    verdict(ws, "ok")
    verdict(ws, "quality", "x")
    verdict(ws, "drift", "x", monitor="other")
    assert reasons(ws) == []
    first = verdict(ws, "drift", "dep_delay", "distance", "hour", "temp")
    second = verdict(ws, "degraded")
    assert reasons(ws) == [
        f"drift in dep_delay, distance, hour and 1 more (verdict {first[:12]})",
        f"worse (verdict {second[:12]})",
    ]


def test_a_verdict_on_a_version_that_was_replaced_since_fires_nothing(ws: Workspace) -> None:
    commits = [data.commit(ROWS, name="delays-train") for _ in range(2)]
    for commit in commits:
        models.register(Constant(), "delays", inputs=ROWS, data=commit, allow_pickle=True)
    models.promote("delays", 1)
    monitoring.create_monitor(ws, name="watch", subject="dataset:flights@main", reference="model:delays@production")
    monitoring.create_monitor(ws, name="fixed", subject="dataset:flights@main", reference=commits[0].node)
    define(ws, OnVerdict("watch"), OnVerdict("fixed"))
    verdict(ws, "drift", "x", reference=commits[0].node)
    verdict(ws, "drift", "x", monitor="fixed", reference=commits[0].node)
    assert len(reasons(ws)) == 2
    models.promote("delays", 2)
    assert len(reasons(ws)) == 1
    verdict(ws, "drift", "x", reference=commits[1].node)
    assert len(reasons(ws)) == 2


def test_what_fires_during_a_cycle_starts_one_more(ws: Workspace) -> None:
    define(ws, OnCommit("flights"))
    data.commit(ROWS, name="flights")
    cycle = door.start_cycle(ws, name="delays")
    with pytest.raises(Conflict, match=f"cycle {cycle.id} is open"):
        door.start_cycle(ws, name="delays")
    refs = [data.commit(ROWS, name="flights").ref for _ in range(3)]
    assert door.get_due(ws, name="delays").blocked == f"cycle {cycle.id} is open"
    finish(ws, cycle)
    following = door.start_cycle(ws, name="delays")
    assert [refs[0] in following.trigger.reason, len(following.trigger.also)] == [True, 2]
    assert following.reason.endswith("and 2 more")
    finish(ws, following)
    with pytest.raises(Conflict, match="No trigger"):
        door.start_cycle(ws, name="delays")
    assert [one.id for one in door.list_cycles(ws, name="delays").items] == [following.id, cycle.id]
    assert door.list_cycles(ws, name="delays", open_only=True).items == []


def test_data_that_the_own_pipeline_commits_starts_nothing(ws: Workspace) -> None:
    define(ws, OnCommit("flights"))
    data.commit(ROWS, name="flights")
    cycle = door.start_cycle(ws, name="delays")
    run = "a" * 32
    with recording_uses(lambda _: None, f"step_run:{run}/train"):
        data.commit(ROWS, name="flights")
    finish(ws, cycle, pipeline_run=run)
    assert reasons(ws) == []
    outside = data.commit(ROWS, name="flights")  # derived from the one above, but made elsewhere
    assert reasons(ws) == [f"new data {outside.ref}, 6 rows"]


def test_a_cooldown_waits_and_somebody_who_asks_does_not(ws: Workspace, clock: Clock) -> None:
    define(ws, OnCommit("flights"), cooldown_s=3_600)
    data.commit(ROWS, name="flights")
    clock(hours=1)
    finish(ws, door.start_cycle(ws, name="delays"))
    data.commit(ROWS, name="flights")
    clock(minutes=59)
    with pytest.raises(Conflict, match="cools down until 2026-03-27 14:00:00 UTC"):
        door.start_cycle(ws, name="delays")
    door.trigger_loop(ws, name="delays", reason="new code")
    cycle = door.start_cycle(ws, name="delays")
    assert cycle.trigger.kind == "manual"
    assert cycle.reason.endswith(": new code and 1 more")
    finish(ws, cycle)
    data.commit(ROWS, name="flights")
    clock(hours=1)
    assert door.start_cycle(ws, name="delays").trigger.kind == "commit"


def test_a_paused_loop_keeps_its_triggers(ws: Workspace) -> None:
    define(ws, OnCommit("flights"))
    door.pause_loop(ws, name="delays")
    data.commit(ROWS, name="flights")
    with pytest.raises(Conflict, match="the loop is paused"):
        door.start_cycle(ws, name="delays")
    with pytest.raises(Conflict, match="trine loop resume delays"):
        door.trigger_loop(ws, name="delays")
    door.pause_loop(ws, name="delays", paused=False)
    assert door.start_cycle(ws, name="delays").trigger.kind == "commit"


def test_a_schedule_fires_once_for_all_it_missed(ws: Workspace, clock: Clock) -> None:
    define(ws, Schedule("30 2 * * *", "Europe/Berlin"))
    clock(hours=12)
    assert reasons(ws) == []
    clock(days=2)  # over the night when 02:30 does not exist
    assert reasons(ws) == ["schedule 30 2 * * * Europe/Berlin, due 2026-03-29 01:00 UTC"]
    finish(ws, door.start_cycle(ws, name="delays"))
    assert reasons(ws) == []
    clock(days=1)
    assert reasons(ws) == ["schedule 30 2 * * * Europe/Berlin, due 2026-03-30 00:30 UTC"]


def test_looking_writes_nothing(ws: Workspace) -> None:
    define(ws, OnCommit("flights"), Schedule("* * * * *"))
    before = audit.get_cursor(ws, consumer="loop:delays")
    found = door.get_due(ws, name="delays")
    assert audit.get_cursor(ws, consumer="loop:delays") == before
    assert found.seen == before.head
    data.commit(ROWS, name="flights")
    assert [one.kind for one in door.get_due(ws, name="delays", after=found.seen).triggers] == ["commit"]


def test_of_two_movers_one_wins(ws: Workspace) -> None:
    define(ws)
    door.trigger_loop(ws, name="delays")
    cycle = door.start_cycle(ws, name="delays")
    door.move_cycle(ws, cycle_id=cycle.id, epoch=0, state="training", facts=Facts(pipeline_run="b" * 32))
    with pytest.raises(Conflict, match=r"moved on to training \(epoch 1, not 0\)"):
        door.move_cycle(ws, cycle_id=cycle.id, epoch=0, state="training", facts=Facts())
    finish(ws, door.get_cycle(ws, cycle_id=cycle.id[:20]))
    with pytest.raises(Conflict, match="moved on to done"):
        door.move_cycle(ws, cycle_id=cycle.id, epoch=2, state="training", facts=Facts())


def test_loops_of_one_workspace_do_not_disturb_each_other(ws: Workspace) -> None:
    define(ws, OnCommit("flights"), name="a")
    define(ws, OnCommit("flights"), name="b")
    data.commit(ROWS, name="flights")
    door.start_cycle(ws, name="a")
    door.trigger_loop(ws, name="a")
    assert door.start_cycle(ws, name="b").trigger.also == ()
    assert [one.name for one in door.list_loops(ws).items] == ["a", "b"]
    with pytest.raises(NotFound, match='Did you mean "a"'):
        door.get_loop(ws, name="aa")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triggers": (Schedule("nonsense"),)}, "is no cron expression"),
        ({"triggers": (OnVerdict("watch", ("drifted",)),)}, 'never "drifted"'),
        ({"cooldown_s": -1}, "int` >= 0"),
        ({"cooldown_s": 10**12}, "int` <= 31622400"),
        ({"data": {"rows": "flights"}, "params": {"rows": 1}}, '"rows" is given in data and in params'),
        ({"pipeline": "train"}, "write file.py:name"),
        ({"name": "other"}, 'is of loop "other"'),
    ],
)
def test_a_loop_that_could_not_turn_is_refused(local_ws: Workspace, changes: dict[str, object], message: str) -> None:
    one = msgspec.structs.replace(Definition(name="delays", model="m", pipeline="train.py:train"), **changes)
    with pytest.raises(InvalidInput, match=message):
        door.put_loop(local_ws, name="delays", definition=one)
