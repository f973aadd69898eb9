"""Four eyes, as a state machine against a model: who may make which call, and when."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import trine.workspace
from trine.access import audit
from trine.access import operations as access
from trine.errors import ApprovalRequired, Conflict, Refused
from trine.operations import Name, operation
from trine.workspace import Workspace, connect

STATE = {"value": 0}
MADE: list[tuple[str, int]] = []


@operation("POST /test-approvals/{name}", allows="door.write", state=lambda ws, **_: STATE["value"])
def move(ws: Workspace, *, name: Name, size: int = 0) -> str:
    """Do what the policy holds."""
    ws.tx.touch(f"thing:{name}@{size}")
    MADE.append((name, size))
    return name


MOVE = "door.move"
PEOPLE = ("ana", "ben", "cy")
people = st.sampled_from(PEOPLE)
calls = st.sampled_from([("x", 0), ("x", 0), ("x", 1), ("y", 0)])
START_US = 1_800_000_000_000_000
EXPIRES_S = 60


class FourEyes(RuleBasedStateMachine):
    """The model: per requester and call, one request with the state and number of approvals it was asked on."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.now = START_US
        self.patch = pytest.MonkeyPatch()
        for module in (trine.workspace, access):
            self.patch.setattr(module, "now_us", lambda: self.now)
        STATE["value"] = 0
        self.local = connect(self.folder)
        self.as_: dict[str, Workspace] = {}
        for name in PEOPLE:
            access.create_principal(self.local, name=f"user:{name}")
            for role in ("contributor", "approver"):
                access.grant_role(self.local, principal_name=f"user:{name}", role=role)  # type: ignore[arg-type]
            token = access.create_token(self.local, principal_name=f"user:{name}").text
            self.as_[name] = connect(self.folder, token=token)
        self.needed = 1
        self.set_policy(1)
        self.requests: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        self.patch.undo()
        assert audit.verify_events(self.local).intact
        for one in (self.local, *self.as_.values()):
            one.close()
        shutil.rmtree(self.folder)

    @rule(needed=st.integers(1, 2))
    def set_policy(self, needed: int) -> None:
        access.set_policy(self.local, name="eyes", operation=MOVE, approvals=needed, expires_s=EXPIRES_S)
        self.needed = needed

    @rule(value=st.integers(0, 1))
    def change_state(self, value: int) -> None:
        STATE["value"] = value

    @rule(seconds=st.sampled_from([1, 61]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1_000_000

    def is_open(self, one: dict[str, Any]) -> bool:
        return one["expires"] > self.now

    @rule(who=people, call=calls)
    def call(self, who: str, call: tuple[str, int]) -> None:
        bound = (call, STATE["value"], self.needed)
        mine = [one for one in self.requests.values() if one["who"] == who]
        approved = [one for one in mine if one["state"] == "approved" and one["bound"] == bound and self.is_open(one)]
        made = len(MADE)
        if approved:
            assert move(self.as_[who], name=call[0], size=call[1]) == call[0]
            assert MADE[made:] == [call]
            approved[0]["state"] = "used"
            return
        with pytest.raises(ApprovalRequired) as caught:
            move(self.as_[who], name=call[0], size=call[1])
        assert MADE[made:] == []
        identity = caught.value.details["approval"]
        if identity in self.requests:
            one = self.requests[identity]
            assert (one["who"], one["bound"], one["state"]) == (who, bound, "pending")
            assert self.is_open(one)
            return
        for one in mine:  # a new request on the same object replaces what was open
            if one["bound"][0][0] == call[0] and one["state"] in ("pending", "approved"):
                one["state"] = "void"
        self.requests[identity] = {
            "who": who, "bound": bound, "state": "pending", "by": set(), "expires": self.now + EXPIRES_S * 1_000_000,
        }  # fmt: skip

    @rule(who=people, yes=st.booleans(), pick=st.integers(0, 50))
    def decide(self, who: str, yes: bool, pick: int) -> None:
        if not self.requests:
            return
        identity = list(self.requests)[-1 - pick % len(self.requests)]
        one = self.requests[identity]
        bound = (one["bound"][0], STATE["value"], self.needed)
        act = access.approve if yes else access.reject
        if one["state"] != "pending" or not self.is_open(one):
            with pytest.raises(Conflict):
                act(self.as_[who], id=identity)
        elif who == one["who"]:
            with pytest.raises(Refused, match="four eyes"):
                act(self.as_[who], id=identity)
        elif who in one["by"] or (yes and bound != one["bound"]):
            with pytest.raises(Conflict):
                act(self.as_[who], id=identity)
        else:
            act(self.as_[who], id=identity)
            one["by"].add(who)
            if not yes:
                one["state"] = "rejected"
            elif len(one["by"]) >= one["bound"][2]:
                one["state"] = "approved"

    @invariant()
    def what_is_told_is_what_is(self) -> None:
        for identity, one in self.requests.items():
            told = access.get_approval(self.local, id=identity)
            late = one["state"] in ("pending", "approved") and not self.is_open(one)
            if told.state == "expired":  # a late one is marked when its call is made again, where the model says void
                assert late or one["state"] == "void"
            else:
                assert told.state == one["state"]
            assert set(told.decided_by) == {f"user:{name}" for name in one["by"]}
            assert told.requester not in told.decided_by


FourEyes.TestCase.settings = settings(max_examples=15, stateful_step_count=30)
TestFourEyes = FourEyes.TestCase


def test_the_strictest_of_several_policies_holds(local_ws: Workspace, admin_token: Any) -> None:
    ana = connect(local_ws.location, token=admin_token(local_ws, "user:ana"))
    access.set_policy(local_ws, name="a", operation=MOVE, approvals=1)
    access.set_policy(local_ws, name="b", operation="door.*", when={"size": 3}, approvals=2)
    with pytest.raises(ApprovalRequired) as caught:
        move(ana, name="x", size=3)
    assert access.get_approval(local_ws, id=caught.value.details["approval"]).needed == 2
    assert caught.value.details["policy"] == "b"
    with pytest.raises(ApprovalRequired) as caught:
        move(ana, name="x", size=4)
    assert access.get_approval(local_ws, id=caught.value.details["approval"]).needed == 1
    access.delete_policy(local_ws, name="a")
    assert move(ana, name="x", size=4) == "x"


def test_requests_are_listed_by_what_they_are_now(
    local_ws: Workspace, admin_token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = connect(local_ws.location, token=admin_token(local_ws, "user:ana"))
    access.set_policy(local_ws, name="a", operation=MOVE, expires_s=60)
    with pytest.raises(ApprovalRequired) as caught:
        move(ana, name="x")
    identity = caught.value.details["approval"]
    assert [one.id for one in access.list_approvals(local_ws, state="pending").items] == [identity]
    later = trine.workspace.now_us() + 61_000_000
    for module in (trine.workspace, access):
        monkeypatch.setattr(module, "now_us", lambda: later)
    assert access.list_approvals(local_ws, state="pending").items == []
    assert [one.id for one in access.list_approvals(local_ws, state="expired").items] == [identity]
    assert Path(local_ws.location).is_dir()
