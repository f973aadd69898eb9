from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trine.access import operations as access
from trine.cli import main
from trine.ledger.lineage import Edge, add_edges
from trine.workspace import Workspace, connect


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="trine", catch_exceptions=False)


@pytest.fixture
def chain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """dataset -> run -> model -> endpoint's route -> prediction, and the code of the run."""
    monkeypatch.chdir(folder)
    edges = [
        Edge("run:r1", "used", "dataset:flights@3a"),
        Edge("run:r1", "used", "code:abc"),
        Edge("run:r1", "produced", "model:delays@1"),
        Edge("route:delays@1", "deployed", "model:delays@1"),
        Edge("prediction:p1", "answered", "route:delays@1"),
    ]
    with connect(folder) as ws, ws.ledger.transaction(write=True) as connection:
        add_edges(connection, "default", edges, 1)
    return folder


def test_lineage_goes_up_and_down_as_far_as_asked(chain: Path) -> None:
    up = run("lineage", "prediction:p1").output
    assert run("lineage", "prediction:p1", "--up").output == up
    assert [line.strip().split()[-1] for line in up.splitlines()] == [
        "prediction:p1", "route:delays@1", "model:delays@1", "run:r1", "code:abc", "dataset:flights@3a",
    ]  # fmt: skip
    down = json.loads(run("lineage", "dataset:flights@3a", "--down", "--json").output)
    assert down["nodes"] == ["dataset:flights@3a", "run:r1", "model:delays@1", "route:delays@1", "prediction:p1"]
    assert down["edges"][0] == {"source": "run:r1", "kind": "used", "target": "dataset:flights@3a"}
    two = json.loads(run("lineage", "prediction:p1", "--up", "--depth", "2", "--json").output)
    assert two["nodes"] == ["prediction:p1", "route:delays@1", "model:delays@1"]
    dot = run("lineage", "prediction:p1", "--dot").output
    assert dot.startswith("digraph lineage {")
    assert '"run:r1" -> "model:delays@1" [label="produced"];' in dot


def test_lineage_of_what_is_not_there_names_the_nearest(chain: Path) -> None:
    result = run("lineage", "model:delay@1")
    assert result.exit_code == 3
    assert 'Did you mean "model:delays@1"' in result.stderr
    assert run("lineage", "model:delays@1", "--depth", "-1").exit_code == 2
    assert run("lineage", "model:delays@1", "--depth", "many").exit_code == 2


@pytest.fixture
def filled(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(local_ws.location)
    for name in ("ana", "ben", "cy", "di"):
        access.create_principal(local_ws, name=f"user:{name}")
    access.grant_role(local_ws, principal_name="user:ana", role="viewer")
    return local_ws


def test_the_log_is_newest_first_and_filtered(filled: Workspace) -> None:
    items = json.loads(run("audit", "log", "--json").output)["items"]
    assert [one["seq"] for one in items] == [5, 4, 3, 2, 1]
    only = json.loads(run("audit", "log", "--operation", "access.grant_*", "--json").output)["items"]
    assert [one["operation"] for one in only] == ["access.grant_role"]
    assert [one["seq"] for one in json.loads(run("audit", "log", "--object", "user:cy", "--json").output)["items"]] == [
        3
    ]
    assert json.loads(run("audit", "log", "--actor", "user:nobody", "--json").output)["items"] == []
    assert "access.create_principal" in run("audit", "log", "--limit", "2").output


def test_an_exported_log_is_verified_against_its_checkpoint(filled: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    told = json.loads(run("audit", "export", str(file), "--json").output)
    assert (told["events"], told["checkpoint"]) == (5, f"{file}.checkpoint")
    lines = file.read_text().splitlines(keepends=True)
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
    check = ("audit", "verify", "--checkpoint", f"{file}.checkpoint")
    assert run(*check).output.startswith("Intact: 5 entries")
    assert run(*check, "--file", str(file)).output.startswith("Intact: 5 entries")

    changed = [*lines]
    for how, first_bad in {
        "edit": 3, "delete": 3, "insert": 3, "reorder": 3, "truncate": 5,
    }.items():  # fmt: skip
        changed = [*lines]
        if how == "edit":
            changed[2] = changed[2].replace("user:cy", "user:eve")
        elif how == "delete":
            del changed[2]
        elif how == "insert":
            changed.insert(2, lines[1])
        elif how == "reorder":
            changed[2], changed[3] = changed[3], changed[2]
        else:
            del changed[4]
        file.write_text("".join(changed))
        result = run(*check, "--file", str(file), "--json")
        assert result.exit_code == 1, how
        assert json.loads(result.stderr)["error"]["details"]["first_bad"] == first_bad, how
    file.write_text("not json\n")
    assert run(*check, "--file", str(file)).exit_code == 2
    (tmp_path / "wrong.checkpoint").write_text("{}")
    assert run("audit", "verify", "--checkpoint", str(tmp_path / "wrong.checkpoint")).exit_code == 2


def test_the_tail_shows_what_came_and_ends_when_asked(filled: Workspace) -> None:
    result = run("audit", "tail", "--after", "1", "--stop-after", "3", "--json")
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [2, 3, 4]
    result = run("audit", "tail", "--after", "0", "--stop-after", "1", "--operation", "access.grant_*")
    assert "access.grant_role" in result.stdout


def test_what_nothing_led_to_is_a_node_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.csv").write_text("name,age\nrex,3\n")
    assert run("init").exit_code == 0
    assert run("data", "add", "pets.csv", "--name", "pets", "-m", "first").exit_code == 0
    told = run("lineage", "dataset:pets")
    assert told.exit_code == 0 and told.output.startswith("dataset:pets@")
