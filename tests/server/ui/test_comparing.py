"""Two runs side by side: the lines of their code, their environment, their data; and what a card and the log leave to keep."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

import trine
from trine import access
from trine.ledger.events import Event
from trine.server.ui.patches import Row, side_by_side
from trine.workspace import Workspace

PATCH = """diff --git a/src/train.py b/src/train.py
index 1..2 100644
--- a/src/train.py
+++ b/src/train.py
@@ -1,4 +1,4 @@ def fit():
 one
-two
-three
+<b>two</b>
 four
+five
diff --git a/old b/new
similarity index 100%
rename from old
rename to new
"""


def test_lines_that_took_the_place_of_others_are_in_their_row():
    (first, second), is_whole = side_by_side(PATCH)
    assert is_whole and (first.path, first.removed, first.added, second.path) == ("src/train.py", 2, 2, "new")
    assert first.rows == [
        Row("def fit():", None),
        Row("one", "one", 1, 1),
        Row("two", "<b>two</b>", 2, 2),
        Row("three", None, 3, None),
        Row("four", "four", 4, 3),
        Row(None, "five", None, 4),
    ]
    assert [one.kind for one in first.rows] == ["part", "same", "changed", "changed", "same", "changed"]
    assert side_by_side("") == ([], True)


@pytest.fixture
def client(local_ws: Workspace, site: Callable[..., str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site(local_ws, embedded=True), headers={"accept": "text/html"}, timeout=60) as found:
        yield found


def git(*arguments: str) -> None:
    named = ["-c", "user.name=ana", "-c", "user.email=ana@example.org"]
    subprocess.run(["git", *named, *arguments], check=True, capture_output=True)


def test_code_environment_and_data_of_two_runs(
    client: httpx.Client, local_ws: Workspace, site: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    program = Path("train.py")
    ids: list[str] = []
    for number in (1, 2):
        program.write_text(f"depth = {number}\nprint('<script>')\n")
        git("add", "train.py")
        git("commit", "-q", "-m", "one")
        trine.dataset("rides").commit(pl.DataFrame({"x": range(number * 5)}))
        with trine.run("pair", name=f"fit-{number}") as run:
            trine.load("rides").collect()
            ids.append(run.id)
    table = client.get("/compare", params={"run": ids}).text
    assert f"/compare/changes?run={ids[0]}&amp;run={ids[1]}" in table
    page = client.get("/compare/changes", params={"run": ids})
    assert page.status_code == 200
    assert '<td class="gone">depth = 1</td>' in page.text and '<td class="come">depth = 2</td>' in page.text
    assert "<script>" not in page.text.partition("<main")[2]
    assert "5 → 15 rows" in page.text and "/data/rides/diff?before=" in page.text
    same = client.get("/compare/changes", params={"run": [ids[0], ids[0]]}).text
    assert "The code is the same." in same and "the same</span>" in same
    assert client.get("/compare/changes", params={"run": ids[0]}).status_code == 422
    with trine.run("pair", name="bare", capture=False) as run:
        run.log("loss", 1)
    bare = client.get("/compare/changes", params={"run": [ids[0], run.id]}).text
    assert "The packages of bare were not captured." in bare and "polars" not in bare
    token = _token(local_ws, "viewer")
    served = httpx.get(
        f"{site(local_ws)}/compare/changes", params={"run": ids}, headers={"authorization": f"Bearer {token}"}
    )
    assert f"trine runs diff {ids[0]}" in served.text and "depth = 1" not in served.text


def _token(ws: Workspace, role: str) -> str:
    access.create_principal(ws, name=f"user:{role}")
    access.grant_role(ws, principal_name=f"user:{role}", role=role)  # type: ignore[arg-type]
    return access.create_token(ws, principal_name=f"user:{role}").text


def test_the_event_log_is_kept_as_a_file_that_verifies_by_whom_may(
    client: httpx.Client, local_ws: Workspace, site: Callable[..., str], tmp_path: Path
):
    from click.testing import CliRunner

    from trine.cli import main

    trine.dataset("rides").commit(pl.DataFrame({"x": [1]}))
    token = _token(local_ws, "viewer")
    got = client.get("/events.jsonl")
    assert got.headers["content-disposition"].startswith("attachment")
    file = tmp_path / "audit.jsonl"
    file.write_bytes(got.content)
    assert set(json.loads(got.text.splitlines()[0])) <= set(Event.__struct_fields__)
    answer = CliRunner().invoke(main, ["audit", "verify", "--file", str(file), "-w", str(local_ws.root)])
    assert answer.exit_code == 0 and "Intact" in answer.output, answer.output
    refused = httpx.get(f"{site(local_ws)}/events.jsonl", headers={"authorization": f"Bearer {token}"})
    assert refused.status_code == 403


def test_metrics_of_code_come_from_the_repository_around_the_workspace(client: httpx.Client, local_ws: Workspace):
    assert "They need the git repository" in client.get("/metrics").text
    home = str(Path(str(local_ws.root)).parent)
    git("-C", home, "init", "-q")
    git("-C", home, "commit", "-q", "--allow-empty", "-m", "first")
    page = client.get("/metrics").text
    assert "From the git repository" in page and "Deployment frequency" in page
