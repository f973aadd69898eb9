from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import rooms
from trine.access import audit
from trine.access import operations as access
from trine.access.principals import Principal, authorise, by_token
from trine.access.roles import ROLES, STORE, VERBS, covers, includes, verb_of
from trine.access.signing_in import bootstrap_secret, create_first_admin, login
from trine.errors import Conflict, InvalidInput, NotFound, Refused, Unauthenticated
from trine.ids import now_us
from trine.operations import REGISTRY
from trine.workspace import Workspace, connect

PASSWORD = "correct horse battery"


@pytest.fixture
def person(local_ws: Workspace) -> Callable[..., Workspace]:
    """Somebody with a role, acting through a token."""

    def make(name: str, role: str = "", *, everywhere: bool = False, scopes: tuple[str, ...] = ("*",)) -> Workspace:
        access.create_principal(local_ws, name=name)
        if role:
            access.grant_role(local_ws, principal_name=name, role=role, everywhere=everywhere)  # type: ignore[arg-type]
        made = access.create_token(local_ws, principal_name=name, scopes=list(scopes), everywhere=everywhere)
        return connect(local_ws.location, token=made.text)

    return make


# -- roles --------------------------------------------------------------------------------------------------------


def test_every_operation_declares_a_verb_and_somebody_may_do_it() -> None:
    rooms.load()
    for one in REGISTRY.values():
        verb = verb_of(one.allows)
        assert any(verb in verbs for verbs in ROLES.values()), one.name
        assert not one.changes or verb not in ("read", "audit") or one.name in CHANGES_OF_READERS, one.name
    assert set(ROLES) == set(get_args(access.Role))


CHANGES_OF_READERS = {"access.set_password"}
"""Changing one's own password needs no more than being known; the operation looks at who is meant."""


@given(st.sampled_from(sorted(ROLES)), st.sampled_from(sorted(VERBS)), st.sampled_from(["data", "models", STORE]))
def test_a_role_may_do_exactly_its_verbs(role: str, verb: str, room: str) -> None:
    class Granted:
        def execute(self, *_: object) -> Granted:
            return self

        def scalars(self) -> list[str]:
            return [role]

    who = Principal("user:ana")
    permission = f"{room}.{verb}"
    if verb in ROLES[role]:
        authorise(Granted(), who, "p", permission)  # type: ignore[arg-type]
    else:
        with pytest.raises(Refused, match=f"may not {permission}"):
            authorise(Granted(), who, "p", permission)  # type: ignore[arg-type]


a_room, a_verb = st.sampled_from(["data", "models", "*"]), st.sampled_from(["read", "promote", "*"])
scopes = st.one_of(st.just("*"), st.builds("{}.{}".format, a_room, a_verb))


@given(scopes, scopes)
def test_a_scope_includes_another_when_it_covers_all_that_the_other_does(one: str, other: str) -> None:
    permissions = [f"{room}.{verb}" for room in ("data", "models", "serving") for verb in ("read", "promote", "write")]
    covered = all(covers(one, permission) for permission in permissions if covers(other, permission))
    assert not includes(one, other) or covered
    assert includes(one, one)
    assert includes("*", other)
    if covered and one != "*.*":
        assert includes(one, other) or other == "*.*" or one == other or "*" in (one, other)


def test_a_new_principal_may_do_nothing(person: Callable[..., Workspace]) -> None:
    ana = person("user:ana")
    for call in (access.whoami, access.list_policies, audit.list_events, access.list_principals):
        with pytest.raises(Refused, match="holds none"):
            call(ana)


# -- what reaches beyond a project --------------------------------------------------------------------------------


