"""The alert machine against what its history says, whatever order windows, mutes and acknowledgements come in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trine.monitoring.alerts import AlertRule, Transition, advance, new_alert
from trine.monitoring.breaches import breaches, is_judged
from trine.monitoring.verdicts import (
    ColumnVerdict,
    Finding,
    MetricReport,
    Performance,
    Test,
    Verdict,
)

SECOND = 1_000_000


class AlertMachine(RuleBasedStateMachine):
    """Windows arrive one a minute. `history` holds (time, breached) of each, `told` the notices that went out."""

    @initialize(for_windows=st.integers(1, 3), clear_after=st.integers(1, 3), cool_down_s=st.sampled_from([0, 90, 300]))
    def start(self, for_windows: int, clear_after: int, cool_down_s: int) -> None:
        self.rule_ = AlertRule(for_windows=for_windows, clear_after=clear_after, cool_down_s=cool_down_s)
        self.alert = new_alert("m", "drift", "x")
        self.now = 0
        self.history: list[tuple[int, bool]] = []
        self.changes: list[Transition] = []
        self.muted_until = 0

    @rule(breached=st.booleans())
    def window(self, breached: bool) -> None:
        self.now += 60 * SECOND
        before = self.alert
        self.alert, change = advance(before, breached, self.now, self.rule_, verdict="v", message="moved")
        self.history.append((self.now, breached))
        if change is not None:
            assert (change.before, change.after) == (before.state, self.alert.state)
            self.changes.append(change)
            if change.notify:
                assert self.now >= self.muted_until
                assert not (before.state == "firing" == change.after and before.acknowledged_by)
        else:
            assert before.state == self.alert.state

    @rule()
    def acknowledge(self) -> None:
        if self.alert.state == "firing":
            self.alert = msgspec.structs.replace(self.alert, acknowledged_by="ana", acknowledged_us=self.now)

    @rule(seconds=st.sampled_from([0, 100, 1000]))
    def mute(self, seconds: int) -> None:
        self.muted_until = self.now + seconds * SECOND
        self.alert = msgspec.structs.replace(self.alert, muted_until_us=self.muted_until or None)

    def _streak(self, breached: bool) -> int:
        """How many of the newest windows in a row were breached, or quiet."""
        count = 0
        for _, bad in reversed(self.history):
            if bad != breached:
                break
            count += 1
        return count

    @invariant()
    def the_state_is_what_the_history_says(self) -> None:
        state, streak, quiet, resolved = "ok", 0, 0, None
        for time, bad in self.history:
            streak, quiet = (streak + 1, 0) if bad else (0, quiet + 1)
            if bad and state != "firing":
                cooled = resolved is None or time >= resolved + self.rule_.cool_down_s * SECOND
                state = "firing" if streak >= self.rule_.for_windows and cooled else "pending"
            elif not bad and state == "pending":
                state = "ok"
            elif not bad and state == "firing" and quiet >= self.rule_.clear_after:
                state, resolved = "resolved", time
        assert self.alert.state == state
        assert self.alert.breaches == self._streak(True) and self.alert.quiet == self._streak(False)

    @invariant()
    def people_hear_of_each_episode_at_most_twice_and_of_its_end_only_when_they_heard_of_it(self) -> None:
        open_ = False
        for change in self.changes:
            if change.before != "firing" and change.after == "firing":
                open_ = False  # a new episode
            if not change.notify:
                continue
            if change.after == "firing":
                assert not open_
                open_ = True
            else:
                assert (change.before, change.after) == ("firing", "resolved") and open_
                open_ = False


TestAlertMachine = AlertMachine.TestCase


def test_with_the_default_rule_one_bad_window_fires_and_two_quiet_ones_resolve() -> None:
    alert, told = new_alert("m", "drift", "x"), []
    for minute, bad in enumerate([False, True, True, False, True, False, False, False]):
        alert, change = advance(alert, bad, minute, AlertRule())
        told.append(change.after if change and change.notify else "")
    assert told == ["", "firing", "", "", "", "", "resolved", ""]


def test_an_alert_that_fires_while_it_is_muted_is_told_when_the_mute_ends() -> None:
    alert = msgspec.structs.replace(new_alert("m", "drift", "x"), muted_until_us=5)
    notices = []
    for minute in range(8):
        alert, change = advance(alert, True, minute, AlertRule())
        notices.append(bool(change and change.notify))
    assert notices == [False] * 5 + [True, False, False]


def verdict(**parts: object) -> Verdict:
    return Verdict(monitor="m", window_start_us=0, window_end_us=1, rows=9, **({"outcome": "ok"} | parts))  # type: ignore[arg-type]


def column(state: str, *tests: tuple[str, bool]) -> ColumnVerdict:
    made = tuple(
        Test(name=name, method="m", effect=0.5, at_least=0.1, q=0.001, failed=failed)  # type: ignore[arg-type]
        for name, failed in tests
    )
    return ColumnVerdict(column="x", kind="number", state=state, tests=made)  # type: ignore[arg-type]


def finding(kind: str, serious: bool = True) -> Finding:
    return Finding(kind=kind, column="x", message="told", serious=serious)  # type: ignore[arg-type]


WORSE = MetricReport(name="brier", value=0.3, baseline=0.2, worse=True)
UNKNOWN = MetricReport(name="roc_auc", baseline=0.8, reason="all labels are positive")


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (
            verdict(columns=(column("moved", ("distribution", True), ("missing", True)),)),
            {("drift", "x"), ("missing", "x")},
        ),
        (verdict(columns=(column("moved", ("unseen", True), ("range", False)),)), {("unseen", "x")}),
        (verdict(columns=(column("ok", ("distribution", False)),)), set()),
        (verdict(findings=(finding("column_missing"),)), {("schema", "x")}),
        (verdict(findings=(finding("out_of_range"),)), {("range", "x")}),
        (verdict(findings=(finding("infinite"),)), {("quality", "x")}),
        (verdict(findings=(finding("column_added", serious=False),)), set()),
        (
            verdict(performance=Performance(predictions=9, labelled=9, coverage=1.0, metrics=(WORSE, UNKNOWN))),
            {("performance", "brier")},
        ),
        (verdict(outcome="no_data"), {("no_data", "")}),
    ],
)
def test_what_is_wrong_becomes_one_breach_a_rule_and_column(given: Verdict, keys: set[tuple[str, str]]) -> None:
    found = breaches(given)
    assert set(found) == keys and all(found.values())
    assert all(is_judged(given, key) for key in keys)


def test_what_a_window_could_not_judge_leaves_its_alert_as_it_is() -> None:
    small = verdict(columns=(column("too_small", ("missing", False)),))
    assert not is_judged(small, ("drift", "x")) and not is_judged(small, ("unseen", "x"))
    gone = verdict(findings=(finding("column_missing"),))
    assert not is_judged(gone, ("drift", "x")) and not is_judged(gone, ("range", "x"))
    assert is_judged(verdict(), ("drift", "x")) and is_judged(verdict(), ("range", "x"))  # not asked about any more
    assert not is_judged(verdict(columns=(column("moved", ("missing", True)),)), ("drift", "x"))
    assert not is_judged(verdict(outcome="no_data"), ("schema", "x")) and is_judged(small, ("schema", "x"))
    unlabelled = verdict(performance=Performance(predictions=9, labelled=0, coverage=0.0))
    assert not is_judged(unlabelled, ("performance", "brier"))
    labelled = verdict(performance=Performance(predictions=9, labelled=9, coverage=1.0, metrics=(UNKNOWN,)))
    assert not is_judged(labelled, ("performance", "roc_auc"))
