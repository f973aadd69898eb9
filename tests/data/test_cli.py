from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trine.cli import main
from trine.workspace import using

Run = Callable[..., Result]


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `trine data …` in a folder with a workspace; checks the exit code."""
    monkeypatch.chdir(folder)

    def call(*arguments: str, code: int = 0) -> Result:
        with using(None):  # type: ignore[arg-type]
            done = CliRunner().invoke(main, ["data", *arguments])
        assert done.exit_code == code, done.output + done.stderr
        return done

    return call


def as_json(done: Result) -> Any:
    return json.loads(done.stdout)


def test_a_folder_goes_through_all_verbs(run: Run, folder: Path) -> None:
    source = folder / "images"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("1")
    (source / "sub" / "b").write_text("2")
    first = as_json(run("add", "images", "--name", "x", "-m", "one", "--json"))
    assert (first["files"], first["message"], first["branch"]) == (2, "one", "main")
    assert run("status", "images").stdout == f"images is x@{first['id'][:12]}\n"
    (source / "a").write_text("3")
    (source / "new").write_text("4")
    (source / "sub" / "b").unlink()
    told = run("status", "images").stdout
    assert told.splitlines()[1:] == ["  + new", "  - sub/b", "  ~ a"]
    changes = as_json(run("status", "images", "--json"))["changes"]
    assert changes == {"added": ["new"], "removed": ["sub/b"], "changed": ["a"]}
    assert "2 files, 2 bytes" in run("add", "images", "--name", "x", "--tag", "v2").stdout
    assert run("diff", "x@main~1", "x").stdout.splitlines()[1:] == ["  + new", "  - sub/b", "  ~ a"]
    assert run("diff", "x", "x@v2").stdout.splitlines()[1:] == ["no changes"]
    assert "(2 files)" in run("checkout", "x@main~1", "out").stdout
    assert (folder / "out" / "sub" / "b").read_text() == "2"
    (folder / "out" / "a").write_text("mine")
    assert "--force" in run("checkout", "x@v2", "out", code=5).stderr
    run("checkout", "x@v2", "out", "--force")
    run("tag", "x@main~1", "v1")
    run("branch", "x@v1", "try")
    assert "v1, v2" in run("ls").stdout
    assert [one["message"] for one in as_json(run("log", "x@v1", "--json"))["items"]] == ["one"]
    assert "one" in run("log", "x").stdout
    assert "new" in run("show", "x").stdout
    assert run("verify", "x@v1").stdout == "x@v1 is intact\n"
    run("rm", "x@try", "--yes")
    run("rm", "x", "--yes")
    assert "Add one: trine data add" in run("ls").stdout


def test_a_table_is_checked_and_shown(run: Run, folder: Path) -> None:
    (folder / "jan.csv").write_text("id,x,day\n1,0.5,2026-01-01\n2,,2026-01-02\n")
    (folder / "feb.csv").write_text("id,x,day\n2,9.5,2026-02-01\n3,,2026-02-02\n")
    (folder / "checks.yaml").write_text(
        "- {kind: unique, columns: [id]}\n- {kind: between, columns: [x], high: 5, severity: warn}\n"
    )
    run("add", "jan.csv", "--name", "t", "--kind", "table", "--checks", "checks.yaml")
    add = ("add", "feb.csv", "--name", "t", "--kind", "table", "--append")
    refused = run(*add, "--checks", "checks.yaml", code=5)
    assert "unique(id): 2 of 4 rows fail (50 %), first row 1: id=2" in refused.stderr
    told = run("show", refused.stderr.split()[-1]).stdout
    assert "rejected" in told
    assert (
        "error  unique(id): 2 of 4 rows fail (50 %), first row 1: id=2\n       row=1  id=2\n       row=2  id=2\n"
        in told
    )
    assert "warn   between(x, high=5): 1 of 2 rows fails (50 %), first row 2: x=9.5\n       row=2  x=9.5\n" in told
    assert "2026-01-01" in told
    told = run("checks", refused.stderr.split()[-1]).stdout
    assert "  rejected\nerror  unique(id): 2 of 4 rows fail" in told
    assert "row   id     x   day\n" in told and "  2    2   9.5   2026-02-01\n" in told
    told = as_json(run("checks", refused.stderr.split()[-1], "--limit", "1", "--json"))
    assert told["checks"][0]["rows"] == [{"row": 1, "id": 2, "x": None, "day": "2026-01-02"}]
    assert [one["passed"] for one in told["checks"]] == [False, False]
    run(*add)
    assert "trine data suggest" in run("checks", "t").stdout
    assert "trine data suggest" in run("expect", "t").stdout and "suggest" in run("expect", "t", "--history").stdout
    (folder / "draft.yaml").write_text(run("suggest", "t").stdout)
    assert run("expect", "t", "draft.yaml").stdout.startswith("t expects ")
    assert (
        run("expect", "t").stdout == run("expect", "t", "--number", "1").stdout == (folder / "draft.yaml").read_text()
    )
    assert "version   expectations" in run("expect", "t", "--history").stdout
    assert as_json(run("expect", "t", "--json"))["number"] == 1
    (folder / "none.yaml").write_text("[]")
    run("expect", "t", "none.yaml")
    told = run("diff", "t@main~1", "t").stdout
    assert "rows   2 → 4" in told
    assert "column id: distinct 2 → 3" in told
    assert as_json(run("show", "t", "--json"))["rows"] == 4


def test_errors_have_their_exit_codes(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing at" in run("add", "none", "--name", "x", code=3).stderr
    assert "trine data add" in run("status", code=3).stderr
    assert "No dataset" in run("log", "x", code=3).stderr
    assert "no reference" in run("show", "a/b", code=2).stderr
    assert json.loads(run("show", "x", "--json", code=3).stderr)["error"]["code"] == "not_found"
    run("add", code=2)
    (folder / "f").write_text("")
    run("add", "f", "--name", "x")
    run("log", "x", "--limit", "0", code=2)
    run("tag", "x", "no/tag", code=2)
    monkeypatch.chdir("/")
    assert "trine init" in run("status", code=3).stderr


def test_status_loads_no_heavy_package(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a").write_text("1")
    script = """
