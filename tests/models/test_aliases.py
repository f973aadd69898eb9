from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest
from estimators import labels, numbers
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from trine import models
from trine.access import operations as access
from trine.access.principals import Principal
from trine.errors import ApprovalRequired, CheckFailed, Conflict, InvalidInput, NotFound
from trine.ids import now_us, to_datetime
from trine.models import operations as door
from trine.workspace import Workspace


@pytest.fixture
def versions(ws: Workspace) -> list[models.ModelVersion]:
    return make(4)


def make(count: int) -> list[models.ModelVersion]:
    frame = numbers(40)
    fitted = DecisionTreeClassifier(max_depth=2).fit(frame, labels(frame))
    first = models.register(fitted, "delays", inputs=frame)
    from trine.workspace import current_workspace

    return [
        first,
        *(door.register_version(current_workspace(), name="delays", artifact=first.artifact) for _ in range(count - 1)),
    ]


def test_an_alias_moves_and_every_move_is_kept(ws: Workspace, versions: Any) -> None:
    first = models.promote("delays", 1, reason="to begin with")
    assert (first.kind, first.version, first.before, first.number) == ("promoted", 1, None, 1)
    second = models.promote("delays", versions[2])
    assert (second.version, second.before, second.number) == (3, 1, 2)
    models.promote("delays", 2, alias="challenger")
    assert models.resolve("delays@production").aliases == ("production",)
    assert models.get_model(ws, name="delays").aliases == {"challenger": 2, "production": 3}
    assert models.promote("delays", "challenger").version == 2
    told = [(e.alias, e.kind, e.version, e.before) for e in models.history("delays")]
    assert told == [
        ("production", "promoted", 2, 3),
        ("challenger", "promoted", 2, None),
        ("production", "promoted", 3, 1),
        ("production", "promoted", 1, None),
    ]
    assert [e.version for e in models.history("delays", "challenger")] == [2]
    page = models.list_alias_events(ws, name="delays", limit=3)
    assert [e.number for e in models.list_alias_events(ws, name="delays", limit=3, page=page.next).items] == [1]
    assert models.history("delays")[-1].reason == "to begin with"


def test_rollback_goes_to_the_version_before_and_again_further_back(ws: Workspace, versions: Any) -> None:
    with pytest.raises(NotFound, match='no alias "production"'):
        models.rollback("delays")
    models.promote("delays", 1)
    with pytest.raises(Conflict, match="nothing to roll back to"):
        models.rollback("delays")
    for version in (2, 2, 3):
        models.promote("delays", version)
    assert models.rollback("delays", reason="errors").version == 2
    assert models.rollback("delays").version == 1
    with pytest.raises(Conflict, match="nothing to roll back to"):
        models.rollback("delays")
    models.promote("delays", 4)
    assert models.rollback("delays").version == 1
    removed = models.remove_alias(ws, name="delays", alias="production")
    assert (removed.version, removed.before) == (None, 1)
    with pytest.raises(NotFound, match='no alias "production"'):
        models.resolve("delays@production")
    assert models.rollback("delays").version == 1
    with pytest.raises(NotFound):
        models.remove_alias(ws, name="delays", alias="staging")


def test_a_rollback_to_a_deleted_version_is_refused(ws: Workspace, versions: Any) -> None:
    models.promote("delays", 1)
    models.promote("delays", 2)
    models.delete_version(ws, name="delays", version=1)
    with pytest.raises(Conflict, match=r"delays@1.* is deleted"):
        models.rollback("delays")
    assert models.resolve("delays@production").version == 2


def test_what_was_production_at_a_time(ws: Workspace, versions: Any) -> None:
    before = now_us() - 1
    first = models.promote("delays", 1)
    second = models.promote("delays", 2)
    gone = models.remove_alias(ws, name="delays", alias="production")
    assert models.at("delays", before) is None
    assert models.at("delays", first.time_us) == models.resolve("delays@1")
    assert models.at("delays", to_datetime(second.time_us)) == models.resolve("delays@2")
    assert models.at("delays", second.time_us, alias="challenger") is None
    assert models.at("delays", gone.time_us) is None


def test_a_move_that_was_decided_against_another_version_is_refused(ws: Workspace, versions: Any) -> None:
    models.promote("delays", 1, expect=0)
    with pytest.raises(Conflict, match=r"points at version 1, not at nothing"):
        models.promote("delays", 2, expect=0)
    models.promote("delays", 2, expect=1)
    with pytest.raises(Conflict, match=r"points at version 2, not at version 1") as caught:
        models.promote("delays", 3, expect=1)
    assert caught.value.details == {"expected": 1, "now": 2}
    assert models.resolve("delays@production").version == 2


