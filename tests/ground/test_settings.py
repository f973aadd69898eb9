from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.settings import DEFAULTS, Setting, find_workspace, keep_token, resolve
from trine.workspace import connect

PLACES = ("nearest .trine folder", "config.toml", "[tool.trine]", "environment", "argument")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".trine").mkdir()
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    return tmp_path


def test_the_nearest_folder_upwards_is_the_workspace(project: Path) -> None:
    deep = project / "sub" / "deep"
    assert find_workspace(deep) == project / ".trine"
    assert resolve(deep)["workspace"] == str(project / ".trine")
    (deep / ".trine").mkdir()
    assert resolve(deep)["workspace"] == str(deep / ".trine")


@given(given=st.sets(st.sampled_from(["config", "pyproject", "environment", "argument"])))
def test_the_later_place_wins_and_is_told(given: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            (folder / ".trine").mkdir()
            expected = ("default", "default")
            if "config" in given:
                (folder / ".trine" / "config.toml").write_text('project = "one"\n')
                expected = ("one", str(folder / ".trine" / "config.toml"))
            if "pyproject" in given:
                (folder / "pyproject.toml").write_text('[tool.trine]\nproject = "two"\n')
                expected = ("two", f"{folder / 'pyproject.toml'} [tool.trine]")
            if "environment" in given:
                patch.setenv("TRINE_PROJECT", "three")
                expected = ("three", "environment variable TRINE_PROJECT")
            if "argument" in given:
                expected = ("four", "argument")
            found = resolve(folder, project="four" if "argument" in given else None).entries["project"]
            assert (found.value, found.source) == expected


def test_paths_in_files_are_relative_to_their_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pyproject.toml").write_text('[tool.trine]\nworkspace = "data"\nstore = "s3://bucket/x"\n')
    found = resolve(project / "sub" / "deep")
    assert found["workspace"] == str(project / "data")
    assert found["store"] == "s3://bucket/x"
    (project / ".trine" / "config.toml").write_text('store = "../objects"\n')
    (project / "pyproject.toml").unlink()
    assert resolve(project / "sub")["store"] == str(project / ".." / "objects")
    monkeypatch.setenv("HOME", "/home/ana")
    (project / ".trine" / "config.toml").write_text('store = "~/objects"\n')
    assert resolve(project)["store"] == "/home/ana/objects"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.trine]\nprojekt = 'x'", 'Unknown setting "projekt".*Did you mean "project"'),
        ("[tool.trine]\nproject = 3", "must be text, not int"),
        ("[tool.trine]\nproject = 'a b'", "no name of a project"),
        ("[tool]\ntrine = 3", "table of settings"),
        ("[tool.trine", "not valid TOML"),
    ],
)
def test_wrong_settings_are_named_with_their_file(project: Path, text: str, words: str) -> None:
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        resolve(project)


def test_a_pyproject_of_somebody_else_is_no_trouble(project: Path) -> None:
    for text in ("", "tool = 3", "[tool.other]\na = 1", "[project]\nname = 'x'"):
        (project / "pyproject.toml").write_text(text)
        assert resolve(project)["project"] == "default"


def test_names_of_projects_are_checked_everywhere(tmp_path: Path) -> None:
    for wrong in ("", "*", "a b", "a/b", "../a", "a\n", "ü", "-a", "x" * 201):
        with pytest.raises(InvalidInput, match="no name of a project"):
            connect(tmp_path, project=wrong)
    with connect(tmp_path) as ws:
        for wrong in ("*", "a\n"):
            with pytest.raises(InvalidInput, match="no name of a project"):
                ws.for_project(wrong)


def test_secrets_are_not_shown() -> None:
    assert Setting("token", "trn_x", "argument").shown == "…"
    assert Setting("token", "", "default").shown == ""
    assert Setting("workspace", "postgresql://ana:pa:ss@host/db", "argument").shown == "postgresql://ana:…@host/db"
    assert Setting("workspace", "https://host/a:b@c", "argument").shown == "https://host/a:b@c"
    assert set(DEFAULTS) == {entry.name for entry in resolve()}


def test_the_token_of_a_login_is_kept_for_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = keep_token("http://one:1/", "trn_one")
    keep_token("http://two:2", "trn_two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = resolve(tmp_path, workspace="http://one:1").entries["token"]
    assert (found.value, found.source) == ("trn_one", "trine login")
    assert resolve(tmp_path, workspace="http://one:1/", token="mine")["token"] == "mine"
    assert resolve(tmp_path, workspace="http://three:3")["token"] == ""
    assert resolve(tmp_path)["token"] == ""
    keep_token("http://one:1", "")
    assert resolve(tmp_path, workspace="http://one:1")["token"] == ""
    assert resolve(tmp_path, workspace="http://two:2")["token"] == "trn_two"
    path.write_text("not json")
    assert resolve(tmp_path, workspace="http://two:2")["token"] == ""
