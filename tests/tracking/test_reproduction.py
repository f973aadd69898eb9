from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

import trine
from trine import tracking
from trine.cli import main
from trine.errors import Failure, InvalidInput
from trine.tracking import installing
from trine.tracking.environment import Environment
from trine.workspace import Workspace

TRAIN = """
import sys
import numpy as np
import trine
from shapes import make
import xgboost
from sklearn.ensemble import RandomForestClassifier

with trine.run("churn", params={"seed": sys.argv[1]}) as run:
    rows = trine.load("flights").collect()
    noise = np.random.default_rng(int(sys.argv[1])).normal(size=len(rows))
    unseeded = np.random.random(3)
    X, y = make(rows["x"].to_numpy(), noise)
    model = RandomForestClassifier(n_estimators=5, random_state=int(sys.argv[1])).fit(X, y)
    for step, tree in enumerate(model.estimators_):
        run.log("score", float(tree.predict_proba(X)[:, 0].sum()), step=step)
    boosted = xgboost.XGBClassifier(n_estimators=5, subsample=0.5, n_jobs=1, seed=int(sys.argv[1])).fit(X, y)
    run.log_batch("boosted", boosted.predict_proba(X)[:, 1])
    run.log("luck", float(unseeded.sum()))
    run.log("nothing", float("nan"))
    run.log("fit_seconds", __import__("time").perf_counter())
    run.log_text(repr(model.predict_proba(X).tolist()), "predictions.txt")
"""
SHAPES = """
import numpy as np
def make(x, noise):
    X = np.column_stack([x, noise, x * noise])
    return X, (noise > 0).astype(int)
"""


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=ana", "-c", "user.email=ana@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose working tree is dirty: a changed file, and one that git does not know."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    (root / "src" / "train.py").write_text("print('to be written')\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    (root / "src" / "train.py").write_text(TRAIN)
    (root / "src" / "shapes.py").write_text(SHAPES)
    monkeypatch.setenv("TRINE_WORKSPACE", local_ws.location)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # compiled files beside the code are no part of it
    trine.dataset("flights").commit(pl.DataFrame({"x": [float(at % 7) for at in range(60)]}))
    return root


def train(project: Path, *arguments: str, folder: str = ".") -> tracking.RunInfo:
    command = [sys.executable, *(arguments or ("src/train.py", "7"))]
    subprocess.run(command, cwd=project / folder, check=True, env=dict(os.environ))
    return tracking.search()[0]


def test_a_seeded_run_from_a_dirty_tree_is_made_again_bit_by_bit(project: Path, tmp_path: Path) -> None:
    original = train(project)
    (project / "src" / "train.py").write_text("raise SystemExit('changed since')\n")  # and everything moves on
    (project / "src" / "shapes.py").unlink()
    git(project, "commit", "-q", "-am", "second")
    trine.dataset("flights").commit(pl.DataFrame({"x": [1.0]}))
    found = tracking.reproduce(original, tmp_path / "again")
    assert found.agrees and found.same_code and found.copy.id != original.id
    assert found.copy.params == original.params and found.copy.inputs == original.inputs
    verdicts = {one.key: (one.same, one.judged) for one in found.metrics}
    assert verdicts == {
        "boosted": (True, True), "score": (True, True), "luck": (True, True), "nothing": (True, True), "fit_seconds": (False, False),
    }  # fmt: skip
    assert found.files == {"predictions.txt": True} and found.environment == {} and found.missing == {}
    assert tracking.search(f"upstream = '{original.node}'")[0].id == found.copy.id
    (project / "src" / "train.py").write_text(
        "import trine\nwith trine.run('churn', params={'seed': 8}) as run:\n"
        "    trine.load('flights').collect()\n    run.log('score', 1.0)\n# later\n"
    )
    later = train(project, "src/train.py", "8")
    patch = tracking.code_difference(original, later)
    assert "+# later" in patch and "-def make(x, noise):" in patch and tracking.code_difference(later, later) == ""
    told = CliRunner().invoke(main, ["runs", "diff", original.id, later.id]).output
    assert "+# later" in told and "rows   60 → " in told and "seed" in told
    with pytest.raises(InvalidInput, match="is not empty"):
        tracking.reproduce(original, tmp_path / "again")