def test_an_admin_of_one_project_is_none_of_the_others(local_ws: Workspace, person: Callable[..., Workspace]) -> None:
    ana = person("user:ana", "admin")
    access.create_principal(ana, name="service:ci")
    access.grant_role(ana, principal_name="service:ci", role="viewer")
    beyond: list[Callable[[], Any]] = [
        lambda: access.grant_role(ana, principal_name="user:ana", role="admin", everywhere=True),
        lambda: access.revoke_role(ana, principal_name="user:root", role="admin", everywhere=True),
        lambda: access.create_token(ana, principal_name="user:ana", everywhere=True),
        lambda: access.disable_principal(ana, name="service:ci"),
        lambda: access.set_password(ana, name="service:ci", password=PASSWORD),
    ]
    for call in beyond:
        with pytest.raises(Refused, match="no admin of every project"):
            call()
    with pytest.raises(Refused):
        access.whoami(ana.for_project("other"))
    refused = audit.list_events(local_ws, outcome="refused", actor="user:ana").items
    assert [event.operation for event in refused] == [
        "access.grant_role",
        "access.revoke_role",
        "access.create_token",
        "access.disable_principal",
        "access.set_password",
    ]
    other = local_ws.for_project("other")
    hidden = access.create_token(other, principal_name="service:ci")
    assert hidden.id not in [one.id for one in access.list_tokens(ana).items]
    with pytest.raises(NotFound):
        access.revoke_token(ana, id=hidden.id)
    assert hidden.id in [one.id for one in access.list_tokens(local_ws).items]


def test_an_admin_of_every_project_is_one(person: Callable[..., Workspace]) -> None:
    ana = person("user:ana", "admin", everywhere=True)
    access.create_principal(ana, name="user:ben")
    access.grant_role(ana, principal_name="user:ben", role="viewer", everywhere=True)
    token = access.create_token(ana, principal_name="user:ben", everywhere=True).text
    assert access.whoami(connect(ana.location, token=token).for_project("any")).roles == ["viewer"]
    access.disable_principal(ana, name="user:ben")
    with pytest.raises(Unauthenticated):
        connect(ana.location, token=token)
    access.disable_principal(ana, name="user:ben", disabled=False)
    assert connect(ana.location, token=token)


def test_a_token_cannot_make_one_that_may_do_more(local_ws: Workspace, person: Callable[..., Workspace]) -> None:
    ana = person("user:ana", "admin", scopes=("access.*", "models.read"))
    for wider in (["*"], ["models.*"], ["access.read", "data.read"], ["*.read"]):
        with pytest.raises(Refused, match="may do more"):
            access.create_token(ana, principal_name="user:ana", scopes=wider)
    assert access.create_token(ana, principal_name="user:ana", scopes=["access.read", "models.read"])
    for wrong in ([], ["models"], ["models."], [".read"], ["models.reed"], [""]):
        with pytest.raises(InvalidInput, match="scope"):
            access.create_token(local_ws, principal_name="user:ana", scopes=wrong)


def test_objects_belong_to_no_room(ws: Workspace) -> None:
    """A token for runs alone can store what its runs log."""
    access.create_principal(ws, name="service:train")
    access.grant_role(ws, principal_name="service:train", role="contributor")
    made = access.create_token(ws, principal_name="service:train", scopes=["tracking.*"])
    with connect(ws.location, token=made.text) as train:
        assert train.store.get(train.store.put(b"weights")) == b"weights"
    made = access.create_token(ws, principal_name="service:train", scopes=["tracking.read"])
    with connect(ws.location, token=made.text) as reader:
        assert reader.store.has([]) == set()
        if reader.remote:
            with pytest.raises(Refused, match=r"store\.write"):
                reader.store.put(b"weights")


# -- tokens and passwords -----------------------------------------------------------------------------------------


@given(st.text(max_size=80))
def test_what_is_no_token_is_refused(shared_ws: Workspace, text: str) -> None:
    with shared_ws.ledger.transaction(write=False) as connection:
        for given_ in (text, f"trn_{text}", f"trn_{'0' * 16}_{text}"):
            with pytest.raises(Unauthenticated):
                by_token(connection, given_, now_us())


def test_secrets_are_stored_hashed_and_never_logged(local_ws: Workspace, folder: Path) -> None:
    access.create_principal(local_ws, name="user:ana", password=PASSWORD)
    made = access.create_token(local_ws, principal_name="user:ana")
    access.set_password(local_ws, name="user:ana", password=PASSWORD + "2")
    secret = made.text.split("_", 2)[2]
    with sqlite3.connect(folder / ".trine" / "ledger.db") as raw:
        everything = "\n".join(raw.iterdump())
    assert secret not in everything
    assert PASSWORD not in everything
    assert "$argon2id$" in everything
    assert (
        "…" in audit.list_events(local_ws, operation="access.create_principal").items[0].body["arguments"]["password"]
    )


