"""Moving in from Aim: what the Python that has aim tells, told here by a script in its place (aim itself is not installed)."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest

from trine import tracking
from trine.errors import InvalidInput, NotFound
from trine.tracking.importers import open_source
from trine.tracking.importers.writer import move_in
from trine.workspace import Workspace

START = 1_795_592_422.5


def told(*lines: object) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def columns(key: str, values: list[float]) -> dict[str, str]:
    size = len(values)
    return {
        "key": key,
        "steps": struct.pack(f"<{size}q", *range(size)).hex(),
        "times": struct.pack(f"<{size}d", *(START + step for step in range(size))).hex(),
        "values": struct.pack(f"<{size}d", *values).hex(),
    }


def python_that_tells(folder: Path, text: str) -> str:
    (folder / "told.jsonl").write_text(text)
    script = folder / "python"
    script.write_text(f"#!/bin/sh\necho noise >&2\ncat {folder}/told.jsonl\n")
    script.chmod(0o755)
    return str(script)


def facts(hash: str, name: str, ended: float | None) -> dict[str, object]:
    attributes = {"hparams": {"lr": 0.1, "layers": [1, 2]}, "__system_params": {"arguments": ["train.py", "--fast"]}}
    about = {"hash": hash, "name": name, "experiment": "churn", "description": "d", "tags": ["best"], "archived": False}
    return {"run": about | {"created": START, "ended": ended, "attributes": attributes}}


def test_runs_sequences_and_texts(local_ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / ".aim").mkdir()
    text = told(
        facts("2aad5a66f04049228e70d320", "one", START + 60),
        columns("loss subset=val", [1.0, math.nan, math.inf]),
        columns("__system__cpu", [7.5]),
        {"texts": "note", "rows": [[0, START, "hello"]]},
        {"left": ["aim.image"]},
        facts("43b352a47ffb4f66a2eb99dc", "two", None),
        {"left": []},
        {"end": True},
    )
    source = open_source("aim", str(tmp_path), {"python": python_that_tells(tmp_path, text)})
    report = move_in(source)
    assert (report.runs, report.points, report.problems) == (2, 4, ["aim.image of run one are left out."])
    one, two = sorted(tracking.search(), key=lambda run: run.name)
    assert one.params == {"hparams.layers": "[1,2]", "hparams.lr": "0.1"} and "best" in one.tags
    assert one.tags["aim.hash"] == "2aad5a66f04049228e70d320" and one.context.arguments == ["train.py", "--fast"]
    assert one.duration_s == 60 and one.metrics["system/cpu"].last == 7.5 and two.state == "killed"
    values = tracking.history(one, "loss subset=val")["value"].to_list()
    assert values[0] == 1 and math.isnan(values[1]) and values[2] == math.inf
    assert b"hello" in tracking.read_artifact(one, "texts/note.jsonl")
    assert move_in(source).unchanged == 2


def test_a_python_without_aim_or_that_breaks_off_is_said(local_ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds \.aim"):
        open_source("aim", str(tmp_path))
    (tmp_path / ".aim").mkdir()
    with pytest.raises(InvalidInput, match="has no aim"):
        move_in(open_source("aim", str(tmp_path)))
    broken = python_that_tells(tmp_path, told(facts("2aad5a66f04049228e70d320", "one", None)))
    with pytest.raises(InvalidInput, match="could not read"):
        move_in(open_source("aim", str(tmp_path), {"python": broken}))
    with pytest.raises(InvalidInput, match="cannot be started"):
        move_in(open_source("aim", str(tmp_path), {"python": str(tmp_path / "nowhere")}))
