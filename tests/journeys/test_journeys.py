"""The four journeys of the design, end to end through real processes: what a user types, and what is there afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from trine.workspace import Workspace, connect, using

Trine = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A user's project folder: a git repository with a workspace in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "notes.txt").write_text("a project\n")
    author = ["-c", "user.name=ana", "-c", "user.email=ana@example.invalid"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)
    call(folder, "init")
    return folder


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TRINE_")}


def call(folder: Path, *arguments: str, code: int = 0) -> Any:
    """A command in a process of its own; its JSON."""
    command = [sys.executable, "-m", "trine.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
    return json.loads(done.stdout if code == 0 else done.stderr)


def python(folder: Path, text: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, **options
    )


@pytest.fixture
def server(place: Path) -> Iterator[tuple[str, str]]:
    """`trine server` on the project's workspace, and a token of its first admin, made with the printed secret."""
    command = [sys.executable, "-m", "trine.cli", "server", "--port", "0", "--workspace", str(place)]
    process = subprocess.Popen(command, cwd=place, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while "listening on " not in said:
        line = process.stdout.readline()
        assert line, "the server ended before it listened"
        said += line
    url = said.split("listening on ")[1].split()[0]
    secret = said.split("--secret ")[1].split()[0]
    asked = {"secret": secret, "name": "user:ana", "password": ""}
    answer = httpx.post(f"{url}/api/v1/bootstrap", json=asked)
    assert answer.status_code == 200, answer.text
    yield url, answer.json()["text"]
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(30) == 0


LOGGING = """
import os, signal, sys, trine
where = {where!r}
trine.connect(where, token={token!r} or None)
run = trine.run("journey", capture=False)
for step in range(2000):
    run.log("loss", 1 / (step + 1), step=step)
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_metric_point_survives_kill_9_and_reaches_the_chart(place: Path) -> None:
    process = python(place, LOGGING.format(where=str(place), token=""))
    told, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    shown = call(place, "runs", "show", told.strip())
    assert shown["state"] == "killed" and shown["metrics"]["loss"]["count"] == 2000
    assert shown["metrics"]["loss"]["min"] == 1 / 2000


def test_a_metric_point_travels_to_a_server(place: Path, server: tuple[str, str]) -> None:
    url, token = server
    text = LOGGING.replace("os.kill(os.getpid(), signal.SIGKILL)", "run.finish()")
    process = python(place, text.format(where=url, token=token))
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    shown = call(place, "runs", "show", told.strip())
    assert shown["state"] == "finished" and shown["metrics"]["loss"]["count"] == 2000


def test_a_dataset_commit_from_the_folder_to_the_flipped_bit(place: Path) -> None:
    images = place / "images"
    (images / "deep").mkdir(parents=True)
    for number in range(50):
        (images / "deep" / f"{number}.bin").write_bytes(bytes([number]) * 5_000)
    first = call(place, "data", "add", "images", "--name", "images", "-m", "first")
    assert call(place, "data", "status", "images")["changes"] == {"added": [], "changed": [], "removed": []}
    (images / "deep" / "7.bin").write_bytes(b"other")
    (images / "new.bin").write_bytes(b"new")
    assert call(place, "data", "status", "images")["changes"] == {
        "added": ["new.bin"], "changed": ["deep/7.bin"], "removed": [],
    }  # fmt: skip
    second = call(place, "data", "add", "images", "--name", "images", "-m", "second")
    assert second["parents"] == [first["id"]]
    call(place, "data", "checkout", f"images@{first['id'][:12]}", "old")
    assert (place / "old" / "deep" / "7.bin").read_bytes() == bytes([7]) * 5_000
    assert not (place / "old" / "new.bin").exists()
    assert [one["message"] for one in call(place, "data", "log", "images")["items"]] == ["second", "first"]
    chain = call(place, "audit", "verify")
    assert chain["intact"]

    pack = max((place / ".trine" / "store" / "packs").glob("*.pack"), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.write_bytes(bytes(raw))
    told = call(place, "data", "verify", "images@" + first["id"][:12], code=1)
    assert str(pack.name) in json.dumps(told)


TRAINING = """
import polars as pl, trine
from sklearn.linear_model import LogisticRegression
ws = trine.connect()
rows = pl.DataFrame({"x": [float(n) for n in range(200)], "late": [n > 100 for n in range(200)]})
trine.dataset("rows").commit(rows, message="all")
with trine.run("journey") as run:
    frame = trine.load("rows").collect()
    model = LogisticRegression().fit(frame.select("x"), frame["late"])
    made = trine.models.register(model, "late", inputs=frame.select("x"))
trine.models.promote("late", made.version)
trine.serving.create_endpoint("late", model="late@production")
print(run.id, flush=True)
"""


def test_a_prediction_leads_back_to_data_and_code(place: Path) -> None:
    from trine import serving

    process = python(place, TRAINING)
    run = process.communicate(timeout=120)[0].strip()
    assert process.returncode == 0
    with connect(place) as ws, using(ws), serving.running("late", ws=ws) as client:
        body = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [3.0, 150.0]}]}
        answer = httpx.post(f"{client.url}/v2/models/late/infer", json=body)
        assert answer.status_code == 200, answer.text
        bad = httpx.post(f"{client.url}/endpoints/late/invocations", json={"dataframe_records": [{"x": "far"}]})
        assert 400 <= bad.status_code < 500 and "x" in bad.text
        told = client.predict("late", {"x": [3.0, 150.0]})
        assert [one.prediction for one in told] == [False, True]
        # the answer is in the log before it is told, so another process finds it at once
        way = call(place, "predictions", "trace", told[1].id)
    assert way["model"] == "model:late@1" and way["route"] == "route:late@1"
    assert f"run:{run}" in way["runs"]
    assert any(one.startswith("dataset:rows@") for one in way["data"])
    assert any(one.startswith("code:") for one in way["code"])


LOOP = """
import polars as pl
import trine
from sklearn.linear_model import LogisticRegression
from trine.evaluation import Gate
from trine.loop import Candidate, Loop, OnCommit


@trine.step
def train(rows: str) -> str:
    with trine.run("loop", capture=False):
        frame = trine.load(rows).collect()
        model = LogisticRegression().fit(frame.select("x"), frame["late"])
        return trine.models.register(model, "late", inputs=frame.select("x")).ref


@trine.pipeline
def retrain(rows: str) -> Candidate:
    return Candidate(model=train(rows), holdout="holdout", label="late")


loop = Loop("late", model="late", pipeline=retrain, data={"rows": "rows"}, triggers=[OnCommit("rows")],
            gate=Gate("roc_auc"), endpoint="late")
"""


def test_a_retrain_from_the_commit_to_production(place: Path) -> None:
    import polars as pl

    import trine
    from trine.loop import operations as loops

    (place / "project.py").write_text(LOOP)
    driver = subprocess.Popen(
        [sys.executable, "-m", "trine.cli", "loop", "run", "project.py:loop"],
        cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        with connect(place) as ws, using(ws):
            _wait(driver, ws, lambda: bool(loops.list_loops(ws).items))
            rows = pl.DataFrame(
                {"x": [n / 10 for n in range(800)], "late": [(n * 7) % 400 > 400 - n / 2 for n in range(800)]}
            )
            trine.dataset("holdout").commit(rows.gather_every(2))
            trine.dataset("rows").commit(rows.gather_every(2, 1))
            _wait(driver, ws, lambda: any(not one.is_open for one in loops.list_cycles(ws, name="late").items))
            (cycle,) = loops.list_cycles(ws, name="late").items
            assert cycle.outcome == "promoted", cycle.reason
            assert trine.models.resolve("late@production").version == 1
            assert trine.serving.get_endpoint("late").route is not None
            up = trine.access.lineage(ws, node="model:late@1").nodes
            assert {f"cycle:{cycle.id}", f"pipeline_run:{cycle.facts.pipeline_run}"} <= set(up)
            card = call(place, "card", "late@production")
            assert "late" in json.dumps(card)
    finally:
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)


def _wait(driver: subprocess.Popen[str], ws: Workspace, until: Callable[[], bool]) -> None:
    """Wait for what another process does; its end is a failure."""
    deadline = time.monotonic() + 120
    while not until():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        ws.ledger.wait_for_change(0.1)
