from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trine.cli import main
from trine.workspace import init, using

Run = Callable[..., Result]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `trine …` in a folder with a workspace; checks the exit code."""
    monkeypatch.chdir(folder)

    def call(*arguments: str, code: int = 0) -> Result:
        with using(None):  # type: ignore[arg-type]
            done = CliRunner().invoke(main, arguments)
        assert done.exit_code == code, done.output + done.stderr
        return done

    return call


def test_a_dataset_is_pushed_and_pulled(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a").write_text("1")
    run("data", "add", "in", "--name", "x")
    assert "remote add" in run("data", "push", "x", code=3).stderr
    assert "remote add" in run("data", "remote", "ls").stdout
    run("data", "remote", "add", "origin", "../shared")
    assert str(folder.parent / "shared") in run("data", "remote", "ls").stdout
    assert "main" in run("data", "push", "x").stdout
    assert json.loads(run("data", "push", "x", "--json").stdout)["refs"][0]["outcome"] == "same"
    other = folder.parent / "other"
    init(other).close()
    monkeypatch.chdir(other)
    assert "There is no dataset" in run("data", "pull", "y", "--from", "../shared", code=3).stderr
    assert "1 commit" in run("data", "pull", "x", "--from", "../shared").stdout
    run("data", "checkout", "x", "out")
    (other / "out" / "a").write_text("2")
    run("data", "add", "out", "--name", "x")
    run("data", "push", "x", "--to", "../shared")
    monkeypatch.chdir(folder)
    (folder / "in" / "a").write_text("3")
    run("data", "add", "in", "--name", "x")
    told = run("data", "pull", "x", code=5)
    assert "went on at both ends" in told.stdout
    assert "Left where they were: main" in told.stdout
    assert "--force" in run("data", "push", "x@main", code=5).stderr
    run("data", "remote", "rm", "origin")
