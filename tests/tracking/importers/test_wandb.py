"""Moving in from Weights & Biases: its files, written here by an encoder of their own."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
from encoding import field, item, log, message
from hypothesis import given
from hypothesis import strategies as st

from trine import tracking
from trine.errors import NotFound
from trine.tracking.importers import open_source, wire
from trine.tracking.importers.wandb import records
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

START = 1_795_590_263
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def history(step: int, **values: object) -> bytes:
    """One call of `log`."""
    rows = [field(1, field(2, key) + field(16, json.dumps(value))) for key, value in values.items()]
    rows += [field(1, field(2, "_timestamp") + field(16, repr(START + step / 10))), field(2, field(1, step))]
    return field(2, message(*rows))


def run_record(id: str = "j4tuzrat") -> bytes:
    config = message(
        field(1, item("lr", 0.1)), field(1, item("opt", {"name": "adam", "wd": 0.01})), field(1, item("_wandb", {}))
    )
    times = message(field(1, START), field(2, 500_000_000))
    about = [field(1, id), field(3, "churn"), field(4, config), field(6, "g1"), field(8, "run-1"), field(9, "a note")]
    return field(17, message(*about, field(10, "best"), field(13, "box"), field(17, times)))


def environment() -> bytes:
    return field(
        26, message(field(2, "CPython 3.11.7"), field(5, "--fast"), field(6, "train.py"), field(9, field(2, COMMIT)))
    )


def stats(value: float) -> bytes:
    return field(7, message(field(2, field(1, START)), field(3, field(1, "cpu") + field(16, repr(value)))))


def folder_of(root: Path, *parts: list[bytes], id: str = "j4tuzrat") -> Path:
    for number, part in enumerate(parts):
        folder = root / f"offline-run-2026112{number}-{id}"
        (folder / "files").mkdir(parents=True)
        (folder / f"run-{id}.wandb").write_bytes(log(part))
        (folder / "files" / "requirements.txt").write_text("numpy==2\n")
    return root


def test_a_run_is_here_as_it_was_there(ws: Workspace, tmp_path: Path) -> None:
    steps = [history(step, loss=1 / (step + 1), **{"val/acc": step / 3_000}) for step in range(3_000)]  # many blocks
    image = field(1, field(2, "img") + field(2, "_type") + field(16, '"image-file"'))
    wide = field(1, field(2, "img") + field(2, "width") + field(16, "4"))
    deep = field(1, field(2, "nest") + field(2, "x") + field(16, "2.5"))
    typed = field(1, field(1, "typed") + field(6, 0.25)) + field(1, field(1, "count") + field(5, 5))  # zigzag of -3
    last = field(2, message(image, wide, deep, typed, field(2, field(1, 3_000))))
    odd = history(3_001, a=math.nan, b=math.inf, text="hello", flag=True)
    summary = field(3, message(field(1, item("best", 0.99)), field(1, item("loss", 0.0)), field(1, item("note", "x"))))
    said = field(13, field(3, "epoch 1\n"))
    root = folder_of(
        tmp_path, [run_record(), environment(), stats(12.5), *steps, last, odd, summary, said, field(18, field(1, 0))]
    )
    (tmp_path / "elsewhere.txt").write_text("saved")
    (root / "offline-run-20261120-j4tuzrat" / "files" / "saved.txt").symlink_to(tmp_path / "elsewhere.txt")
    report = move_in(open_source("wandb", str(root)), ws=ws)
    assert (report.runs, report.added, report.problems) == (1, 1, []) and report.checksum == report.source_checksum
    one = tracking.search(ws=ws)[0]
    assert (one.experiment, one.name, one.state, one.code) == ("churn", "run-1", "finished", f"code:{COMMIT}")
    assert one.params == {"lr": "0.1", "opt.name": "adam", "opt.wd": "0.01"}
    assert one.tags["wandb.id"] == "j4tuzrat" and one.tags["wandb.group"] == "g1" and one.tags["best"] == ""
    assert one.started_us == START * 1_000_000 + 500_000
    assert one.context.arguments == ["train.py", "--fast"] and one.context.host == "box"
    loss = tracking.history(one, "loss", ws=ws)
    assert loss["step"].to_list() == list(range(3_000)) and loss["value"].to_list() == [
        1 / (s + 1) for s in range(3_000)
    ]
    numbers = {key: line.last for key, line in one.metrics.items()}
    assert numbers["nest.x"] == 2.5 and numbers["typed"] == 0.25 and numbers["count"] == -3 and numbers["best"] == 0.99
    assert (
        math.isnan(numbers["a"]) and numbers["b"] == math.inf and numbers["flag"] == 1 and numbers["system/cpu"] == 12.5
    )
    assert "img.width" not in numbers and "_timestamp" not in numbers
    rest = tracking.read_artifact(one, "imported/history.jsonl", ws=ws).decode().splitlines()
    assert json.loads(rest[1])["values"] == {"text": "hello"}
    assert tracking.read_artifact(one, "imported/output.log", ws=ws) == b"epoch 1\n"
    assert tracking.read_artifact(one, "saved.txt", ws=ws) == b"saved"
    again = move_in(open_source("wandb", str(root)), ws=ws)
    assert (again.unchanged, again.points_moved) == (1, 0)


def test_a_run_that_was_resumed_is_one_run_and_a_torn_one_was_killed(local_ws: Workspace, tmp_path: Path) -> None:
    folder_of(
        tmp_path, [run_record(), history(0, loss=2.0), field(18, field(1, 1))], [run_record(), history(1, loss=1.0)]
    )
    path = sorted(tmp_path.rglob("*.wandb"))[-1]
    path.write_bytes(path.read_bytes() + log([history(2, loss=0.5)])[7:-5])  # torn in its last record
    report = move_in(open_source("wandb", str(tmp_path)))
    assert (report.runs, report.points, report.problems) == (1, 2, [])
    one = tracking.search()[0]
    assert one.state == "killed" and one.metrics["loss"].last == 1.0 and one.metrics["loss"].count == 2


def test_damage_is_stepped_over_and_told(local_ws: Workspace, tmp_path: Path) -> None:
    steps = [history(step, loss=float(step)) for step in range(3_000)]
    path = next(folder_of(tmp_path, [run_record(), *steps]).rglob("*.wandb"))
    data = bytearray(path.read_bytes())
    data[40_000] ^= 0xFF
    path.write_bytes(data)
    report = move_in(open_source("wandb", str(path)))
    assert "damaged in 1 of its blocks" in report.problems[0] and 2_000 < report.points < 3_000


def test_what_holds_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no \.wandb file"):
        open_source("wandb", str(tmp_path))
    with pytest.raises(NotFound, match="not there"):
        open_source("wandb", str(tmp_path / "nowhere"))


@given(st.lists(st.binary(max_size=70_000), max_size=6))
def test_records_come_back_whatever_their_size(parts: list[bytes]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(log(parts))
        file.flush()
        assert list(records(Path(file.name), [])) == parts


@given(st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=300))
def test_fields_come_back(whole: int, number: float, data: bytes) -> None:
    found = wire.by_number(message(field(1, whole), field(2, number), field(300, data)))
    assert wire.signed(found[1][0]) == whole and repr(found[2][0]) == repr(number) and found[300] == [data]


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_no_message(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(wire.fields(data))
