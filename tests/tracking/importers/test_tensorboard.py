"""Moving in from TensorBoard: event files of both generations, written here by an encoder of their own."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from encoding import event_file, field, message, single

from trine import tracking
from trine.errors import NotFound
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

START = 1_795_590_263.25


def event(step: int, *values: bytes) -> bytes:
    return message(field(1, START + step), field(2, step), field(5, b"".join(field(1, one) for one in values)))


def scalar(tag: str, value: float) -> bytes:
    return field(1, tag) + single(2, value)


def tensor(tag: str, plugin: str, *content: bytes) -> bytes:
    """A value as TensorFlow 2 writes it."""
    return field(1, tag) + field(9, field(1, field(1, plugin))) + field(8, message(*content))


def hyperparameters(**values: float | str) -> bytes:
    pairs = [
        field(1, field(1, name) + field(2, field(2, one) if isinstance(one, float) else field(3, one)))
        for name, one in values.items()
    ]
    content = field(3, b"".join(pairs))
    return field(1, "_hparams_/session_start_info") + field(9, field(1, field(1, "hparams") + field(2, content)))


def write(folder: Path, *events: bytes, tail: bytes = b"") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = message(field(1, START), field(3, "brain.Event:2"))
    (folder / "events.out.tfevents.1795590263.box").write_bytes(event_file([head, *events]) + tail)


def test_runs_scalars_hyperparameters_texts_and_images(ws: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "logs"
    steps = [event(step, scalar("loss", 1 / (step + 1)), scalar("acc", step / 8)) for step in range(100)]
    image = field(1, "im") + field(4, message(field(1, 4), field(4, b"\x89PNG...")))
    write(root / "one", *steps, event(100, scalar("loss", math.nan), image), event(101, scalar("loss", math.inf)))
    double = tensor("f", "scalars", field(1, 2), field(4, struct.pack("<d", 0.1)))
    listed = tensor("g", "scalars", field(1, 1), field(5, struct.pack("<f", 0.5)))
    whole = tensor("h", "scalars", field(1, 9), field(10, b"\x07"))
    text = tensor("note", "text", field(1, 7), field(8, "hello"))
    picture = tensor("pic", "images", field(1, 7), field(8, "4"), field(8, "4"), field(8, b"PNG"))
    write(
        root / "one" / "trial",
        event(0, hyperparameters(lr=0.1, opt="adam")),
        event(5, double, listed, whole, text, picture),
    )
    report = move_in(open_source("tensorboard", str(root)), ws=ws)
    assert (report.runs, report.nested, report.points, report.problems) == (2, 1, 205, [])
    one, trial = sorted(tracking.search(ws=ws), key=lambda run: run.name)
    assert (one.name, trial.name, trial.parent, one.experiment) == ("one", "one/trial", one.id, "logs")
    assert one.started_us == round(START * 1e6) and one.ended_us == round((START + 101) * 1e6)
    loss = tracking.history(one, "loss", ws=ws)
    assert (
        loss["value"].to_list()[:2] == [1.0, 0.5] and math.isnan(loss["value"][100]) and loss["value"][101] == math.inf
    )
    assert trial.params == {"lr": "0.1", "opt": "adam"}
    assert {key: line.last for key, line in trial.metrics.items()} == {"f": 0.1, "g": 0.5, "h": 7.0}
    assert tracking.read_artifact(one, "images/im/100.png", ws=ws) == b"\x89PNG..."
    assert tracking.read_artifact(trial, "images/pic/5.png", ws=ws) == b"PNG"
    assert json.loads(tracking.read_artifact(trial, "imported/texts.jsonl", ws=ws))["text"] == ["hello"]
    assert move_in(open_source("tensorboard", str(root)), ws=ws).unchanged == 2


def test_a_torn_tail_is_left_out_and_what_is_not_read_is_said(local_ws: Workspace, tmp_path: Path) -> None:
    torn = event_file([event(1, scalar("loss", 1.0))])[:-9]
    write(tmp_path / "run", event(0, scalar("loss", 2.0), tensor("curve", "pr_curves", field(1, 1))), tail=torn)
    report = move_in(open_source("tensorboard", str(tmp_path), {"experiment": "mine"}))
    assert report.points == 1 and report.problems == ["pr_curves of run are left out."]
    assert tracking.search()[0].experiment == "mine"


def test_a_folder_without_events_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no event file"):
        open_source("tensorboard", str(tmp_path))
