from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.access import audit
from trine.access import operations as access
from trine.ledger.events import FIELDS, GENESIS, Checkpoint, append_event, verify_rows
from trine.workspace import Workspace, connect


def fill(ws: Workspace, count: int = 8) -> None:
    for index in range(count):
        access.create_principal(ws, name=f"user:u{index}")


def test_an_untouched_chain_is_intact(ws: Workspace) -> None:
    fill(ws)
    point = audit.get_checkpoint(ws)
    report = audit.verify_events(ws, seq=point.seq, hash=point.hash)
    assert report.intact
    assert report.entries == point.seq
    assert report.head == point.hash


TAMPERING: dict[str, tuple[str, int]] = {
    "edit": ("UPDATE event SET actor = 'user:mallory' WHERE seq = 4", 4),
    "edit the body": ("UPDATE event SET body = replace(body, 'u3', 'u9') WHERE seq = 4", 4),
    "delete": ("DELETE FROM event WHERE seq = 4", 4),
    "move": ("UPDATE event SET seq = CASE seq WHEN 4 THEN -1 ELSE seq END", 1),
    "insert": (
        "INSERT INTO event SELECT 9, time_us, actor, on_behalf_of, project, operation, object, outcome, request_id,"
        " before, after, body, prev, hash FROM event WHERE seq = 4",
        9,
    ),
    "insert in the middle": (
        "UPDATE event SET seq = seq + 1000 WHERE seq >= 4; UPDATE event SET seq = seq - 999 WHERE seq > 1000;"
        "INSERT INTO event SELECT 4, time_us, actor, on_behalf_of, project, operation, object, outcome, request_id,"
        " before, after, body, prev, hash FROM event WHERE seq = 3",
        4,
    ),
    "swap": (
        "UPDATE event SET seq = 1000 WHERE seq = 4; UPDATE event SET seq = 4 WHERE seq = 5;"
        "UPDATE event SET seq = 5 WHERE seq = 1000",
        4,
    ),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_the_first_bad_entry_is_named(folder: Path, how: str) -> None:
    with connect(folder) as ws:
        fill(ws)
        statements, first_bad = TAMPERING[how]
        with sqlite3.connect(folder / ".trine" / "ledger.db") as raw:
            raw.executescript(statements)
        report = audit.verify_events(ws)
    assert not report.intact
    assert report.first_bad == first_bad
    assert str(first_bad) in report.problem


def test_cutting_off_the_end_shows_against_a_checkpoint(folder: Path) -> None:
    with connect(folder) as ws:
        fill(ws)
        point = audit.get_checkpoint(ws)
        with sqlite3.connect(folder / ".trine" / "ledger.db") as raw:
            raw.execute("DELETE FROM event WHERE seq > 6")
        assert audit.verify_events(ws).intact
        report = audit.verify_events(ws, seq=point.seq, hash=point.hash)
    assert report.first_bad == 7
    assert "cut off" in report.problem


def test_a_chain_re_written_from_the_start_shows_against_a_checkpoint(folder: Path) -> None:
    with connect(folder) as ws:
        fill(ws)
        point = audit.get_checkpoint(ws)
        events = audit.export_events(ws)
        with sqlite3.connect(folder / ".trine" / "ledger.db") as raw:
            raw.execute("DELETE FROM event")
        with ws.ledger.transaction(write=True) as connection:
            for event in events:
                values = {name: getattr(event, name) for name in FIELDS if name != "seq"}
                append_event(connection, **(values | {"actor": "user:mallory"}))
        assert audit.verify_events(ws).intact
        report = audit.verify_events(ws, seq=point.seq, hash=point.hash)
    assert not report.intact
    assert "re-written" in report.problem


def test_nothing_at_all_is_an_intact_chain_of_no_entries() -> None:
    report = verify_rows(iter([]))
    assert report.intact
    assert report.head == GENESIS
    assert not verify_rows(iter([]), Checkpoint(3, "x")).intact


def chain_of(names: list[str]) -> list[dict[str, object]]:
    from trine.ledger import events as module

    rows: list[dict[str, object]] = []
    prev = GENESIS
    for seq, name in enumerate(names, start=1):
        row: dict[str, object] = dict.fromkeys(FIELDS, "") | {"seq": seq, "time_us": seq, "object": name}
        row["prev"], row["hash"] = prev, module._hash(prev, row)
        prev = str(row["hash"])
        rows.append(row)
    return rows


@settings(max_examples=300)
@given(st.lists(st.text(max_size=4), min_size=1, max_size=8), st.data())
def test_after_any_tampering_the_first_bad_entry_is_named(names: list[str], data: st.DataObject) -> None:
    """Any mix of edits, deletions, insertions, moves and cuts, against a checkpoint that was exported before."""
    rows = chain_of(names)
    point = Checkpoint(len(rows), str(rows[-1]["hash"]))
    assert verify_rows(iter(rows), point).intact
    changed = list(rows)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        how = data.draw(st.sampled_from(["edit", "delete", "insert", "move", "cut"]))
        if how == "insert":
            changed.insert(at, data.draw(st.sampled_from(rows)))
        elif at < len(changed):
            if how == "edit":
                field = data.draw(st.sampled_from([*FIELDS, "prev", "hash"]))
                changed[at] = changed[at] | {field: data.draw(st.sampled_from(["other", "0" * 64, 1, 2]))}
            elif how == "delete":
                del changed[at]
            elif how == "move":
                changed.insert(data.draw(st.integers(0, len(changed) - 1)), changed.pop(at))
            else:
                del changed[at:]
    differs = [index for index, (one, two) in enumerate(zip(rows, changed, strict=False)) if one != two]
    if not differs and len(changed) == len(rows):
        assert verify_rows(iter(changed), point).intact
        return
    first = min([*differs, min(len(rows), len(changed))]) + 1
    report = verify_rows(iter(changed), point)
    assert (report.intact, report.first_bad) == (False, first)
    assert str(first) in report.problem


def test_readers_keep_their_own_place(ws: Workspace) -> None:
    fill(ws, 3)
    assert audit.get_cursor(ws, consumer="loop").seq == 0
    audit.set_cursor(ws, consumer="loop", seq=2)
    assert audit.get_cursor(ws, consumer="loop").seq == 2
    assert audit.get_cursor(ws, consumer="other").seq == 0
