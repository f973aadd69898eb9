from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import trine
from trine import data
from trine.cli import main
from trine.data.describing import describe, list_facts
from trine.data.operations import delete_dataset
from trine.errors import InvalidInput, NotFound
from trine.workspace import Workspace, using


def test_a_table_has_a_datasheet(ws: Workspace) -> None:
    made = data.commit(
        {"id": [1, 2, None], "name": ["a", "b|c", None]},
        name="t",
        tag="v1",
        checks=[data.not_null("id", severity="warn")],
        ws=ws,
    )
    with trine.run("train", ws=ws) as run:
        data.load("t@v1", ws=ws)
    describe(ws, name="t", facts={"license": "CC0-1.0", "motivation": "To test.", "description": "Names.\nAnd ids."})
    found = data.card("t@v1", ws=ws)
    assert (found.commit, found.tags) == (made, ["v1"])
    assert [one.name for one in found.facts] == ["description", "motivation", "license"]
    assert "citation" in found.missing
    assert run.node in found.used_by
    text = found.markdown
    assert f"# Datasheet: {made.ref}\n\nNames.\nAnd ids.\n" in text
    for line in (
        "| License | CC0-1.0 |",
        "## Motivation",
        "| id | Int64 | 1 | 2 | 1 | 1.5 | 2 |",
        f"- `{run.node}`",
        "- **citation**: How to cite it.",
    ):
        assert line in text
    assert data.card("t@v1", ws=ws).markdown == text
    describe(ws, name="t", facts={"license": ""})
    assert "license" in data.card("t", ws=ws).missing
    with pytest.raises(InvalidInput, match='Did you mean "license"'):
        describe(ws, name="t", facts={"licence": "x"})
    with pytest.raises(NotFound):
        describe(ws, name="u", facts={})
    delete_dataset(ws, name="t")
    assert list_facts(ws, name="t") == []


def test_a_table_is_rendered_as_croissant(ws: Workspace) -> None:
    data.commit({"id": [1], "x": [0.5], "day": [None]}, name="t", ws=ws)
    describe(ws, name="t", facts={"license": "CC0-1.0", "creators": "Ana; Ben", "keywords": "a, b"})
    one = data.croissant("t", ws=ws)
    assert (one["name"], one["license"], one["keywords"]) == ("t", "CC0-1.0", ["a", "b"])
    assert [each["name"] for each in one["creator"]] == ["Ana", "Ben"]
    [file] = one["distribution"]
    assert len(file["sha256"]) == 64
    [records] = one["recordSet"]
    assert [(field["name"], field["dataType"]) for field in records["field"]][:2] == [
        ("id", "sc:Integer"),
        ("x", "sc:Float"),
    ]
    assert records["field"][0]["source"] == {
        "fileObject": {"@id": "part-00000000.parquet"},
        "extract": {"column": "id"},
    }
    data.commit({"id": [2], "x": [0.5], "day": [None]}, name="t", ws=ws)
    two = data.croissant("t", ws=ws)
    assert [each["@type"] for each in two["distribution"]] == ["cr:FileSet", "cr:FileObject", "cr:FileObject"]
    assert two["recordSet"][0]["field"][0]["source"]["fileSet"] == {"@id": "parts"}
    assert two["version"] != one["version"]


def test_files_are_rendered_as_croissant(local_ws: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a.txt").write_text("alpha")
    data.add(source, name="x")
    [file] = data.croissant("x")["distribution"]
    assert (file["contentUrl"], file["encodingFormat"]) == ("sub/a.txt", "text/plain")
    assert file["sha256"] == hashlib.sha256(b"alpha").hexdigest()
    for number in range(60):
        (source / f"{number}.jpg").write_text("x")
    data.add(source, name="x")
    assert [one["includes"] for one in data.croissant("x")["distribution"]] == ["**/*.jpg", "**/*.txt"]
    assert [(one.ending, one.files) for one in data.card("x").kinds] == [(".jpg", 60), (".txt", 1)]


def test_cards_from_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "a.txt").write_text("1")

    def run(*arguments: str, code: int = 0) -> str:
        with using(None):  # type: ignore[arg-type]
            done = CliRunner().invoke(main, ["data", *arguments])
        assert done.exit_code == code, done.output + done.stderr
        return done.output + done.stderr

    run("add", "a.txt", "--name", "x")
    assert "– What is in it?" in run("describe", "x")
    assert "CC0" in run("describe", "x", "license=CC0-1.0")
    assert "FACT=" in run("describe", "x", "license", code=2)
    assert "# Datasheet: x@" in run("card", "x")
    assert json.loads(run("card", "x", "--json"))["facts"][0]["value"] == "CC0-1.0"
    assert json.loads(run("card", "x", "--croissant"))["@type"] == "sc:Dataset"
    run("card", "x", "--croissant", "-o", "c.json")
    assert json.loads((folder / "c.json").read_text())["license"] == "CC0-1.0"
