"""Webhooks: who is told, over which addresses, how it is signed, and what happens when nobody answers."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from trine.access import deliveries, webhooks
from trine.access import operations as access
from trine.access.addresses import pin
from trine.access.deliveries import deliver
from trine.access.tables import webhook_delivery
from trine.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from trine.workspace import Workspace


class Receiver:
    """A real HTTP server that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.told.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status = outer.answers.pop(0) if outer.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def make_due(ws: Workspace) -> None:
    with ws.ledger.transaction(write=True) as connection:
        connection.execute(update(webhook_delivery).values(next_us=0))


def test_an_address_is_told_of_the_events_it_asked_for_signed(local_ws: Workspace, receiver: Receiver) -> None:
    access.create_principal(local_ws, name="user:before")
    made = webhooks.create_webhook(
        local_ws, name="ops", url=receiver.url, events=["access.create_*"], allow_private=True
    )
    assert deliver(local_ws) == 0
    access.create_principal(local_ws, name="user:ana")
    access.disable_principal(local_ws, name="user:ana")
    access.create_principal(local_ws.for_project("other"), name="user:eve")
    assert deliver(local_ws) == 1 and deliver(local_ws) == 0
    [(headers, body)] = receiver.told
    told = json.loads(body)
    assert (told["webhook"], told["event"]["object"]) == ("ops", "user:ana")
    assert headers["trine-event"] == "access.create_principal" and headers["trine-delivery"] == told["id"]
    assert headers["host"].startswith("127.0.0.1:")
    webhooks.check_signature(made.secret, headers["trine-signature"], body)
    for secret, signature, content in (
        ("whsec_other", headers["trine-signature"], body),
        (made.secret, headers["trine-signature"], body + b" "),
        (made.secret, "t=1,v1=00", body),
        (made.secret, webhooks.sign(made.secret, body, 1), body),
    ):
        with pytest.raises(Refused):
            webhooks.check_signature(secret, signature, content)
    [one] = webhooks.list_deliveries(local_ws, name="ops").items
    assert (one.state, one.status, one.attempts) == ("delivered", 204, 1)


def test_what_is_not_answered_is_tried_again_and_given_up_at_last(local_ws: Workspace, receiver: Receiver) -> None:
    webhooks.create_webhook(local_ws, name="ops", url=receiver.url, events=["*"], allow_private=True)
    access.create_principal(local_ws, name="user:ana")
    receiver.answers = [500, 302]
    assert deliver(local_ws) == 1 and deliver(local_ws) == 0  # not before its time
    make_due(local_ws)
    deliver(local_ws)
    newest = webhooks.list_deliveries(local_ws, name="ops").items[0]
    assert (newest.state, newest.attempts, newest.error) == ("pending", 2, "answered 302")  # followed nowhere
    make_due(local_ws)
    deliver(local_ws)
    assert webhooks.list_deliveries(local_ws, name="ops").items[0].state == "delivered"
    assert len({json.loads(body)["id"] for _, body in receiver.told}) == 1
    access.create_principal(local_ws, name="user:bea")
    receiver.answers = [503] * 20
    for _ in range(12):
        deliver(local_ws)
        make_due(local_ws)
    newest = webhooks.list_deliveries(local_ws, name="ops").items[0]
    assert (newest.state, newest.attempts, newest.status) == ("given up", len(deliveries.WAITS_S) + 1, 503)
    access.create_principal(local_ws, name="user:cem")
    receiver.answers = [410]
    deliver(local_ws)
    assert webhooks.list_deliveries(local_ws, name="ops").items[0].state == "given up"


def test_webhooks_are_made_listed_and_removed_through_the_door(ws: Workspace) -> None:
    made = webhooks.create_webhook(ws, name="ops", url="https://example.com/hook", events=["models.*"])
    assert made.secret.startswith("whsec_")
    assert [(one.name, one.secret) for one in webhooks.list_webhooks(ws)] == [("ops", "")]
    with pytest.raises(Conflict, match="already"):
        webhooks.create_webhook(ws, name="ops", url="https://example.com/hook", events=["models.*"])
    for bad in ("ftp://example.com", "https://", "https://a:b@example.com/", "https://exam ple.com/", "https://x:0/"):
        with pytest.raises(InvalidInput):
            webhooks.create_webhook(ws, name="bad", url=bad, events=["models.*"])
    for events in ([], ["models;drop"]):
        with pytest.raises(InvalidInput):
            webhooks.create_webhook(ws, name="bad", url="https://example.com", events=events)
    assert webhooks.list_deliveries(ws, name="ops").items == []
    webhooks.delete_webhook(ws, name="ops")
    with pytest.raises(NotFound):
        webhooks.delete_webhook(ws, name="ops")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.0.0.8", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "2130706433", "0x7f.1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00::1]",
        "[fe80::1]", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_nothing_is_sent_to_an_address_that_is_not_public(local_ws: Workspace, host: str) -> None:
    with pytest.raises((Refused, Unavailable)):
        pin(f"http://{host}/hook")
    webhooks.create_webhook(local_ws, name="ops", url=f"http://{host}/hook", events=["*"])
    access.create_principal(local_ws, name="user:ana")
    assert deliver(local_ws) == 1
    [one] = webhooks.list_deliveries(local_ws, name="ops").items
    assert (one.status, one.state) == (0, "pending") and one.error


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(name: str, port: int, **_: Any) -> Any:
        asked.append(name)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    to = pin("https://hooks.example.com/a?b=1")
    assert to == ("https://93.184.216.34:443/a?b=1", "hooks.example.com", "hooks.example.com")
    with pytest.raises(Refused, match=r'"hooks.example.com" is 127\.0\.0\.1, which is not a public address'):
        pin("https://hooks.example.com/a")


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Refused):
        pin("https://hooks.example.com/")


def test_the_command_line_adds_lists_tells_and_removes(local_ws: Workspace, receiver: Receiver) -> None:
    from click.testing import CliRunner

    from trine.cli import main

    def say(*words: str) -> str:
        answer = CliRunner().invoke(main, ["access", "webhook", *words, "--workspace", str(local_ws.location)])
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "No webhooks" in say("ls")
    assert "whsec_" in say("add", "ops", receiver.url, "--on", "access.*", "--allow-private")
    assert "access.*" in say("ls") and "Nothing was sent" in say("deliveries", "ops")
    access.create_principal(local_ws, name="user:ana")
    assert "1 tried" in say("deliver")
    assert "delivered" in say("deliveries", "ops")
    assert "nothing any more" in say("rm", "ops")
