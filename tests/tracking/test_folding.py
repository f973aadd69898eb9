from __future__ import annotations

import contextlib
import math
import os
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import trine
from trine import tracking
from trine.errors import InvalidInput, NotFound, Unavailable
from trine.ids import new_id
from trine.storage.segments import SegmentWriter
from trine.tracking import folding, frames, series, spool
from trine.tracking import operations as door
from trine.tracking.frames import POINT, Meta, Reader
from trine.tracking.series import Points
from trine.tracking.tables import run_points
from trine.workspace import Workspace, transaction

Point = tuple[int, int, float]
KEYS = ["loss", "acc"]
VALUES = [0.5, -1.0, math.inf, -math.inf, math.nan, 0.0]


class Process:
    """One process that logs to a run: a segment, and what it was told is kept."""

    def __init__(self, ws: Workspace, run: str) -> None:
        self.ws = ws
        self.acknowledged: dict[str, list[Point]] = {key: [] for key in KEYS}
        self.meta = Meta(run, ws.project, new_id(), False)
        self.numbers: dict[str, int] = {}
        self.done: list[Path] = []
        self.start()

    def start(self) -> None:
        self.writer, self.lock = spool.new_segment(self.ws, self.meta)
        self.reader = Reader(self.writer.path)
        self.numbers = {}

    def number(self, key: str) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.numbers)
            self.writer.append(frames.pack_key(self.numbers[key], key))
        return self.numbers[key]

    def point(self, key: str, point: Point) -> None:
        self.writer.append(frames.pack_point(POINT, self.number(key), *point))
        self.acknowledged[key].append(point)

    def batch(self, key: str, points: list[Point]) -> None:
        steps, times, values = zip(*points, strict=True)
        columns = Points(np.array(steps), np.array(times), np.array(values, dtype=float))
        self.writer.append(frames.pack_columns(self.number(key), columns))
        self.acknowledged[key] += points

    def die(self) -> None:
        """Leave the segment as kill -9 does, and go on in another as the next process would."""
        self.writer._forget()  # pyright: ignore[reportPrivateUsage]
        os.close(self.lock)
        self.start()


points = st.tuples(st.integers(-3, 5), st.integers(0, 3), st.sampled_from(VALUES))
actions = st.lists(
    st.one_of(
        st.tuples(st.just("point"), st.integers(0, 2), st.sampled_from(KEYS), points),
        st.tuples(st.just("batch"), st.integers(0, 2), st.sampled_from(KEYS), st.lists(points, min_size=1, max_size=9)),
        st.tuples(st.just("send"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("crash"), st.integers(0, 2), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("die"), st.integers(0, 2), st.integers(0, 40)),
        st.tuples(st.just("collect")),
    ),
    max_size=25,
)


def bits(point: Point) -> tuple[int, int, bytes]:
    return point[0], point[1], struct.pack("<d", point[2])


def test_any_course_of_events_keeps_every_acknowledged_point_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "LARGEST_BATCH", 4)
    monkeypatch.setattr(folding, "LARGEST_CHUNK", 8)
    real = door.fold_segment

    @settings(max_examples=25)
    @given(actions)
    def check(course: list[Any]) -> None:
        run = door.create_run(ws).id
        processes = [Process(ws, run) for _ in range(3)]
        for action, *what in course:
            process = processes[what[0]] if what else processes[0]
            if action == "point":
                process.point(what[1], what[2])
            elif action == "batch":
                process.batch(what[1], what[2])
            elif action == "send":
                spool.send(ws, process.reader if what[1] else Reader(process.writer.path))
            elif action == "die":
                torn = frames.pack_point(POINT, 0, 1, 1, 1.0)[: what[1]]
                if torn:  # a record that was being written: its head is there, its CRC is not
                    process.writer._map[process.writer.end : process.writer.end + len(torn)] = torn  # type: ignore[index]
                process.die()
            elif action == "collect":
                spool.collect(ws)
            else:
                left, committed = what[1], what[2]

                def trouble(*args: Any, left: list[int] = [left], committed: bool = committed, **values: Any) -> Any:  # noqa: B006
                    left[0] -= 1
                    if left[0] >= 0:
                        return real(*args, **values)
                    if committed:
                        real(*args, **values)
                    raise Unavailable("the answer was lost")

                with monkeypatch.context() as patch:
                    patch.setattr(door, "fold_segment", trouble)
                    with contextlib.suppress(Unavailable):
                        spool.send(ws, process.reader)
        for process in processes:
            process.die()
            process.die()
        spool.collect(ws)
        judge(ws, run, processes)
        for process in processes:
            process.writer.close()
            process.writer.path.unlink()

    check()


