from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trine.errors import Damaged, Failure, InvalidInput, NoSpace, NotFound
from trine.storage import SegmentWriter, read_segment, segments_in
from trine.storage.segments import HEAD_BYTES, LARGEST_FRAME, MARK, pack_frame, read_header

payloads = st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.just(b"\0"), st.just(MARK * 3)), max_size=20)


def write(path: Path, frames: list[bytes], *, seal: bool = True, step: int = 4096) -> SegmentWriter:
    writer = SegmentWriter(path, kind="test", meta={"a": 1}, step=step)
    for frame in frames:
        writer.append(frame)
    if seal:
        writer.close()
    return writer


def bytes_of(path: Path) -> list[bytes]:
    return [payload for _, payload in read_segment(path).frames]


@given(frames=payloads, seal=st.booleans())
def test_what_was_appended_is_read_back(frames: list[bytes], seal: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "a.seg"
        writer = write(path, frames, seal=seal)
        read = read_segment(path)
        assert [payload for _, payload in read.frames] == frames
        assert (read.kind, read.meta, read.torn, read.skipped, read.sealed) == ("test", {"a": 1}, 0, 0, seal)
        assert read.end == writer.end
        for index, (offset, _) in enumerate(read.frames):
            assert [payload for _, payload in read_segment(path, offset).frames] == frames[index:]
        assert read_segment(path, read.end).frames == []
        assert list(segments_in(Path(folder))) == [path]
        writer.close()


@given(frames=payloads, cut=st.integers(1, 60), grown=st.booleans())
def test_a_torn_last_frame_is_cut_and_reported(frames: list[bytes], cut: int, grown: bool) -> None:
    """The process died while it wrote the last frame: a part of it is there, then zeros or the end of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.seg"
        writer = write(path, frames, seal=False)
        end = writer.end
        last = pack_frame(b"y" * 50)
        torn = last[: min(cut, len(last) - 1)]
        data = path.read_bytes()[:end] + torn
        writer.close()
        path.write_bytes(data + bytes(500) if grown else data)
        read = read_segment(path)
        assert [payload for _, payload in read.frames] == frames
        assert (read.end, read.torn, read.sealed) == (end, len(torn.rstrip(b"\0")), False)


@settings(max_examples=300)
@given(
    frames=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=12),
    at=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    seal=st.booleans(),
)
def test_a_flipped_byte_anywhere_is_named_or_cut(frames: list[bytes], at: int, bit: int, seal: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.seg"
        writer = write(path, frames, seal=seal)
        data = bytearray(path.read_bytes()[: writer.end + 12 * seal])
        writer.close()
        at %= len(data)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        header_ends = len(data) - 12 * seal - sum(12 + len(frame) for frame in frames)
        if at < header_ends:
            with pytest.raises(Damaged, match=str(path)):
                read_segment(path)
            return
        offset, hit = header_ends, 0
        while hit < len(frames) and at >= offset + 12 + len(frames[hit]):
            offset += 12 + len(frames[hit])
            hit += 1
        others = frames[:hit] + frames[hit + 1 :]
        if hit == len(frames):  # the seal itself
            assert bytes_of(path) == frames
            assert read_segment(path).torn == 12
        elif hit == len(frames) - 1 and not seal:
            assert bytes_of(path) == others  # may be a write that was cut short: the same bytes, the same treatment
            assert read_segment(path).torn > 0
        else:
            with pytest.raises(Damaged, match=f"{path} is damaged at byte {offset}"):
                read_segment(path)
            read = read_segment(path, skip_damage=True)
            assert [payload for _, payload in read.frames] == others
            assert read.skipped == 12 + len(frames[hit])


def test_damage_that_looks_like_a_longer_frame_does_not_swallow_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"one", pack_frame(b"inner"), b"three", b"four"])
    offsets = [offset for offset, _ in read_segment(path).frames]
    data = bytearray(path.read_bytes())
    data[offsets[0] + 4 : offsets[0] + 8] = (LARGEST_FRAME - 1).to_bytes(4, "little")
    path.write_bytes(data)
    read = read_segment(path, skip_damage=True)
    assert [payload for _, payload in read.frames] == [pack_frame(b"inner"), b"three", b"four"]


def test_wrong_frames_and_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    writer = write(path, [b"x"], seal=False)
    for wrong in (b"", bytes(LARGEST_FRAME + 1)):
        with pytest.raises(InvalidInput, match="1 to"):
            writer.append(wrong)
        with pytest.raises(InvalidInput, match="1 to"):
            writer.append_many([b"a", wrong])
    assert bytes_of(path) == [b"x"]
    with pytest.raises(InvalidInput, match="one writer"):
        SegmentWriter(path, kind="test")
    writer.close()
    writer.close()
    for write_more in (lambda: writer.append(b"y"), lambda: writer.append_many([b"y"])):
        with pytest.raises(Failure, match="closed"):
            write_more()
    writer.sync()
    with pytest.raises(NotFound, match="nowhere"):
        read_segment(tmp_path / "nowhere")
    (tmp_path / "text").write_text("hello, this is no segment")
    with pytest.raises(Damaged, match="no Trine segment"):
        read_header(tmp_path / "text")


def test_a_forked_child_does_not_touch_its_parents_segment(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    writer = write(path, [b"parent"], seal=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            writer.append(b"child")
        except Failure:
            code = 0
        finally:
            writer.close()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    writer.append(b"parent again")
    writer.close()
    assert bytes_of(path) == [b"parent", b"parent again"]


def test_threads_share_a_writer_and_its_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.seg"
    writer = SegmentWriter(path, kind="test", step=4096)
    syncs: list[int] = []
    gate = threading.Barrier(8)
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)

    def work(number: int) -> None:
        for index in range(200):
            writer.append(b"%d %d" % (number, index))
        gate.wait()
        writer.sync()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(syncs) < 8  # who waited found its frames synced
    syncs.clear()
    writer.sync()
    assert syncs == []
    writer.close()
    read = bytes_of(path)
    assert len(read) == 1600
    for number in range(8):
        mine = [int(frame.split()[1]) for frame in read if frame.startswith(b"%d " % number)]
        assert mine == list(range(200))


def test_a_reader_beside_a_writer_sees_whole_frames_in_order(tmp_path: Path) -> None:
    """Reads while a writer appends: never damage, never a gap, whatever part of the file the reader copied when."""
    path = tmp_path / "a.seg"
    writer = SegmentWriter(path, kind="test", step=4096)
    code = (
        "import sys; from trine.storage import read_segment\n"
        "seen, at = 0, 0\n"
        "while seen < 20000:\n"
        "    read = read_segment(sys.argv[1], at)\n"
        "    for _, payload in read.frames:\n"
        "        assert payload == b'%d,' % seen * (seen % 50 + 1), (payload, seen)\n"
        "        seen += 1\n"
        "    at = read.end\n"
    )
    reader = subprocess.Popen([sys.executable, "-c", code, str(path)])
    for index in range(20_000):
        writer.append(b"%d," % index * (index % 50 + 1))
    assert reader.wait(60) == 0
    writer.close()


def test_a_frame_that_was_half_there_when_its_page_was_copied_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trine.storage import segments

    path = tmp_path / "a.seg"
    write(path, [b"one", b"two", b"three"])
    offset = read_segment(path).frames[1][0]
    real, loads = segments._Scan._load, []

    def torn_first(scan: segments._Scan, base: int) -> None:
        real(scan, base)
        loads.append(base)
        if len(loads) == 1:
            data = bytearray(scan.data)
            data[offset - base + 12] = 0
            scan.data = bytes(data)

    monkeypatch.setattr(segments._Scan, "_load", torn_first)
    assert bytes_of(path) == [b"one", b"two", b"three"]
    loads.clear()
    assert [payload for _, payload in read_segment(path, offset).frames] == [b"two", b"three"]


KILLED = """
import sys
from trine.storage import SegmentWriter
writer = SegmentWriter(sys.argv[1], kind="test", step=1 << 14)
index = 0
while True:
    writer.append(b"%d" % index * (1 + index % 9))
    sys.stdout.write(f"{index}\\n")
    sys.stdout.flush()
    index += 1
"""


@pytest.mark.parametrize("after", [0, 1, 7, 100, 1000, 5000])
def test_what_append_returned_for_survives_kill_9(tmp_path: Path, after: int) -> None:
    path = tmp_path / "a.seg"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after + 1):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
    acknowledged = after + 1 + len([line for line in rest[:-1] if line]) + (1 if rest and rest[-1].isdigit() else 0)
    frames = bytes_of(path)
    assert len(frames) >= acknowledged - 1  # the last line may have been cut in the middle of its digits
    assert frames == [b"%d" % index * (1 + index % 9) for index in range(len(frames))]


def test_a_full_disk_is_an_error_that_can_be_recovered_from(small_disk: Path) -> None:
    writer = SegmentWriter(small_disk / "a.seg", kind="test", step=1 << 16)
    written = 0
    with pytest.raises(NoSpace, match=r"no space left to write .*a\.seg"):
        for _ in range(100_000):
            writer.append(b"x" * 1000)
            written += 1
    assert written > 1000
    with pytest.raises(NoSpace):
        SegmentWriter(small_disk / "b.seg", kind="test")
    assert not (small_disk / "b.seg").exists()
    writer.close()
    assert len(bytes_of(small_disk / "a.seg")) == written
    (small_disk / "a.seg").unlink()
    write(small_disk / "c.seg", [b"again"])
    assert bytes_of(small_disk / "c.seg") == [b"again"]


@settings(max_examples=100)
@given(
    frames=st.lists(st.one_of(st.binary(min_size=5, max_size=5), st.binary(min_size=1, max_size=9)), max_size=40),
    flip=st.integers(0, 400),
)
def test_frames_of_one_size_read_together_are_the_same(frames: list[bytes], flip: int) -> None:
    """Undamaged, and with one byte flipped: the quick way finds exactly what the plain one does."""
    frames = [b"\x07" + frame[1:] if index % 3 else frame for index, frame in enumerate(frames)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.seg"
        write(path, frames)
        for damaged in (False, True):
            data = bytearray(path.read_bytes())
            if damaged:
                start = read_header(path)[1]
                data[min(start + flip, len(data) - 1)] ^= 0x10
                path.write_bytes(data)
            plain = read_segment(path, skip_damage=True)
            quick = read_segment(path, skip_damage=True, together=(5, 7))
            found: list[tuple[int, bytes]] = []
            for offset, payload in quick.frames:
                if isinstance(payload, bytes):
                    found.append((offset, payload))
                    continue
                for at in range(payload.frames):
                    begin = payload.start + at * (5 + HEAD_BYTES) + HEAD_BYTES
                    found.append((offset + at * (5 + HEAD_BYTES), payload.data[begin : begin + 5]))
            assert found == plain.frames
            assert (quick.end, quick.torn, quick.skipped, quick.sealed) == (
                plain.end, plain.torn, plain.skipped, plain.sealed,
            )  # fmt: skip


def test_a_signal_handler_may_append(tmp_path: Path) -> None:
    """It interrupts its own thread anywhere, in the middle of an append and of itself too: nothing is lost, nothing waits for itself."""
    writer = SegmentWriter(tmp_path / "a.seg", kind="test", step=4096)
    numbers = itertools.count()
    handled: list[int] = []

    def handle(_signal: int, _frame: object) -> None:
        number = next(numbers)
        writer.append(b"handler %d" % number)
        handled.append(number)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        appended = 0
        while len(handled) < 200:
            writer.append(b"plain %d" % appended)
            appended += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.close()
    found = Counter(bytes_of(tmp_path / "a.seg"))
    wanted = Counter([b"handler %d" % number for number in handled] + [b"plain %d" % at for at in range(appended)])
    assert (found - wanted, wanted - found) == (Counter(), Counter())