def test_only_a_login_computes_argon2(
    local_ws: Workspace, person: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = person("user:ana", "viewer")
    import argon2

    monkeypatch.setattr(argon2, "PasswordHasher", None)
    assert access.whoami(ana).name == "user:ana"


def test_passwords_are_long_and_wrong_ones_told_apart_from_nothing(local_ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="at least 10"):
        access.create_principal(local_ws, name="user:ana", password="short")
    access.create_principal(local_ws, name="user:ana", password=PASSWORD)
    access.create_principal(local_ws, name="service:ci")
    made = login(local_ws, name="user:ana", password=PASSWORD)
    assert made.expires_us
    assert made.text.startswith("trn_")
    told: set[str] = set()
    for name, password in (("user:ana", "wrong password"), ("user:nobody", PASSWORD), ("service:ci", ""), ("", "")):
        with pytest.raises(Unauthenticated) as caught:
            login(local_ws, name=name, password=password)
        told.add(caught.value.message)
    assert len(told) == 1
    access.disable_principal(local_ws, name="user:ana")
    with pytest.raises(Unauthenticated):
        login(local_ws, name="user:ana", password=PASSWORD)


def test_a_new_password_ends_logins_but_not_tokens(local_ws: Workspace, person: Callable[..., Workspace]) -> None:
    ana = person("user:ana", "viewer")
    access.set_password(ana, name="user:ana", password=PASSWORD)
    session = login(local_ws, name="user:ana", password=PASSWORD)
    assert connect(local_ws.location, token=session.text)
    access.set_password(ana, name="user:ana", password=PASSWORD + "2")
    with pytest.raises(Unauthenticated):
        connect(local_ws.location, token=session.text)
    with pytest.raises(Unauthenticated):
        login(local_ws, name="user:ana", password=PASSWORD)
    assert access.whoami(ana).name == "user:ana"
    assert login(local_ws, name="user:ana", password=PASSWORD + "2")


# -- the first admin ----------------------------------------------------------------------------------------------


def test_the_first_admin_comes_from_a_one_time_secret(local_ws: Workspace) -> None:
    old = bootstrap_secret(local_ws)
    secret = bootstrap_secret(local_ws)
    for wrong in (old, "", "nonsense", secret + "x"):
        with pytest.raises(Unauthenticated, match="one-time secret"):
            create_first_admin(local_ws, secret=wrong, name="user:ana", password=PASSWORD)
    for name, password in (("ana", PASSWORD), ("user:ana", "short")):
        with pytest.raises(InvalidInput):
            create_first_admin(local_ws, secret=secret, name=name, password=password)  # and the secret is not spent
    made = create_first_admin(local_ws, secret=secret, name="user:ana", password=PASSWORD)
    ana = connect(local_ws.location, token=made.text).for_project("any")
    assert access.whoami(ana).roles == ["admin"]
    with pytest.raises(Unauthenticated):
        create_first_admin(local_ws, secret=secret, name="user:ben", password=PASSWORD)
    assert bootstrap_secret(local_ws) == ""
    events = audit.list_events(local_ws).items
    assert {(event.actor, event.on_behalf_of) for event in events} == {("service:bootstrap", "user:ana")}
    assert audit.verify_events(local_ws).intact


def test_names_of_principals_are_checked(ws: Workspace) -> None:
    for wrong in ("ana", "user:", "user:a b", "robot:x", "user:a\n", "user:../x", "user:" + "x" * 200):
        with pytest.raises(InvalidInput, match="name"):
            access.create_principal(ws, name=wrong)
    access.create_principal(ws, name="user:ana@example.com")
    with pytest.raises(Conflict, match="exists already"):
        access.create_principal(ws, name="user:ana@example.com")
    with pytest.raises(NotFound, match=r'Did you mean "user:ana@example.com"'):
        access.grant_role(ws, principal_name="user:anna@example.com", role="viewer")
    with pytest.raises(InvalidInput, match="role"):
        access.grant_role(ws, principal_name="user:ana@example.com", role="god")  # type: ignore[arg-type]
    assert not access.revoke_role(ws, principal_name="user:ana@example.com", role="viewer").changed
