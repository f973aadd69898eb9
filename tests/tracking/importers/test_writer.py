"""The writer: runs in parts of any size, from any point on, give the same points; a source may be anybody's."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine import tracking
from trine.errors import CheckFailed, InvalidInput
from trine.tracking import series
from trine.tracking.importers import importers, open_source, writer
from trine.tracking.importers.source import SourceFile, SourceModel, SourceRun, columns, run_id
from trine.tracking.importers.writer import move_in
from trine.tracking.importing import ForeignRun, list_imports
from trine.workspace import Workspace

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 40), max_size=6)


def lines(sizes: dict[str, int]) -> dict[str, series.Points]:
    return {
        key: columns(np.arange(size), np.arange(size), np.arange(size) / 7 + ord(key)) for key, size in sizes.items()
    }


@given(SIZES, st.integers(1, 30), st.data())
def test_parts_are_all_points_in_order_whatever_their_size(
    sizes: dict[str, int], most: int, data: st.DataObject
) -> None:
    points = {key: line for key, line in lines(sizes).items() if len(line.values)}
    total = sum(len(line.values) for line in points.values())
    at = data.draw(st.integers(0, total))
    one = ForeignRun(id="0" * 32, experiment="e", name="n", state="finished", started_us=0)
    before, writer.POINTS = writer.POINTS, most
    try:
        parts = list(writer._parts(one, "0" * 64, points, at))
    finally:
        writer.POINTS = before
    start, found = at, list[tuple[str, float]]()
    for part in parts:
        here = [(found_.key, value) for found_ in part.series for value in series.unpack(found_).values.tolist()]
        assert part.start == start and part.points == total and len(here) <= most
        start += len(here)
        found += here
    whole = [(key, value) for key in sorted(points) for value in points[key].values.tolist()]
    assert start == total and found == whole[at:] and parts


class Notebook:
    kind = "notebook"
    location = "a shelf"

    def __init__(self, *runs: SourceRun) -> None:
        self.made = list(runs)

    def runs(self) -> Iterator[SourceRun]:
        yield from self.made

    def models(self) -> Iterator[SourceModel]:
        return iter(())


def page(number: int, **more: object) -> SourceRun:
    points = lines({"a": 30, "b": number})
    id = run_id("notebook", f"page {number}")
    made = SourceRun(id=id, experiment="by hand", name=f"page {number}", state="finished", started_us=1, points=points)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_runs_larger_than_a_call_come_in_parts(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "POINTS", 16)
    report = move_in(Notebook(page(5), page(0), page(33)), ws=ws)
    assert (report.added, report.points, report.points_moved) == (3, 128, 128)
    assert report.checksum == report.source_checksum
    one = tracking.get_run(run_id("notebook", "page 33"), ws=ws)
    assert tracking.history(one, "b", ws=ws)["value"].to_list() == lines({"b": 33})["b"].values.tolist()
    assert sorted(known.points for known in list_imports(ws, source="notebook").items) == [30, 35, 63]


def test_a_path_that_leaves_its_place_is_left_out_and_said(local_ws: Workspace) -> None:
    files = [SourceFile("../../sly", data=b"x"), SourceFile("fine.txt", data=b"y")]
    report = move_in(Notebook(page(1, files=files)))
    assert report.artifacts == 1 and "../../sly" in report.problems[0]


def test_what_is_not_here_as_it_is_there_is_found_out(local_ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.door, "import_checksums", lambda _, runs: dict.fromkeys(runs, "0" * 64))
    with pytest.raises(CheckFailed, match="1 of 1 runs are not here as they are at a shelf"):
        move_in(Notebook(page(1)))


def test_two_runs_of_one_id_and_unknown_importers_are_refused(local_ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="two runs of one id"):
        move_in(Notebook(page(1), page(1)))
    with pytest.raises(InvalidInput, match=r'no importer "wanb".*wandb'):
        open_source("wanb", ".")


def test_an_importer_of_a_package_is_found_by_its_entry_point(
    local_ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        name = "notebook"

        @staticmethod
        def load() -> object:
            return lambda where, options: Notebook(page(int(options["page"])))

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry] if group == "trine.importers" else [])
    assert "notebook" in importers()
    assert move_in(open_source("notebook", ".", {"page": "3"})).points == 33
