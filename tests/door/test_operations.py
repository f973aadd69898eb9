from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import sqlalchemy as sa

from trine.access import audit, graph
from trine.access import operations as access
from trine.errors import (
    ApprovalRequired,
    Conflict,
    Failure,
    InvalidInput,
    NotFound,
    Refused,
    TrineError,
    Unauthenticated,
    by_code,
)
from trine.ledger.events import append_event
from trine.ledger.tables import idempotency
from trine.operations import REGISTRY, REPEATS_FOR_US, Name, Operation, operation, perform
from trine.workspace import Workspace, connect, current_workspace, existing, using


class Thing(msgspec.Struct, frozen=True):
    name: str
    size: float
    data: bytes
    made: dt.datetime
    parts: list[int] = []


@operation("PUT /test-things/{name}", allows="door.write")
def put_thing(ws: Workspace, *, name: Name, size: float, parts: list[int] = [], fail: bool = False) -> Thing:  # noqa: B006
    """Put a thing."""
    parts.append(1)
    ws.tx.touch(f"thing:{name}", after=size)
    ws.tx.link(f"thing:{name}", "used", "thing:origin")
    ws.tx.note(size=size)
    if fail:
        raise Conflict("no", where=name)
    return Thing(name, size, b"\x00\xff", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), parts)


@operation("POST /test-things/{name}/twice", allows="door.write")
def put_twice(ws: Workspace, *, name: Name, fail: bool = False) -> Thing:
    """Put two things in one transaction."""
    put_thing(ws, name=f"{name}-1", size=1)
    return put_thing(ws, name=f"{name}-2", size=2, fail=fail)


@operation("GET /test-things/{name}", allows="door.read")
def get_thing(ws: Workspace, *, name: str, times: list[int] = [], deep: bool = False) -> dict[str, Any]:  # noqa: B006
    """Get a thing."""
    if name == "writes":
        put_thing(ws, name="x", size=1)
    return {"name": name, "times": times, "deep": deep, "user": ws.principal.name}


