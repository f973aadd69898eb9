"""The prediction log: what was acknowledged is in it, once, whoever dies when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import serving
from trine.errors import Damaged, InvalidInput, NoSpace, NotFound, Unavailable
from trine.ids import now_us
from trine.serving import Client, merging, shipping
from trine.serving.log import KIND, Entry, Ids, PredictionLog, Schema, abandoned, time_of
from trine.serving.parts import list_log_parts, register_log_part
from trine.workspace import Workspace, connect, using

from .conftest import ROWS, register_delays

IDS = Ids()
SCHEMA = Schema("m@1", (("x", "float64"), ("who", "string"), ("day", "date")), (("prediction", "int64"),))


def entry(ids: list[str], **changes: Any) -> Entry:
    count = len(ids)
    values: dict[str, Any] = {
        "schema": 0, "request": ids[0], "ids": ids, "time_us": time_of(ids[0]), "route": 1, "variant": "main",
        "shadow": False, "status": "ok", "latency_us": 7, "keys": None,
        "inputs": [[1.5] * count, [None] * count, ["2026-01-02"] * count], "outputs": [[3] * count],
    }  # fmt: skip
    return Entry(**{**values, **changes})


@pytest.fixture
def endpoint(ws: Workspace) -> str:
    return serving.create_endpoint("e").name


def written(ws: Workspace, requests: int, rows: int = 2) -> tuple[PredictionLog, list[str]]:
    log = PredictionLog(ws)
    ids: list[str] = []
    for number in range(requests):
        mine = IDS.take(rows, now_us() + number * 1000)
        log.append("e", SCHEMA, entry(mine, keys=["k"] * rows))
        ids += mine
    return log, ids


def test_the_log_reads_the_same_open_closed_and_shipped(ws: Workspace, endpoint: str) -> None:
    log, ids = written(ws, 5)
    opened = serving.predictions("e")
    assert opened["prediction_id"].to_list() == ids
    assert opened.columns[:8] == [
        "prediction_id", "time_us", "route", "variant", "model_version", "status", "latency_us", "key",
    ]  # fmt: skip
    assert opened.row(0, named=True) | {"day": str(opened["day"][0])} == {
        "prediction_id": ids[0], "time_us": time_of(ids[0]), "route": 1, "variant": "main", "model_version": "m@1",
        "status": "ok", "latency_us": 7, "key": "k", "role": "live", "request_id": ids[0], "shadow_of": None, "error": None,
        "x": 1.5, "who": None, "day": "2026-01-02", "prediction": 3,
    }  # fmt: skip
    log.rotate()
    assert serving.predictions("e").equals(opened)
    assert shipping.ship(ws, log).done == 1
    assert log.closed_segments() == []
    assert serving.predictions("e").equals(opened)
    assert shipping.ship(ws, log).done == 0
    log.close()


def test_many_small_parts_become_one_object_and_read_the_same(
    ws: Workspace, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MOST_SMALL", 4)
    ids: list[str] = []
    for turn in range(6):
        log, mine = written(ws, 3)
        ids += mine
        log.rotate()
        shipping.ship(ws, log)
        log.close()
        assert serving.predictions("e")["prediction_id"].to_list() == ids
        parts = list_log_parts(ws, endpoint="e").items
        assert len(parts) == turn + 1
        assert len({part.object for part in parts}) == (turn + 1 if turn < 3 else turn - 2)
    assert all(serving.find_prediction(one).id == one for one in ids)
    part = list_log_parts(ws, endpoint="e").items[2]
    inside = serving.predictions("e", part.first_us, part.last_us + 1)["prediction_id"].to_list()
    assert inside == [one for one in ids if part.first_us <= time_of(one) <= part.last_us]


def test_small_parts_stay_when_one_of_them_is_damaged(
    ws: Workspace, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MOST_SMALL", 2)

    def damaged(*_: Any) -> bytes:
        raise Damaged("an object is damaged")

    monkeypatch.setattr(merging, "_merged", damaged)
    for _ in range(3):
        log, _ = written(ws, 1)
        log.rotate()
        assert shipping.ship(ws, log).done == 1
        log.close()
    assert len({part.object for part in list_log_parts(ws, endpoint="e").items}) == 3


def test_a_window_takes_from_since_and_stops_before_until(ws: Workspace, endpoint: str) -> None:
    log, ids = written(ws, 6, 1)
    for _ in range(2):
        times = [time_of(one) for one in ids]
        frame = serving.predictions("e", since_us=times[1], until_us=times[4])
        assert frame["prediction_id"].to_list() == ids[1:4]
        assert serving.predictions("e", until_us=times[0]).height == 0
        assert serving.predictions("e", since_us=times[5] + 1).height == 0
        assert serving.predictions("e", since_us=times[5] + 1).columns[0] == "prediction_id"
        log.rotate()
        shipping.ship(ws, log)
    log.close()


def test_errors_and_shadows_are_there_when_asked_for(ws: Workspace, endpoint: str) -> None:
    log = PredictionLog(ws)
    live, shadow, failed, rejected = (IDS.take(1, now_us()) for _ in range(4))
    log.append("e", SCHEMA, entry(live))
    log.append("e", SCHEMA, entry(shadow, shadow=True, shadow_of=live, variant="shadow"))
    log.append("e", Schema("m@1", SCHEMA.inputs), entry(failed, status="error", outputs=None, error="it broke"))
    log.append("e", Schema(""), entry(rejected, status="rejected", inputs=None, outputs=None, error="Row 0"))
    assert set(serving.predictions("e")["prediction_id"]) == {live[0], failed[0]}
    assert set(serving.predictions("e", shadow=True)["prediction_id"]) == {live[0], shadow[0], failed[0]}
    every = serving.predictions("e", shadow=True, rejected=True)
    assert every.height == 4
    assert serving.find_prediction(shadow[0]).shadow_of == live[0]
    assert serving.find_prediction(failed[0]).error == "it broke"
    assert serving.find_prediction(failed[0]).inputs["x"] == 1.5
    found = serving.find_prediction(rejected[0])
    assert (found.status, found.model_version) == ("rejected", "")
    log.close()


def test_one_prediction_is_found_wherever_it_is(ws: Workspace, endpoint: str) -> None:
    serving.create_endpoint("other")
    first, ids = written(ws, 3)
    first.rotate()
    shipping.ship(ws, first)
    second, more = written(ws, 3)
    for one in (ids[0], ids[5], more[0], more[5]):
        found = serving.find_prediction(one)
        assert (found.id, found.endpoint, found.node) == (one, "e", f"prediction:{one}")
        assert found.outputs == {"prediction": 3}
        assert set(found.inputs) == {"x", "who", "day"}
    with pytest.raises(NotFound, match="No prediction"):
        serving.find_prediction("0" * 32)
    with pytest.raises(InvalidInput, match="32 hexadecimal"):
        serving.find_prediction("../../etc/passwd")
    with pytest.raises(NotFound, match="no-such"):
        serving.predictions("no-such")
    first.close()
    second.close()


def test_versions_with_other_inputs_share_a_log(ws: Workspace, endpoint: str) -> None:
    log = PredictionLog(ws)
    one, two, three = (IDS.take(1, now_us() + n * 1000) for n in range(3))
    log.append("e", SCHEMA, entry(one))
    wider = Schema("m@2", (("x", "int64"), ("z", "boolean")), (("prediction", "string"), ("probability", "float64")))
    log.append("e", wider, entry(two, inputs=[[4], [True]], outputs=[["late"], [0.7]]))
    odd = Schema("m@3", (("status", "string"), ("prediction", "float64")), (("prediction", "int64"),))
    log.append("e", odd, entry(three, inputs=[["gold"], [0.5]], outputs=[[1]]))
    for _ in range(2):
        frame = serving.predictions("e")
        assert frame["model_version"].to_list() == ["m@1", "m@2", "m@3"]
        assert frame["x"].to_list() == [1.5, 4.0, None]
        assert frame["z"].to_list() == [None, True, None]
        assert frame["prediction"].to_list() == ["3", "late", "1"]
        assert frame["probability"].to_list() == [None, 0.7, None]
        assert frame["status"].to_list() == ["ok"] * 3
        assert frame["input_status"].to_list() == [None, None, "gold"]
        assert frame["input_prediction"].to_list() == [None, None, 0.5]
        log.rotate()
        shipping.ship(ws, log)
    log.close()


def test_a_crash_between_storing_and_registering_ships_once(
    ws: Workspace, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, ids = written(ws, 4)
    log.rotate()
    (path,) = log.closed_segments()
    real = shipping.register_log_part

    def crash_before(*_: Any, **__: Any) -> None:
        raise Unavailable("the server is away")

    def crash_after(*args: Any, **values: Any) -> None:
        real(*args, **values)
        raise Unavailable("the answer got lost")

    for crash in (crash_before, crash_after, crash_after):
        monkeypatch.setattr(shipping, "register_log_part", crash)
        assert shipping.ship(ws, log).done == 0
        assert path.exists()
        assert serving.predictions("e")["prediction_id"].to_list() == ids
    monkeypatch.setattr(shipping, "register_log_part", real)
    assert shipping.ship(ws, log).done == 1
    assert serving.predictions("e")["prediction_id"].to_list() == ids
    assert len(list_log_parts(ws, endpoint="e").items) == 1
    log.close()


def test_the_segments_of_the_living_are_left_alone_and_those_of_the_dead_are_shipped(
    ws: Workspace, endpoint: str
) -> None:
    log, ids = written(ws, 4)
    assert list(abandoned(ws)) == []
    assert shipping.ship(ws).done == 0
    os.close(log._hold)  # what the system does when a process dies
    assert shipping.ship(ws).done == 1
    assert serving.predictions("e")["prediction_id"].to_list() == ids
    assert not [path for path in (ws.spool / KIND).iterdir() if not path.name.startswith(".")]
    assert shipping.ship(ws).done == 0


def test_a_part_that_is_not_stored_is_not_registered(ws: Workspace, endpoint: str) -> None:
    id_ = IDS.take(1, now_us())[0]
    with pytest.raises(NotFound, match="not stored"):
        register_log_part(
            ws,
            endpoint="e",
            segment="s",
            object="0" * 64,
            rows=1,
            size_bytes=1,
            first_id=id_,
            last_id=id_,
            first_us=1,
            last_us=1,
        )


def test_damage_in_a_segment_is_named_and_the_rest_is_kept(ws: Workspace, endpoint: str) -> None:
    from trine.errors import Damaged

    log, ids = written(ws, 5, 1)
    log.rotate()
    (path,) = log.closed_segments()
    raw = bytearray(path.read_bytes())
    raw[raw.index(ids[2].encode()) + 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged, match=path.stem):
        serving.predictions("e")
    assert shipping.ship(ws, log).done == 1
    assert serving.predictions("e")["prediction_id"].to_list() == [ids[0], ids[1], ids[3], ids[4]]
    (part,) = list_log_parts(ws, endpoint="e").items
    assert part.lost_bytes > 0
    assert (ws.spool / "damaged" / path.name).read_bytes() == bytes(raw)
    log.close()


@given(st.integers(1, 300), st.integers(0, 2**47))
def test_ids_grow_with_time_and_with_the_row(count: int, time_ms: int) -> None:
    ids = IDS.take(count, time_ms * 1000 + 999)
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    assert all(len(one) == 32 and one[12] == "7" and one[16] in "89ab" for one in ids)
    assert {time_of(one) for one in ids} == {time_ms * 1000}


SERVER = """
import sys
from trine.server.serving import run
from trine.workspace import connect
run(connect(sys.argv[1]), ["delays"], host="127.0.0.1", port=0, durability=sys.argv[2], log_age_s=0.05)
"""


def start_process(folder: Path, durability: str = "os") -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder), durability], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("listening on http://"), line
    return process, line.split()[2]


@pytest.mark.parametrize(("durability", "rounds"), [("os", 2), ("disk", 1)])
def test_killing_the_process_loses_no_acknowledged_prediction(folder: Path, durability: str, rounds: int) -> None:
    """Four clients ask, the process is killed; segments age so fast that some kills hit the shipping."""
    acknowledged: list[str] = []
    with connect(folder) as ws, using(ws):
        register_delays(ws)
        serving.create_endpoint("delays", model="delays@1")
        for round_ in range(rounds):
            process, url = start_process(folder, durability)
            enough = threading.Event()

            def ask(
                url: str = url, enough: threading.Event = enough, goal: int = len(acknowledged) + 80 + 40 * round_
            ) -> None:
                with httpx.Client() as client:
                    try:
                        while True:
                            answer = client.post(url + "/invocations", json={"inputs": {"x": [1.0, 2.0], "n": [1, 2]}})
                            acknowledged.extend(answer.json()["prediction_ids"])
                            if len(acknowledged) >= goal:
                                enough.set()
                    except (httpx.TransportError, json.JSONDecodeError):
                        return

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            process.send_signal(signal.SIGKILL)
            process.wait()
            for thread in threads:
                thread.join()
            assert process.stdout
            process.stdout.close()
            frame = serving.predictions("delays")
            assert frame["prediction_id"].is_unique().all()
            assert set(acknowledged) <= set(frame["prediction_id"])
        last, _ = start_process(folder)
        last.send_signal(signal.SIGTERM)
        assert last.wait(30) == 0
        assert last.stdout
        last.stdout.close()
        after = serving.predictions("delays")
        assert after["prediction_id"].to_list() == frame["prediction_id"].to_list()
        assert not list((ws.spool / KIND).rglob("*.seg"))
        stored = sum(part.rows for part in list_log_parts(ws, endpoint="delays").items)
        assert stored == after.height


def test_a_full_disk_is_told_and_nothing_is_answered_unlogged(
    ws: Workspace, model: str, server: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.create_endpoint("delays", model="delays@1")
    client = server(ws, "delays")
    client.predict("delays", ROWS)
    from trine.storage import SegmentWriter

    real = SegmentWriter.append

    def full(*_: Any) -> int:
        raise NoSpace("There is no space left to write the segment. Free some and try again.")

    monkeypatch.setattr(SegmentWriter, "append", full)
    with pytest.raises(NoSpace, match="no space left"):
        client.predict("delays", ROWS)
    monkeypatch.setattr(SegmentWriter, "append", real)
    assert len(client.predict("delays", ROWS)) == 6
    assert serving.predictions("delays").height == 12


def test_labels_keep_the_last_and_count_the_unknown(ws: Workspace, endpoint: str) -> None:
    log, ids = written(ws, 3, 1)
    report = serving.log_labels("e", {"prediction_id": ids[:2], "label": [True, False]})
    assert (report.rows, report.unknown) == (2, 0)
    log.rotate()
    shipping.ship(ws, log)
    stranger = "f" * 32
    report = serving.log_labels(
        "e",
        [
            {"prediction_id": ids[1], "label": True, "time_us": 5},
            {"prediction_id": stranger, "label": True, "time_us": None},
        ],
    )
    assert (report.rows, report.unknown) == (2, 1)
    found = serving.labels("e")
    assert found.columns == ["prediction_id", "label", "time_us"]
    assert dict(found.select("prediction_id", "label").rows()) == {ids[0]: True, ids[1]: True, stranger: True}
    assert dict(found.select("prediction_id", "time_us").rows())[ids[1]] == 5
    serving.log_labels("e", pl.DataFrame({"prediction_id": [stranger], "label": [None]}))  # taken back
    assert set(serving.labels("e")["prediction_id"]) == set(ids[:2])
    serving.log_labels("e", {"prediction_id": [ids[2], ids[2]], "label": [0.25, 0.75]})
    assert serving.labels("e").filter(pl.col("prediction_id") == ids[2])["label"].to_list() == [0.75]
    log.close()


def test_labels_that_are_none_are_refused(ws: Workspace, endpoint: str) -> None:
    assert serving.labels("e").height == 0
    assert serving.log_labels("e", {"prediction_id": [], "label": []}).rows == 0
    for frame, words in (
        ({"prediction_id": ["f" * 32]}, '"label" is missing'),
        ({"prediction_id": ["x"], "label": [1]}, "Row 0: 'x' is no prediction's id"),
        ({"prediction_id": ["f" * 32, None], "label": [1, 1]}, "Row 1: None is no prediction's id"),
        ({"prediction_id": [1], "label": [1]}, "ids are text"),
        ({"prediction_id": ["f" * 32], "label": [[1]]}, "a label is a number"),
        ({"prediction_id": ["f" * 32], "label": [1], "time_us": ["now"]}, "times are"),
    ):
        with pytest.raises(InvalidInput, match=words):
            serving.log_labels("e", frame)
    with pytest.raises(NotFound, match="no-such"):
        serving.log_labels("no-such", {"prediction_id": ["f" * 32], "label": [1]})