def judge(ws: Workspace, run: str, processes: list[Process]) -> None:
    info = tracking.get_run(run, ws=ws)
    assert info.lost == 0
    for key in KEYS:
        expected = [point for process in processes for point in process.acknowledged[key]]
        if not expected:
            assert key not in info.metrics
            continue
        page = door.read_points(ws, id=run, key=key, limit=100_000)
        kept = list(zip(page.steps, page.times_us, page.values, strict=True))
        assert Counter(map(bits, kept)) == Counter(map(bits, expected))
        paged: list[Point] = []
        start: int | None = 0
        while start is not None:
            part = door.read_points(ws, id=run, key=key, start=start, limit=3)
            paged += zip(part.steps, part.times_us, part.values, strict=True)
            start = part.next
        assert list(map(bits, paged)) == list(map(bits, kept))
        frame = tracking.history(run, key, ws=ws)
        line = sorted(kept, key=lambda point: point[:2])
        assert list(map(bits, frame.rows())) == list(map(bits, line))
        found = info.metrics[key]
        numbers = [value for _, _, value in line if value == value]
        assert (found.count, found.nans) == (len(line), len(line) - len(numbers))
        assert bits((found.first_step, 0, found.first)) == bits((line[0][0], 0, line[0][2]))
        assert bits((found.last_step, found.last_us, found.last)) == bits(line[-1])
        if numbers:
            assert (found.min, found.max) == (min(numbers), max(numbers))
            assert found.min_step == min(step for step, _, value in line if value == found.min)
            assert found.max_step == min(step for step, _, value in line if value == found.max)


def test_one_process_is_kept_in_its_order(ws: Workspace) -> None:
    run = door.create_run(ws).id
    process = Process(ws, run)
    for at in range(100):
        process.point("loss", (7, 7, float(at)))
        if at % 9 == 0:
            spool.send(ws, process.reader)
    spool.send(ws, process.reader)
    assert tracking.history(run, "loss")["value"].to_list() == [float(at) for at in range(100)]
    assert (found := tracking.get_run(run).metrics["loss"]).first == 0.0 and found.last == 99.0
    process.writer.close()
    process.writer.path.unlink()


def test_small_chunks_grow_together(local_ws: Workspace) -> None:
    run = door.create_run(local_ws).id
    segment = new_id()
    for at in range(1000):
        one = Points(np.array([at]), np.array([at]), np.array([float(at)]))
        assert (
            door.fold_segment(local_ws, id=run, segment=segment, start=at, stop=at + 1, points=[series.pack("x", one)])
            == at + 1
        )
    with transaction(local_ws, write=False) as tx:
        sizes = [row.points for row in tx.all(select(run_points).order_by(run_points.c.start))]
    assert sum(sizes) == 1000 and len(sizes) <= 10 and sizes == sorted(sizes, reverse=True)
    big = Points(np.arange(1000, 11_000), np.arange(10_000), np.zeros(10_000))
    door.fold_segment(local_ws, id=run, segment=segment, start=1000, stop=1001, points=[series.pack("x", big)])
    with transaction(local_ws, write=False) as tx:
        assert len(tx.all(select(run_points))) == len(sizes) + 1
    assert tracking.history(run, "x")["value"].to_list()[:1000] == [float(at) for at in range(1000)]


def test_a_part_of_a_segment_counts_once_and_in_order(ws: Workspace) -> None:
    run, segment = door.create_run(ws).id, new_id()
    one = series.pack("x", Points(np.array([1]), np.array([1]), np.array([1.0])))

    def fold(start: int, stop: int, **more: Any) -> int:
        return door.fold_segment(ws, id=run, segment=segment, start=start, stop=stop, points=[one], **more)

    assert fold(0, 100) == 100
    assert fold(0, 100) == 100
    assert fold(0, 150) == 100
    assert fold(50, 150) == 100
    assert fold(200, 300) == 100
    assert fold(100, 200, lost=3) == 200
    assert door.segment_offset(ws, segment=segment) == 200
    info = tracking.get_run(run)
    assert (info.metrics["x"].count, info.lost, info.is_lossy) == (2, 3, True)
    with pytest.raises(InvalidInput, match="is not after"):
        fold(200, 200)
    for bad in (
        series.Series("x", b"", b"", b""),
        series.Series("x", b"12345678", b"12345678", b"1234567812345678"),
        series.Series("x", b"1", b"1", b"1"),
    ):
        with pytest.raises(InvalidInput, match="same length"):
            door.fold_segment(ws, id=run, segment=segment, start=200, stop=300, points=[bad])
    with pytest.raises(InvalidInput, match="there twice"):
        door.fold_segment(ws, id=run, segment=segment, start=200, stop=300, points=[one, one])
    assert door.segment_offset(ws, segment=segment) == 200


