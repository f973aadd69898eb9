"""Where alerts are told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from trine.errors import InvalidInput
from trine.monitoring.alerts import Transition
from trine.monitoring.channels import Notice, check_channel, deliver
from trine.monitoring.verdicts import Verdict

MOVE: dict[str, Any] = {"alert": "a", "monitor": "m", "rule": "drift", "column": "x", "time_us": 0, "notify": True}
VERDICT = Verdict(monitor="m", id="7", window_start_us=0, window_end_us=86_400_000_000, rows=9, outcome="drift")
NOTICE = Notice.of(
    VERDICT,
    [
        Transition(before="ok", after="firing", message="distance 0.2", **MOVE),
        Transition(before="firing", after="resolved", message="old", **MOVE),
    ],
)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook that keeps what it gets; under /bad it answers 500."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(500 if self.path == "/bad" else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_notice_tells_all_that_a_verdict_changed() -> None:
    assert NOTICE.text.splitlines()[:2] == ["FIRING drift of x: distance 0.2", "RESOLVED drift of x"]
    assert "m: drift · 9 rows" in NOTICE.text


def test_every_channel_is_told_even_when_one_before_it_fails(
    tmp_path: Path, hook: tuple[str, list[bytes]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = hook
    monkeypatch.setenv("ALERT_URL", f"{url}/good")
    names = ["webhook:http://127.0.0.1:1/", f"webhook:{url}/bad", f"file:{tmp_path}/no/such", "webhook:$ALERT_URL"]
    with caplog.at_level(logging.WARNING, "trine.monitoring"):
        failures = deliver([*names, f"file:{tmp_path}/alerts.jsonl", "log"], NOTICE)
    assert [one.code for one in failures] == ["unavailable"] * 3
    assert "answered 500" in failures[1].message and "No such file" in failures[2].message
    told = json.loads(got[-1])
    assert told["monitor"] == "m" and told["transitions"][0]["after"] == "firing"
    assert json.loads((tmp_path / "alerts.jsonl").read_text()) == told
    assert "FIRING drift of x" in caplog.text and "alert channel webhook" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lgo", 'No alert channel "lgo". Did you mean "log"?'),
        ("file:", "needs a path"),
        ("webhook:example.org", "no address of a webhook"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_channel(name)
    assert message in refused.value.message


def test_a_target_from_the_environment_is_read_where_the_check_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    check_channel("webhook:$NOT_SET_HERE")
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    assert [one.code for one in deliver(["webhook:$NOT_SET_HERE"], NOTICE)] == ["invalid_input"]


def test_more_kinds_of_channels_come_as_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Notice] = []

    class Pager:
        def __init__(self, target: str) -> None:
            assert target == "ops"

        def send(self, notice: Notice) -> None:
            told.append(notice)

    class Installed:
        name = "pager"

        def load(self) -> Any:
            return Pager

    def installed(group: str, name: str = "pager") -> list[Installed]:
        return [Installed()] if (group, name) == ("trine.alert_channels", "pager") else []

    monkeypatch.setattr("trine.monitoring.channels.entry_points", installed)
    check_channel("pager:ops")
    assert deliver(["pager:ops"], NOTICE) == [] and told == [NOTICE]
    with pytest.raises(InvalidInput, match='Did you mean "pager"'):
        check_channel("pagre:ops")


def test_the_door_of_the_room_loads_no_heavy_package() -> None:
    script = (
        "import sys, trine.monitoring.operations, trine.features.operations, trine.cli.monitoring, trine.cli.features;"
        "sys.exit(', '.join({'numpy', 'polars', 'scipy', 'pandas', 'sklearn', 'httpx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr.strip() == ""
