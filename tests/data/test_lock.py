from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trine import data
from trine.access.graph import lineage
from trine.data import githooks
from trine.data.lock import Pin, merge_locks, parse_lock, read_lock, render_lock
from trine.data.pins import code_of, data_of, merge_lock_files, push_pinned, record_code_data, record_head
from trine.data.remotes import add_remote
from trine.errors import Conflict, Failure, InvalidInput, NotFound
from trine.workspace import Workspace, connect

ONE, TWO, SIX = "1" * 64, "2" * 64, "6" * 64


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {f"GIT_{who}_{what}": "ana" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_lock_is_one_sorted_line_a_dataset() -> None:
    pins = [Pin("b", TWO, ONE, "data/with space"), Pin("a", ONE, SIX)]
    text = render_lock(pins)
    assert text.splitlines()[1:] == [f"a {ONE} {SIX}", f"b {TWO} {ONE} data/with space"]
    assert list(parse_lock(text).values()) == pins[::-1]
    for line, words in (
        ("<<<<<<< ours", "merge conflict at line 1"),
        ("a b c", "64 digits"),
        (f"a/b {ONE} {ONE}", "no name"),
        (f"a {ONE} {ONE} ../out", "not below"),
        (f"a {ONE} {ONE} /etc", "not below"),
        (f"a {ONE} {ONE} x/.git", "not below"),
        (f"a {ONE} {ONE}\na {ONE} {ONE}", "line 2: a is there twice"),
    ):
        with pytest.raises(InvalidInput, match=words):
            parse_lock(line)


def test_locks_merge_by_dataset() -> None:
    base = {name: Pin(name, ONE, ONE) for name in "abcd"}
    ours = {**base, "a": Pin("a", TWO, TWO), "d": Pin("d", TWO, TWO), "e": Pin("e", ONE, ONE)}
    theirs = {**base, "b": Pin("b", TWO, TWO), "d": Pin("d", SIX, SIX)}
    del theirs["c"]
    text, conflicts = merge_locks(base, ours, theirs, lambda one, two: two)
    assert conflicts == []
    assert {name: one.commit[0] for name, one in parse_lock(text).items()} == {"a": "2", "b": "2", "d": "6", "e": "1"}
    text, conflicts = merge_locks(base, ours, theirs, lambda one, two: None)
    assert conflicts == ["d"]
    assert f"<<<<<<< ours\nd {TWO} {TWO}\n=======\nd {SIX} {SIX}\n>>>>>>> theirs\n" in text


def test_pins_are_followed_and_deviations_told(ws: Workspace, tmp_path: Path) -> None:
    code = tmp_path / "code"
    source = fill(code / "data", a="1")
    git(tmp_path, "init", "-q", "code")
    first = data.add(source, name="x", ws=ws)
    table = data.commit({"id": [1]}, name="t", ws=ws)
    data.pin("x", folder=source, start=code, ws=ws)
    data.pin("t", start=source, ws=ws)  # the lock is found upwards
    assert read_lock(code / "trine.lock")["x"] == Pin("x", first.id, first.tree, "data")
    assert data.pinned("t", start=code) == f"t@{table.id}"
    assert [one.folder_state for one in data.pin_states(start=code, ws=ws)] == ["", "as pinned"]
    fill(source, a="2")
    assert [one.holds for one in data.pin_states(start=code, ws=ws)] == [True, False]
    with pytest.raises(Conflict, match="would be lost"):
        data.follow(start=code, ws=ws)
    second = data.add(source, name="x", ws=ws)
    [_, state] = data.pin_states(start=code, ws=ws)
    assert (state.folder_state, state.main) == ("other version", second.id)
    [_, done] = data.follow(start=code, ws=ws)
    assert (done.pulled, done.folder, (source / "a").read_text()) == (False, "data", "1")
    data.unpin("t", start=code)
    with pytest.raises(NotFound, match="trine data pin t"):
        data.pinned("t", start=code)
    with pytest.raises(NotFound):
        data.unpin("t", start=code)
    with pytest.raises(InvalidInput, match="not below"):
        data.pin("x", folder=tmp_path, start=code, ws=ws)
    (code / "trine.lock").write_text(render_lock([Pin("x", first.id, TWO)]))
    with pytest.raises(InvalidInput, match="Pin it again"):
        data.pin_states(start=code, ws=ws)


def test_who_gets_the_code_gets_its_data(local_ws: Workspace, tmp_path: Path) -> None:
    code = tmp_path / "code"
    git(tmp_path, "init", "-q", "code")
    made = data.add(fill(code / "data", a="1"), name="x", ws=local_ws)
    data.pin("x", folder=code / "data", start=code, ws=local_ws)
    data.add(fill(code / "data", a="2"), name="x", ws=local_ws)
    add_remote(local_ws, name="origin", url=str(tmp_path / "remote"))
    push_pinned(start=code, ws=local_ws)
    with connect(tmp_path / "elsewhere") as other:
        clone = fill(tmp_path / "clone", **{"trine.lock": (code / "trine.lock").read_text()})
        with pytest.raises(NotFound, match="no remote to get it from"):
            data.follow(start=clone, ws=other)
        add_remote(other, name="empty", url=str(tmp_path / "empty"))
        add_remote(other, name="origin", url=str(tmp_path / "remote"))
        [done] = data.follow(start=clone, ws=other)
        assert (done.pulled, (clone / "data" / "a").read_text()) == (True, "1")
        assert data.resolve(f"x@{made.id}", ws=other) == made
        assert [one.folder for one in data.follow(start=clone, ws=other)] == [""]


def test_a_git_commit_is_traced_to_its_data_and_back(local_ws: Workspace, tmp_path: Path) -> None:
    code = tmp_path / "code"
    with pytest.raises(NotFound, match="no git repository"):
        data_of(start=fill(tmp_path / "bare"))
    git(tmp_path, "init", "-q", "code")
    made = [data.add(fill(code / "data", a=str(n)), name="x", ws=local_ws) for n in range(2)]
    commits: list[str] = []
    for one in made:
        data.pin(one.ref, start=code, ws=local_ws)
        git(code, "add", "trine.lock")
        git(code, "commit", "-q", "-m", f"needs {one.id[:4]}")
        commits.append(git(code, "rev-parse", "HEAD").strip())
    assert data_of("HEAD~1", start=code)[1]["x"].commit == made[0].id
    found = code_of(made[0].ref, start=code, ws=local_ws)
    assert [(one.code, one.before, one.after) for one in found] == [
        (commits[1], made[0].id, made[1].id),
        (commits[0], "", made[0].id),
    ]
    with pytest.raises(NotFound, match="git knows no commit"):
        data_of("nonsense", start=code)
    assert record_head(start=code, ws=local_ws)
    up = lineage(local_ws, node=f"code:{commits[1]}", direction="up")
    assert made[1].node in up.nodes
    for code_, nodes in (("x", []), (commits[0], ["model:x@1"]), (commits[0], ["dataset:x@main"])):
        with pytest.raises(InvalidInput):
            record_code_data(local_ws, code=code_, datasets=nodes)


def test_the_version_that_builds_on_the_other_wins_a_merge(local_ws: Workspace, tmp_path: Path) -> None:
    made = [data.add(fill(tmp_path / "in", a=str(n)), name="x", ws=local_ws) for n in range(3)]
    for name, one in zip(("base", "ours", "theirs"), made, strict=True):
        (tmp_path / name).write_text(render_lock([Pin("x", one.id, one.tree)]))
    names = [tmp_path / name for name in ("base", "ours", "theirs")]
    assert merge_lock_files(*names) == ["x"]
    names[1].write_text(render_lock([Pin("x", made[2].id, made[2].tree)]))
    names[2].write_text(render_lock([Pin("x", made[1].id, made[1].tree)]))
    assert merge_lock_files(*names, ws=local_ws) == []
    assert read_lock(names[1])["x"].commit == made[2].id


def test_hooks_keep_code_and_data_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="git init"):
        githooks.install(folder)
    git(folder, "init", "-q", "-b", "main")
    own = folder / ".git" / "hooks" / "pre-commit"
    own.write_text("#!/usr/bin/env python3\n")
    with pytest.raises(InvalidInput, match="no shell script"):
        githooks.install(folder)
    own.write_text("#!/bin/sh\nexit 0\n")
    done = githooks.install(folder)
    assert own.read_text().endswith("exit 0\n")
    assert set(done.hooks) == set(githooks.HOOKS)
    assert githooks.install(folder).hooks == []
    with connect(folder) as ws:
        data.add(fill(folder / "in", a="1"), name="x", ws=ws)
        data.pin("x", folder=folder / "in", start=folder, ws=ws)
        (folder / ".gitignore").write_text("in\n")
        git(folder, "add", ".")
        fill(folder / "in", a="2")
        assert "in was changed" in git(folder, "commit", "-m", "one", code=1)
        made = data.add(folder / "in", name="x", ws=ws)
        data.pin("x", start=folder, ws=ws)
        git(folder, "add", ".")
        git(folder, "commit", "-m", "one")
        code = git(folder, "rev-parse", "HEAD").strip()
        assert made.node in lineage(ws, node=f"code:{code}", direction="up").nodes
        for branch, start in (("left", "main"), ("right", "main")):
            git(folder, "checkout", "-q", "--no-track", "-b", branch, start)
            data.add(fill(folder / f"of-{branch}", a="3"), name=branch, ws=ws)
            data.pin(branch, start=folder, ws=ws)
            git(folder, "commit", "-q", "-a", "-m", branch, "--no-verify")
        git(folder, "merge", "-q", "left", "-m", "both")  # two lines beside each other: git alone sees a conflict
        assert list(read_lock(folder / "trine.lock")) == ["left", "right", "x"]
    with pytest.raises(Failure):
        githooks.Repository(folder).git("nonsense")
