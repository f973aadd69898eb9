"""Several processes on one workspace at once, on both databases: no update is lost, nobody hears that a database is locked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trine.access import audit
from trine.access import operations as access
from trine.workspace import Workspace, connect

HAMMER = """
import sys
from sqlalchemy import select
from trine.access import audit, operations as access
from trine.ledger import upsert
from trine.ledger.tables import about
from trine.workspace import connect

place, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with connect(place) as ws:
    sys.stdin.readline()
    for index in range(count):
        with ws.ledger.transaction(write=True) as connection:  # read, think, write: whoever comes between loses an update
            seen = int(connection.execute(select(about.c.value).where(about.c.key == "counter")).scalar() or 0)
            connection.execute(upsert(about), {"key": "counter", "value": str(seen + 1)})
        access.create_principal(ws, name=f"user:{name}-{index}")
        if index % 5 == 0:
            point = audit.get_checkpoint(ws)
            assert audit.verify_events(ws, seq=point.seq, hash=point.hash).intact
            page = audit.list_events(ws, limit=1000).items
            assert [event.seq for event in page] == list(range(1, len(page) + 1))
"""


def run(place: str, processes: int, count: int) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, place, str(number), str(count)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    told = [worker.communicate("go\n", timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes, "\n".join(errors for _, errors in told)


def check(ws: Workspace, total: int) -> None:
    from sqlalchemy import select

    from trine.ledger.tables import about

    with ws.ledger.transaction(write=False) as connection:
        assert connection.execute(select(about.c.value).where(about.c.key == "counter")).scalar() == str(total)
    events = audit.list_events(ws, limit=1000).items
    assert [event.seq for event in events] == list(range(1, total + 1))
    assert len({event.object for event in events}) == total
    report = audit.verify_events(ws)
    assert (report.intact, report.entries) == (True, total)


def test_no_update_is_lost_on_sqlite(folder: Path) -> None:
    run(str(folder), 4, 25)
    with connect(folder) as ws:
        check(ws, 100)


def test_no_update_is_lost_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    connect(postgres_url, store=str(tmp_path / "store")).close()
    run(postgres_url, 4, 25)
    with connect(postgres_url) as ws:
        check(ws, 100)


def test_a_new_workspace_can_be_opened_by_all_at_once(tmp_path: Path) -> None:
    run(str(tmp_path / "new"), 4, 2)
    with connect(tmp_path / "new") as ws:
        check(ws, 8)


def test_a_reader_sees_one_state_while_others_write(ws: Workspace) -> None:
    """What a transaction has read does not change under it, also across statements."""
    if ws.remote is not None:
        return
    from trine.ledger.events import checkpoint, read_events

    access.create_principal(ws, name="user:before")
    with ws.ledger.transaction(write=False) as connection:
        first = checkpoint(connection)
        for index in range(3):
            access.create_principal(ws, name=f"user:meanwhile-{index}")
        assert checkpoint(connection) == first
        assert len(read_events(connection)) == first.seq


def test_a_reader_cannot_write(postgres_url: str, tmp_path: Path) -> None:
    from trine.errors import Failure

    with (
        connect(postgres_url, store=str(tmp_path / "store")) as ws,
        pytest.raises(Failure, match="cannot be written"),
        ws.ledger.transaction(write=False) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM about")


def test_a_forked_child_has_its_own_connections(folder: Path) -> None:
    import os

    with connect(folder) as ws:
        access.create_principal(ws, name="user:parent")
        children = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for index in range(5):
                        access.create_principal(ws, name=f"user:child-{number}-{index}")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
            access.create_principal(ws, name=f"user:parent-{number}")
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        report = audit.verify_events(ws)
        assert (report.intact, report.entries) == (True, 19)