def test_the_command_line_says_what_does_not_agree(project: Path, tmp_path: Path) -> None:
    program = project / "src" / "train.py"
    program.write_text("import os, trine\nwith trine.run() as run:\n    run.log_batch('pid', [1, os.getpid()])\n")
    (project / "big.bin").write_bytes(bytes((1 << 20) + 1))
    train(project, "train.py", folder="src")
    answer = CliRunner().invoke(main, ["reproduce", "default-1", "--into", str(tmp_path / "a"), "--env", "current"])
    assert answer.exit_code == 5, answer.output
    for part in ("✗ differs by", "Not reproduced: 0 of 1", "big.bin was not in the snapshot: larger than 1 MiB"):
        assert part in answer.output
    answer = CliRunner().invoke(main, ["reproduce", "default-1", "--tolerance", "1", "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["agrees"] and told["metrics"][0]["key"] == "pid" and not told["metrics"][0]["same"]


def test_what_cannot_be_made_again_is_said(
    project: Path, local_ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with trine.run(name="parent", capture=False), trine.run(name="child") as child:
        pass
    with pytest.raises(InvalidInput, match="was not captured"):
        tracking.reproduce("parent")
    monkeypatch.chdir(project)
    with trine.run(name="second parent"), trine.run(name="second child"):
        pass
    with pytest.raises(InvalidInput, match="is a child: make its parent again"):
        tracking.reproduce("second child")
    (project / "src" / "train.py").write_text(
        "import os, trine\nif 'TRINE_REPRODUCES' not in os.environ: trine.run()\n"
    )
    with pytest.raises(Failure, match="made no run that takes its place"):
        tracking.reproduce(train(project))
    with pytest.raises(InvalidInput, match='"auto", "current" or "build"'):
        tracking.reproduce(train(project), environment="other")
    assert child.id


def test_an_environment_is_written_as_requirements() -> None:
    packages = {"numpy": "2.2.0", "mine": "0.1", "patched": "1.0", "Trine": "0.1.0"}
    origins = {"mine": "editable file:///home/ana/mine", "patched": "git+https://example.org/p.git@abc"}
    before = Environment("3.11.7", "CPython", "Linux", "x86_64", packages, origins)
    assert installing.requirements(before) == [
        "numpy==2.2.0", "-e /home/ana/mine", "patched @ git+https://example.org/p.git@abc", "Trine==0.1.0",
    ]  # fmt: skip
    after = Environment("3.12.1", "CPython", "Linux", "x86_64", packages | {"numpy": "2.3.0", "new": "1"}, {})
    assert installing.differences(before, after) == {
        "python": ("3.11.7", "3.12.1"),
        "mine": ("0.1 editable file:///home/ana/mine", "0.1"),
        "new": ("", "1"),
        "numpy": ("2.2.0", "2.3.0"),
        "patched": ("1.0 git+https://example.org/p.git@abc", "1.0"),
    }


def test_an_environment_is_built_from_what_was_recorded(tmp_path: Path) -> None:
    """From a folder of its own, so that no index is asked."""
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n[project]\nname='tiny'\nversion='1'\n"
    )
    (package / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, *rest):\n"
        "    name = 'tiny-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as file:\n"
        "        file.writestr('tiny.py', 'value = 42')\n"
        "        file.writestr('tiny-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n')\n"
        "        file.writestr('tiny-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        file.writestr('tiny-1.dist-info/RECORD', '')\n"
        "    return name\n"
    )
    version = ".".join(map(str, sys.version_info[:3]))
    environment = Environment(version, "CPython", "", "", {"tiny": "1"}, {"tiny": package.as_uri()})
    python = installing.build(environment, tmp_path / "venv")
    done = subprocess.run([python, "-c", "import tiny; print(tiny.value)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "42"
    with pytest.raises(Failure, match="could not be built"):
        installing.build(
            Environment(version, "CPython", "", "", {"gone": "1"}, {"gone": (tmp_path / "gone").as_uri()}),
            tmp_path / "b",
        )
