"""`trine serve` as a process: who may call, how it ends, and the commands around it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from click.testing import CliRunner, Result

from trine import data, models, serving, tracking
from trine.access import operations as access
from trine.cli import main
from trine.errors import InvalidInput, NotFound
from trine.serving import Client, operations
from trine.serving.app import Application
from trine.workspace import Workspace, connect, using

from .conftest import ROWS, register_delays, running, train, until

BODY = {"inputs": {"x": [1.0], "n": [1]}}


@contextmanager
def process(folder: Path, *arguments: str, workspace: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "trine.cli", "serve", *arguments, "--port", "0", "-w", workspace or str(folder)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        assert started.stdout
        line = started.stdout.readline()
        assert line.startswith("listening on "), line + (started.stderr.read() if started.stderr else "")
        yield started, line
    finally:
        started.kill()
        started.communicate()


def address(line: str) -> str:
    return re.findall(r"http://\S+", line)[0]


def test_it_says_where_it_listens_and_drains_when_told_to_stop(folder: Path) -> None:
    with connect(folder) as ws, using(ws):
        register_delays(ws)
        serving.create_endpoint("delays", model="delays@1")
        with process(folder, "delays") as (started, line):
            assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+ \(delays: route 1, delays@1\)\n", line)
            url = address(line)
            done: list[Any] = []
            many = pl.DataFrame({"x": [1.0] * 20_000, "n": [1] * 20_000})

            def ask() -> None:
                with Client(url) as client:
                    done.append(len(client._ask("delays", {"inputs": many.to_dict(as_series=False)})))

            thread = threading.Thread(target=ask)
            thread.start()
            until(lambda: done or httpx.get(url + "/ping").status_code == 200)
            assert started.stderr
            thread.join()
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 0
            assert started.stderr.read().endswith("stopped\n")
        assert done == [20_000]
        assert serving.predictions("delays").height == 20_000
        assert not list(ws.spool.rglob("*.seg"))


def test_requests_in_flight_are_answered_before_it_ends(ws: Workspace, constants: str) -> None:
    go_on, asked = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, real: Any) -> None:
            self.real, self.signature = real, real.signature

        def predict_rows(self, rows: Any) -> Any:
            if live.is_ready("e"):
                asked.set()
                assert go_on.wait(30)
            return self.real.predict_rows(rows)

        predict_columns = predict_rows

    from trine.serving.live import Live

    serving.create_endpoint("e", model="constant@1")
    live = Live(ws, ["e"], load=lambda ref: Slow(models.load_model(ref, allow_pickle=True, ws=ws)))
    found: list[int] = []
    with running(Application(ws, ["e"], live=live)) as url:
        live.served("e").main._call_us = 1e6
        thread = threading.Thread(target=lambda: found.append(httpx.post(url + "/invocations", json=BODY).status_code))
        thread.start()
        assert asked.wait(30)
        threading.Timer(0.2, go_on.set).start()
    thread.join()
    assert found == [200]
    assert serving.predictions("e").height == 1


def test_it_does_not_start_with_what_cannot_be_served(folder: Path) -> None:
    with connect(folder) as ws, using(ws):
        models.register(train(), "kept", inputs=ROWS, flavor="pickle", allow_pickle=True)
        serving.create_endpoint("e", model="kept@1")
    for arguments, code, words in ((["nothing"], 3, "No endpoint"), (["e"], 4, "pickle"), ([], 2, "ENDPOINT")):
        found = subprocess.run(
            [sys.executable, "-m", "trine.cli", "serve", *arguments, "--port", "0", "-w", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == code, found.stderr
        assert words in found.stderr
    with process(folder, "e", "--allow-pickle") as (_, line):
        assert "kept@1" in line


@pytest.mark.parametrize("remote", [False, True])
def test_a_token_is_asked_for_and_looked_at(folder: Path, remote: bool, serve: Any, admin_token: Any) -> None:
    with connect(folder) as ws, using(ws):
        register_delays(ws)
        serving.create_endpoint("delays", model="delays@1")
        good, weak = admin_token(ws, "service:caller", "contributor"), admin_token(ws, "user:looker", "viewer")
        scoped = access.create_token(
            ws, principal_name="service:caller", scopes=["serving.write"], everywhere=True
        ).text
        other = access.create_token(ws, principal_name="service:caller", scopes=["data.*"], everywhere=True).text
        where = serve(ws) if remote else str(folder)
        environment = {"TRINE_TOKEN": admin_token(ws)} if remote else {}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with process(folder, "delays", "--host", "0.0.0.0", workspace=where) as (_, line):
                assert "tokens required" in line
                url = address(line).replace("0.0.0.0", "127.0.0.1")

                def ask(token: str) -> httpx.Response:
                    headers = {"authorization": f"Bearer {token}"} if token else {}
                    return httpx.post(url + "/invocations", json=BODY, headers={**headers, "host": "anything.example"})

                assert [ask(token).status_code for token in (good, scoped)] == [200, 200]
                assert [ask(token).status_code for token in ("", "trn_x_y", good + "x")] == [401, 401, 401]
                assert [ask(token).status_code for token in (weak, other)] == [403, 403]
                assert ask("").headers["www-authenticate"] == "Bearer"
                assert "token" in ask("").json()["error"]
                assert httpx.get(url + "/v2/health/ready").status_code == 200
                assert httpx.get(url + "/v2/models/delays").status_code == 401
                with Client(url, token=good) as client:
                    assert len(client.predict("delays", ROWS)) == 6
                with Client(url) as client, pytest.raises(serving_error()):
                    client.predict("delays", ROWS)


def serving_error() -> type[Exception]:
    from trine.errors import Unauthenticated

    return Unauthenticated


def test_on_loopback_without_tokens_only_this_machine_is_answered(folder: Path) -> None:
    with connect(folder) as ws, using(ws):
        register_delays(ws)
        serving.create_endpoint("delays", model="delays@1")
        with process(folder, "delays") as (_, line):
            url = address(line)
            assert httpx.post(url + "/invocations", json=BODY).status_code == 200
            rebound = httpx.post(url + "/invocations", json=BODY, headers={"host": "evil.example"})
            assert rebound.status_code == 403
            page = httpx.post(url + "/invocations", json=BODY, headers={"origin": "https://evil.example"})
            assert page.status_code == 403


def test_a_prediction_leads_back_to_its_data_and_its_code(ws: Workspace) -> None:
    raw = data.commit(ROWS, name="flights")
    with tracking.run("delays") as run:
        rows = data.load("flights").collect()
        version = models.register(train(), "delays", inputs=rows)
    serving.create_endpoint("delays", model="delays")
    with running(Application(ws, ["delays"])) as url, Client(url) as client:
        answer = client.predict("delays", ROWS)[3]
    found = serving.trace(answer.id)
    assert (found.prediction.id, found.prediction.inputs) == (answer.id, {"x": 3.0, "n": 4})
    assert (found.route, found.model) == ("route:delays@1", version.node)
    assert found.runs == [run.node]
    assert found.data == [raw.node]
    assert found.code
    assert found.code[0].startswith("code:")
    assert found.lineage.start == f"prediction:{answer.id}"
    assert found.lineage.edges[0].kind == "answered"
    assert "answered" in found.lineage.dot()
    with pytest.raises(NotFound):
        serving.trace("0" * 32)


def test_the_client_takes_any_rows_and_tells_what_is_wrong(ws: Workspace, model: str, server: Any) -> None:
    import pandas as pd

    serving.create_endpoint("delays", model="delays@1")
    client = server(ws, "delays")
    forms = (ROWS, pd.DataFrame(ROWS.to_dict(as_series=False)), ROWS.to_dict(as_series=False), ROWS.to_dicts())
    answers = [client.predict("delays", rows) for rows in forms]
    assert len({tuple(one.probability for one in found) for found in answers}) == 1
    assert {type(one.prediction) for one in answers[0]} == {bool}
    with pytest.raises(InvalidInput, match='Row 0, column "x"') as caught:
        client.predict("delays", {"x": ["a"], "n": [1]})
    assert caught.value.details["column"] == "x"
    with pytest.raises(NotFound):
        client.predict("other", ROWS)
    assert client.predict("delays", ROWS.head(0)) == []


# -- commands -------------------------------------------------------------------------------------------------------


def trine(folder: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [*arguments, "-w", str(folder)])
    assert result.exit_code == code, result.output
    return result


def test_the_commands_from_a_first_endpoint_to_a_trace(folder: Path, tmp_path: Path) -> None:
    assert "Make one: trine endpoints create" in trine(folder, "endpoints", "ls").output
    with connect(folder) as ws, using(ws):
        register_delays(ws)
    made = trine(folder, "endpoints", "create", "delays", "--model", "delays@production", "--key", "customer").output
    assert "route 1: delays@1 100 %" in made
    assert "trine serve delays" in made
    assert "delays@1" in trine(folder, "endpoints", "ls").output
    assert "delays@2" in trine(folder, "endpoints", "deploy", "delays", "delays@2", "-m", "new").output
    shown = trine(folder, "endpoints", "show", "delays").output
    assert "delays@production is delays@1" in shown
    split = trine(
        folder, "endpoints", "deploy", "delays", "--variant", "a=delays@1:90", "--variant", "b=delays@2:10"
    ).output
    assert "delays@1 90 %, delays@2 10 %" in split
    shadow = trine(folder, "endpoints", "deploy", "delays", "delays@1", "--shadow", "delays@2:20").output
    assert "delays@2 20 % (shadow)" in shadow
    trine(folder, "endpoints", "deploy", "delays", code=2)
    trine(folder, "endpoints", "deploy", "delays", "--variant", "nonsense", code=2)
    trine(folder, "endpoints", "deploy", "delays", "delays@9", code=3)
    assert "as route 3 did" in trine(folder, "endpoints", "rollback", "delays").output
    assert "5 *" in trine(folder, "endpoints", "routes", "delays").output
    assert json.loads(trine(folder, "endpoints", "show", "delays", "--json").output)["route"]["restores"] == 3

    assert "No rollouts yet" in trine(folder, "rollout", "ls").output
    trine(folder, "endpoints", "deploy", "delays", "delays@1")
    started = trine(folder, "rollout", "start", "delays", "delays@2", "--steps", "20,60", "--min-requests", "5").output
    assert "delays: delays@2 has 20 % (step 1)" in started
    id_ = started.split()[0]
    assert "It waits" in trine(folder, "rollout", "advance", id_[:13]).output
    assert "it waits" in trine(folder, "rollout", "show", id_).output
    trine(folder, "rollout", "start", "delays", "delays@2", code=5)
    trine(folder, "rollout", "start", "delays", "delays@2", "--steps", "x", code=2)
    trine(folder, "rollout", "start", "delays", "delays@2", "--max-error-rate-increase", "7", code=2)
    assert "rollout" in trine(folder, "endpoints", "show", "delays").output
    assert "was aborted: no" in trine(folder, "rollout", "abort", id_, "-m", "no").output
    assert "aborted" in trine(folder, "rollout", "ls", "delays").output
    broken = json.loads(trine(folder, "rollout", "start", "delays", "delays@2", "--json").output)
    with connect(folder) as ws:
        operations.report_problem(ws, name="delays", number=broken["route"], problem="it is damaged")
    assert "was rolled back" in trine(folder, "rollout", "advance", broken["id"], "--wait", code=5).output

    assert "No predictions yet" in trine(folder, "predictions", "ls", "delays").output
    with process(folder, "delays") as (_, line), Client(address(line)) as client:
        answers = client.predict("delays", ROWS)
        one = answers[0]
        assert one.id in trine(folder, "predictions", "ls", "delays", "--limit", "10").output
        assert "4 older ones" in trine(folder, "predictions", "ls", "delays", "--limit", "2").output
        assert len(json.loads(trine(folder, "predictions", "ls", "delays", "--json").output)) == 6
        assert "probability" in trine(folder, "predictions", "show", one.id).output
        traced = trine(folder, "predictions", "trace", one.id).output
        assert [text.split()[0] for text in traced.splitlines()[:4]] == ["prediction", "route", "model", "run"]
        assert "digraph" in trine(folder, "predictions", "trace", one.id, "--dot").output
        trine(folder, "predictions", "show", "nonsense", code=2)
        file = tmp_path / "labels.csv"
        file.write_text(f"prediction_id,label\n{one.id},true\n{'0' * 32},false\n")
        added = trine(folder, "labels", "add", str(file), "--endpoint", "delays").output
        assert "2 labels, 1 of predictions that are not in the log" in added
        assert one.id in trine(folder, "labels", "ls", "delays").output
        trine(folder, "labels", "add", str(tmp_path / "none.csv"), "--endpoint", "delays", code=3)
        trine(folder, "labels", "add", os.devnull, "--endpoint", "delays", code=3)
    assert "is not served any more" in trine(folder, "endpoints", "rm", "delays").output