columns = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=True, allow_infinity=True),
    ),
    min_size=1,
    max_size=50,
)


def as_points(rows: list[Point]) -> Points:
    steps, times, values = zip(*rows, strict=True)
    return Points(np.array(steps, dtype=np.int64), np.array(times, dtype=np.int64), np.array(values))


@given(columns)
def test_chunks_come_back_bit_by_bit(rows: list[Point]) -> None:
    points = as_points(rows)
    for back in (series.decode(series.encode(points)), series.unpack(series.pack("k", points))):
        assert [column.tobytes() for column in back] == [column.tobytes() for column in points]


@given(st.lists(points, min_size=2, max_size=30), st.data())
def test_summaries_merge_as_if_made_at_once(rows: list[Point], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(rows) - 1))
    parts = [series.summarise(as_points(part)) for part in (rows[:cut], rows[cut:])]
    assert series.merge(*parts) == series.summarise(as_points(rows))


@given(columns, st.integers(2, 20))
def test_a_thinned_line_draws_the_same_picture(rows: list[Point], count: int) -> None:
    points = series.ordered(as_points(rows))
    thinned = series.thin(points, count)
    assert len(thinned.values) <= max(count, 2) + 2
    assert (thinned.steps[0], thinned.steps[-1]) == (points.steps[0], points.steps[-1])
    finite = points.values[~np.isnan(points.values)]
    if len(finite):
        assert (np.nanmin(thinned.values), np.nanmax(thinned.values)) == (finite.min(), finite.max())


@given(
    rows=st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 3), st.sampled_from(VALUES)), min_size=1, max_size=60),
    count=st.integers(1, 20),
)
def test_a_chart_is_the_least_greatest_and_last_of_each_part(rows: list[Point], count: int) -> None:
    steps, times, values = zip(*rows, strict=True)
    points = series.ordered(Points(np.array(steps), np.array(times), np.array(values)))
    starts, counts, low, high, last = series.buckets(points, count)
    assert len(starts) <= count and counts.sum() == len(rows) and starts[0] == points.steps[0]
    span = int(points.steps[-1] - points.steps[0]) + 1
    at = 0
    for start, size, least, greatest, final in zip(starts, counts, low, high, last, strict=True):
        part = points.take(slice(at, at + size))
        at += size
        assert start == part.steps[0] and (part.steps[-1] - start) * count <= span + count
        numbers = part.values[~np.isnan(part.values)]
        for found, expected in (
            (least, numbers.min() if len(numbers) else math.nan),
            (greatest, numbers.max() if len(numbers) else math.nan),
            (final, part.values[-1]),
        ):
            assert found == expected or (found != found and expected != expected)


def test_a_chart_is_read_through_the_door(ws: Workspace) -> None:
    with trine.run() as run:
        run.log_batch("loss", np.arange(10_000.0))
    chart = tracking.chart(run, "loss", pixels=100)
    assert (len(chart.steps), sum(chart.counts), chart.last_step, chart.points) == (100, 10_000, 9_999, 10_000)
    assert chart.low == [100.0 * at for at in range(100)] and chart.last == chart.high
    with pytest.raises(NotFound, match='Did you mean "loss"'):
        tracking.chart(run, "los")


def test_damage_inside_a_segment_is_stepped_over_and_counted(local_ws: Workspace) -> None:
    run = door.create_run(local_ws).id
    process = Process(local_ws, run)
    for at in range(50):
        process.point("loss", (at, at, float(at)))
    path = process.writer.path
    process.die()
    content = bytearray(path.read_bytes())
    content[600] ^= 0xFF
    path.write_bytes(content)
    spool.collect(local_ws)
    info = tracking.get_run(run)
    assert info.lost == 1 and info.is_lossy and info.metrics["loss"].count == 49
    assert not path.exists()
    process.writer.close()


def test_what_is_no_segment_is_set_aside(local_ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    run = door.create_run(local_ws).id
    folder = spool.spool_of(local_ws)
    folder.mkdir(parents=True)
    (folder / f"{run}-{new_id()}.seg").write_bytes(b"nonsense")
    empty = folder / f"{new_id()}-{new_id()}.seg"
    SegmentWriter(
        empty, kind="run", meta={"run": empty.stem[:32], "project": "default", "session": "s", "owner": True}
    ).close()
    lost = Process(local_ws, new_id())
    lost.point("loss", (1, 1, 1.0))
    lost.die()
    lost.writer.close()
    assert len(tracking.search()) == 1
    assert not empty.exists()
    assert sorted(path.suffix for path in folder.iterdir()) == [".damaged", ".orphan", ".seg"]
    assert "is no Trine segment" in caplog.text and "not in this workspace" in caplog.text