def test_names_that_mean_versions_are_no_aliases(ws: Workspace, versions: Any) -> None:
    for bad in ("3", "latest"):
        with pytest.raises(InvalidInput, match="cannot be an alias"):
            models.promote("delays", 1, alias=bad)
    with pytest.raises(InvalidInput, match="wrong value"):
        models.promote("delays", 1, alias="no good")
    with pytest.raises(NotFound, match="no version 9"):
        models.promote("delays", 9)
    assert models.history("delays") == []


def test_a_gate_that_was_not_passed_does_not_promote(ws: Workspace, versions: Any) -> None:
    from trine import data
    from trine.evaluation import Gate, compare

    frame = numbers(400, seed=5)
    judged = data.commit(frame.with_columns(late=labels(frame, seed=5)), name="judged").ref
    passed = compare("delays@1", None, judged, label="late", gate=Gate(metric="accuracy"))
    assert passed.passed
    assert models.promote("delays", 1, gate=passed.id).gate == passed.node
    with pytest.raises(CheckFailed, match=rf"delays@2 did not pass {passed.node}"):
        models.promote("delays", 2, gate=passed.node)
    same = compare("delays@2", "delays@1", judged, label="late", gate=Gate(metric="accuracy"))
    assert same.outcome == "inconclusive"
    with pytest.raises(CheckFailed, match="did not pass"):
        models.promote("delays", 2, gate=same.node)
    with pytest.raises(NotFound, match="No node"):
        models.promote("delays", 2, gate="gate:nothing")
    assert models.resolve("delays@production").version == 1


def test_an_approval_is_bound_to_where_the_alias_points(local_ws: Workspace) -> None:
    make(4)
    access.create_principal(local_ws, name="user:ben")
    access.grant_role(local_ws, principal_name="user:ben", role="approver", everywhere=True)
    access.set_policy(local_ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})
    ben = local_ws.acting_as(Principal("user:ben"))
    models.promote("delays", 1, alias="challenger")  # not held
    with pytest.raises(ApprovalRequired) as held:
        models.promote("delays", 1)
    access.approve(ben, id=held.value.details["approval"])
    assert models.promote("delays", 1).version == 1
    with pytest.raises(ApprovalRequired) as held:
        models.promote("delays", 2)
    access.approve(ben, id=held.value.details["approval"])
    models.remove_alias(local_ws, name="delays", alias="production")  # the world moves on after the approval
    with pytest.raises(ApprovalRequired) as again:
        models.promote("delays", 2)
    assert again.value.details["approval"] != held.value.details["approval"]


PROMOTE = """
import sys, trine
from trine import models
from trine.errors import Conflict
ws = trine.connect(sys.argv[1])
won = 0
for version in (2, 3, 4) * 6:
    before = models.resolve("delays@production").version
    try:
        models.promote("delays", version, expect=before)
        won += 1
    except Conflict:
        pass
print(won)
"""


def test_of_two_who_move_an_alias_at_once_no_move_is_lost(local_ws: Workspace) -> None:
    make(4)
    models.promote("delays", 1)
    command = [sys.executable, "-c", PROMOTE, str(local_ws.root)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    won = sum(int(one.communicate()[0]) for one in running)
    events = models.history("delays", limit=1000)[::-1]
    assert [one.returncode for one in running] == [0, 0]
    assert len(events) == won + 1
    assert [e.number for e in events] == list(range(1, won + 2))
    assert all(later.before == earlier.version for earlier, later in itertools.pairwise(events))


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("promote"), st.integers(1, 4)), st.tuples(st.sampled_from(["rollback", "remove"]), st.just(0))
    ),
    max_size=12,
)


@given(MOVES)
def test_any_moves_leave_the_alias_where_a_stack_says(moves: list[tuple[str, int]]) -> None:
    import tempfile

    from trine.workspace import connect, using

    with tempfile.TemporaryDirectory() as folder, connect(folder) as ws, using(ws):
        make(4)
        stack: list[int | None] = []
        for move, version in moves:
            now = stack[-1] if stack else None
            if move == "promote":
                models.promote("delays", version)
                if now != version:
                    stack.append(version)
            elif move == "remove":
                if now is None:
                    with pytest.raises(NotFound):
                        models.remove_alias(ws, name="delays", alias="production")
                else:
                    models.remove_alias(ws, name="delays", alias="production")
                    stack.append(None)
            else:
                earlier = [one for one in stack if one not in (None, now)]
                if not earlier:
                    with pytest.raises((Conflict, NotFound)):
                        models.rollback("delays")
                else:
                    models.rollback("delays")
                    while stack[-1] != earlier[-1]:
                        stack.pop()
            assert models.get_model(ws, name="delays").aliases.get("production") == (stack[-1] if stack else None)