import sys
from click.testing import CliRunner
from trine.cli import main
done = CliRunner().invoke(main, sys.argv[1:])
assert done.exit_code == 0, done.output
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""

    def loaded(*arguments: str) -> set[str]:
        command = [sys.executable, "-c", script, "data", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    heavy = {"polars", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "httpx", "yaml", "rich"}
    for arguments in (("add", "in", "--name", "x"), ("checkout", "x", "out"), ("diff", "x", "x")):
        assert not loaded(*arguments) & heavy
    assert not loaded("status", "in") & (heavy | {"sqlalchemy", "alembic", "asyncio", "zstandard", "obstore"})


def test_rows_are_edited(run: Run, folder: Path) -> None:
    (folder / "a.csv").write_text("id,x\n1,1\n2,2\n3,3\n")
    (folder / "b.csv").write_text("id,x\n1,10\n4,4\n")
    run("add", "a.csv", "--name", "t", "--kind", "table")
    assert (made := as_json(run("upsert", "b.csv", "--name", "t", "--key", "id", "--json")))["rows"] == 4
    assert made["files"] == 3
    made = as_json(run("upsert", "b.csv", "--name", "t", "--key", "id", "--copy-on-write", "--json"))
    assert (made["rows"], made["files"]) == (4, 2)
    assert "3 rows" in run("delete", "t", "--where", "x = 10", "--copy-on-write").stdout
    assert "no column" in run("upsert", "b.csv", "--name", "t", "--key", "nothing", code=2).stderr


def test_a_file_is_held_against_expectations_before_it_is_committed(run: Run, folder: Path) -> None:
    (folder / "good.csv").write_text("id\n1\n2\n")
    (folder / "bad.csv").write_text("id\n1\n1\n")
    (folder / "rules.yaml").write_text("- {kind: unique, columns: [id]}\n")
    run("add", "good.csv", "--name", "t", "--kind", "table")
    run("check", "good.csv", "--name", "t", code=2)
    run("expect", "t", "rules.yaml")
    assert run("check", "good.csv", "--name", "t").stdout == "ok     unique(id): holds\n"
    assert "2 of 2 rows fail" in run("check", "bad.csv", "--checks", "rules.yaml", code=5).stdout
    assert [one["name"] for one in as_json(run("profile", "t", "--json"))] == ["id"]
    assert "median" in run("profile", "t").stdout
