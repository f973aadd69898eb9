"""Protected aliases and stages: a gate and a second person, and no way around them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from estimators import labels, numbers
from sklearn.linear_model import LogisticRegression

from trine import data, evaluation, models
from trine.access import operations as access
from trine.access.principals import Principal
from trine.errors import ApprovalRequired, CheckFailed, Conflict, InvalidInput, NotFound, Refused
from trine.evaluation import Gate
from trine.models import operations as door
from trine.workspace import Workspace, connect, using


def register(depth: float, name: str = "delays") -> models.ModelVersion:
    frame = numbers(60)
    return models.register(LogisticRegression(C=depth).fit(frame, labels(frame)), name, inputs=frame)


def pass_gate(candidate: str, baseline: str | None) -> evaluation.GateReport:
    """A report that says pass: on rows whose truth is what the candidate answers, the closer fit is the likelier."""
    frame = numbers(400, 1)
    truth = models.load_model(candidate).predict(frame)["prediction"]
    holdout = data.commit(frame.with_columns(late=truth), name="judged").ref
    report = evaluation.compare(candidate, baseline, holdout, label="late", gate=Gate(metric="log_loss"))
    assert report.passed and report.binding
    return report


@pytest.fixture
def second(ws: Workspace, closing: contextlib.ExitStack) -> Workspace:
    """Somebody else, who may approve."""
    return _other(ws, "user:bea", "approver", closing)


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def _other(ws: Workspace, name: str, role: Any, closing: contextlib.ExitStack) -> Workspace:
    access.create_principal(ws, name=name)
    access.grant_role(ws, principal_name=name, role=role, everywhere=True)
    if ws.remote is None:
        return ws.acting_as(Principal(name))
    token = access.create_token(ws, principal_name=name, everywhere=True).text
    with using(ws):  # connecting makes a workspace the current one; inside, that ends with the block
        other = connect(ws.location, token=token)
    closing.callback(other.close)
    return other


def test_a_protected_alias_needs_a_gate_and_somebody_else(ws: Workspace, second: Workspace) -> None:
    for size in (0.1, 1.0, 10.0):
        register(size)
    models.promote("delays", 1)
    rule = models.protect_alias(ws, name="delays", alias="production")
    assert (rule.gate, rule.approvals, rule.pickles) == (True, 1, False)
    assert [one.alias for one in models.list_protections(ws, name="delays")] == ["production"]
    with pytest.raises(CheckFailed, match=r"delays@2 has passed no gate against delays@1\. Run one"):
        models.promote("delays", 2)
    assert access.list_approvals(ws).items == []  # nobody was asked in vain
    gate = pass_gate("delays@2", "delays@1")
    with pytest.raises(ApprovalRequired, match="somebody other than") as held:
        models.promote("delays", 2, reason="better")
    with pytest.raises(Refused, match="four eyes"):
        access.approve(ws, id=held.value.details["approval"])
    access.approve(second, id=held.value.details["approval"])
    moved = models.promote("delays", 2, reason="better")
    assert (moved.version, moved.before, moved.gate) == (2, 1, gate.node)
    with pytest.raises(ApprovalRequired):
        models.remove_alias(ws, name="delays", alias="production")
    assert models.rollback("delays", reason="errors").version == 1  # an emergency waits for nobody
    models.promote("delays", 3, alias="challenger")  # other aliases move freely


def test_a_gate_that_judged_another_production_is_too_old(ws: Workspace) -> None:
    for size in (0.1, 1.0, 10.0):
        register(size)
    models.promote("delays", 1)
    stale = pass_gate("delays@3", "delays@1")
    models.promote("delays", 2)
    models.protect_alias(ws, name="delays", alias="production", approvals=0)
    with pytest.raises(
        CheckFailed, match=r"did not judge delays@3 against delays@2, which is what production points at now"
    ):
        models.promote("delays", 3, gate=stale.id)
    with pytest.raises(CheckFailed, match=r"delays@3 has passed no gate against delays@2"):
        models.promote("delays", 3)
    fresh = pass_gate("delays@3", "delays@2")
    assert models.promote("delays", 3).gate == fresh.node


def test_the_first_version_needs_a_gate_against_the_base_rate(ws: Workspace) -> None:
    register(1.0)
    models.protect_alias(ws, name="delays", alias="production", approvals=0)
    with pytest.raises(CheckFailed, match="has passed no gate yet"):
        models.promote("delays", 1)
    pass_gate("delays@1", None)
    assert models.promote("delays", 1).version == 1


def test_pickles_are_refused_for_protected_aliases(ws: Workspace) -> None:
    frame = numbers(60)
    fitted = LogisticRegression().fit(frame, labels(frame))
    for _ in range(2):
        models.register(fitted, "delays", inputs=frame, flavor="pickle", allow_pickle=True)
    models.promote("delays", 1)
    models.protect_alias(ws, name="delays", alias="production", gate=False, approvals=0)
    with pytest.raises(Refused, match=r"is kept as a pickle, and alias .production. .* is protected from those"):
        models.promote("delays", 2)
    models.protect_alias(ws, name="delays", alias="production", gate=False, approvals=0, pickles=True)
    models.promote("delays", 2)
    models.protect_alias(ws, name="delays", alias="production", gate=False, approvals=0)
    with pytest.raises(Refused, match="kept as a pickle"):
        models.rollback("delays")


def test_protection_is_for_admins_and_goes_when_it_is_lifted(ws: Workspace, closing: contextlib.ExitStack) -> None:
    register(1.0)
    with pytest.raises(NotFound, match="not protected"):
        models.unprotect_alias(ws, name="delays", alias="production")
    with pytest.raises(InvalidInput, match="cannot be an alias"):
        models.protect_alias(ws, name="delays", alias="3")
    with pytest.raises(NotFound, match="No model"):
        models.protect_alias(ws, name="nothing", alias="production")
    models.protect_alias(ws, name="delays", alias="Production")
    maintainer = _other(ws, "user:max", "maintainer", closing)
    with pytest.raises(Refused):
        models.unprotect_alias(maintainer, name="delays", alias="production")
    with pytest.raises(Conflict, match="is protected"):
        models.rename_model(ws, name="delays", new_name="other")
    with pytest.raises(Conflict, match="is protected"):
        models.delete_model(ws, name="delays")
    models.unprotect_alias(ws, name="delays", alias="PRODUCTION")
    assert models.promote("delays", 1).version == 1


def test_stages_are_the_projects_own(ws: Workspace) -> None:
    for size in (0.1, 1.0, 10.0):
        register(size)
    assert models.list_stages(ws) == ["Staging", "Production", "Archived"]
    assert models.set_stage(ws, name="delays", version=1, stage="production").stage == "Production"
    models.set_stage(ws, name="delays", version=2, stage="Production", alone=True)
    assert models.resolve("delays@1").stage == "Archived"
    assert [(one.stage, one.version) for one in models.latest_versions(ws, name="delays")] == [
        ("", 3), ("Production", 2), ("Archived", 1),
    ]  # fmt: skip
    assert [one.ref for one in models.find_versions(ws, stage="production").items] == ["delays@2"]
    with pytest.raises(InvalidInput, match='no stage "prod"'):
        models.set_stage(ws, name="delays", version=1, stage="prod")
    with pytest.raises(Conflict, match=r'Versions are in stage "(Production|Archived)"'):
        models.set_stages(ws, names=["dev", "live"])
    models.set_stages(ws, names=["dev", "PRODUCTION", "archived"])
    assert models.resolve("delays@2").stage == "PRODUCTION"
    assert models.set_stage(ws, name="delays", version=2, stage="None").stage == ""
    with pytest.raises(InvalidInput, match="names that differ"):
        models.set_stages(ws, names=["a", "A"])


def test_a_stage_with_the_name_of_a_protected_alias_is_no_way_around_it(ws: Workspace) -> None:
    register(1.0)
    models.protect_alias(ws, name="delays", alias="production")
    with pytest.raises(CheckFailed, match="has passed no gate"):
        models.set_stage(ws, name="delays", version=1, stage="Production")
    pass_gate("delays@1", None)
    with pytest.raises(ApprovalRequired):
        models.set_stage(ws, name="delays", version=1, stage="Production")
    assert models.set_stage(ws, name="delays", version=1, stage="Staging").stage == "Staging"


def test_a_model_is_renamed_with_its_history(ws: Workspace) -> None:
    register(0.1)
    register(1.0)
    register(1.0, "other")
    models.promote("delays", 1)
    models.promote("delays", 2)
    with pytest.raises(Conflict, match="is there already"):
        models.rename_model(ws, name="delays", new_name="other")
    renamed = models.rename_model(ws, name="delays", new_name="lateness")
    assert (renamed.name, renamed.versions, renamed.aliases) == ("lateness", 2, {"production": 2})
    assert [one.version for one in models.history("lateness")] == [2, 1]
    assert models.rollback("lateness").version == 1
    assert models.load_model("lateness@2").predict(numbers(3)).height == 3
    with pytest.raises(NotFound, match=r'No model "delays".* It was renamed to lateness\.'):
        models.resolve("delays")
    assert register(1.0).version == 3  # a number never comes back
    with pytest.raises(Conflict, match="is there already"):
        models.rename_model(ws, name="lateness", new_name="delays")


def test_a_deleted_models_numbers_never_come_back(ws: Workspace) -> None:
    register(0.1)
    models.update_model(ws, name="delays", description="old", tags={"a": "b"})
    models.promote("delays", 1)
    with pytest.raises(Conflict, match="points at version 1"):
        models.delete_model(ws, name="delays")
    models.remove_alias(ws, name="delays", alias="production")
    models.delete_model(ws, name="delays")
    assert models.list_models(ws).items == [] and models.find_versions(ws).items == []
    with pytest.raises(NotFound, match="It was deleted"):
        models.resolve("delays")
    assert register(1.0).version == 2
    again = models.get_model(ws, name="delays")
    assert (again.description, again.tags, again.versions) == ("", {}, 1)


def test_versions_are_found_over_all_models_page_by_page(ws: Workspace) -> None:
    frame = numbers(60)
    fitted = LogisticRegression().fit(frame, labels(frame))
    refs = [models.register(fitted, name, inputs=frame).ref for name in ("a", "b", "a", "c")]
    page = models.find_versions(ws, limit=3)
    rest = models.find_versions(ws, limit=3, page=page.next)
    assert [one.ref for one in [*page.items, *rest.items]] == refs[::-1]
    assert models.find_versions(ws, data="nothing@1").items == []
    assert door.find_versions(ws, run="f" * 32).items == []
