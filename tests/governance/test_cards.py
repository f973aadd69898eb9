from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trine import data, evaluation, governance, models, serving
from trine.access import graph
from trine.access import operations as access
from trine.access.principals import Principal
from trine.cli import main
from trine.errors import InvalidInput, NotFound
from trine.governance import Card, Section, Table, Value
from trine.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parents[1] / "loop"))
import loop_project as project


def made(ws: Workspace) -> None:
    """`flights@1`, made by a loop, judged and served."""
    data.commit(project.rows(600, seed=1), name="flights", checks=[data.not_null("x"), data.row_count(100)])
    loop = project.make_loop(endpoint="flights")
    loop.trigger("first")
    cycle = loop.run_until_done()
    assert cycle is not None
    assert cycle.outcome == "promoted", cycle.reason
    holdout = project.rows(300, seed=4).vstack(project.rows(300, seed=5, weight=0.1, airport="EWR"))
    data.commit(holdout, name="later")
    evaluation.evaluate("flights@1", "later", label="late", metrics=["roc_auc"], slices=["airport"])


def value(card: Card, section: str, name: str) -> Value:
    (found,) = [one for each in card.sections if each.title == section for one in each.values if one.name == name]
    return found


def test_a_card_says_how_each_value_is_known(ws: Workspace) -> None:
    made(ws)
    models.operations.update_version(
        ws, name="flights", version=1, tags={"intended_use": "a test", "limits": "no snow"}
    )
    card = governance.card("flights@production")
    assert card.ref == "flights@1"
    for section, name, part in (
        ("Model", "inputs", "x: float64"),
        ("Data", "rows", "1,200"),
        ("Training", "run", "of experiment flights"),
        ("Training", "pipeline step", "train"),
        ("Evaluation", "weakest slice", "airport is EWR: roc_auc 0."),
        ("Gates", "last gate", "pass: flights@1 is better than the base rate"),
        ("Production", "aliases now", "production"),
        ("Production", "served by", "endpoint flights, 100 % (live)"),
    ):
        found = value(card, section, name)
        assert found.status == "evidenced", found
        assert part in found.value
        assert graph.lineage(ws, node=found.evidence, depth=1).nodes  # what shows it is in the graph
    assert value(card, "Purpose", "intended use") == Value(name="intended use", status="declared", value="a test")
    missing = value(card, "Purpose", "owner")
    assert (missing.status, missing.value) == ("missing", "")
    assert 'trine models edit flights@1 --tag owner="…"' in missing.hint
    titles = [table.title for section in card.sections for table in section.tables]
    for part in ("Columns of the training data", "Source data", "Evaluation on 600 rows of later@", "Moves of aliases"):
        assert any(title.startswith(part) for title in titles)
    (source,) = next(t for s in card.sections for t in s.tables if t.title == "Source data").rows
    assert source[0].startswith("flights@") and source[2] == "none"
    count = sum(len(table.rows) for section in card.sections for table in section.tables)
    assert card.count("evidenced") > count > 5


def test_the_same_facts_give_the_same_bytes(ws: Workspace) -> None:
    made(ws)
    first = governance.card("flights@1")
    data.commit(project.rows(10), name="elsewhere")  # something else happens
    project.register_rival()
    second = governance.card("flights@1")
    assert first.markdown.encode() == second.markdown.encode()
    assert first.json.encode() == second.json.encode()
    serving.operations.delete_endpoint(ws, name="flights")
    assert governance.card("flights@1").markdown != first.markdown


def test_a_version_that_nothing_is_known_of_has_a_card_of_missing_values(ws: Workspace) -> None:
    project.register_rival()
    card = governance.card("flights")
    missing = {one.name for one in card.missing}
    assert {
        "description",
        "training data",
        "code",
        "run",
        "pipeline step",
        "evaluation",
        "gate",
        "aliases now",
    } <= missing
    assert all(one.hint for one in card.missing)
    assert {one.evidence for s in card.sections for one in s.values if one.status == "evidenced"} == {"model:flights@1"}


def test_approvals_are_shown_with_who_decided(local_ws: Workspace) -> None:
    access.set_policy(local_ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})
    loop = project.make_loop()
    loop.trigger()
    cycle = loop.run_until_done(0)
    assert cycle is not None
    before = governance.card("flights@1").markdown
    assert "Approvals" not in before  # nobody has decided
    bea = local_ws.acting_as(Principal("user:bea", local=True))
    access.approve(bea, id=cycle.facts.approval, reason="the report is sound")
    loop.run_until_done()
    card = governance.card("flights@1")
    (table,) = [one for s in card.sections for one in s.tables if one.title == "Approvals"]
    ((_, _, decision, who, reason, evidence),) = table.rows
    assert (decision, who, reason) == ("approved (1 of 1)", "user:bea", "the report is sound")
    assert evidence == f"approval:{cycle.facts.approval}"


def test_a_card_of_what_is_not_there_is_an_error(local_ws: Workspace) -> None:
    with pytest.raises(NotFound, match="No model"):
        governance.card("flights")
    project.register_rival()
    with pytest.raises(NotFound, match='has no alias "production"'):
        governance.card("flights@production")
    with pytest.raises(InvalidInput, match="no reference to a model"):
        governance.card("")


def test_the_command_writes_markdown_or_json(folder: Path, local_ws: Workspace, tmp_path: Path) -> None:
    project.register_rival()

    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["card", "flights@1", "-w", str(folder), *arguments])
        assert done.exit_code == code, done.output
        return done.output

    assert said() == governance.card("flights@1").markdown
    assert json.loads(said("--json"))["model"] == "flights"
    for name in ("card.md", "card.json"):
        assert "values evidenced" in said("--out", str(tmp_path / name))
    assert (tmp_path / "card.md").read_text() == governance.card("flights@1").markdown
    assert json.loads((tmp_path / "card.json").read_text())["version"] == 1
    assert "cannot be written" in said("--out", str(tmp_path / "absent" / "card.md"), code=2)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_out_of_its_cell(name: str, text: str) -> None:
    rows = ((name, text),)
    card = Card(
        model="m",
        version=1,
        sections=(
            Section(
                title="S",
                values=(Value(name=name, status="declared", value=text),),
                tables=(Table(title="T", header=("a", "b"), rows=rows, evidence="model:m@1"),),
            ),
        ),
    )
    lines = card.markdown.splitlines()
    assert [re.sub(r"\\.", "", line).count("|") for line in lines if line.startswith("|")] == [4, 4, 4, 3, 3, 3]
    assert "<" not in card.markdown
    assert json.loads(card.json)["sections"][0]["tables"][0]["rows"] == [[name, text]]