def test_a_call_gives_the_same_result_everywhere(ws: Workspace) -> None:
    thing = put_thing(ws, name="a", size=float("inf"))
    assert thing == Thing("a", float("inf"), b"\x00\xff", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), [1])
    assert put_thing(ws, name="b", size=1) == put_thing(ws, name="b", size=1)  # the default list is not shared
    assert get_thing(ws, name="ünï %?&#", times=[1, 2], deep=True)["times"] == [1, 2]
    assert get_thing(ws, name="ünï %?&#")["name"] == "ünï %?&#"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"name": "a"}, InvalidInput, 'needs the argument "size"'),
        ({"name": "a", "size": "big"}, InvalidInput, "expected `float`"),
        ({"name": "../a", "size": 1.0}, InvalidInput, "name"),
        ({"name": "a", "size": 1.0, "part": []}, InvalidInput, 'Did you mean "parts"'),
        ({"name": "a", "size": 1.0, "parts": [None]}, InvalidInput, "parts"),
        ({"name": "a", "size": 1.0, "fail": True}, Conflict, "no"),
    ],
)
def test_errors_are_the_same_everywhere(
    ws: Workspace, values: dict[str, Any], kind: type[TrineError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        put_thing(ws, **values)


def test_every_change_is_one_event_with_its_edges(ws: Workspace) -> None:
    put_thing(ws, name="a", size=2.5)
    (event,) = audit.list_events(ws, operation="door.*").items
    assert (event.operation, event.object, event.outcome) == ("door.put_thing", "thing:a", "done")
    assert event.body["arguments"]["name"] == "a"
    assert event.body["size"] == 2.5
    assert event.after
    assert not event.before
    walked = graph.lineage(ws, node="thing:a")
    assert walked.nodes == ["thing:a", "thing:origin"]
    with pytest.raises(NotFound, match="thing:a"):
        graph.lineage(ws, node="thing:b")


def test_a_failed_call_leaves_nothing(ws: Workspace) -> None:
    with pytest.raises(Conflict):
        put_twice(ws, name="a", fail=True)
    assert audit.list_events(ws, operation="door.*").items == []
    with pytest.raises(NotFound):
        graph.lineage(ws, node="thing:a-1")
    put_twice(ws, name="a")
    assert [event.object for event in audit.list_events(ws, operation="door.*").items] == [
        "thing:a-1",
        "thing:a-2",
        "door:a",
    ]


def test_a_reading_operation_cannot_change_anything(ws: Workspace) -> None:
    with pytest.raises(Failure, match="only reads"):
        get_thing(ws, name="writes")


def test_an_idempotency_key_gives_the_first_answer_again(local_ws: Workspace) -> None:
    one = REGISTRY["door.put_thing"]
    first = perform(one, local_ws, {"name": "a", "size": 1}, idempotency_key="k")
    assert perform(one, local_ws, {"name": "a", "size": 1}, idempotency_key="k") == first
    assert len(audit.list_events(local_ws, operation="door.*").items) == 1
    with pytest.raises(Conflict, match="another call"):
        perform(one, local_ws, {"name": "a", "size": 2}, idempotency_key="k")


def test_a_repeated_call_gets_the_first_answer_as_it_was(local_ws: Workspace) -> None:
    """Infinities, bytes and times too, whatever JSON can hold."""
    one = REGISTRY["door.put_thing"]
    first = perform(one, local_ws, {"name": "a", "size": float("-inf")}, idempotency_key="k")
    again = perform(one, local_ws, {"name": "a", "size": float("-inf")}, idempotency_key="k")
    assert again == first == Thing("a", float("-inf"), b"\x00\xff", dt.datetime(2026, 1, 2, tzinfo=dt.UTC), [1])


def test_idempotency_keys_are_forgotten_after_a_day(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    one = REGISTRY["door.put_thing"]
    perform(one, local_ws, {"name": "a", "size": 1}, idempotency_key="old")
    import trine.workspace
    from trine.ids import now_us

    monkeypatch.setattr(trine.workspace, "now_us", lambda: now_us() + REPEATS_FOR_US + 1)
    perform(one, local_ws, {"name": "b", "size": 1}, idempotency_key="new")
    with local_ws.ledger.transaction(write=False) as connection:
        assert connection.execute(sa.select(idempotency.c.key)).scalars().all() == ["new"]


def test_a_repeat_under_way_waits_for_the_first(local_ws: Workspace) -> None:
    one = REGISTRY["door.put_thing"]
    answers: list[Any] = []

    def call() -> None:
        answers.append(perform(one, local_ws, {"name": "a", "size": 1}, idempotency_key="k"))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and all(answer == answers[0] for answer in answers)
    assert len(audit.list_events(local_ws, operation="door.*").items) == 1


class Box(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=1)]
    inside: list[Box] = []
    more: dict[str, Any] = {}


@operation("POST /test-boxes", allows="door.write")
def put_box(ws: Workspace, *, box: Box, when: dt.datetime | None = None, raw: bytes = b"") -> dict[str, Any]:
    """Put a box."""
    return {"box": box, "when": when, "raw": raw}


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": [value]}
    return value


def test_structs_are_checked_wherever_they_come_from(ws: Workspace) -> None:
    when = dt.datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)
    answer = put_box(ws, box=Box(1, [Box(2)], {"x": [1.5, None]}), when=when, raw=b"\xff\x00")
    assert msgspec.convert(answer["box"], Box) == Box(1, [Box(2)], {"x": [1.5, None]})
    assert answer["when"] == when
    assert answer["raw"] == b"\xff\x00"
    for wrong in (
        Box(0),
        Box(1, [Box(-1)]),
        Box("big"),  # type: ignore[arg-type]
        Box(1, [], {"a": object()}),
        Box(1, [], {"a": 2**63}),
        Box(1, [], {"a": "nul \0"}),
        Box(1, [], {"nul \0": 1}),
        Box(1, [], {"a": "half a \ud800"}),
        Box(1, [], {"a": nested(100)}),
        3,
        object(),
    ):
        with pytest.raises(InvalidInput, match="box"):
            put_box(ws, box=wrong)  # type: ignore[arg-type]
    assert put_box(ws, box=Box(1, [], {"a": nested(20)}))
    assert len(audit.list_events(ws, operation="door.*").items) == 2


def test_pages_follow_each_other(ws: Workspace) -> None:
    before = len(audit.list_events(ws, limit=1000).items)
    for index in range(7):
        put_thing(ws, name=f"t{index}", size=1)
    seen: list[int] = []
    token = ""
    while True:
        page = audit.list_events(ws, limit=3, page=token)
        seen += [event.seq for event in page.items]
        if not (token := page.next):
            break
    assert len(seen) == len(set(seen)) == before + 7
    assert seen == sorted(seen)
    with pytest.raises(InvalidInput, match="page token"):
        audit.list_events(ws, page="nonsense")


def test_an_operation_needs_a_permission_and_a_route_that_exist() -> None:
    with pytest.raises(InvalidInput, match="no permission"):
        operation("GET /x", allows="door.reed")(get_thing)
    with pytest.raises(InvalidInput, match="no route"):
        operation("FETCH /x", allows="door.read")(get_thing)
    with pytest.raises(TypeError):
        operation("GET /x")(get_thing)  # type: ignore[call-arg]


def test_every_registered_operation_is_described() -> None:
    from trine import rooms

    rooms.load()
    for one in REGISTRY.values():
        assert isinstance(one, Operation)
        assert one.summary.endswith("."), one.name
        assert one.allows
        assert one.arguments is not None


def test_roles_are_deny_by_default(local_ws: Workspace) -> None:
    access.create_principal(local_ws, name="user:ana")
    token = access.create_token(local_ws, principal_name="user:ana").text
    ana = connect(local_ws.location, token=token)
    with pytest.raises(Refused, match=r"needs the role .* holds none"):
        get_thing(ana, name="a")
    access.grant_role(local_ws, principal_name="user:ana", role="viewer")
    assert get_thing(ana, name="a")["user"] == "user:ana"
    with pytest.raises(Refused, match="contributor"):
        put_thing(ana, name="a", size=1)
    refused = audit.list_events(local_ws, outcome="refused").items
    assert [(event.actor, event.operation) for event in refused][-1] == ("user:ana", "door.put_thing")
    with pytest.raises(Refused):
        get_thing(ana.for_project("other"), name="a")
    access.grant_role(local_ws, principal_name="user:ana", role="contributor")
    put_thing(ana, name="a", size=1)
    access.revoke_role(local_ws, principal_name="user:ana", role="contributor")
    with pytest.raises(Refused):
        put_thing(ana, name="a", size=1)


def test_tokens_are_scoped_expire_and_can_be_revoked(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    access.create_principal(ws, name="service:ci")
    access.grant_role(ws, principal_name="service:ci", role="admin", everywhere=True)
    made = access.create_token(ws, principal_name="service:ci", scopes=["door.read", "access.*"], expires_s=3600)
    assert made.text.startswith("trn_")
    assert all(one.text == "" for one in access.list_tokens(ws).items)
    with connect(ws.location, token=made.text) as ci:
        assert get_thing(ci, name="a")["user"] == "service:ci"
        with pytest.raises(Refused, match="scopes"):
            put_thing(ci, name="a", size=1)
        with pytest.raises(Refused, match="project"):
            get_thing(ci.for_project("other"), name="a")
    access.revoke_token(ws, id=made.id)
    for text in (made.text, "trn_x_y", "nonsense"):
        with pytest.raises(Unauthenticated):
            _call_as(ws, text)
    assert made.text.partition("_")[2].partition("_")[2] not in repr(audit.export_events(ws))


def _call_as(ws: Workspace, token: str) -> None:
    with connect(ws.location, token=token) as other:
        get_thing(other, name="a")


def test_an_expired_token_is_refused(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    access.create_principal(local_ws, name="service:ci")
    made = access.create_token(local_ws, principal_name="service:ci", expires_s=60)
    import trine.workspace

    monkeypatch.setattr(trine.workspace, "now_us", lambda: made.created_us + 61_000_000)
    with pytest.raises(Unauthenticated):
        connect(local_ws.location, token=made.text)


_STATE = {"value": 1}


@operation("POST /test-things/{name}/hold", allows="door.write", state=lambda ws, **_: _STATE)
def held_thing(ws: Workspace, *, name: Name, size: int = 0) -> str:
    """Do something that a policy may hold."""
    ws.tx.touch(f"thing:{name}@1")
    return name


@pytest.fixture
def people(local_ws: Workspace) -> dict[str, Workspace]:
    _STATE["value"] = 1
    found: dict[str, Workspace] = {}
    for name, role in {"ana": "maintainer", "ben": "approver", "cy": "approver"}.items():
        access.create_principal(local_ws, name=f"user:{name}")
        access.grant_role(local_ws, principal_name=f"user:{name}", role=role)  # type: ignore[arg-type]
        found[name] = connect(
            local_ws.location, token=access.create_token(local_ws, principal_name=f"user:{name}").text
        )
    access.set_policy(local_ws, name="four-eyes", operation="door.held_thing", when={"size": 7})
    return found


def _ask(ws: Workspace, **values: Any) -> str:
    with pytest.raises(ApprovalRequired) as caught:
        held_thing(ws, **values)
    return caught.value.details["approval"]


def test_a_held_call_waits_for_somebody_else(local_ws: Workspace, people: dict[str, Workspace]) -> None:
    ana, ben = people["ana"], people["ben"]
    assert held_thing(ana, name="free", size=1) == "free"
    request = _ask(ana, name="a", size=7)
    assert _ask(ana, name="a", size=7) == request  # asking twice files one request
    with pytest.raises(Refused):
        access.approve(ana, id=request)
    assert access.approve(ben, id=request, reason="fine").state == "approved"
    with pytest.raises(ApprovalRequired):
        held_thing(ana, name="b", size=7)  # another argument is another call
    with pytest.raises(ApprovalRequired):
        held_thing(local_ws, name="a", size=7)  # another requester too
    assert held_thing(ana, name="a", size=7) == "a"
    assert access.get_approval(local_ws, id=request).state == "used"
    assert _ask(ana, name="a", size=7) != request  # an approval lets one call through
    walked = graph.lineage(local_ws, node="thing:a@1", direction="down")
    assert f"approval:{request}" in walked.nodes
    outcomes = [event.outcome for event in audit.list_events(local_ws, operation="door.held_thing").items]
    assert outcomes.count("held") == 4


def test_an_approval_is_void_when_the_state_changes(people: dict[str, Workspace]) -> None:
    ana, ben = people["ana"], people["ben"]
    first = _ask(ana, name="a", size=7)
    _STATE["value"] = 2
    with pytest.raises(Conflict, match="changed"):
        access.approve(ben, id=first)
    second = _ask(ana, name="a", size=7)
    assert second != first
    assert access.get_approval(ben, id=first).state == "void"
    access.approve(ben, id=second)
    _STATE["value"] = 3
    third = _ask(ana, name="a", size=7)
    assert access.get_approval(ben, id=second).state == "void"
    access.reject(ben, id=third)
    with pytest.raises(Conflict, match="rejected"):
        access.approve(people["cy"], id=third)
    assert _ask(ana, name="a", size=7) != third


def test_a_policy_can_ask_for_two_others(local_ws: Workspace, people: dict[str, Workspace]) -> None:
    access.set_policy(local_ws, name="four-eyes", operation="door.held_thing", approvals=2)
    request = _ask(people["ana"], name="a")
    assert access.approve(people["ben"], id=request).state == "pending"
    with pytest.raises(Conflict, match="approved this already"):
        access.approve(people["ben"], id=request)
    assert access.approve(people["cy"], id=request).state == "approved"
    assert held_thing(people["ana"], name="a") == "a"


def test_an_approval_expires(
    local_ws: Workspace, people: dict[str, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    access.set_policy(local_ws, name="four-eyes", operation="door.held_thing", expires_s=60)
    request = _ask(people["ana"], name="a")
    access.approve(people["ben"], id=request)
    import trine.workspace
    from trine.ids import now_us

    monkeypatch.setattr(trine.workspace, "now_us", lambda: now_us() + 61_000_000)
    assert _ask(people["ana"], name="a") != request


def test_access_itself_cannot_be_held(ws: Workspace) -> None:
    for pattern in ("access.approve", "*", "access.*"):
        with pytest.raises(InvalidInput, match="cannot be held"):
            access.set_policy(ws, name="lock", operation=pattern)
    with pytest.raises(NotFound, match="No operation"):
        access.set_policy(ws, name="lock", operation="models.promot")


WRITER = """
import sys
from trine.access import operations as access
from trine.workspace import connect
with connect(sys.argv[1]) as ws:
    for index in range(40):
        access.create_principal(ws, name=f"user:{sys.argv[2]}{index}")
"""


def test_two_processes_write_without_losing_or_locking(folder: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder), name]) for name in "abc"]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    with connect(folder) as ws:
        events = audit.list_events(ws, limit=1000).items
        assert [event.seq for event in events] == list(range(1, 121))
        assert audit.verify_events(ws).intact


def test_the_current_workspace_follows_using(folder: Path, tmp_path: Path) -> None:
    with connect(folder) as one, connect(tmp_path / "other") as two:
        with using(one):
            assert current_workspace() is one
            with using(two):
                assert current_workspace() is two
            assert current_workspace() is one
        assert (tmp_path / "other" / ".trine" / "ledger.db").is_file()
    with pytest.raises(NotFound, match="trine init"):
        existing(str(tmp_path / "nowhere"))


def test_errors_are_found_by_their_code() -> None:
    for kind in (InvalidInput, NotFound, Refused, ApprovalRequired, Conflict, Failure):
        assert by_code(kind.code) is kind
    assert by_code("from-the-future") is TrineError
    assert append_event is not None


def test_every_module_with_operations_is_a_door_or_behind_one() -> None:
    code = (
        "import pathlib, sys, trine\nfrom trine import rooms\nrooms.load()\nroot = pathlib.Path(trine.__path__[0])\n"
        "for path in root.rglob('*.py'):\n"
        "    if '\\n@operation(' in path.read_text():\n"
        "        name = 'trine.' + '.'.join(path.relative_to(root).with_suffix('').parts)\n"
        "        assert name in sys.modules, name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
